//! The status document, field by field: put together from what the threads leave.

use super::{
    Answer, Channel, Distribution, End, Faulted, Group, Judged, Peer, ReceivedBy, Status, guards, ms, verdict::verdict,
};
use crate::{
    api::{CoreView, Known, Readiness, Shown, ready::readiness},
    config::{self, ServiceAddress},
    core::{PeerState, Verdict},
    events::text,
    latency::to_hdr,
    system::clock,
    types::{Link, Nanos, Node, XdpMode},
};
use heartbeat_ebpf::{guard::Guard, layout::Outcome};

impl Status {
    /// The status as it is now, whose facts are those of `view`.
    #[must_use]
    pub fn new(facts: &Shown, view: &CoreView) -> Self {
        let mut status = Self::known(facts, view);
        for (i, channel) in status.channels.iter_mut().enumerate() {
            let rtt = &facts.shared.latencies.channels[i].rtt;
            let inter_arrival = facts.tables.inter_arrival(facts.config.channels[i].index);
            channel.inter_arrival = Distribution::new(&to_hdr(inter_arrival), None);
            channel.rtt = Distribution::new(&rtt.to_hdr(), Some(rtt.max()));
        }
        status
    }

    /// The same without the channels' distributions, which cost the most.
    #[must_use]
    pub fn known(facts: &Shown, view: &CoreView) -> Self {
        let Shown { config, node, .. } = facts;
        let (node, now) = (*node, clock::monotonic());
        let modes = facts.modes.lock().map(|modes| modes.clone()).unwrap_or_default();
        let channels: Vec<_> =
            (0..config.channels.len()).map(|i| channel(facts, view, modes.get(i).copied().flatten(), now, i)).collect();
        let lateness = &facts.shared.latencies.lateness;
        // What the file has no more is shown until it is let go of.
        let shown = config.groups.iter().filter(|g| !g.departed || view.owned & g.index.bit() != 0);
        let silent = Guard { agent: facts.tables.agent(), kernel: facts.tables.kernel() }.silent(now.0) & view.owned;
        let known = facts.known();
        let status = Self {
            node,
            hostnames: config.hostnames.clone(),
            time_ns: clock::realtime_ns(),
            pair_id: config.pair.id,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            age_ms: ms(now.since(view.at)),
            profile: config.profile,
            interval_ms: ms(config.timing.interval),
            detection_ms: ms(config.detection()),
            incarnation: format!("{:016x}", facts.incarnation),
            term: view.term,
            maintenance: view.maintenance.own,
            judged: view.verdict.map(Judged::from),
            peer: peer(facts, view),
            verdict: verdict(config, view, &channels, silent, now),
            groups: shown.map(|g| group(facts, view, &known, silent, g)).collect(),
            lateness: Distribution::new(&lateness.to_hdr(), Some(lateness.max())),
            stall: guards::stall(&known, now),
            service: guards::served(config, view.services.own, view.failing_checks),
            release_within_ms: view.release_within.own.map(ms),
            withheld: guards::withholding(view, now),
            fence: guards::fence(&known, now),
            arbiter: guards::arbiter(&known, now),
            watchdog: guards::watchdog(facts.watchdog.as_ref(), now),
            problems: known.problems.clone(),
            events_lost: facts.events_lost(),
            sinks: facts.sinks.status(),
            channels,
            readiness: Readiness::default(),
            answer: Answer::Unknown,
        };
        drop(known);
        status.concluded()
    }

    /// With what follows from all the rest.
    #[must_use]
    pub(crate) fn concluded(mut self) -> Self {
        self.readiness = readiness(&self);
        self.answer = Answer::of(&self);
        self
    }
}

