//! Frames that a switch's port sends before it forwards anything: they say nothing of the network behind it (field report B13).

use super::{CHANNEL, frame, open, support::*};
use heartbeat::types::XdpPreference;
use heartbeat_ebpf::frame::Frame;
use nix::net::if_::if_nametoindex;

/// Where frames go, and whether that is no further than from a port to ours. IEEE 802.1Q, table 8-1, first to last: spanning
/// tree, LACP, 802.1X, a provider's spanning tree, LLDP; then Cisco's CDP and PVST+; then what differs from those as little as
/// can be, and what every network has.
const DESTINATIONS: [([u8; 6], bool); 18] = [
    ([0x01, 0x80, 0xc2, 0, 0, 0x00], true),
    ([0x01, 0x80, 0xc2, 0, 0, 0x02], true),
    ([0x01, 0x80, 0xc2, 0, 0, 0x03], true),
    ([0x01, 0x80, 0xc2, 0, 0, 0x08], true),
    ([0x01, 0x80, 0xc2, 0, 0, 0x0e], true),
    ([0x01, 0x80, 0xc2, 0, 0, 0x0f], true),
    ([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc], true),
    ([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd], true),
    ([0x01, 0x80, 0xc2, 0, 0, 0x10], false),
    ([0x01, 0x80, 0xc2, 0, 1, 0x00], false),
    ([0x01, 0x80, 0xc3, 0, 0, 0x00], false),
    ([0x00, 0x80, 0xc2, 0, 0, 0x00], false),
    ([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcb], false),
    ([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xce], false),
    ([0x01, 0x00, 0x0d, 0xcc, 0xcc, 0xcc], false),
    ([0x01, 0x00, 0x5e, 0, 0, 0x01], false),
    ([0x02, 0, 0, 0, 0, 0x01], false),
    ([0xff; 6], false),
];

/// A frame to there from a switch, with what spanning tree begins with.
fn to(destination: [u8; 6]) -> Vec<u8> {
    [&destination[..], &[2, 0, 0, 0, 0, 9], &[0, 38, 0x42, 0x42, 3], &[0; 43]].concat()
}

#[test]
fn what_goes_no_further_than_from_a_port_to_ours_is_known_by_where_it_goes() {
    for (destination, nearest) in DESTINATIONS {
        assert_eq!(Frame::new(&to(destination)).is_link_control(), nearest, "{destination:02x?}");
    }
    assert!(!Frame::new(&to(DESTINATIONS[0].0)[..7]).is_link_control(), "no frame");
}

#[test]
fn what_a_port_sends_that_does_not_forward_yet_is_no_evidence_of_a_network() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, _) = open(&pins);
        // Nobody else's frames come in there.
        kernel.attach(CHANNEL, "lo", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        let (lo, tables) = (if_nametoindex("lo").unwrap(), kernel.tables());
        let mut noted_after = |frame: &[u8]| {
            kernel.test_run_at(lo, frame).unwrap();
            tables.third_parties()
        };
        assert_eq!(noted_after(&frame(1)), 0, "that is the peer");
        for (destination, nearest) in DESTINATIONS {
            let noted = if nearest { 0 } else { CHANNEL.bit() };
            assert_eq!(noted_after(&to(destination)), noted, "{destination:02x?}");
        }
        kernel.remove().unwrap();
    });
}
