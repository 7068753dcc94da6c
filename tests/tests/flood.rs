//! Millions of frames on our port that are not the peer's heartbeats: every one is counted by its reason, and nothing moves.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use heartbeat_ebpf::siphash::Key;
use heartbeat_ebpf::wire::{LEN, Message, View};
use heartbeat_tests::frame::{PORT, Path, payload};
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::inject::Injector;
use heartbeat_tests::lab::{Config, Family, Lab, Node};
use heartbeat_tests::scenario::{
    SOON, changes, channel, held, increase, key, owners, record, rejected, running, settled, until,
};

/// Frames of the large flood: `HEARTBEAT_FLOOD`, or two million.
fn flood_size() -> u64 {
    std::env::var("HEARTBEAT_FLOOD").map_or(2_000_000, |count| count.parse().unwrap())
}

/// A pair that waits for its peer's first heartbeat for a second only.
fn impatient(networks: usize) -> Config {
    Config::pair(networks, Family::V4).timing("failed_waits", "10")
}

fn message(frame: &[u8]) -> Message {
    let bytes: [u8; LEN] = payload(frame, PORT).unwrap().try_into().unwrap();
    Message::parse(&View::new(&bytes).words())
}

fn signed(key: Key, message: Message) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    message.emit(key, &mut bytes);
    bytes
}

/// The frame with one bit of its message flipped, and what must become of it: cheapest check first.
fn flipped(frame: &[u8], bit: usize) -> (Vec<u8>, &'static str) {
    let mut bytes = payload(frame, PORT).unwrap().to_vec();
    bytes[bit / 8] ^= 0x80 >> (bit % 8);
    let reason = match bit / 8 {
        // Kind 1 is a heartbeat, 3 an echo reply: what has no right tag is not one either.
        3 if bit % 8 == 6 => "wrong_tag",
        0..=3 => "malformed",
        4..=7 => "wrong_pair",
        // Node b is 1: without its last bit it is our own letter, with any other it is nobody's.
        8 if bit % 8 == 7 => "same_node",
        8 => "malformed",
        136..=139 => "wrong_channel",
        _ => "wrong_tag",
    };
    (Path::channel(1, Node::B).frame(&bytes), reason)
}

/// One frame of each sort, to controller a on network 1, with the reason that it is to be counted under.
fn hostile(lab: &Lab) -> Vec<(Vec<u8>, &'static str)> {
    let recorded = record(lab, 1, Node::B, 3).unwrap();
    let own = record(lab, 1, Node::A, 1).unwrap();
    let key = Key::new(key(lab).unwrap());
    let real = message(&recorded[0]);
    let path = Path::channel(1, Node::B);
    let crafted = |message: Message| path.frame(&signed(key, message));
    let forged = |message: Message| path.frame(&signed(Key::new([7; 16]), message));
    let bytes = payload(&recorded[0], PORT).unwrap();
    // Built anew around what was recorded: a virtual cable leaves the checksum to a NIC that is not there.
    let again = |frame: &Vec<u8>| (path.frame(payload(frame, PORT).unwrap()), "replayed");
    let mut frames: Vec<_> = recorded.iter().map(again).collect();
    frames.extend([
        (crafted(real), "replayed"),
        (forged(Message { sequence: real.sequence + 1_000_000, ..real }), "wrong_tag"),
        (crafted(Message { key_id: 1, ..real }), "wrong_tag"),
        (crafted(Message { key_id: 255, ..real }), "wrong_tag"),
        (forged(Message { owned: u64::MAX, term: u64::MAX, flags: 0xff, ..real }), "wrong_tag"),
        (crafted(Message { channel_id: 1, ..real }), "wrong_channel"),
        (crafted(Message { channel_id: 255, ..real }), "wrong_channel"),
        (crafted(Message { pair_id: real.pair_id + 1, ..real }), "wrong_pair"),
        (crafted(Message { node: 2, ..real }), "malformed"),
        (crafted(Message { node: 0, ..real }), "same_node"),
        (path.frame(payload(&own[0], PORT).unwrap()), "reflected"),
        (crafted(Message { incarnation: 0, ..real }), "malformed"),
        (crafted(Message { sequence: 0, ..real }), "malformed"),
        (path.frame(&[]), "malformed"),
        (path.frame(&bytes[..LEN - 1]), "malformed"),
        (path.frame(&[bytes, &[0]].concat()), "malformed"),
        (path.frame(&[bytes, bytes, bytes, bytes, bytes].concat()), "malformed"),
        (path.frame(&[0; LEN]), "malformed"),
        (path.frame(&[0xff; LEN]), "malformed"),
    ]);
    // A frame that ends before its datagram does.
    let mut cut = path.frame(bytes);
    cut.truncate(cut.len() - 8);
    frames.push((cut, "malformed"));
    frames
}

