use super::*;
use proptest::prelude::*;

fn any_message() -> impl Strategy<Value = Message> {
    (any::<[u8; 6]>(), any::<[u32; 11]>(), any::<[u64; 12]>()).prop_map(|(b, h, w)| Message {
        pair_id: h[0],
        node: b[0],
        entry: b[1],
        flags: b[2],
        key_id: b[3],
        entries: b[4],
        interval_us: h[1] & LONGEST_INTERVAL_US,
        incarnation: w[0],
        peer_incarnation: w[1],
        sequence: w[2],
        sent_ns: w[3],
        echo_sent_ns: w[4],
        echo_held_ns: h[6],
        file_time: h[7],
        configured: lowest(b[5] % 65),
        heard: w[6],
        operational: w[7],
        analysis_wanted: h[2],
        analysis_done: h[3],
        qos: h[4] & (RECOVERING | QOS),
        release_within: b[2],
        duties_qos: h[5] & QOS,
        owned: w[8],
        wanted: w[9],
        term: w[10],
        groups_digest: w[11],
        channel_id: h[8],
        names_digest: h[9],
        entry_id: h[10],
        key_prints: [h[10] as u16, h[9] as u16],
        certain: w[5],
    })
}

proptest! {
    #[test]
    fn what_is_emitted_into_a_dirty_buffer_parses_back(m in any_message(), key: [u8; 16], dirt: u8) {
        let mut buffer = [dirt; LEN];
        m.emit(Key::new(key), &mut buffer);
        let view = View::new(&buffer);
        prop_assert_eq!(view.opening(), Message::OPENING);
        prop_assert!(view.tag_is_right(Key::new(key)));
        prop_assert_eq!(Message::parse(&view.words()), m);
        prop_assert_eq!(
            (view.pair_id(), view.node(), view.channel_id(), view.flags(), view.key_id()),
            (m.pair_id, m.node, m.channel_id, m.flags, m.key_id)
        );
        prop_assert_eq!(
            (view.incarnation(), view.peer_incarnation(), view.sequence(), view.owned(), view.term()),
            (m.incarnation, m.peer_incarnation, m.sequence, m.owned, m.term)
        );
        prop_assert_eq!(
            (view.sent_ns(), view.echo_sent_ns(), view.echo_held_ns(), view.names_digest()),
            (m.sent_ns, m.echo_sent_ns, m.echo_held_ns, m.names_digest)
        );
    }

    #[test]
    fn any_flipped_bit_breaks_the_tag(m in any_message(), key: [u8; 16], bit in 0..LEN * 8) {
        let mut buffer = [0; LEN];
        m.emit(Key::new(key), &mut buffer);
        buffer[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!View::new(&buffer).tag_is_right(Key::new(key)));
    }
}

#[test]
fn the_fields_lie_where_the_table_says() {
    let mut buffer = [0; LEN];
    let m = Message {
        pair_id: 7,
        node: 1,
        entry: 2,
        flags: 8,
        key_id: 1,
        entries: 5,
        interval_us: 0x01_02_03,
        echo_held_ns: 11,
        file_time: 12,
        term: 9,
        groups_digest: 10,
        channel_id: 13,
        names_digest: 14,
        entry_id: 15,
        key_prints: [16, 17],
        certain: 18,
        ..Message::default()
    };
    m.emit(Key::new([1; 16]), &mut buffer);
    assert_eq!(&buffer[..16], &[0x48, 0x42, 2, 1, 0, 0, 0, 7, 1, 2, 8, 1, 5, 1, 2, 3]);
    let last = [59, 63, 127, 135, 139, 143, 147, 149, 151, 71].map(|at| buffer[at]);
    assert_eq!(last, [11, 12, 9, 10, 13, 14, 15, 16, 17, 18]);
}
