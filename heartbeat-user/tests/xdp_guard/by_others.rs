//! What others do to what is in the kernel: pins that somebody removes, programs that another tool detaches, and programs of others
//! at the same hook.

use super::attached::{cable, keeps_on, leaves, open, tc};
use super::*;
use std::fs;

const OUT: &str = "the program that keeps silent about what leaves at near";

fn mend(kernel: &mut Kernel) -> Mended {
    kernel.keep_silent_on(&["near"].into())
}

/// With XDP on the cable, silent about group 0.
fn silent(pins: &PinFolder) -> Kernel {
    cable();
    let mut kernel = open(pins);
    kernel.attach(ChannelIndex(CHANNEL), "near", ADDRESS_V4.into(), XdpPreference::Auto).expect("attaching");
    assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
    kernel.tables().kernel().closed.set(0b01);
    assert!(!leaves());
    kernel
}

#[test]
fn a_folder_of_pins_that_is_removed_is_there_again_with_the_same_maps_and_outlives_the_agent() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let mut kernel = silent(&pins);
        let before = pins.pins();
        fs::remove_dir_all(pins.path()).expect("bpffs");
        let Mended { restored, troubles, detached } = mend(&mut kernel);
        assert_eq!((troubles, detached, pins.pins()), (Vec::new(), Vec::new(), before.clone()));
        // Six maps, four programs, the XDP program's link, that of what leaves, and the one that notes a death.
        assert_eq!((restored.len(), before.len()), (13, 13), "{restored:?}, {before:?}");
        assert!(!leaves());
        assert_eq!(mend(&mut kernel), Mended::default());
        drop(kernel);
        assert!(!leaves(), "without an agent");
        let (kernel, adopted) = Kernel::open(&settings(), pins.path()).expect("opening");
        assert!(adopted.maps && adopted.interfaces == ["near"], "{adopted:?}");
        assert_eq!(kernel.tables().kernel().closed.get(), 0b01);
        kernel.remove().expect("removing");
    });
}

#[test]
fn each_pin_and_each_program_that_is_taken_away_is_put_back() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let mut kernel = silent(&pins);
        let before = pins.pins();
        let version = fs::read_dir(pins.path()).expect("bpffs").next().expect("one version").expect("an entry").path();
        for pin in &before {
            fs::remove_file(version.join(pin)).expect("a pin");
            let mended = mend(&mut kernel);
            assert!(mended.restored.len() == 1 && mended.troubles.is_empty(), "{pin}: {mended:?}");
            assert_eq!((pins.pins(), leaves()), (before.clone(), false), "{pin}");
        }
        kernel.detach_by_hand("out-near").expect("a link");
        assert!(leaves());
        assert_eq!(mend(&mut kernel), Mended { restored: vec![OUT.into()], ..Mended::default() });
        assert!(!leaves());
        kernel.remove().expect("removing");
    });
}

#[test]
fn an_interface_that_another_tool_has_detached_the_xdp_program_from_is_attached_to_again() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let mut kernel = silent(&pins);
        kernel.detach_by_hand("link-near").expect("a link");
        let detached = vec![("near".to_owned(), 1)];
        assert_eq!(mend(&mut kernel), Mended { detached, ..Mended::default() });
        let attached = kernel.attach(ChannelIndex(CHANNEL), "near", ADDRESS_V4.into(), XdpPreference::Auto);
        let attached = attached.expect("attaching");
        assert!(attached.anew && !attached.new_end && attached.mode == XdpMode::Native, "{attached:?}");
        assert_eq!(mend(&mut kernel), Mended::default());
        // One that is gone was not detached by hand.
        run("ip link del near");
        assert_eq!(mend(&mut kernel), Mended::default());
        kernel.remove().expect("removing");
    });
}

#[test]
fn a_qdisc_that_is_removed_with_our_filter_is_there_again() {
    in_namespace(|| {
        cable();
        let pins = PinFolder::new();
        let mut kernel = open(&pins);
        kernel.without_tcx();
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        kernel.tables().kernel().closed.set(0b01);
        for by_hand in ["tc qdisc del dev near clsact", "tc filter del dev near egress"] {
            assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
            assert!(!leaves());
            run(by_hand);
            assert!(leaves(), "{by_hand}");
            let restored = mend(&mut kernel).restored;
            assert!(restored.contains(&OUT.to_owned()), "{by_hand}: {restored:?}");
            assert!(!leaves(), "{by_hand}");
        }
        kernel.remove().expect("removing");
    });
}

#[test]
fn programs_of_others_before_and_after_ours_go_on_and_who_comes_before_is_named() {
    in_namespace(|| {
        cable();
        let [first, ours, last] = [PinFolder::new(), PinFolder::new(), PinFolder::new()];
        let mut after = open(&last);
        assert_eq!(keeps_on(&mut after, &["near"]), Vec::<String>::new());
        let mut kernel = open(&ours);
        assert_eq!(keeps_on(&mut kernel, &["near"]), Vec::<String>::new());
        let mut before = open(&first);
        assert_eq!(keeps_on(&mut before, &["near"]), Vec::<String>::new());
        let troubles = mend(&mut kernel).troubles;
        assert!(
            troubles.len() == 2 && troubles.iter().all(|what| what.contains("come before ours: heartbeat_")),
            "{troubles:?}"
        );
        let each_drops = |kernel: &Kernel| {
            kernel.tables().kernel().closed.set(0b01);
            let drops = !leaves();
            kernel.tables().kernel().closed.set(0);
            drops && leaves()
        };
        assert!([&before, &kernel, &after].into_iter().all(each_drops));
        kernel.remove().expect("removing");
        assert!([&before, &after].into_iter().all(each_drops), "theirs stay");
        assert!(!tc("qdisc show dev near").contains("clsact"));
        before.remove().expect("removing");
        after.remove().expect("removing");
    });
}
