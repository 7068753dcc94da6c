//! A controller dies, in three ways; the other one notices within the profile's bound and answers for it at once.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use heartbeat_tests::client::ProbeOptions;
use heartbeat_tests::host::{counted, undisturbed};
use heartbeat_tests::lab::topology::{ipv4, owner_of};
use heartbeat_tests::lab::{Lab, LogLine, Node, realtime_ns};
use heartbeat_tests::scenario::{
    Measured, Profile, Run, SOON, between, group_events, group_of, healthy_pair, nanos, network_of, profiles, show,
    story, wait_all_good, wait_phase, wait_settled,
};

/// The client's first answer, counted from the verdict.
const ANSWER: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
enum Death {
    /// All its interfaces go down, then its agent is killed.
    Silenced,
    /// All its cables are pulled; its agent lives on, alone.
    CutOff,
    /// It is gone, with everything that it had.
    PowerOff,
}

impl Death {
    const ALL: [Self; 3] = [Self::Silenced, Self::CutOff, Self::PowerOff];

    fn name(self) -> &'static str {
        match self {
            Self::Silenced => "interfaces down, SIGKILL",
            Self::CutOff => "all links cut",
            Self::PowerOff => "power off",
        }
    }

    /// When the victim could last be heard: just before its interfaces went, or its last cable.
    fn strike(self, lab: &Lab, victim: Node) -> u64 {
        match self {
            Self::Silenced => {
                let at = lab.interfaces_down(victim).unwrap();
                lab.kill(victim).unwrap();
                at
            }
            Self::CutOff => {
                for network in ["net1", "net2"] {
                    lab.cut(&format!("{victim}-{network}")).unwrap();
                }
                lab.cut("xlink").unwrap()
            }
            Self::PowerOff => lab.power_off(victim).unwrap(),
        }
    }

    /// The victim comes back.
    fn mend(self, lab: &Lab, victim: Node) {
        match self {
            Self::Silenced => {
                lab.interfaces_up(victim).unwrap();
                lab.start(victim).unwrap();
            }
            Self::CutOff => {
                for cable in [format!("{victim}-net1"), format!("{victim}-net2"), "xlink".to_owned()] {
                    lab.mend(&cable).unwrap();
                }
            }
            Self::PowerOff => {
                lab.power_on(victim).unwrap();
                lab.start(victim).unwrap();
            }
        }
    }
}

#[test]
fn the_survivor_notices_each_death_in_time_and_takes_over() {
    undisturbed(|| {
        profiles().iter().for_each(|profile| all_deaths(*profile));
    });
}

fn all_deaths(profile: Profile) {
    let run = Run::or(3);
    let mut measured = Measured::default();
    for death in Death::ALL {
        for trial in 0..run.trials {
            // Deaths are spread evenly over the interval, victims take turns.
            let phase = profile.interval * trial / run.trials;
            let victim = if trial % 2 == 0 { Node::A } else { Node::B };
            measured.append(counted(|| {
                let (verdict, answer, of_this) = one_death(profile, death, victim, phase);
                assert!(
                    verdict <= profile.bound() + run.slack && answer <= ANSWER + run.slack,
                    "beyond the bounds: {}, trial {trial}: verdict {verdict:?}, then answer {answer:?}",
                    death.name()
                );
                of_this
            }));
        }
    }
    measured.print(&format!(
        "Takeover at `{}` (verdict within {:?} of the death, answer within {ANSWER:?} of the verdict)",
        profile.name,
        profile.bound()
    ));
}

/// Death to verdict, verdict to the client's first answer, and all that was measured.
fn one_death(profile: Profile, death: Death, victim: Node, phase: Duration) -> (Duration, Duration, Measured) {
    let mut measured = Measured::default();
    let lab = healthy_pair(profile).unwrap();
    let (survivor, group, network) = (victim.peer(), group_of(victim), network_of(victim));
    let service = ipv4(network, 10).into();
    let probe = lab.probe(network, service, ProbeOptions::default()).unwrap();
    probe.wait_reply_after(0, SOON).unwrap();
    let marks = lab.marks();
    let mark = |node| marks[usize::from(node == Node::B)];
    wait_phase(&lab, victim, phase).unwrap();

    let struck = death.strike(&lab, victim);
    let said = |event: &str| {
        let wanted = |line: &_| is_event(line, event, group);
        lab.wait_event_since(survivor, mark(survivor), wanted, SOON).unwrap()
    };
    let dead = said("peer_dead");
    let taken = said("takeover_measured");
    let acquired = said("group_acquired");
    let answered = probe.wait_reply_after(dead.time_ns, SOON).unwrap().received_ns;
    let last = probe.last_before(dead.time_ns).unwrap().received_ns;
    assert!(dead.time_ns >= struck && acquired.time_ns >= dead.time_ns, "{dead:?} {acquired:?}");
    let (verdict, answer) = (between(struck, dead.time_ns), between(dead.time_ns, answered));
    let mut note = |what: &str, value| measured.add(&format!("{}: {what}", death.name()), value);
    note("death to verdict", verdict);
    note("overshoot of the deadline", nanos(&dead, "overshoot_ns").unwrap());
    note("verdict to address in place", nanos(&taken, "addresses_in_place_ns").unwrap());
    note("verdict to announced", nanos(&taken, "announced_ns").unwrap());
    note("verdict to client's answer", answer);
    note("client's gap", between(last, answered));
    let known = lab.client(network).unwrap().netlink().neighbour(service).unwrap();
    assert_eq!(known.and_then(owner_of), Some(survivor), "who the client believes has the address");
    if matches!(death, Death::CutOff) {
        // It is alive and finds its peer dead as well; that nothing of its own has a carrier tells it whose fault that is.
        let gone = |line: &_| is_event(line, "group_released", group);
        let gone = lab.wait_event_since(victim, mark(victim), gone, SOON).unwrap();
        note("last heartbeat to the victim's release", between(last, gone.time_ns));
        let moves = group_events(&lab, victim, mark(victim));
        let lets_go = ["takeover_withheld", "group_releasing", "group_released"];
        assert!(moves.iter().all(|line| lets_go.iter().any(|event| line.is(event))), "{moves:#?}");
    }

    let marks = lab.marks();
    death.mend(&lab, victim);
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        wait_all_good(&lab, node, mark).unwrap();
    }
    let holders = wait_settled(&lab).unwrap();
    let died_again = Node::BOTH.into_iter().zip(marks).any(|(node, mark)| {
        let since = lab.events_since(node, mark);
        since.iter().any(|line| line.is("peer_dead"))
    });
    if died_again {
        show(&format!("Another verdict after the mending: the host held somebody up.\n{}", story(&lab)));
    } else {
        assert_eq!(holders, [survivor; 2], "nothing fails back by itself: {}", story(&lab));
    }
    let holder = holders[usize::from(victim == Node::B)];
    let holds = |node| {
        let addresses = lab.controller(node).unwrap().netlink().addresses().unwrap();
        addresses.iter().any(|(_, address)| *address == service)
    };
    assert!(holds(holder) && !holds(holder.peer()));
    probe.wait_reply_after(realtime_ns(), SOON).unwrap();
    (verdict, answer, measured)
}

/// `event`, of that group where it is of any.
fn is_event(line: &LogLine, event: &str, group: &str) -> bool {
    line.is(event) && line.group.as_deref().is_none_or(|of| of == group)
}
