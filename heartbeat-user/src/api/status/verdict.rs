//! What the judgement comes to, in one line.

use super::{Channel, Health};
use crate::{
    api::View,
    config::Config,
    core::{PeerState, Verdict, Withheld},
    events::text::withheld,
    types::Nanos,
};

/// The line: what is the matter with the peer, the channels, and with what would follow.
pub(super) fn verdict(config: &Config, view: &View, channels: &[Channel], silent_here: u64, now: Nanos) -> String {
    let silent: Vec<_> = channels.iter().filter(|c| c.state == Health::Bad).collect();
    let mut parts = Vec::new();
    match view.peer {
        PeerState::Unknown => parts.push("waiting for the peer's first heartbeat".to_owned()),
        PeerState::Bad if view.peer_left => parts.push("the peer has left".to_owned()),
        PeerState::Bad => {
            let last = view.channels.iter().filter_map(|c| c.last_arrival).max();
            parts.push(match last {
                Some(last) => format!("the peer is dead: no heartbeat on any channel for {}", now.since(last)),
                None => "the peer is not there: no heartbeat on any channel since the start".to_owned(),
            });
            if let Some(died) = view.peer_died {
                parts.push(format!("its agent died {died} ago, as its kernel said"));
            } else if let Some(stalled) = view.peer_stalled {
                parts.push(format!("its host answers, its agent has stood still for {stalled}"));
            }
        }
        PeerState::Good if silent.is_empty() => parts.push("the peer is alive on all channels".to_owned()),
        PeerState::Good => {
            let list: Vec<_> = silent
                .iter()
                .map(|c| {
                    let carrier = if c.carrier { "" } else { ", no carrier here" };
                    match c.last_heard_ms {
                        Some(ms) => format!("{} (silent for {:.1} s{carrier})", c.name, ms / 1e3),
                        None => format!("{} (never heard{carrier})", c.name),
                    }
                })
                .collect();
            let works = channels.len() - silent.len();
            parts.push(format!(
                "the peer is alive on {works} of {} channels; BAD: {}",
                channels.len(),
                list.join(", ")
            ));
        }
    }
    for channel in channels {
        if let Some(fault) = &channel.fault {
            parts.push(format!("{}: {fault}", channel.name));
        }
    }
    match (view.maintenance, view.verdict) {
        ([false, false], Some(Verdict::FailLocal)) => parts.push("both judged this controller to be failed".into()),
        ([false, false], Some(Verdict::FailRemote)) => parts.push("both judged the peer to be failed".into()),
        ([false, false], Some(Verdict::ByGroup { groups_here, groups_there })) => {
            let of = |bits: u64| {
                let names = config.groups.iter().filter(|g| g.index.bit() & bits != 0).map(|g| g.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                if names.is_empty() { "nothing".to_owned() } else { names }
            };
            parts.push(format!(
                "both have faults: {} is better off here, {} with the peer",
                of(groups_here),
                of(groups_there)
            ));
        }
        ([false, false], Some(Verdict::ConfigurationError)) => {
            parts.push("the peer counts as faulted: it is configured differently, nothing moves".into());
        }
        ([false, false], _) => {}
        ([true, _], _) => parts.push("in maintenance: nothing moves".into()),
        ([false, true], _) => parts.push("the peer is in maintenance: nothing moves".into()),
    }
    parts.extend(view.withheld.map(|reason| no_takeover(reason, view.withheld_until.map(|until| until.since(now)))));
    let silent_groups = config.groups.iter().filter(|group| silent_here & group.index.bit() != 0);
    parts.extend(silent_groups.map(|group| format!("this host's kernel keeps silent for {}", group.name)));
    if view.peer == PeerState::Good && view.differences[1] {
        parts.push("no group moves: the peer has other groups configured".into());
    }
    if view.peer == PeerState::Good && view.differences[0] {
        parts.push(format!("the peer does not have the same {} channels configured", config.channels.len()));
    }
    parts.join("; ")
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
