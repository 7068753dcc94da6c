//! What an earlier life has left attached and pinned: adopted, exchanged or let go of.

use super::{OTHER, attach, cable, expect, on_cable, open, program_on, send, support::*};
use heartbeat::{
    dataplane::{Adopted, Kernel, PinnedCell, release},
    types::{ChannelIndex, XdpMode, XdpPreference},
};
use heartbeat_ebpf::layout::Outcome;
use std::fs;

/// A life that reads by socket, or has another runtime directory, must not be deaf because of an earlier one.
#[test]
fn what_an_earlier_life_with_another_runtime_directory_attached_is_let_go_of() {
    in_namespace(|| {
        cable();
        let earlier = PinFolder::below_root();
        let (mut kernel, _) = open(&earlier);
        attach(&mut kernel, XdpPreference::Auto);
        kernel.tables().agent().owned.set(6);
        kernel.tables().agent().alive_ns.set(7);
        drop(kernel);
        assert!(program_on("near").is_some());
        let cell = PinnedCell::read(earlier.path()).unwrap();
        assert_eq!((cell.incarnation(), cell.peer_incarnation(), cell.owned(), cell.alive_ns()), (OWN, PEER, 6, 7));

        assert_eq!(release("near").unwrap(), None);
        assert_eq!(program_on("near"), None);

        // Attaching does it by itself.
        let (mut kernel, _) = open(&earlier);
        attach(&mut kernel, XdpPreference::Auto);
        drop(kernel);
        let pins = PinFolder::new();
        let (mut kernel, _) = open(&pins);
        assert_eq!(attach(&mut kernel, XdpPreference::Auto).mode, XdpMode::Native);
        send(1);
        expect(&kernel, Outcome::Accepted, 1);

        // Somebody else's stays, and is named: those of tests are not below our root.
        let foreign = release("near").unwrap().unwrap();
        assert!(foreign.contains("near holds another XDP program, id "), "{foreign}");
        assert!(program_on("near").is_some());
        kernel.remove().unwrap();
        assert_eq!(release("near").unwrap(), None);
        assert_eq!(release("no-such-if").unwrap(), None);
    });
}

/// Indices are a namespace's: the agent of another one, which has the same, goes on counting.
#[test]
fn another_namespaces_program_is_not_let_go_of() {
    in_namespace(|| {
        cable();
        let theirs = PinFolder::below_root();
        let (mut kernel, _) = open(&theirs);
        attach(&mut kernel, XdpPreference::Auto);
        in_namespace(|| {
            cable();
            let pins = PinFolder::new();
            let (mut ours, _) = open(&pins);
            attach(&mut ours, XdpPreference::Auto);
            release("near").unwrap();
            ours.remove().unwrap();
        });
        send(1);
        expect(&kernel, Outcome::Accepted, 1);
        kernel.remove().unwrap();
    });
}

#[test]
fn what_an_agent_leaves_goes_on_counting_and_is_adopted() {
    on_cable(|pins, mut kernel| {
        attach(&mut kernel, XdpPreference::Auto);
        send(1);
        expect(&kernel, Outcome::Accepted, 1);
        let first = program_on("near").unwrap();
        drop(kernel);
        send(2);

        let (mut kernel, adopted) = open(pins);
        let expected = Adopted { maps: true, interfaces: vec!["near".into()], repaired: vec![] };
        assert_eq!(adopted, expected);
        expect(&kernel, Outcome::Accepted, 2);
        send(3);
        expect(&kernel, Outcome::Accepted, 3);
        let attached = attach(&mut kernel, XdpPreference::Auto);
        assert_eq!((attached.mode, attached.adopted), (XdpMode::Native, true));
        kernel.settle().unwrap();
        assert_eq!(program_on("near").unwrap(), first, "the same program, without a moment of verifying another");
        send(4);
        expect(&kernel, Outcome::Accepted, 4);
        assert_eq!(kernel.tables().slot(ChannelIndex(0)).missing.get(), 0);
        kernel.remove().unwrap();
        assert_eq!(program_on("near"), None);
    });
}

