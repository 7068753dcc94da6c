//! Crafted frames through the XDP program (BPF_PROG_TEST_RUN) and through the same shared code in this process: one table,
//! two executors, the same verdicts, counters, windows and records. Needs root.

mod any_bytes;
mod cases;
mod in_process;
mod records;
mod stamps;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with other tests and the benchmark")]
mod support;
mod third_parties;

use cases::{Case, table};
use heartbeat::{
    dataplane::{Kernel, Tables, Yardstick},
    types::{ChannelIndex, XdpMode, XdpPreference},
};
use heartbeat_ebpf::{layout::Outcome, verify::News};
use in_process::{State, in_process, newest, pair_up};
use std::net::Ipv4Addr;
use support::*;

const DROP: u32 = 1;
const PASS: u32 = 2;
const UDP: u8 = 17;

/// Channel of frames to `ADDRESS_V4` and `ADDRESS_V6`, and one that ends at another interface.
const V4: u8 = 3;
const V6: u8 = 5;
const ELSEWHERE: u8 = 63;
const ADDRESS_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Holds what a case did to the counters against what it should have done.
fn check(case: &Case, before: &State, after: &State) {
    for channel in 0..64u8 {
        let index = usize::from(channel);
        for outcome in Outcome::ALL {
            let counted = after.outcomes[index][outcome as usize] - before.outcomes[index][outcome as usize];
            let expected = u64::from(case.outcome == Some((outcome, channel)));
            assert_eq!(counted, expected, "{}: {} of channel {channel}", case.name, outcome.name());
        }
        let missing = after.windows[index][0].wrapping_sub(before.windows[index][0]) as i64;
        let expected = if case.outcome.is_some_and(|(_, of)| of == channel) { case.missing } else { 0 };
        assert_eq!(missing, expected, "{}: missing of channel {channel}", case.name);
    }
}

#[test]
fn every_crafted_frame_has_its_verdict_and_counter_in_the_kernel_and_in_process() {
    let table = table();
    assert!(table.0.len() >= 100, "{} cases", table.0.len());
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, adopted) = Kernel::open(&settings(), pins.path()).unwrap();
        assert!(!adopted.maps);
        run("ip link add elsewhere type veth peer name far");
        for (channel, interface, address) in [
            (V4, "lo", ADDRESS_V4.into()),
            (V6, "lo", ADDRESS_V6.into()),
            (ELSEWHERE, "elsewhere", ADDRESS_ELSEWHERE.into()),
        ] {
            let attached = kernel.attach(ChannelIndex(channel), interface, address, XdpPreference::Auto).unwrap();
            assert_ne!(attached.mode, XdpMode::Socket, "{:?}", attached.why);
        }
        let in_kernel = kernel.tables();
        let here = Tables::anonymous().unwrap();
        pair_up(&in_kernel);
        pair_up(&here);
        let mut doorbell = kernel.doorbell().unwrap();
        for case in &table.0 {
            let before = State::of(&in_kernel);
            let (verdict, _) = kernel.test_run(Yardstick::Heartbeat, &case.frame, 1).unwrap();
            assert_eq!(verdict, case.verdict, "{}: verdict in the kernel", case.name);
            let after = State::of(&in_kernel);
            check(case, &before, &after);

            // At the same time: what rings depends on it.
            let (verdict, news) = in_process(&here, &case.frame, newest(&in_kernel));
            assert_eq!(verdict, case.verdict, "{}: verdict in process", case.name);
            assert_eq!(State::of(&here), after, "{}: in process and in the kernel", case.name);
            let rung = doorbell.next().map(|bytes| bytes.to_vec());
            assert_eq!(rung.is_some(), news != News::None, "{}: {rung:?} at the doorbell", case.name);
            if let (Some(rung), Some((_, channel))) = (rung, case.outcome) {
                assert_eq!(rung, u32::from(channel).to_ne_bytes(), "{}", case.name);
            }
        }
        drop(doorbell);
        kernel.remove().unwrap();
        assert!(!pins.path().exists());
    });
}
