//! A rival in a network namespace of its own, on a cable of its own: `near1` is our end, `far1` the rival's.

use super::{
    Lab, PATIENCE, capture, in_namespace, lay_cable, named, planned,
    running::{FIRST, Running, SECOND, ip, near, plan},
    set_up,
};
use crate::{
    system::{
        clock,
        netlink::{Netlink, NetworkInterface},
    },
    takeover::{
        Address, Announcement, Announcer, Answering, Done, NAMED, Order, PlannedAddress, RIVAL_GONE, TakeoverSettings,
    },
    types::Nanos,
};
use netlink_packet_route::link::LinkAttribute;
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        socket::{MsgFlags, recv, setsockopt, sockopt},
        time::{TimeVal, TimeValLike},
    },
};
use std::{
    fs::File,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

const IPV4: &str = "192.0.2.10";
const IPV6: &str = "2001:db8::10";
const WAIT: Nanos = Nanos::from_millis(300);

struct Rival {
    netlink: Netlink,
    announcer: Announcer,
    link: NetworkInterface,
    questions: OwnedFd,
}

impl Rival {
    fn new(lab: &mut Lab) -> Self {
        // On a thread that is left in the namespace; what it opened there stays there.
        let make = || {
            let mut ours = Netlink::open().unwrap();
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let namespace = File::open("/proc/thread-self/ns/net").unwrap();
            let mut far = named("far1");
            far.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
            lay_cable(&mut ours, "near1", far);
            set_up(&mut ours, &["near1"]);
            let mut netlink = Netlink::open().unwrap();
            set_up(&mut netlink, &["far1"]);
            let questions = capture("far1");
            Self { announcer: Announcer::open().unwrap(), link: netlink.link("far1").unwrap(), netlink, questions }
        };
        let rival = thread::scope(|scope| scope.spawn(make).join().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !lab.netlink.link("near1").unwrap().carrier {
            assert!(Instant::now() < deadline, "a carrier");
            thread::yield_now();
        }
        rival
    }

    fn mac(&self) -> [u8; 6] {
        self.link.mac.unwrap()
    }

    fn has(&mut self, addresses: &[PlannedAddress]) {
        let own: Vec<_> =
            addresses.iter().map(|a| Address { interface: self.link.index, ip: a.ip, prefix: a.prefix }).collect();
        assert!(self.netlink.add(&own).unwrap().iter().all(Result::is_ok));
        assert!(self.netlink.settle(&own, clock::monotonic().after(Nanos::from_millis(5_000))).unwrap());
    }

    /// The address that was asked for next, if any is within a moment.
    fn asked(&self) -> Option<IpAddr> {
        setsockopt(&self.questions, sockopt::ReceiveTimeout, &TimeVal::microseconds(2_000)).unwrap();
        let mut frame = [0; 2048];
        let length = recv(self.questions.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
        let frame = &frame[..length];
        match (&frame[12..14], frame.get(54)) {
            // An ARP request, or a solicitation, of nobody.
            ([0x08, 0x06], _) if frame[21] == 1 && frame[28..32] == [0; 4] => Some(bytes::<4>(frame, 38).into()),
            ([0x86, 0xdd], Some(135)) if frame[22..38] == [0; 16] => Some(bytes::<16>(frame, 62).into()),
            _ => None,
        }
    }

    fn announces(&mut self, ips: &[&str]) {
        self.announces_as(self.link, ips);
    }

    fn announces_as(&mut self, link: NetworkInterface, ips: &[&str]) {
        let announcements: Vec<_> = ips.iter().map(|text| Announcement { link, ip: ip(text), router: false }).collect();
        assert!(self.announcer.announce(&announcements).iter().all(Result::is_ok));
    }
}

fn bytes<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    frame[at..at + N].try_into().unwrap()
}

fn shared(text: &str) -> PlannedAddress {
    planned("near1", text, if text.contains(':') { 64 } else { 24 })
}

fn acquire(answering: Answering) -> Order {
    Order::Acquire { group: FIRST, ordered: clock::monotonic(), unless_isolated: false, answering }
}

fn on_near1(lab: &mut Lab) -> Vec<IpAddr> {
    let index = lab.netlink.link("near1").unwrap().index;
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let listed = lab.netlink.list(Some(index)).unwrap();
    listed.iter().map(|address| address.ip).filter(|ip| !link_local(ip)).collect()
}

#[test]
fn where_nobody_answers_the_addresses_are_added_and_nothing_is_reported() {
    in_namespace(|lab| {
        let _rival = Rival::new(lab);
        for answering in [Answering::Wait { wait: WAIT }, Answering::Take { wait: WAIT }] {
            let running = Running::new(vec![plan("storage", [shared(IPV4), shared(IPV6)])]);
            let Done::Acquired { stages, failures, .. } = running.order(acquire(answering)) else { panic!("acquired") };
            assert_eq!(failures, []);
            let waited = stages.first_address.since(stages.ordered);
            match answering {
                Answering::Wait { .. } => assert!(waited >= WAIT, "{waited}"),
                _ => assert!(waited < WAIT, "{waited}"),
            }
            assert_eq!(on_near1(lab).len(), 2);
            // Not before the time for answers is over: what Take has to say it would have said by then.
            let silence = Duration::from_nanos(WAIT.times(2).0);
            assert_eq!(running.done.recv_timeout(silence).ok(), None);
            assert!(matches!(running.release(FIRST), Done::Released { failures, .. } if failures.is_empty()));
        }
    });
}

#[test]
fn an_answered_address_is_not_taken_by_one_who_waits() {
    for text in [IPV4, IPV6] {
        in_namespace(move |lab| {
            let mut rival = Rival::new(lab);
            rival.has(&[shared(text)]);
            let running = Running::new(vec![plan("storage", [shared("192.0.2.9"), shared(text)])]);
            let ordered = clock::monotonic();
            let report = running.order(acquire(Answering::Wait { wait: WAIT }));
            let Done::StillAnswered { group, at, by, taken, .. } = report else { panic!("answered: {report:?}") };
            assert_eq!((group, by, taken), (FIRST, vec![(shared(text), rival.mac())], false));
            assert!(at.since(ordered) >= WAIT, "the other address might have been answered for, too");
            assert_eq!(on_near1(lab), [] as [IpAddr; 0]);
            // It is nothing that is held, and so no rival: the next report is about something else.
            rival.announces(&[text]);
            assert!(matches!(running.release(FIRST), Done::Released { .. }));
        });
    }
}

#[test]
fn an_answered_address_is_taken_by_one_who_takes_and_the_answer_reported() {
    for text in [IPV4, IPV6] {
        in_namespace(move |lab| {
            let mut rival = Rival::new(lab);
            rival.has(&[shared(text)]);
            let running = Running::new(vec![plan("storage", [shared(text)])]);
            let report = running.order(acquire(Answering::Take { wait: WAIT }));
            assert!(matches!(&report, Done::Acquired { failures, .. } if failures.is_empty()), "{report:?}");
            assert_eq!(on_near1(lab), [ip(text)]);
            let report = running.report();
            let Done::StillAnswered { group, by, taken, .. } = report else { panic!("answered: {report:?}") };
            assert_eq!((group, by, taken), (FIRST, vec![(shared(text), rival.mac())], true));
        });
    }
}

#[test]
fn answers_are_named_up_to_a_number_and_end_the_wait() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        let addresses: Vec<_> = (1..=40).map(|n| shared(&format!("192.0.2.{n}"))).collect();
        rival.has(&addresses);
        let running = Running::new(vec![plan("storage", addresses)]);
        let ordered = clock::monotonic();
        let report = running.order(acquire(Answering::Wait { wait: Nanos::from_millis(60_000) }));
        let Done::StillAnswered { by, at, .. } = report else { panic!("answered: {report:?}") };
        assert_eq!(by.len(), NAMED);
        assert!(at.since(ordered) < Nanos::from_millis(30_000));
    });
}

