//! Whatever comes: no bytes do harm, and no changed bit is accepted.

use super::{
    DROP, V4, V6,
    cases::{HOP_BY_HOP, ROUTING, extended},
    in_process, pair_up,
    support::*,
};
use heartbeat::{dataplane::Tables, types::ChannelIndex};
use heartbeat_ebpf::{frame::Frame, layout::Outcome, wire};
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_bytes_can_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), port: u16) {
        if let Some(datagram) = Frame::new(&bytes).datagram(port)
            && let Some(at) = datagram.payload::<{ wire::LEN }>()
        {
            prop_assert!(bytes.as_ptr_range().contains(&at));
        }
    }

    #[test]
    fn no_change_of_a_good_frame_reaches_beyond_it(
        changes in prop::collection::vec((0usize..210, any::<u8>()), 1..6), six: bool, len in 0usize..220,
    ) {
        let mut frame = if six { extended(&[HOP_BY_HOP, ROUTING], &signed(heartbeat(V6, 1))) }
            else { over_ipv4(&signed(heartbeat(V4, 1))) };
        frame.truncate(len);
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        let tables = Tables::anonymous().unwrap();
        pair_up(&tables);
        in_process(&tables, &frame, 1);
    }

    #[test]
    fn no_single_flipped_bit_of_a_heartbeat_is_accepted(bit in 0..wire::LEN * 8) {
        let mut payload = signed(heartbeat(V4, 1));
        payload[bit / 8] ^= 1 << (bit % 8);
        let tables = Tables::anonymous().unwrap();
        pair_up(&tables);
        prop_assert_eq!(in_process(&tables, &over_ipv4(&payload), 1).0, DROP);
        let slot = tables.slot(ChannelIndex(V4));
        prop_assert_eq!(slot.counted(Outcome::Accepted), 0);
        prop_assert_eq!(Outcome::ALL.iter().map(|outcome| slot.counted(*outcome)).sum::<u64>(), 1);
    }
}
