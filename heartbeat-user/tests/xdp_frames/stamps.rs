//! When heartbeats came, as the kernel stamps them, and the histogram that it makes of that.

use super::{V4, pair_up, support::*};
use heartbeat::{
    dataplane::{Kernel, Tables, Yardstick},
    latency::to_hdr,
    types::{ChannelIndex, XdpPreference},
};
use heartbeat_ebpf::{histogram, wire::Message};
use std::{thread, time::Duration};

/// Gives channel `V4` heartbeats with pauses between them; what the kernel stamped each with.
fn stamped(pauses: &[Duration], body: impl FnOnce(&Tables, &[u64]) + Send) {
    in_namespace(|| {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).expect("a program");
        kernel.attach(ChannelIndex(V4), "lo", ADDRESS_V4.into(), XdpPreference::Auto).expect("attached");
        let tables = kernel.tables();
        pair_up(&tables);
        let slot = tables.slot(ChannelIndex(V4));
        let now = || {
            let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
            now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
        };
        let mut stamps = Vec::new();
        for (sequence, pause) in (1..).zip([Duration::ZERO].iter().chain(pauses)) {
            thread::sleep(*pause);
            let before = now();
            kernel.test_run(Yardstick::Heartbeat, &over_ipv4(&signed(heartbeat(V4, sequence))), 1).expect("a run");
            let (words, stamp) = slot.live.read().expect("no writer");
            assert_eq!(Message::parse(&words), heartbeat(V4, sequence));
            assert!((before..=now()).contains(&stamp), "{before} {stamp}");
            stamps.push(stamp);
        }
        body(&tables, &stamps);
        kernel.remove().expect("removed");
    });
}

#[test]
fn the_times_between_heartbeats_are_stamped_by_the_kernel() {
    stamped(&[Duration::from_millis(3); 2], |tables, stamps| {
        let histogram = tables.inter_arrival(ChannelIndex(V4));
        for pair in stamps.windows(2) {
            assert!(histogram.counts[histogram::bucket(pair[1] - pair[0])].get() >= 1);
        }
        assert_eq!(histogram.counts.iter().map(|count| count.get()).sum::<u64>(), 2);
    });
}

#[test]
fn every_percentile_of_the_kernels_histogram_is_the_exact_times_own_within_one_percent() {
    const HEARTBEATS: usize = 4_000;
    // Most near one interval, a few much longer, as on a network; none so short that a bucket is wider than 1 % of it.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let pauses: Vec<_> = (0..HEARTBEATS)
        .map(|i| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            Duration::from_micros(150 + random % 400 + if i % 100 == 0 { random % 20_000 } else { 0 })
        })
        .collect();
    stamped(&pauses, |tables, stamps| {
        let mut exact: Vec<_> = stamps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        exact.sort_unstable();
        let counted = to_hdr(tables.inter_arrival(ChannelIndex(V4)));
        assert_eq!(counted.len(), HEARTBEATS as u64);
        let mut worst: f64 = 0.0;
        for (place, &ns) in exact.iter().enumerate() {
            let percentile = (place as f64 + 0.5) / HEARTBEATS as f64 * 100.0;
            let error = counted.value_at_percentile(percentile).abs_diff(ns) as f64 / ns as f64;
            assert!(error < 0.01, "{percentile} %: {ns} ns, off by {:.2} %", error * 100.0);
            worst = worst.max(error);
        }
        let (first, last) = (exact[0], exact[HEARTBEATS - 1]);
        println!("{HEARTBEATS} percentiles from {first} to {last} ns: off by at most {:.2} %", worst * 100.0);
    });
}