#[test]
fn what_was_said_before_the_question_is_no_answer() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        // The listener is open for the addresses of the first group, and with them for those of the second in between.
        let first = [shared("192.0.2.1"), shared("192.0.2.20")];
        let running = Running::new(vec![plan("first", first), plan("second", [shared(IPV4)])]);
        running.acquire(FIRST);
        // Both in the queue when the order is served: the thread hears them as soon as it is told to, not earlier.
        rival.announces(&[IPV4]);
        let order = Order::Acquire {
            group: SECOND,
            ordered: clock::monotonic(),
            unless_isolated: false,
            answering: Answering::Wait { wait: WAIT },
        };
        assert!(matches!(running.order(order), Done::Acquired { group: SECOND, .. }));
    });
}

#[test]
fn own_ports_on_the_same_network_answer_nothing_and_are_no_rivals() {
    in_namespace(|_| {
        // Both ends of the cable are ours; Linux answers on each for the addresses of the other.
        let far = planned("far0", IPV4, 24);
        let plans = vec![plan("first", [far]), plan("second", [near(IPV4), near("192.0.2.1")])];
        let running = Running::new(plans);
        assert!(matches!(running.acquire(FIRST), Done::Acquired { .. }));
        let order = Order::Acquire {
            group: SECOND,
            ordered: clock::monotonic(),
            unless_isolated: false,
            answering: Answering::Wait { wait: WAIT },
        };
        let report = running.order(order);
        assert!(matches!(report, Done::Acquired { .. }), "{report:?}");
        // The announcements of the first half second, and the looks in between.
        let silence = Duration::from_millis(750);
        assert_eq!(running.done.recv_timeout(silence).ok(), None);
    });
}

