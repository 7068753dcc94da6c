//! What is wrong, and what is to be done about it: the peer, channels, health checks, and what [`super::guards`] adds.

use super::{
    Finding, guards,
    history::{History, field, said},
};
use crate::{
    core::{Place, Withheld},
    events::{Kind, Record},
    types::Node,
};

/// All of them, the gravest first.
pub(super) fn findings(history: &History<'_>) -> Vec<Finding> {
    let placed: Vec<_> = history.standing(&[Kind::FaultPlaced]).collect();
    let mut findings = peer(history);
    findings.extend(placed.iter().map(|event| fault(history, event)));
    // Of a peer that is not there, no channel can be good.
    if history.standing(&[Kind::PeerGood]).next().is_some() {
        let is_placed = |event: &&Record| placed.iter().any(|placed| placed.channel == event.channel);
        let silent = history.standing(&[Kind::ChannelBad]).filter(|event| !is_placed(event));
        findings.extend(silent.map(|event| silence(history, event)));
    }
    findings.extend(failing(history).map(|event| check(history.here, event)));
    findings.extend(guards::findings(history));
    findings
}

/// The last result of each health check that fails.
pub(super) fn failing<'a>(history: &History<'a>) -> impl Iterator<Item = &'a Record> {
    history.standing(&[Kind::CheckChanged]).filter(|event| field(event, "healthy") == Some(false))
}

fn peer(history: &History<'_>) -> Vec<Finding> {
    let there = history.here.other();
    let Some(event) = history.standing(&[Kind::PeerDead, Kind::PeerDied, Kind::PeerLeft]).last() else {
        return Vec::new();
    };
    match event.kind() {
        Some(Kind::PeerDied) => vec![Finding::new(
            format!("the agent of controller {there} died, as its kernel said"),
            format!("see why on controller {there}: journalctl -u heartbeat; then systemctl start heartbeat"),
        )],
        Some(Kind::PeerLeft) => vec![Finding::new(
            format!("the agent of controller {there} was stopped"),
            format!("start it again when that is over: systemctl start heartbeat on controller {there}"),
        )],
        _ => dead_peer(history, event),
    }
}

fn dead_peer(history: &History<'_>, event: &Record) -> Vec<Finding> {
    let (here, there) = (history.here, history.here.other());
    let bad = history.standing(&[Kind::ChannelBad]).count();
    let own = history.standing(&[Kind::InterfaceGone, Kind::CarrierLost]).count();
    if field::<u64>(event, "stalled_ns").is_some() {
        return vec![Finding::new(
            format!("the agent of controller {there} stands still; its host answers"),
            format!(
                "see what holds up the agent on controller {there}: its load, its journal, `systemctl status heartbeat`"
            ),
        )];
    }
    if bad > 0 && own >= bad {
        return vec![Finding::new(
            format!("all ports or cables of controller {here}: none of its interfaces has a carrier"),
            format!("check the cables and switches of controller {here}: it is cut off"),
        )];
    }
    let cut_off = guards::withheld(history).filter(|(reason, _)| *reason == Some(Withheld::Isolated));
    let cut_off = cut_off.map(|(_, withheld)| {
        Finding::new(
            withheld.text.as_str(),
            format!(
                "check the cables and switches of controller {here}, and whether whoever is asked there answers; \
                 where {there} is off for sure: heartbeat takeover GROUP --force"
            ),
        )
    });
    let down = Finding::new(
        format!("controller {there} is down, or all that joins it with {here} is: {}", event.text),
        format!("see whether controller {there} has power and runs"),
    );
    cut_off.into_iter().chain([down]).collect()
}

/// Whether a channel has something of that kind that stands.
fn has(history: &History<'_>, kind: Kind, channel: &Option<String>) -> bool {
    history.standing(&[kind]).any(|event| event.channel == *channel)
}

/// A fault that both controllers' analyses placed.
fn fault(history: &History<'_>, event: &Record) -> Finding {
    let (here, there) = (history.here, history.here.other());
    let channel = event.channel.as_deref().unwrap_or("?");
    let port = |on: Node| {
        Finding::new(
            format!("{channel}: the port or cable of controller {on}"),
            format!("check the cable, the interface and the switch port of {channel} at controller {on}"),
        )
    };
    let Some(place) = field::<Place>(event, "place") else {
        return Finding::new(event.text.as_str(), format!("check what joins the two ends of {channel}"));
    };
    match place {
        Place::LocalPort | Place::LocalPortOrCable if has(history, Kind::InterfaceGone, &event.channel) => {
            Finding::new(
                format!("{channel}: the interface of controller {here} is gone"),
                format!("bring the interface of {channel} back on controller {here}: its driver, its name"),
            )
        }
        Place::LocalPort => Finding::new(
            format!("{channel}: the port of controller {here}: down, or without its address"),
            format!("set the interface of {channel} up on controller {here}, and give it its address again"),
        ),
        Place::LocalCable => Finding::new(
            format!("{channel}: no carrier at controller {here}"),
            format!("check the cable of {channel} at controller {here}, and the switch port at its end"),
        ),
        Place::LocalPortOrCable => port(here),
        Place::RemotePortOrCable => port(there),
        Place::Network => Finding::new(
            format!("{channel}: the network itself: it answers to neither controller"),
            format!("check the switch of {channel}, and whoever is probed in it"),
        ),
        Place::OneWayToUs => Finding::new(
            format!("{channel}: one way: {there} hears {here}, {here} does not hear {there}"),
            format!("check filters and the receiving side of {channel} at controller {here}"),
        ),
        Place::OneWayToPeer => Finding::new(
            format!("{channel}: one way: {here} hears {there}, {there} does not hear {here}"),
            format!("check filters and the receiving side of {channel} at controller {there}"),
        ),
        Place::NetworkOrPath => Finding::new(
            format!("{channel}: the network or the path between: nobody else is known there"),
            format!("check the switch of {channel}; name somebody in it in `probe`, for a verdict next time"),
        ),
        Place::PathBetween => Finding::new(
            format!("{channel}: the path between the controllers: its network answers to both"),
            format!("check what joins the two ends of {channel}: trunks, filters"),
        ),
    }
}

/// A channel that is BAD, and of which no analysis says more.
fn silence(history: &History<'_>, event: &Record) -> Finding {
    let here = history.here;
    let channel = event.channel.as_deref().unwrap_or("?");
    let cause = if has(history, Kind::InterfaceGone, &event.channel) {
        format!("the interface of controller {here} is gone")
    } else if has(history, Kind::CarrierLost, &event.channel) {
        format!("no carrier at controller {here}: its port, the cable, or the other end")
    } else {
        "silent, its network is not judged".to_owned()
    };
    Finding::new(format!("{channel}: {cause}"), format!("check the cable of {channel} at both ends"))
}

fn check(here: Node, event: &Record) -> Finding {
    let check = said(event, "check");
    Finding::new(
        format!("health check {check} of controller {here}: {}", event.text),
        format!("run the command of check {check} on controller {here} by hand"),
    )
}