fn peer(facts: &Shown, view: &CoreView) -> Peer {
    Peer {
        state: view.peer.into(),
        left: view.peer_left,
        stalled_ms: view.peer_stalled.map(ms),
        died_ms: view.peer_died.map(ms),
        incarnation: format!("{:016x}", view.peer_incarnation),
        differs: view.differences.all().collect(),
        faulted: match view.verdict {
            // WO 01/82077, FIG. 9, step 910
            Some(Verdict::ConfigurationError) => Some(Faulted::ConfiguredDifferently),
            _ if view.peer == PeerState::Good && view.differences.channels => Some(Faulted::ConfiguredDifferently),
            Some(Verdict::FailRemote) => Some(Faulted::Judged),
            _ => None,
        },
        maintenance: view.maintenance.peer,
        // Of other channels its figures say nothing of ours.
        service: guards::served(&facts.config, view.services.peer, 0).filter(|_| !view.differences.channels),
        release_within_ms: view.release_within.peer.map(ms),
        keys_differ: view.peer_keys.is_some_and(|keys| keys != facts.key_prints),
        unfit: view.peer_unfit,
    }
}

fn channel(facts: &Shown, view: &CoreView, mode: Option<XdpMode>, now: Nanos, i: usize) -> Channel {
    let Shown { config, node, tables, .. } = facts;
    let (configured, seen) = (&config.channels[i], &view.channels[i]);
    let slot = tables.slot(configured.index);
    let heard_there = (view.peer == PeerState::Good).then(|| view.heard_there & configured.index.bit() != 0);
    let judged_by = facts.judged_by.lock().ok().and_then(|by| by.get(i).cloned().flatten());
    Channel {
        name: configured.name.clone(),
        kind: configured.kind,
        state: seen.state.into(),
        interface: configured.port(*node),
        ends: [Node::A, Node::B].map(|node| End {
            port: configured.port(node),
            address: configured.end(node).map(|end| end.address.to_string()),
        }),
        judged: configured.is_judged(),
        own_facts_only: judged_by.as_ref().is_some_and(|by| by.own_facts_only),
        judged_by: judged_by.map(|by| by.who),
        carrier: matches!(seen.link, Link::Present { carrier: true, .. }),
        own_end: seen.link.into(),
        heard_there,
        fault_place: seen.place,
        fault: seen.place.map(|place| text::fault(place).to_owned()),
        xdp_mode: ReceivedBy::new(mode, configured.kind),
        sent: seen.sent,
        received: slot.counted(Outcome::Accepted),
        missing: slot.missing.get(),
        highest_sequence: slot.highest.get(),
        counter: seen.count,
        last_heard_ms: seen.last_arrival.map(|at| ms(now.since(at))),
        handshakes: slot.counted(Outcome::Handshake),
        rejected: Outcome::ALL
            .into_iter()
            .filter(|o| o.is_reject())
            .map(|o| (o.name().to_owned(), slot.counted(o)))
            .collect(),
        inter_arrival: Distribution::default(),
        rtt: Distribution::default(),
    }
}

fn group(facts: &Shown, view: &CoreView, known: &Known, silent: u64, group: &config::GroupConfig) -> Group {
    let Shown { config, node, .. } = facts;
    let bit = group.index.bit();
    let theirs = view.peer == PeerState::Good && view.peer_owned & bit != 0;
    let owner = match view.owned & bit != 0 {
        true => Some(*node),
        false if theirs => Some(node.other()),
        false => None,
    };
    let name = |address: &ServiceAddress| &config.channels[address.channel.usize()].name;
    let mut channels: Vec<_> = group.addresses.iter().map(|address| name(address).clone()).collect();
    channels.sort();
    channels.dedup();
    Group {
        name: group.name.clone(),
        home: group.home,
        owner,
        held: view.held & bit != 0,
        addresses: group.addresses.iter().map(|a| format!("{}/{} on {}", a.address, a.prefix, name(a))).collect(),
        channels,
        exclusive: group.exclusive,
        silent: silent & bit != 0,
        kept: view.kept & bit != 0,
        held_twice: theirs && view.owned & bit != 0,
        claim: guards::claim(known, group.index).filter(|_| view.owned & bit != 0),
    }
}

