//! The XDP program on interfaces: modes and fall-backs, members, interfaces that come and go, channels that share one. Each
//! test has a namespace of its own with a veth pair, `near` (ours) and `far`. Needs root and iproute2.

mod earlier;
mod link_control;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with other tests and the benchmark")]
mod support;

use heartbeat::{
    dataplane::{Adopted, Attached, IN_FILE_ORDER, Kernel},
    types::{ChannelIndex, XdpMode, XdpPreference},
};
use heartbeat_ebpf::{layout::Outcome, wire};
use nix::net::if_::if_nametoindex;
use std::{
    net::UdpSocket,
    process::Command,
    thread,
    time::{Duration, Instant},
};
use support::*;

const CHANNEL: ChannelIndex = ChannelIndex(0);
const OTHER: ChannelIndex = ChannelIndex(1);

/// A veth pair: what is sent to our address leaves at `far` and comes in at `near`.
fn cable() {
    run("ip link add near address 02:00:00:00:00:01 type veth peer name far");
    run("ip link set near up");
    run("ip link set far up");
    run("ip address add 192.0.2.2/24 dev far");
    run("ip neighbour replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev far nud permanent");
}

fn open(pins: &PinFolder) -> (Kernel, Adopted) {
    let (kernel, adopted) = Kernel::open(&settings(), pins.path()).expect("opening");
    name_channels(&kernel.tables());
    kernel.tables().agent().incarnation.set(OWN);
    kernel.tables().agent().peer_incarnation.set(PEER);
    (kernel, adopted)
}

/// A test with a cable, and with a program that is attached to nothing yet.
fn on_cable(test: impl FnOnce(&PinFolder, Kernel) + Send) {
    in_namespace(|| {
        cable();
        let pins = PinFolder::new();
        let (kernel, _) = open(&pins);
        test(&pins, kernel);
    });
}

fn attach(kernel: &mut Kernel, preference: XdpPreference) -> Attached {
    kernel.attach(CHANNEL, "near", ADDRESS_V4.into(), preference).expect("attaching")
}

fn send(sequence: u64) {
    let socket = UdpSocket::bind("192.0.2.2:0").expect("a socket");
    let payload = signed(heartbeat(CHANNEL.0, sequence));
    assert_eq!(socket.send_to(&payload, (ADDRESS_V4, wire::PORT)).expect("sending"), wire::LEN);
}

/// Waits until so many frames were counted; they are in flight for microseconds.
fn expect(kernel: &Kernel, outcome: Outcome, count: u64) {
    let tables = kernel.tables();
    let counted = || tables.slot(CHANNEL).counted(outcome);
    let start = Instant::now();
    while counted() < count && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(counted(), count, "{}", outcome.name());
}

/// What `ip` says about an interface's XDP program, if it has one.
fn program_on(interface: &str) -> Option<String> {
    let output = Command::new("ip").args(["-details", "link", "show", interface]).output().expect("ip");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().find(|line| line.contains("prog/xdp")).map(|line| line.trim().to_owned())
}

#[test]
fn native_on_veth_counts_what_comes_in_and_a_clean_stop_leaves_nothing() {
    in_namespace(|| {
        cable();
        let pins = PinFolder::new();
        let (mut kernel, adopted) = open(&pins);
        assert_eq!(adopted, Adopted::default());
        let attached = attach(&mut kernel, XdpPreference::Auto);
        let ifindex = if_nametoindex("near").unwrap();
        assert_eq!(
            attached,
            Attached {
                mode: XdpMode::Native,
                ifindex,
                adopted: false,
                anew: true,
                why: None,
                interfaces: vec![ifindex],
                new_end: true
            }
        );
        send(1);
        expect(&kernel, Outcome::Accepted, 1);
        assert!(pins.pins().contains(&"link-near".into()), "{:?}", pins.pins());
        kernel.remove().unwrap();
        assert!(!pins.path().exists());
        assert_eq!(program_on("near"), None);
    });
}

#[test]
fn where_native_is_not_to_be_had_auto_takes_generic_and_says_why() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, _) = open(&pins);
        let attached = kernel.attach(CHANNEL, "lo", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        assert_eq!(attached.mode, XdpMode::Generic);
        let why = attached.why.unwrap();
        assert!(why.starts_with("native: EOPNOTSUPP"), "{why}");
        kernel.detach(CHANNEL);

        let error = kernel.attach(CHANNEL, "lo", ADDRESS_V4.into(), XdpPreference::Native).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("lo") && error.contains("native: EOPNOTSUPP"), "{error}");
        kernel.remove().unwrap();
    });
}

#[test]
fn generic_and_socket_can_be_required() {
    on_cable(|_, mut kernel| {
        let attached = attach(&mut kernel, XdpPreference::Generic);
        assert_eq!((attached.mode, attached.why), (XdpMode::Generic, None));
        send(1);
        expect(&kernel, Outcome::Accepted, 1);
        let attached = attach(&mut kernel, XdpPreference::Socket);
        assert_eq!(attached.mode, XdpMode::Socket);
        assert_eq!(program_on("near"), None, "nobody uses it any more");
        kernel.remove().unwrap();
    });
}