#[test]
fn a_rival_is_reported_once_and_again_when_it_is_gone() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        let running = Running::new(vec![plan("storage", [shared(IPV4), shared(IPV6)])]);
        running.acquire(FIRST);
        let begun = clock::monotonic();
        rival.announces(&[IPV4, IPV6]);
        let mut seen = [running.report(), running.report()].map(|report| {
            let Done::Rival { group, address, mac, at } = report else { panic!("a rival: {report:?}") };
            assert_eq!((group, mac), (FIRST, rival.mac()));
            assert!(begun <= at && at <= clock::monotonic());
            (address, at)
        });
        rival.announces(&[IPV4, IPV6]);
        let mut gone = [running.report(), running.report()].map(|report| {
            let Done::RivalGone { group, address, mac, first, last } = report else { panic!("gone: {report:?}") };
            assert_eq!((group, mac), (FIRST, rival.mac()));
            assert!(first < last && clock::monotonic().since(last) >= RIVAL_GONE);
            (address, first)
        });
        seen.sort_by_key(|(address, _)| address.ip);
        gone.sort_by_key(|(address, _)| address.ip);
        assert_eq!(seen.clone().map(|(address, _)| address), [shared(IPV4), shared(IPV6)]);
        assert_eq!(seen, gone);
    });
}

