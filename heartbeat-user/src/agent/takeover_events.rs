//! What the takeover thread did, in events and latencies.

use super::{desk::Desk, messages::group_of};
use crate::{
    events::ControlEvent,
    takeover::{Done, Failure, Stages},
    types::{GroupIndex, Nanos},
};

/// Tells it.
pub(super) fn tell(desk: &Desk<'_>, done: Done) {
    if let Done::Acquired { stages, .. } = &done {
        for (stage, took) in desk.facts.shared.latencies.takeover.iter().zip(after_order(stages)) {
            stage.record(took);
        }
    }
    let addresses = desk.options.config.groups.get(group_of(&done).usize()).map_or(0, |g| g.addresses.len());
    for event in events(done, addresses) {
        desk.journal.control(&event);
    }
}

/// When the first address was in place, all were, and all were announced, since that was ordered.
fn after_order(stages: &Stages) -> [Nanos; 3] {
    [stages.first_address, stages.addresses_in_place, stages.announced].map(|at| at.since(stages.ordered))
}

/// `addresses`: as many has the group.
fn events(done: Done, addresses: usize) -> Vec<ControlEvent> {
    let group = group_of(&done);
    match done {
        Done::Acquired { stages, failures, .. } => {
            let [first_address_ns, addresses_in_place_ns, announced_ns] = after_order(&stages);
            let measured = ControlEvent::TakeoverMeasured {
                group,
                addresses,
                first_address_ns,
                addresses_in_place_ns,
                announced_ns,
            };
            [vec![measured], failed(group, &failures)].concat()
        }
        Done::AcquireFailed { failures, .. } | Done::Released { failures, .. } | Done::Failed { failures, .. } => {
            failed(group, &failures)
        }
        Done::Restored { address, times, .. } => {
            vec![ControlEvent::AddressRestored { group, address: address.to_string(), times }]
        }
        Done::Swept { address, times, .. } => {
            vec![ControlEvent::AddressSwept { group, address: address.to_string(), times }]
        }
        Done::StillAnswered { told: false, .. } | Done::Isolated { .. } => Vec::new(),
        Done::StillAnswered { by, taken, .. } => {
            let by = by.iter().map(|(address, mac)| format!("{address} by {}", written(*mac))).collect();
            vec![ControlEvent::StillAnswered { group, taken, by }]
        }
        Done::Rival { address, mac, .. } => {
            vec![ControlEvent::Rival { group, address: address.to_string(), mac: written(mac) }]
        }
        Done::RivalGone { address, mac, first, last, .. } => {
            let (address, mac, lasted_ns) = (address.to_string(), written(mac), last.since(first));
            vec![ControlEvent::RivalGone { group, address, mac, lasted_ns }]
        }
    }
}

fn failed(group: GroupIndex, failures: &[Failure]) -> Vec<ControlEvent> {
    let event = |failure: &Failure| ControlEvent::AddressFailed {
        group,
        address: failure.address.to_string(),
        why: format!("not {}: {}", failure.step, failure.reason),
    };
    failures.iter().map(event).collect()
}

/// An Ethernet address, as it is usually written.
fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::{PlannedAddress, Step};

    const GROUP: GroupIndex = GroupIndex(1);

    fn address() -> PlannedAddress {
        PlannedAddress { interface: "eth0".into(), ip: [192, 0, 2, 10].into(), prefix: 24 }
    }

    #[test]
    fn an_acquisition_is_told_with_what_it_took_since_it_was_ordered_and_with_what_failed() {
        let at = Nanos;
        let stages =
            Stages { ordered: at(100), first_address: at(101), addresses_in_place: at(102), announced: at(104) };
        let failures = vec![Failure { address: address(), step: Step::Announced, reason: "ENETDOWN".into() }];
        let told = events(Done::Acquired { group: GROUP, stages, failures }, 7);
        let [
            ControlEvent::TakeoverMeasured {
                group: GROUP,
                addresses: 7,
                first_address_ns: Nanos(1),
                addresses_in_place_ns: Nanos(2),
                announced_ns: Nanos(4),
            },
            ControlEvent::AddressFailed { group: GROUP, address, why },
        ] = &told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!((address.as_str(), why.as_str()), ("192.0.2.10/24 on eth0", "not announced: ENETDOWN"));
    }

    #[test]
    fn who_still_answers_is_told_as_often_as_the_takeover_thread_says_so() {
        let by = vec![(address(), [2, 0, 0, 0, 0, 0x0a])];
        let done = |told| Done::StillAnswered { group: GROUP, at: Nanos(1), by: by.clone(), taken: false, told };
        assert!(events(done(false), 1).is_empty());
        let told = events(done(true), 1);
        let [ControlEvent::StillAnswered { by, taken: false, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(by[..], ["192.0.2.10/24 on eth0 by 02:00:00:00:00:0a"]);
    }
}