/// A heartbeat to our address, as it comes in at any interface.
fn frame(sequence: u64) -> Vec<u8> {
    over_ipv4(&signed(heartbeat(CHANNEL.0, sequence)))
}

/// Native XDP on a bond runs in its members and with their indices (field report B01). This kernel may have no bonds: a
/// bridge's ports are members of the same kind, and the test run says which interface a frame came in at.
#[test]
fn heartbeats_that_come_in_at_a_member_of_the_interface_are_the_channels() {
    const DROP: u32 = 1;
    const PASS: u32 = 2;
    on_cable(|_, mut kernel| {
        run("ip link add br9 type bridge");
        run("ip link set near master br9");
        run("ip link add stranger type veth peer name stranger-far");
        let index = |name: &str| if_nametoindex(name).unwrap();
        let attached = kernel.attach(CHANNEL, "br9", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        assert_eq!(attached.interfaces, [index("br9"), index("near")]);
        for (at, sequence) in [("br9", 1), ("near", 2)] {
            assert_eq!(kernel.test_run_at(index(at), &frame(sequence)).unwrap(), DROP, "{at}");
            expect(&kernel, Outcome::Accepted, sequence);
        }
        // A host that forwards: what comes in elsewhere is somebody else's, even if it is to our address.
        for at in ["stranger", "far", "lo"] {
            assert_eq!(kernel.test_run_at(index(at), &frame(3)).unwrap(), PASS, "{at}");
        }
        // A member that comes later, and one that leaves.
        run("ip link set stranger master br9");
        run("ip link set near nomaster");
        let again = kernel.attach(CHANNEL, "br9", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        assert!(again.new_end);
        assert_eq!(kernel.test_run_at(index("stranger"), &frame(3)).unwrap(), DROP);
        assert_eq!(kernel.test_run_at(index("near"), &frame(4)).unwrap(), PASS);
        assert!(!kernel.attach(CHANNEL, "br9", ADDRESS_V4.into(), XdpPreference::Auto).unwrap().new_end);
        kernel.remove().unwrap();
    });
}

#[test]
fn the_same_address_on_two_interfaces_is_two_channels() {
    on_cable(|_, mut kernel| {
        run("ip link add spare type veth peer name spare-far");
        let index = |name: &str| if_nametoindex(name).unwrap();
        attach(&mut kernel, XdpPreference::Auto);
        kernel.attach(OTHER, "spare", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        kernel.test_run_at(index("near"), &frame(1)).unwrap();
        expect(&kernel, Outcome::Accepted, 1);
        kernel.test_run_at(index("spare"), &frame(2)).unwrap();
        expect(&kernel, Outcome::Accepted, 1);
        assert_eq!(kernel.tables().slot(OTHER).counted(Outcome::WrongChannel), 1);
        kernel.remove().unwrap();
    });
}

/// Field report B04.
#[test]
fn an_interface_without_ethernet_goes_by_socket_and_says_why() {
    in_namespace(|| {
        run("ip tuntap add dev near mode tun");
        run("ip link set near up");
        let pins = PinFolder::new();
        let (mut kernel, _) = open(&pins);
        let attached = attach(&mut kernel, XdpPreference::Auto);
        assert_eq!(attached.mode, XdpMode::Socket);
        assert!(attached.why.unwrap().contains("no Ethernet header"));
        assert_eq!(program_on("near"), None);
        for preference in [XdpPreference::Native, XdpPreference::Generic] {
            let error = kernel.attach(CHANNEL, "near", ADDRESS_V4.into(), preference).unwrap_err();
            assert!(format!("{error:#}").contains("near: its frames have no Ethernet header"), "{error:#}");
        }
        kernel.remove().unwrap();
    });
}

#[test]
fn channels_keep_their_slots_by_name_wherever_they_stand() {
    on_cable(|pins, mut kernel| {
        attach(&mut kernel, XdpPreference::Auto);
        kernel.test_run_at(if_nametoindex("near").unwrap(), &frame(1)).unwrap();
        drop(kernel);
        // The channel that was the first is now the second, and a new one has another slot.
        let (mut kernel, _) = open(pins);
        let mut order = IN_FILE_ORDER;
        order[..3].copy_from_slice(&[2, 0, 1]);
        kernel.tables().slot(ChannelIndex(2)).count(Outcome::Busy);
        kernel.arrange(order, ChannelIndex(0).bit()).unwrap();
        let tables = kernel.tables();
        assert_eq!(tables.slot(ChannelIndex(1)).counted(Outcome::Accepted), 1);
        assert_eq!(tables.slot(ChannelIndex(0)).counted(Outcome::Busy), 0, "a new channel has heard nothing");
        kernel.attach(ChannelIndex(1), "near", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        kernel.settle().unwrap();
        kernel.test_run_at(if_nametoindex("near").unwrap(), &frame(2)).unwrap();
        assert_eq!(tables.slot(ChannelIndex(1)).counted(Outcome::Accepted), 2);
        kernel.remove().unwrap();
    });
}

#[test]
fn with_as_many_channels_as_there_can_be_an_interface_made_anew_finds_room() {
    on_cable(|_, mut kernel| {
        for number in 0..64 {
            let address = [192, 0, 2, 100 + number].into();
            kernel.attach(ChannelIndex(number), "near", address, XdpPreference::Auto).unwrap();
        }
        run("ip link delete near");
        cable();
        for number in 0..64 {
            let address = [192, 0, 2, 100 + number].into();
            let attached = kernel.attach(ChannelIndex(number), "near", address, XdpPreference::Auto).unwrap();
            assert_eq!(attached.mode, XdpMode::Native);
        }
        kernel.remove().unwrap();
    });
}

#[test]
fn another_program_on_the_interface_is_named_and_left_alone() {
    in_namespace(|| {
        cable();
        for theirs in [XdpPreference::Native, XdpPreference::Generic] {
            let their_pins = PinFolder::new();
            let (mut others, _) = open(&their_pins);
            attach(&mut others, theirs);
            let program = program_on("near").unwrap();

            let pins = PinFolder::new();
            let (mut kernel, _) = open(&pins);
            let attached = attach(&mut kernel, XdpPreference::Auto);
            assert_eq!(attached.mode, XdpMode::Socket);
            let why = attached.why.unwrap();
            assert!(why.contains("near holds another XDP program, id ") && why.contains("'heartbeat'"), "{why}");
            let error = kernel.attach(CHANNEL, "near", ADDRESS_V4.into(), XdpPreference::Generic).unwrap_err();
            assert!(format!("{error:#}").contains("holds another XDP program"), "{error:#}");
            assert_eq!(program_on("near").unwrap(), program);
            kernel.remove().unwrap();
            others.remove().unwrap();
        }
    });
}

#[test]
fn an_interface_that_was_made_anew_is_attached_anew() {
    on_cable(|pins, mut kernel| {
        let before = attach(&mut kernel, XdpPreference::Auto);
        run("ip link delete near");
        let error = kernel.attach(CHANNEL, "near", ADDRESS_V4.into(), XdpPreference::Auto).unwrap_err();
        assert!(format!("{error:#}").contains("interface near"), "{error:#}");
        cable();
        let after = attach(&mut kernel, XdpPreference::Auto);
        assert_eq!((after.mode, after.adopted), (XdpMode::Native, false));
        assert_ne!(before.ifindex, after.ifindex);
        send(1);
        expect(&kernel, Outcome::Accepted, 1);

        // The same while the agent is away, and without having noticed that it was gone.
        drop(kernel);
        run("ip link delete near");
        cable();
        let (mut kernel, adopted) = open(pins);
        assert!(adopted.maps);
        assert!(!attach(&mut kernel, XdpPreference::Auto).adopted);
        send(2);
        expect(&kernel, Outcome::Accepted, 2);
        run("ip link delete near");
        cable();
        attach(&mut kernel, XdpPreference::Auto);
        send(3);
        expect(&kernel, Outcome::Accepted, 3);
        kernel.remove().unwrap();
    });
}

#[test]
fn channels_share_an_interface_until_the_last_one_leaves_it() {
    on_cable(|_, mut kernel| {
        attach(&mut kernel, XdpPreference::Auto);
        let second = kernel.attach(OTHER, "near", ADDRESS_V6.into(), XdpPreference::Native).unwrap();
        assert_eq!(second.mode, XdpMode::Native);
        let error = kernel.attach(OTHER, "near", ADDRESS_V6.into(), XdpPreference::Generic).unwrap_err();
        assert!(format!("{error:#}").contains("native mode already"), "{error:#}");
        kernel.attach(OTHER, "near", ADDRESS_V6.into(), XdpPreference::Native).unwrap();
        kernel.detach(OTHER);
        assert!(program_on("near").is_some());
        send(1);
        expect(&kernel, Outcome::Accepted, 1);
        kernel.detach(CHANNEL);
        assert_eq!(program_on("near"), None);
        kernel.remove().unwrap();
    });
}

#[test]
fn a_channel_that_moves_leaves_no_end_behind() {
    on_cable(|_, mut kernel| {
        attach(&mut kernel, XdpPreference::Auto);
        kernel.attach(CHANNEL, "near", ADDRESS_V6.into(), XdpPreference::Auto).unwrap();
        kernel.attach(OTHER, "near", "192.0.2.9".parse().unwrap(), XdpPreference::Auto).unwrap();
        send(1);
        thread::sleep(Duration::from_millis(50));
        expect(&kernel, Outcome::Accepted, 0);
        attach(&mut kernel, XdpPreference::Auto);
        send(2);
        expect(&kernel, Outcome::Accepted, 1);
        kernel.remove().unwrap();
    });
}

#[test]
fn pins_have_to_be_in_a_bpf_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let error = Kernel::open(&settings(), folder.path()).err().expect("an error");
    assert!(format!("{error:#}").contains("is not in a BPF file system"), "{error:#}");
}

#[test]
fn doorbell_and_log_are_there_once() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, _) = open(&pins);
        assert!(kernel.doorbell().is_some() && kernel.doorbell().is_none());
        assert!(kernel.logger().is_ok() && kernel.logger().is_err());
        kernel.remove().unwrap();
    });
}