#[test]
fn when_a_rival_is_gone_the_holder_is_the_last_to_speak() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        let running = Running::new(vec![plan("storage", [shared(IPV4)])]);
        running.acquire(FIRST);
        let acquired = Instant::now();
        rival.announces(&[IPV4]);
        assert!(matches!(running.report(), Done::Rival { .. }));
        assert!(matches!(running.report(), Done::RivalGone { .. }));
        let mut frame = [0; 2048];
        // What came until now.
        while recv(rival.questions.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT).is_ok() {}
        // Before the next round of the takeover's own schedule, which is at 5 s.
        let next_round = acquired + Duration::from_millis(4_900);
        let claims = |frame: &[u8]| frame[12..14] == [0x08, 0x06] && frame[28..32] == [192, 0, 2, 10];
        setsockopt(&rival.questions, sockopt::ReceiveTimeout, &TimeVal::microseconds(10_000)).unwrap();
        let mut heard = 0;
        while heard < 4 && Instant::now() < next_round {
            if let Ok(length) = recv(rival.questions.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                heard += usize::from(claims(&frame[..length]) && frame[6..12] != rival.mac());
            }
        }
        assert_eq!(heard, 4, "both forms, twice at least");
    });
}

#[test]
fn a_released_group_has_no_rivals() {
    for text in [IPV4, IPV6] {
        in_namespace(move |lab| {
            let mut rival = Rival::new(lab);
            let running = Running::new(vec![plan("storage", [shared(text)])]);
            running.acquire(FIRST);
            rival.has(&[shared(text)]);
            rival.announces(&[text]);
            let report = running.report();
            let Done::Rival { address, mac, at, .. } = report else { panic!("a rival: {report:?}") };
            assert_eq!((address, mac), (shared(text), rival.mac()));
            assert!(matches!(running.release(FIRST), Done::Released { .. }));
            let report = running.report();
            assert!(matches!(report, Done::RivalGone { first, .. } if first == at), "{report:?}");
            rival.announces(&[text]);
            assert!(matches!(running.acquire(FIRST), Done::Acquired { .. }), "nothing in between");
        });
    }
}

#[test]
fn claims_for_other_addresses_and_by_ourselves_are_nothing_to_report() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        let held = ["192.0.2.10", "192.0.2.12", "2001:db8::10", "2001:db8::12"];
        let running = Running::new(vec![plan("storage", held.map(shared))]);
        running.acquire(FIRST);
        // Between and beyond the held ones.
        rival.announces(&["192.0.2.11", "192.0.2.9", "198.51.100.10", "2001:db8::11", "2001:db8::9", "2001:db8:1::10"]);
        let own = NetworkInterface { mac: lab.netlink.link("near1").unwrap().mac, ..rival.link };
        rival.announces_as(own, &held); // as if a loop in the network brought them back
        rival.announces(&["192.0.2.12"]);
        let report = running.report();
        assert!(matches!(&report, Done::Rival { address, .. } if *address == shared("192.0.2.12")), "{report:?}");
        assert!(matches!(running.release(FIRST), Done::Released { .. }));
        assert!(matches!(running.report(), Done::RivalGone { .. }));
    });
}

#[test]
fn a_flood_of_claims_delays_neither_the_end_of_a_wait_nor_an_order() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        // The last 32 bits of the flood's addresses lie between those of the group's: no filter keeps it out.
        let running = Running::new(vec![plan("storage", [shared("192.0.2.1"), shared("192.0.2.200")])]);
        let flood: Vec<_> = (0..1_000)
            .map(|n| Announcement { link: rival.link, ip: ip(&format!("192.0.2.{}", n % 100 + 50)), router: false })
            .collect();
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let flooding = thread::spawn(move || {
            while stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
                rival.announcer.announce(&flood);
            }
        });
        let Done::Acquired { stages, .. } = running.order(acquire(Answering::Wait { wait: WAIT })) else {
            panic!("acquired")
        };
        let waited = stages.first_address.since(stages.ordered);
        assert!(waited >= WAIT && waited < Nanos::from_millis(1_000), "{waited}");
        let ordered = clock::monotonic();
        let Done::Released { at, .. } = running.release(FIRST) else { panic!("released") };
        assert!(at.since(ordered) < Nanos::from_millis(500), "{}", at.since(ordered));
        drop(stop);
        flooding.join().unwrap();
    });
}