#[test]
fn an_adopted_link_runs_the_new_program_with_the_new_settings() {
    on_cable(|pins, mut kernel| {
        attach(&mut kernel, XdpPreference::Generic);
        drop(kernel);
        let mut settings = settings();
        settings.pair_id += 1;
        let (mut kernel, _) = Kernel::open(&settings, pins.path()).unwrap();
        let attached = attach(&mut kernel, XdpPreference::Generic);
        assert!(attached.adopted);
        send(1);
        expect(&kernel, Outcome::WrongPair, 1);
        settings.pair_id -= 1;
        drop(kernel);

        // Another mode is wanted: then there is nothing to adopt.
        let (mut kernel, adopted) = Kernel::open(&settings, pins.path()).unwrap();
        assert!(adopted.maps);
        let attached = attach(&mut kernel, XdpPreference::Native);
        assert_eq!((attached.mode, attached.adopted), (XdpMode::Native, false));
        kernel.remove().unwrap();
    });
}

#[test]
fn links_of_interfaces_that_were_renamed_meanwhile_are_not_adopted() {
    on_cable(|pins, mut kernel| {
        run("ip link add name spare type veth peer name spare-far");
        attach(&mut kernel, XdpPreference::Auto);
        kernel.attach(OTHER, "spare", ADDRESS_V6.into(), XdpPreference::Auto).unwrap();
        drop(kernel);
        run("ip link set near down");
        for (from, to) in [("near", "aside"), ("spare", "near"), ("aside", "spare")] {
            run(&format!("ip link set {from} name {to}"));
        }
        let (mut kernel, adopted) = open(pins);
        assert_eq!((adopted.maps, adopted.interfaces), (true, vec![]));
        assert_eq!((program_on("near"), program_on("spare")), (None, None));
        assert!(!attach(&mut kernel, XdpPreference::Native).adopted);
        kernel.remove().unwrap();
    });
}

#[test]
fn what_is_configured_no_more_is_taken_away_once_all_is_settled() {
    on_cable(|pins, mut kernel| {
        run("ip link add name spare.7 type veth peer name spare-far");
        attach(&mut kernel, XdpPreference::Auto);
        kernel.attach(OTHER, "spare.7", ADDRESS_V6.into(), XdpPreference::Auto).unwrap();
        drop(kernel);
        let (mut kernel, adopted) = open(pins);
        assert_eq!(adopted.interfaces, ["near", "spare.7"]);
        attach(&mut kernel, XdpPreference::Auto);
        kernel.settle().unwrap();
        assert!(program_on("near").is_some());
        assert_eq!(program_on("spare.7"), None);
        kernel.remove().unwrap();
    });
}

#[test]
fn a_record_that_a_dead_writer_left_locked_is_made_readable() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (kernel, _) = open(&pins);
        assert!(kernel.tables().slot(ChannelIndex(4)).live.lock());
        assert!(kernel.tables().slot(ChannelIndex(5)).echo.lock());
        drop(kernel);
        let (kernel, adopted) = open(&pins);
        assert_eq!(adopted.repaired, [ChannelIndex(4), ChannelIndex(5)]);
        assert!(kernel.tables().slot(ChannelIndex(4)).live.read().is_some());
        assert!(kernel.tables().slot(ChannelIndex(5)).echo.read().is_some());
        kernel.remove().unwrap();
    });
}

#[test]
fn pins_of_another_layout_are_not_adopted_and_do_not_stand_in_the_way() {
    on_cable(|pins, mut kernel| {
        attach(&mut kernel, XdpPreference::Auto);
        send(1);
        expect(&kernel, Outcome::Accepted, 1);
        drop(kernel);
        let ours = fs::read_dir(pins.path()).unwrap().next().unwrap().unwrap().path();
        fs::rename(&ours, pins.path().join("v0")).unwrap();
        let (mut kernel, adopted) = open(pins);
        assert_eq!(adopted, Adopted::default());
        expect(&kernel, Outcome::Accepted, 0);
        assert_eq!(attach(&mut kernel, XdpPreference::Auto).mode, XdpMode::Native);
        drop(kernel);

        // Of the same version, but with a map lost.
        fs::remove_file(ours.join("AGENT")).unwrap();
        let (mut kernel, adopted) = open(pins);
        assert_eq!(adopted, Adopted::default());
        assert_eq!(attach(&mut kernel, XdpPreference::Auto).mode, XdpMode::Native);
        kernel.remove().unwrap();
    });
}
