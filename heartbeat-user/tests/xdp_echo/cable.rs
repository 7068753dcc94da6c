//! Two programs, one cable.

use super::{AGE, V6, request, sealed, support::*};
use heartbeat::{
    dataplane::{Kernel, ProgramSettings},
    system::clock,
    types::{ChannelIndex, Node, XdpMode, XdpPreference},
};
use heartbeat_ebpf::{
    echo::Echo,
    layout::{Outcome, Slot},
};
use std::{
    thread,
    time::{Duration, Instant},
};

#[test]
fn over_a_cable_a_request_is_answered_by_the_program_and_its_reply_by_nothing() {
    in_namespace(|| {
        run("ip link add left type veth peer name right");
        run("ip link set left up");
        run("ip link set right up");
        let pins = [PinFolder::new(), PinFolder::new()];
        let of_b = ProgramSettings { node: Node::B, ..settings() };
        let (mut a, _) = Kernel::open(&settings(), pins[0].path()).unwrap();
        let (mut b, _) = Kernel::open(&of_b, pins[1].path()).unwrap();
        for (kernel, interface, address) in [(&mut a, "left", ADDRESS_V6), (&mut b, "right", PEER_V6)] {
            let attached = kernel.attach(ChannelIndex(V6), interface, address.into(), XdpPreference::Auto).unwrap();
            assert_eq!(attached.mode, XdpMode::Native);
        }
        let (at_a, at_b) = (a.tables(), b.tables());
        [&at_a, &at_b].into_iter().for_each(|tables| name_channels(tables));
        at_a.agent().incarnation.set(OWN);
        at_a.agent().alive_ns.set(clock::monotonic().0 - 3_000_000_000);
        at_b.agent().incarnation.set(PEER);
        let [slot_a, slot_b] = [&at_a, &at_b].map(|tables| tables.slot(ChannelIndex(V6)));

        let asked_ns = clock::monotonic().0;
        assert!(send_frame("right", &over_ipv6(&sealed(request(V6, asked_ns)))));
        let deadline = Instant::now() + Duration::from_secs(10);
        while slot_b.counted(Outcome::EchoReply) == 0 {
            assert!(Instant::now() < deadline, "no reply; requests at a: {}", slot_a.counted(Outcome::EchoRequest));
            thread::sleep(Duration::from_millis(1));
        }
        let (words, arrived_ns) = slot_b.echo.read().unwrap();
        let answer = Echo::parse(&words).unwrap();
        assert_eq!((answer.incarnation, answer.echo_sent_ns), (OWN, asked_ns));
        assert!(AGE.contains(&answer.alive_age_ns().unwrap()));
        assert!(asked_ns < answer.sent_ns && answer.sent_ns <= arrived_ns, "one host, one clock");

        // A reply that comes to who asks makes no message, or these two would go on for ever.
        thread::sleep(Duration::from_millis(20));
        let sum = |slot: &Slot| Outcome::ALL.iter().map(|outcome| slot.counted(*outcome)).sum::<u64>();
        assert_eq!((sum(slot_a), sum(slot_b)), (1, 1));
        a.remove().unwrap();
        b.remove().unwrap();
    });
}