/// How many of `count` frames, going round, are counted under each reason.
fn expected(frames: &[(Vec<u8>, &str)], count: u64) -> BTreeMap<String, u64> {
    let (rounds, rest) = (count / frames.len() as u64, (count % frames.len() as u64) as usize);
    let mut counts = BTreeMap::new();
    for (i, (_, reason)) in frames.iter().enumerate() {
        *counts.entry((*reason).to_owned()).or_default() += rounds + u64::from(i < rest);
    }
    counts.retain(|_, n| *n > 0);
    counts
}

/// Sends `count` frames to controller a on network 1, waits until all are counted, and gives the frames a second.
fn pour(lab: &Lab, frames: &[(Vec<u8>, &'static str)], count: u64) -> f64 {
    let injector = Injector::open(lab.switch(1).unwrap(), "a").unwrap();
    let counters = || rejected(&lab.status(Node::A).unwrap().json, "net1");
    let before = counters();
    let only: Vec<_> = frames.iter().map(|(frame, _)| frame.clone()).collect();
    let flood = injector.flood(&only, count).unwrap();
    assert_eq!(flood.sent, count);
    let mut found = BTreeMap::new();
    let counted = until("every frame counted", || {
        found = increase(&before, &counters());
        Ok((found.values().sum::<u64>() >= count).then_some(()))
    });
    assert_eq!(found, expected(frames, count), "{counted:?}");
    count as f64 / flood.elapsed.as_secs_f64()
}

fn assert_nothing_changes(lab: &Lab, during: impl FnOnce()) {
    let marks = lab.marks();
    let before = Node::BOTH.map(|node| lab.status(node).unwrap().json);
    during();
    for ((node, mark), before) in Node::BOTH.into_iter().zip(marks).zip(before) {
        let changes = changes(lab, node, mark);
        assert!(changes.is_empty(), "{node}: {changes:?}");
        let status = lab.status(node).unwrap();
        assert_eq!(status.code, 0, "{}", status.json);
        for key in ["incarnation", "term", "groups", "peer"] {
            assert_eq!(status.json[key], before[key], "{node}: {key}");
        }
    }
}

#[test]
fn two_million_hostile_frames_are_counted_by_reason_and_nothing_moves() {
    undisturbed(|| {
        let lab = running(&Config::usual()).unwrap();
        let frames = hostile(&lab);
        assert_nothing_changes(&lab, || {
            let rate = pour(&lab, &frames, flood_size());
            eprintln!("{} frames at {rate:.0} a second", flood_size());
        });
    });
}

#[test]
fn every_single_bit_flipped_in_a_real_heartbeat_is_noticed() {
    undisturbed(|| {
        let lab = running(&Config::pair(1, Family::V4)).unwrap();
        let recorded = record(&lab, 1, Node::B, 1).unwrap();
        let frames: Vec<_> = (0..LEN * 8).map(|bit| flipped(&recorded[0], bit)).collect();
        assert_nothing_changes(&lab, || {
            pour(&lab, &frames, frames.len() as u64 * 20);
        });
    });
}

/// What the queue has no room for is not counted; but the peer's heartbeats are never among it for long.
#[test]
fn a_flood_moves_nothing_where_the_socket_receives_either() {
    undisturbed(|| {
        let lab = running(&Config::pair(1, Family::V4).xdp("socket")).unwrap();
        let frames = hostile(&lab);
        let only: Vec<_> = frames.iter().map(|(frame, _)| frame.clone()).collect();
        let before = rejected(&lab.status(Node::A).unwrap().json, "net1");
        assert_nothing_changes(&lab, || {
            let injector = Injector::open(lab.switch(1).unwrap(), "a").unwrap();
            let flood = injector.flood(&only, flood_size() / 4).unwrap();
            eprintln!("{} frames at {:.0} a second", flood.sent, flood.sent as f64 / flood.elapsed.as_secs_f64());
        });
        let found = increase(&before, &rejected(&lab.status(Node::A).unwrap().json, "net1"));
        for reason in ["replayed", "wrong_tag", "wrong_channel", "wrong_pair", "same_node", "reflected", "malformed"] {
            assert!(found.get(reason).is_some_and(|count| *count > 0), "{reason}: {found:?}");
        }
    });
}

/// What `from` said in its present life, recorded at its switch port: `count` frames of network 1.
fn recording(lab: &Lab, from: Node, count: usize) -> Vec<(Vec<u8>, &'static str)> {
    record(lab, 1, from, count).unwrap().into_iter().map(|frame| (frame, "handshake")).collect()
}

/// Whichever of them holds what.
fn wait_all_rests(lab: &Lab) {
    until("all is well, and both agree who has what", || {
        let status = Node::BOTH.map(|node| lab.status(node));
        let [a, b] = status.map(Result::unwrap);
        let holders = owners(&a.json);
        let is_known = holders == owners(&b.json) && holders.iter().all(|owner| !owner.is_empty());
        let well = [&a, &b].iter().all(|status| status.code == 0 && !status.json["peer"]["service"].is_null());
        Ok((well && is_known).then_some(()))
    })
    .unwrap();
}

#[test]
fn what_a_former_life_of_the_peer_said_changes_nothing_while_its_present_life_works() {
    undisturbed(|| {
        let config = impatient(2);
        let lab = running(&config).unwrap();
        let old = recording(&lab, Node::B, 5);
        lab.kill(Node::B).unwrap();
        let mark = lab.mark(Node::A);
        lab.start(Node::B).unwrap();
        lab.wait_event_since(Node::A, mark, |line| line.is("peer_paired"), SOON).unwrap();
        wait_all_rests(&lab);
        assert_nothing_changes(&lab, || {
            pour(&lab, &old, 100_000);
        });
    });
}

/// How often the thread that judges went to sleep, how many ns it ran, and how much a sent on network 1.
fn busy_and_sent(lab: &Lab) -> [u64; 3] {
    let tasks = fs::read_dir(format!("/proc/{}/task", lab.pid(Node::A).unwrap())).unwrap();
    let pulse = tasks.map(|task| task.unwrap().path()).find(|task| {
        let name = fs::read_to_string(task.join("comm"));
        name.is_ok_and(|name| name.trim() == "pulse")
    });
    let read = |file| fs::read_to_string(pulse.as_ref().unwrap().join(file)).unwrap();
    let (status, ran) = (read("status"), read("schedstat"));
    let turns = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    let ran_ns = ran.split_whitespace().next().unwrap();
    let sent = channel(&lab.status(Node::A).unwrap().json, "net1")["sent"].as_u64().unwrap();
    [turns.trim().parse().unwrap(), ran_ns.parse().unwrap(), sent]
}

/// Two in turns answer to something later each second time, as far as the kernel can know.
#[test]
fn what_the_peer_said_to_a_former_life_of_ours_makes_us_neither_busy_nor_talkative() {
    undisturbed(|| {
        let lab = running(&impatient(1)).unwrap();
        let old = recording(&lab, Node::B, 2);
        lab.stop(Node::A).unwrap();
        lab.start(Node::A).unwrap();
        wait_all_rests(&lab);
        assert_nothing_changes(&lab, || {
            let (before, begin) = (busy_and_sent(&lab), Instant::now());
            pour(&lab, &old, 200_000);
            let (after, took) = (busy_and_sent(&lab), begin.elapsed().as_secs_f64());
            let [turns, ran_ns, sent] = [0, 1, 2].map(|i: usize| (after[i] - before[i]) as f64 / took);
            let said = format!("{turns:.0} turns, {:.1} ms of work and {sent:.0} heartbeats a second", ran_ns / 1e6);
            eprintln!("in {took:.3} s: {said}");
            // A ring each 10 ms, what it does anyhow, and a heartbeat each 100 ms on each channel.
            assert!(turns < 1_000.0 && ran_ns < 2e8 && sent < 60.0, "{said}");
        });
    });
}

#[test]
fn a_dead_peer_stays_dead_whatever_is_replayed() {
    undisturbed(|| {
        let lab = running(&impatient(2)).unwrap();
        let older = recording(&lab, Node::B, 5);
        lab.kill(Node::B).unwrap();
        let mark = lab.mark(Node::A);
        lab.start(Node::B).unwrap();
        lab.wait_event_since(Node::A, mark, |line| line.is("peer_paired"), SOON).unwrap();
        until("all is well", || Ok((lab.status(Node::A)?.code == 0).then_some(()))).unwrap();
        // Heard and counted by a before b dies: of the present pairing.
        let newer: Vec<_> = recording(&lab, Node::B, 5).into_iter().map(|(frame, _)| (frame, "replayed")).collect();
        let mark = lab.mark(Node::A);
        lab.kill(Node::B).unwrap();
        lab.wait_event_since(Node::A, mark, |line| line.is("peer_died"), SOON).unwrap();
        // What it took is told last.
        lab.wait_event_since(Node::A, mark, |line| line.is("takeover_measured"), SOON).unwrap();
        until("a holds everything", || Ok((held(&lab.status(Node::A)?.json) == [true, true]).then_some(()))).unwrap();
        let mark = lab.mark(Node::A);
        pour(&lab, &older, 50_000);
        pour(&lab, &newer, 50_000);
        let changes = changes(&lab, Node::A, mark);
        assert!(changes.is_empty(), "{changes:?}");
        let json = lab.status(Node::A).unwrap().json;
        assert_eq!(json["peer"]["state"], "bad");
        assert_eq!(held(&json), [true, true]);
    });
}

#[test]
fn recordings_poured_on_every_channel_at_the_start_of_both_do_not_make_two_owners() {
    undisturbed(|| {
        let config = impatient(1);
        let lab = running(&config).unwrap();
        let recorded = [1, 0].map(|number| Node::BOTH.map(|node| record(&lab, number, node, 3).unwrap()));
        for node in Node::BOTH {
            lab.stop(node).unwrap();
        }
        // From all sides, at full speed, for longer than an agent waits for its peer.
        std::thread::scope(|scope| {
            for (number, recorded) in [1, 0].into_iter().zip(&recorded) {
                for (from, frames) in Node::BOTH.into_iter().zip(recorded) {
                    let injector = Injector::open(lab.switch(number).unwrap(), from.peer().name()).unwrap();
                    scope.spawn(move || injector.flood(frames, 400_000).unwrap());
                }
            }
            lab.start_both().unwrap();
            for node in Node::BOTH {
                let claimed = lab.wait_event(node, |line| line.is("group_acquired"), Duration::from_secs(6));
                let json = lab.status(node).unwrap().json;
                eprintln!("{node}: {:?}, {}", claimed.ok().and_then(|line| line.group), json["verdict"]);
            }
        });
        settled(&lab, &config).unwrap();
        for node in Node::BOTH {
            let lines = lab.events_since(node, lab.run_begin(node));
            assert!(!lines.iter().any(|line| line.is("dual_ownership")), "{node}: {lines:?}");
        }
    });
}

#[test]
fn recordings_poured_on_one_alone_do_not_pass_for_a_peer() {
    undisturbed(|| {
        let config = impatient(1);
        let lab = running(&config).unwrap();
        let recorded = record(&lab, 1, Node::B, 3).unwrap();
        for node in Node::BOTH {
            lab.stop(node).unwrap();
        }
        lab.start(Node::A).unwrap();
        lab.wait_event(Node::A, |line| line.is("ready"), SOON).unwrap();
        let injector = Injector::open(lab.switch(1).unwrap(), "a").unwrap();
        injector.flood(&recorded, 100_000).unwrap();
        let lines = lab.events_since(Node::A, lab.run_begin(Node::A));
        assert!(!lines.iter().any(|line| line.is("peer_paired") || line.is("peer_good")), "{lines:?}");
        // Somebody may be there: a waits until that is quiet, then takes what nobody holds.
        lab.wait_event(Node::A, |line| line.is("group_acquired"), SOON).unwrap();
    });
}