#[test]
fn a_thousand_addresses_are_asked_for_at_once() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        let addresses: Vec<_> =
            (0..1_000).map(|n| planned("near1", &format!("10.1.{}.{}", n / 250, n % 250 + 1), 16)).collect();
        rival.has(&addresses[999..]);
        let running = Running::new(vec![plan("storage", addresses.clone())]);
        let ordered = clock::monotonic();
        let report = running.order(acquire(Answering::Wait { wait: WAIT }));
        let Done::StillAnswered { by, at, .. } = report else { panic!("answered: {report:?}") };
        assert_eq!(by, [(addresses[999].clone(), rival.mac())]);
        println!("asked for 1,000 addresses in {}", at.since(ordered).since(WAIT));
        let report = running.order(acquire(Answering::Take { wait: WAIT }));
        let Done::Acquired { stages, .. } = report else { panic!("acquired: {report:?}") };
        let after = |at: Nanos| at.since(stages.ordered);
        println!("Take: first {}, all {}", after(stages.first_address), after(stages.announced));
        assert!(matches!(running.report(), Done::StillAnswered { taken: true, by, .. } if by.len() == 1));
    });
}

/// Answers, at the far end, every question for any address, as a router with proxy ARP does.
fn answer_everything(rival: Rival) -> (crossbeam_channel::Sender<()>, thread::JoinHandle<Rival>) {
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let answering = thread::spawn(move || {
        let mut rival = rival;
        while stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
            if let Some(ip) = rival.asked() {
                rival.announces(&[&ip.to_string()]);
            }
        }
        rival
    });
    (stop, answering)
}

#[test]
fn who_answers_for_every_address_does_not_hold_up_a_takeover() {
    for text in [IPV4, IPV6] {
        in_namespace(move |lab| {
            let rival = Rival::new(lab);
            let (stop, answering) = answer_everything(rival);
            let running = Running::new(vec![plan("storage", [shared(text)])]);
            let report = running.order(acquire(Answering::Wait { wait: WAIT }));
            assert!(matches!(report, Done::Acquired { .. }), "{report:?}");
            drop(stop);
            answering.join().unwrap();
        });
    }
}

#[test]
fn who_holds_it_is_found_beside_one_who_answers_for_everything() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        rival.has(&[shared(IPV4)]);
        let mac = rival.mac();
        rival.link.mac = Some([2, 0, 0, 0, 0, 9]); // the router's; its host has its own
        let (stop, answering) = answer_everything(rival);
        let running = Running::new(vec![plan("storage", [shared(IPV4)])]);
        let report = running.order(acquire(Answering::Wait { wait: WAIT }));
        let Done::StillAnswered { by, taken: false, .. } = report else { panic!("answered: {report:?}") };
        assert_eq!(by, [(shared(IPV4), mac)]);
        drop(stop);
        answering.join().unwrap();
    });
}

#[test]
fn the_wait_for_an_answered_group_has_an_end_and_is_told_ever_more_rarely() {
    in_namespace(|lab| {
        let mut rival = Rival::new(lab);
        rival.has(&[shared(IPV4)]);
        let running = Running::with(TakeoverSettings {
            plans: vec![plan("storage", [shared(IPV4)])],
            still_answering_for: Some(Nanos::from_millis(800)),
            ..TakeoverSettings::default()
        });
        let begun = clock::monotonic();
        let mut seen = Vec::new();
        loop {
            let report = running.order(acquire(Answering::Wait { wait: Nanos::from_millis(20) }));
            let Done::StillAnswered { taken, told, .. } = report else { panic!("answered: {report:?}") };
            seen.push(told);
            if taken {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        assert!(clock::monotonic().since(begun) >= Nanos::from_millis(800));
        assert!(matches!(running.report(), Done::Acquired { .. }));
        assert!(seen.len() > 3 && seen.iter().filter(|told| **told).count() == 2, "the first and the last: {seen:?}");
        assert_eq!(on_near1(lab), [ip(IPV4)]);
    });
}
