//! `heartbeat unfence`: for where no agent can decide any more.

use super::*;

#[test]
fn what_a_dead_agents_kernel_closed_is_opened_by_hand_where_the_peer_does_not_hold_it() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "");
        let refused = lab.order(A, &["unfence"]).unwrap();
        assert!(refused.0 == Some(1) && refused.1.contains("no group is"), "{refused:?}");
        let on_b = lab.mark(B);
        let killed = lab.kill(A).unwrap();
        wait(&lab, B, on_b, "group_acquired", "storage-a");
        let refused = lab.order(A, &["unfence", "storage-a"]).unwrap();
        assert!(refused.0 == Some(1) && refused.1.contains("the peer is heard, and holds storage-a"), "{refused:?}");
        let unknown = lab.order(A, &["unfence", "storage-x"]).unwrap();
        assert!(unknown.0 == Some(1) && unknown.1.contains("one of: storage-a, storage-b"), "{unknown:?}");
        look_on(Duration::from_millis(200));
        expect_handed_over(&client, killed, "killed");
        // The other controller is gone, too: its address stands there, and nobody opens it.
        lab.power_off(B).unwrap();
        let opened_at = realtime_ns();
        assert_eq!(lab.order(A, &["unfence", "storage-a", "--force"]).unwrap().0, Some(0));
        until("a answers", || Ok((!client.of(A, opened_at, u64::MAX).is_empty()).then_some(()))).unwrap();
    });
}
