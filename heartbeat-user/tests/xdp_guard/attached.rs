//! The tc programs on interfaces: what is attached where, what outlives the agent, and what is others'.

use super::*;
use pnet_packet::ethernet::EtherTypes;
use std::{collections::BTreeSet, process::Command};

const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

pub(crate) fn cable() {
    run("ip link add near address 02:00:00:00:00:01 type veth peer name far");
    run("ip link set near up");
    run("ip link set far up");
}

pub(crate) fn open(pins: &PinFolder) -> Kernel {
    let (mut kernel, _) = Kernel::open(&settings(), pins.path()).expect("opening");
    kernel.tables().agent().incarnation.set(OWN);
    kernel.guard(&addresses()).expect("room");
    kernel
}

/// What is not to be had there; nothing else is found to be amiss.
pub(crate) fn keeps_on(kernel: &mut Kernel, interfaces: &[&str]) -> Vec<String> {
    let mended = kernel.keep_silent_on(&interfaces.iter().copied().collect::<BTreeSet<_>>());
    assert_eq!((mended.restored, mended.detached), Default::default());
    mended.troubles
}

/// A frame of a service address.
fn frame() -> Vec<u8> {
    let mut packet = ipv4_with(STRANGER, 253, &[], &[7; 40]);
    packet[12..16].copy_from_slice(&SERVICE_V4.octets());
    ethernet(EtherTypes::Ipv4, &packet)
}

/// Whether a frame that is sent out of `near` leaves there: a program that drops it tells the sender.
pub(crate) fn leaves() -> bool {
    send_frame("near", &frame())
}

pub(crate) fn tc(words: &str) -> String {
    let output = Command::new("tc").args(words.split(' ')).output().expect("iproute2");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn by_links_and_by_filters_what_is_silent_does_not_leave_and_all_of_it_outlives_the_agent() {
    for tcx in [true, false] {
        in_namespace(|| {
            cable();
            let pins = PinFolder::new();
            let mut kernel = open(&pins);
            if !tcx {
                kernel.without_tcx();
            }
            assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
            let filters = tc("filter show dev near egress");
            assert_eq!(filters.contains("heartbeat_out") || filters.contains("bpf"), !tcx, "{filters}");
            for way in ["in-near", "out-near", "death"] {
                assert!(pins.pins().contains(&way.to_owned()), "{way}: {:?}", pins.pins());
            }
            assert!(leaves(), "tcx {tcx}");
            kernel.tables().kernel().closed.set(0b01);
            assert!(!leaves(), "tcx {tcx}");
            // The agent dies, and a new one comes.
            drop(kernel);
            assert!(!leaves(), "tcx {tcx}: without an agent");
            let mut kernel = open(&pins);
            if !tcx {
                kernel.without_tcx();
            }
            assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
            assert!(!leaves(), "tcx {tcx}: what is closed stays closed");
            kernel.tables().kernel().closed.set(0);
            assert!(leaves(), "tcx {tcx}");
            kernel.tables().kernel().closed.set(0b01);
            kernel.remove().expect("removing");
            assert!(leaves(), "tcx {tcx}: nothing is left");
            assert!(pins.pins().is_empty(), "{:?}", pins.pins());
        });
    }
}

#[test]
fn an_interface_made_anew_and_one_that_is_configured_no_more_are_followed() {
    in_namespace(|| {
        cable();
        let pins = PinFolder::new();
        let mut kernel = open(&pins);
        kernel.tables().kernel().closed.set(0b01);
        assert_eq!(keeps_on(&mut kernel, &["near", "absent"]), Vec::<String>::new());
        run("ip link del near");
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        cable();
        assert!(leaves(), "nobody looked yet");
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        assert!(!leaves());
        // Where XDP drops what comes in, tc need not.
        kernel.attach(ChannelIndex(CHANNEL), "near", ADDRESS_V4.into(), XdpPreference::Auto).expect("attaching");
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        assert_eq!(pins.pins().iter().filter(|pin| pin.ends_with("-near")).count(), 2, "{:?}", pins.pins());
        assert_eq!(keeps_on(&mut kernel, &[]), Vec::<String>::new());
        assert!(leaves() && !pins.pins().contains(&"out-near".to_owned()), "{:?}", pins.pins());
        kernel.remove().expect("removing");
    });
}

#[test]
fn what_cannot_keep_silent_is_said_and_changes_nothing_else() {
    in_namespace(|| {
        cable();
        run("ip tuntap add dev tun7 mode tun");
        let pins = PinFolder::new();
        let mut kernel = open(&pins);
        let troubles = keeps_on(&mut kernel, &["lo", "near", "tun7"]);
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(troubles[0].contains("interface lo") && troubles[1].contains("no Ethernet header"), "{troubles:?}");
        kernel.tables().kernel().closed.set(0b01);
        assert!(!leaves());
        kernel.remove().expect("removing");
    });
}

#[test]
fn the_programs_of_others_have_their_say_and_stay() {
    in_namespace(|| {
        cable();
        let (theirs, ours) = (PinFolder::new(), PinFolder::new());
        let mut other = open(&theirs);
        assert_eq!(keeps_on(&mut other, &["near"]), Vec::<String>::new());
        let mut kernel = open(&ours);
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        assert!(leaves());
        other.tables().kernel().closed.set(0b01);
        assert!(!leaves(), "theirs drops");
        other.tables().kernel().closed.set(0);
        kernel.remove().expect("removing");
        other.tables().kernel().closed.set(0b01);
        assert!(!leaves(), "theirs is still there");
        other.remove().expect("removing");
        // A filter of somebody else's, and his qdisc.
        run("tc qdisc add dev near clsact");
        run("tc filter add dev near egress protocol ip prio 1 u32 match u32 0 0 flowid 1:1");
        let mut kernel = open(&ours);
        kernel.without_tcx();
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        kernel.remove().expect("removing");
        assert!(tc("filter show dev near egress").contains("u32"), "{}", tc("filter show dev near egress"));
    });
}

#[test]
fn what_an_agent_with_another_runtime_directory_left_is_taken_away() {
    in_namespace(|| {
        cable();
        let (before, now) = (PinFolder::below_root(), PinFolder::below_root());
        let mut dead = open(&before);
        assert_eq!(keeps_on(&mut dead, &["near"]), Vec::<String>::new());
        dead.tables().kernel().closed.set(0b01);
        drop(dead);
        assert!(!leaves());
        let mut kernel = open(&now);
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        assert!(leaves(), "{:?}", before.pins());
        kernel.remove().expect("removing");
        // And where sockets read.
        let mut dead = open(&before);
        assert_eq!(keeps_on(&mut dead, &["near"]), Vec::<String>::new());
        dead.tables().kernel().closed.set(0b01);
        drop(dead);
        heartbeat::dataplane::release("near").expect("asked");
        assert!(leaves(), "{:?}", before.pins());
    });
}
