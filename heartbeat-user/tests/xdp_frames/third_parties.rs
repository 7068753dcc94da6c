//! Frames of others than the peer.

use super::{UDP, V4, V6, cases::with, pair_up, support::*};
use heartbeat::{
    dataplane::{Kernel, Yardstick},
    types::{ChannelIndex, XdpPreference},
};
use heartbeat_ebpf::{siphash::Key, wire};
use pnet_packet::ethernet::EtherTypes;

/// What the network says by itself: somebody else than the peer is there.
#[test]
fn frames_of_others_than_the_peer_are_noted_once_a_heartbeat_has_shown_which_are_the_peers() {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).unwrap();
        kernel.attach(ChannelIndex(V4), "lo", ADDRESS_V4.into(), XdpPreference::Auto).unwrap();
        kernel.attach(ChannelIndex(V6), "lo", ADDRESS_V6.into(), XdpPreference::Auto).unwrap();
        let tables = kernel.tables();
        name_channels(&tables);
        pair_up(&tables);
        let both = ChannelIndex(V4).bit() | ChannelIndex(V6).bit();
        let from = |last, frame: Vec<u8>| with(frame, |b| b[11] = last);
        let mut heard_after = |frame: Vec<u8>| {
            kernel.test_run(Yardstick::Heartbeat, &frame, 1).unwrap();
            tables.third_parties()
        };
        let arp = |last| from(last, ethernet(EtherTypes::Arp, &[0; 46]));
        const PEERS: u8 = 2;
        assert_eq!(heard_after(arp(9)), 0, "nothing is known of the peer yet");
        assert_eq!(heard_after(over_ipv4(&signed(heartbeat(V4, 1)))), 0);
        assert_eq!(heard_after(arp(PEERS)), 0);
        assert_eq!(heard_after(arp(9)), both, "one interface, two channels");
        assert_eq!(tables.third_parties(), 0, "told once");
        assert_eq!(heard_after(from(9, ethernet(EtherTypes::Lldp, &[0; 46]))), both);
        let elsewhere = udp_to(PEER_V4.into(), wire::PORT, &[]);
        assert_eq!(heard_after(from(9, ethernet(EtherTypes::Ipv4, &ipv4_with(PEER_V4, UDP, &[], &elsewhere)))), both);
        // What is for us is the peer's or pretends to be: no evidence of anybody else.
        assert_eq!(heard_after(from(9, over_ipv4(&signed_with(Key::new([9; 16]), heartbeat(V4, 2))))), 0);
        assert_eq!(heard_after(vec![0; 14]), both, "a frame of nothing but a header");
        // Its NIC was exchanged.
        assert_eq!(heard_after(from(7, over_ipv4(&signed(heartbeat(V4, 2))))), 0);
        assert_eq!(heard_after(arp(7)), 0);
        assert_eq!(heard_after(arp(PEERS)), both);
        kernel.remove().unwrap();
    });
}