#[cfg(test)]
pub(in crate::api) mod tests {
    use super::*;
    use crate::{
        api::Latest,
        api::Shared,
        config::{Config, EXAMPLE},
        core::{Why, testing::Bench},
        dataplane::Tables,
        events::{Output, feed::Feed, sinks::Sinks},
        latency::Latencies,
    };
    use std::sync::{Arc, Mutex, atomic::AtomicU64};

    /// Controller a of a pair whose peer is heard on both channels, and what it judges.
    pub(in crate::api) fn shown() -> (Shown, CoreView) {
        let mut config = Config::parse(EXAMPLE, "example.toml").unwrap();
        config.channels.truncate(2);
        let bench = Bench::of(1, |_| {});
        let view = CoreView::new(&bench.core, bench.now, 2);
        let (folder, feed) = (tempfile::tempdir().unwrap(), Arc::new(Feed::default()));
        let sinks = Sinks::start(&config, Node::A, &folder.path().join("records"), Output::new(), &feed).unwrap();
        let latencies = Latencies::new(2);
        let shared = Shared { view: Latest::new(&view), latencies, events_lost: AtomicU64::new(0) };
        let facts = Shown {
            node: Node::A,
            incarnation: 11,
            shared: Arc::new(shared),
            tables: Arc::new(Tables::anonymous().unwrap()),
            judged_by: Mutex::default(),
            modes: Mutex::default(),
            known: Mutex::new(Known::new(&config)),
            watchdog: None,
            key_prints: [1, 0],
            feed,
            sinks,
            config,
        };
        (facts, view)
    }

    #[test]
    fn whoever_was_judged_to_be_failed_is_marked_so_the_peer_as_faulted() {
        use Faulted::ConfiguredDifferently;
        let (facts, good) = shown();
        assert_eq!(good.peer, PeerState::Good);
        let of = |verdict, other_channels, peer| {
            let mut view = CoreView { verdict, peer, ..good.clone() };
            view.differences.channels = other_channels;
            Status::known(&facts, &view)
        };
        let by_group = Verdict::ByGroup { groups_here: 1, groups_there: 2 };
        let nothing = Why::BothFaulted;
        for (verdict, judged, faulted, said) in [
            (None, None, None, ""),
            (Some(Verdict::FailRemote), Some(Judged::FailRemote), Some(Faulted::Judged), "the peer to be failed"),
            (Some(Verdict::FailLocal), Some(Judged::FailLocal), None, "this controller to be failed"),
            (Some(by_group), Some(Judged::ByGroup), None, "both have faults"),
            (Some(Verdict::Nothing(nothing)), Some(Judged::Nothing(nothing)), None, ""),
            (
                Some(Verdict::ConfigurationError),
                Some(Judged::ConfigurationError),
                Some(ConfiguredDifferently),
                "counts as faulted",
            ),
        ] {
            let status = of(verdict, false, PeerState::Good);
            assert_eq!((status.judged, status.peer.faulted), (judged, faulted), "{verdict:?}");
            assert!(status.verdict.contains(said), "{verdict:?}: {}", status.verdict);
        }
        // By what it said itself, which counts while it is heard.
        for (peer, faulted) in [(PeerState::Good, Some(ConfiguredDifferently)), (PeerState::Bad, None)] {
            assert_eq!(of(None, true, peer).peer.faulted, faulted, "{peer:?}");
        }
        let json = |verdict| serde_json::to_value(of(Some(verdict), false, PeerState::Good)).unwrap();
        assert_eq!(json(Verdict::FailRemote)["peer"]["faulted"], "judged");
        assert_eq!(json(Verdict::FailLocal)["judged"], "fail_local");
        facts.sinks.end(false);
    }

    #[test]
    fn what_could_not_be_let_go_of_is_in_the_headline() {
        let (facts, good) = shown();
        let headline = |kept| Status::known(&facts, &CoreView { kept, ..good.clone() }).verdict;
        let name = &facts.config.groups[1].name;
        let said = format!("{name} could not be let go of here");
        assert!(!headline(0).contains("let go of") && headline(0b10).contains(&said), "{}", headline(0b10));
        facts.sinks.end(false);
    }
}
