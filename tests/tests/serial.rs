//! A serial line as a channel, over a pair of pseudo-terminals: heartbeats at the interval that the line can carry, a pulled
//! cable is one event and nothing else, and noise is counted and harmless.

use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::serial::SerialCable;
use heartbeat_tests::lab::topology::{Host, host_number, ipv4};
use heartbeat_tests::lab::{ChannelConfig, Config, Family, Node};
use heartbeat_tests::scenario::{SOON, changes, channel, held, rejected, running, until};

/// A pair with a network, a dedicated cable and a serial line.
fn config(profile: &str, cable: &SerialCable, speed: u32) -> Config {
    let mut config = Config::pair(1, Family::V4).profile(profile);
    config.channels[0].probe = vec![ipv4(1, host_number(Host::Client)).to_string()];
    config.channels.push(ChannelConfig::serial("tty", cable.devices(), speed));
    config
}

#[test]
fn heartbeats_come_at_the_interval_that_the_line_can_carry() {
    // 2 x 163 bytes x 10 bits: 28.3 ms at 115200 baud, 340 ms at 9600; the next multiple of the pair's own.
    for (profile, speed, interval_ms) in [("lan", 115_200, 100.0), ("lan", 9_600, 400.0), ("fast", 115_200, 30.0)] {
        undisturbed(|| {
            let cable = SerialCable::new().unwrap();
            let lab = running(&config(profile, &cable, speed)).unwrap();
            let seen = until("thirty heartbeats", || {
                let status = lab.status(Node::A)?.json;
                let tty = channel(&status, "tty").clone();
                Ok((tty["inter_arrival"]["n"].as_u64() >= Some(20)).then_some(tty))
            })
            .unwrap();
            let median_ms = seen["inter_arrival"]["median_us"].as_f64().unwrap() / 1e3;
            println!("{profile} at {speed} baud: median {median_ms} ms, {:?}", seen["inter_arrival"]);
            assert!((median_ms - interval_ms).abs() < interval_ms / 4.0, "{median_ms} ms");
            assert_eq!((&seen["state"], &seen["xdp_mode"]), (&"good".into(), &"serial".into()));
        });
    }
}

#[test]
fn a_pulled_cable_is_one_event_on_each_side_and_nothing_else_and_heals_by_itself() {
    let cable = SerialCable::new().unwrap();
    let lab = running(&config("lan", &cable, 115_200)).unwrap();
    for node in Node::BOTH {
        lab.wait_event(node, |line| line.is("judged"), SOON).unwrap();
    }
    let marks = lab.marks();
    cable.plug(false);
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        lab.wait_event_since(node, mark, |line| line.is_of("channel_bad", "tty"), SOON).unwrap();
    }
    // Half a message, and rubbish, before it is plugged in again.
    cable.noise(0, &[0x48, 0x42, 1, 1, 9]).unwrap();
    cable.plug(true);
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        lab.wait_event_since(node, mark, |line| line.is_of("channel_good", "tty"), SOON).unwrap();
        let told: Vec<_> = changes(&lab, node, mark).into_iter().filter_map(|line| line.event).collect();
        assert_eq!(told, ["channel_bad", "channel_good"], "on {node}");
    }
}

#[test]
fn noise_is_counted_and_costs_no_channel() {
    let cable = SerialCable::new().unwrap();
    let lab = running(&config("lan", &cable, 115_200)).unwrap();
    let mark = lab.mark(Node::A);
    for i in 0..50_u32 {
        // Every byte value, zeros among them: frames of all lengths, none of them a message.
        let noise: Vec<u8> = (0..1_000_u32).map(|n| (n.wrapping_mul(i + 7) >> 2) as u8).collect();
        cable.noise(0, &noise).unwrap();
    }
    until("the noise was counted", || {
        Ok((rejected(&lab.status(Node::A)?.json, "tty").get("malformed") > Some(&10)).then_some(()))
    })
    .unwrap();
    assert!(!lab.events_since(Node::A, mark).iter().any(|line| line.is("peer_dead")));
    assert_eq!(held(&lab.status(Node::A).unwrap().json), [true]);
}

#[test]
fn with_the_line_alone_left_nobody_is_dead_and_nothing_moves() {
    let cable = SerialCable::new().unwrap();
    let lab = running(&config("lan", &cable, 115_200)).unwrap();
    let marks = lab.marks();
    lab.silence("net1").unwrap();
    lab.silence("xlink").unwrap();
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let placed = |line: &heartbeat_tests::lab::LogLine| line.is_of("fault_placed", "net1");
        lab.wait_event_since(node, mark, placed, SOON).unwrap();
    }
    let holders = || Node::BOTH.map(|node| held(&lab.status(node).unwrap().json)[0]);
    assert_eq!(holders(), [true, false]);
    // And then the line as well: the network answers to nobody, so nobody takes anything, and who has something lets go of it.
    cable.plug(false);
    let withheld = lab.wait_event_since(Node::B, marks[1], |line| line.is("takeover_withheld"), SOON).unwrap();
    assert_eq!(withheld.raw["reason"], "isolated");
    let released = lab.wait_event_since(Node::A, marks[0], |line| line.is("group_releasing"), SOON).unwrap();
    assert_eq!(released.raw["reason"], "cut_off");
    assert_eq!(holders(), [false, false]);
    cable.plug(true);
    lab.wait_event_since(Node::A, marks[0], |line| line.is("peer_good"), Duration::from_secs(30)).unwrap();
    until("it is served again", || Ok((holders() == [true, false]).then_some(()))).unwrap();
}
