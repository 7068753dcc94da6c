//! What the judgement comes to, in one line: what is the matter with the peer and the channels, and why nothing is taken over.

use super::{Channel, Health};
use crate::{
    api::CoreView,
    config::Config,
    core::{PeerState, Verdict, Withheld},
    events::text::withheld,
    types::{Nanos, Sides},
};

/// The line: what is the matter with the peer, the channels, and with what would follow.
pub(super) fn verdict(config: &Config, view: &CoreView, channels: &[Channel], silent_here: u64, now: Nanos) -> String {
    let mut parts = of_peer(view, channels, now);
    let faults = channels.iter().filter_map(|c| Some(format!("{}: {}", c.name, c.fault.as_ref()?)));
    parts.extend(faults);
    parts.extend(of_judgement(config, view));
    parts.extend(view.withheld.map(|reason| no_takeover(reason, view.withheld_until.map(|until| until.since(now)))));
    let silent_groups = config.groups.iter().filter(|group| silent_here & group.index.bit() != 0);
    let kept = config.groups.iter().filter(|group| view.kept & group.index.bit() != 0);
    parts.extend(kept.map(|group| format!("{} could not be let go of here", group.name)));
    parts.extend(silent_groups.map(|group| format!("this host's kernel keeps silent for {}", group.name)));
    if view.peer == PeerState::Good && view.differences.groups {
        parts.push(
            "no group moves: the peer has other groups configured, or judges them by other networks or checks".into(),
        );
    }
    if view.peer == PeerState::Good && view.differences.channels {
        parts.push(format!("the peer does not have the same {} channels configured", config.channels.len()));
    }
    parts.join("; ")
}

/// Whether it is there, and on which channels.
fn of_peer(view: &CoreView, channels: &[Channel], now: Nanos) -> Vec<String> {
    let silent: Vec<_> = channels.iter().filter(|c| c.state == Health::Bad).collect();
    match view.peer {
        PeerState::Unknown => vec!["waiting for the peer's first heartbeat".to_owned()],
        PeerState::Bad if view.peer_left => vec!["the peer has left".to_owned()],
        PeerState::Bad => {
            let last = view.channels.iter().filter_map(|c| c.last_arrival).max();
            let dead = match last {
                Some(last) => format!("the peer is dead: no heartbeat on any channel for {}", now.since(last)),
                None => "the peer is not there: no heartbeat on any channel since the start".to_owned(),
            };
            let agent = match (view.peer_died, view.peer_stalled) {
                (Some(died), _) => Some(format!("its agent died {died} ago, as its kernel said")),
                (None, Some(stalled)) => Some(format!("its host answers, its agent has stood still for {stalled}")),
                (None, None) => None,
            };
            [dead].into_iter().chain(agent).collect()
        }
        PeerState::Good if silent.is_empty() => vec!["the peer is alive on all channels".to_owned()],
        PeerState::Good => {
            let silence = |c: &&Channel| {
                let carrier = if c.carrier { "" } else { ", no carrier here" };
                match c.last_heard_ms {
                    Some(ms) => format!("{} (silent for {:.1} s{carrier})", c.name, ms / 1e3),
                    None => format!("{} (never heard{carrier})", c.name),
                }
            };
            let list: Vec<_> = silent.iter().map(silence).collect();
            let (works, all) = (channels.len() - silent.len(), channels.len());
            vec![format!("the peer is alive on {works} of {all} channels; BAD: {}", list.join(", "))]
        }
    }
}

/// What both conclude, or why nothing follows from it.
fn of_judgement(config: &Config, view: &CoreView) -> Option<String> {
    match view.maintenance {
        Sides { own: true, .. } => return Some("in maintenance: nothing moves".into()),
        Sides { peer: true, .. } => return Some("the peer is in maintenance: nothing moves".into()),
        Sides { .. } => {}
    }
    Some(match view.verdict? {
        Verdict::FailLocal => "both judged this controller to be failed".into(),
        Verdict::FailRemote => "both judged the peer to be failed".into(),
        Verdict::ByGroup { groups_here, groups_there } => {
            let of = |bits: u64| {
                let names = config.groups.iter().filter(|g| g.index.bit() & bits != 0).map(|g| g.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                if names.is_empty() { "nothing".to_owned() } else { names }
            };
            let (here, there) = (of(groups_here), of(groups_there));
            format!("both have faults: {here} is better off here, {there} with the peer")
        }
        Verdict::ConfigurationError => "the peer counts as faulted: it is configured differently, nothing moves".into(),
        Verdict::Nothing(_) => return None,
    })
}

/// Why nothing is taken from a silent peer, and for how long yet, where that is known.
fn no_takeover(reason: Withheld, left: Option<Nanos>) -> String {
    let why = match reason {
        Withheld::Isolated => {
            "no network of our own answers, or none has a carrier (`heartbeat takeover GROUP --force` where the peer is off \
             for sure)"
        }
        Withheld::Stranger => {
            "heartbeats arrive that are not our peer's (another key, pair, channel or node letter), or from a peer that does \
             not hear us"
        }
        reason => withheld(reason),
    };
    match left {
        Some(left) => format!("no takeover for {left}: {why}"),
        None => format!("no takeover: {why}"),
    }
}
