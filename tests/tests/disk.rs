//! A disk that both controllers have, as a channel: heartbeats at its own pace, whatever else is written there is counted and
//! harmless, a disk that is missing or another's is said and waited for; and where all networks are gone, it keeps the pair together.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use heartbeat::arbiter::blank;
use heartbeat::disk::prepare;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::disk::SharedDisk;
use heartbeat_tests::lab::topology::{Host, host_number, ipv4};
use heartbeat_tests::lab::{ChannelConfig, Config, Family, Lab, LogLine, Node, Options};
use heartbeat_tests::scenario::{SOON, changes, channel, held, owners, rejected, running, until};

/// How often a heartbeat is written, and the silence that a dead peer is found by.
const EVERY: Duration = Duration::from_millis(200);
const DETECTION: Duration = EVERY.saturating_mul(3);
/// A promise of the peer's, and what an arbiter may take, are over by then.
const LATE: Duration = Duration::from_secs(40);
/// The pair's number in the lab.
const PAIR: u32 = 7;

fn disk() -> SharedDisk {
    let disk = SharedDisk::new().unwrap();
    assert!(prepare(&disk.path, PAIR, false, blank).unwrap());
    disk
}

/// A pair with a network, a dedicated cable and a disk.
fn config(path: &Path) -> Config {
    let mut config = Config::pair(1, Family::V4);
    config.channels[0].probe = vec![ipv4(1, host_number(Host::Client)).to_string()];
    config.channels.push(ChannelConfig::disk("disk", path, "200ms"));
    config
}

fn is_good(lab: &Lab, node: Node) -> bool {
    channel(&lab.status(node).unwrap().json, "disk")["state"] == "good"
}

#[test]
fn heartbeats_come_at_the_pace_of_the_disk() {
    undisturbed(|| {
        let disk = disk();
        let lab = running(&config(&disk.path)).unwrap();
        let seen = until("twenty heartbeats", || {
            let status = lab.status(Node::A)?.json;
            let disk = channel(&status, "disk").clone();
            Ok((disk["inter_arrival"]["n"].as_u64() >= Some(20)).then_some(disk))
        })
        .unwrap();
        let median_ms = seen["inter_arrival"]["median_us"].as_f64().unwrap() / 1e3;
        println!("median {median_ms} ms, {:?}", seen["inter_arrival"]);
        assert!((median_ms - EVERY.as_millis() as f64).abs() < 60.0, "{median_ms} ms");
        assert_eq!((&seen["state"], &seen["xdp_mode"]), (&"good".into(), &"disk".into()));
        // At the beginning one may be replaced by the next before it is written: something had to be said at once.
        assert!(seen["missing"].as_u64() <= Some(2), "{seen}");
    });
}

#[test]
fn what_somebody_else_writes_there_is_counted_and_costs_no_channel() {
    let disk = disk();
    let lab = running(&config(&disk.path)).unwrap();
    let mark = lab.mark(Node::A);
    let mut turn = 0_u8;
    // Whether one is seen before the next heartbeat is written over it is chance.
    until("both counted it", || {
        // A heartbeat with another's bytes in it, as a torn write leaves it, on both blocks.
        for block in [3, 4] {
            disk.damage(block, 8 + usize::from(turn % 100), &[turn; 30])?;
        }
        turn = turn.wrapping_add(1);
        let counted = |node| -> anyhow::Result<bool> {
            Ok(rejected(&lab.status(node)?.json, "disk").get("malformed") > Some(&1))
        };
        Ok((counted(Node::A)? && counted(Node::B)?).then_some(()))
    })
    .unwrap();
    let bad = |line: &LogLine| line.is("peer_dead") || line.is_of("channel_bad", "net1");
    assert!(!lab.events_since(Node::A, mark).iter().any(bad));
    let counts = rejected(&lab.status(Node::A).unwrap().json, "disk");
    assert_eq!(counts.get("wrong_tag").copied().unwrap_or_default(), 0, "{counts:?}");
    until("the channel is well", || Ok((is_good(&lab, Node::A) && is_good(&lab, Node::B)).then_some(()))).unwrap();
}

#[test]
fn a_disk_that_is_missing_or_not_prepared_is_said_with_its_path_and_used_once_it_is_there() {
    let disk = SharedDisk::new().unwrap();
    let folder = disk.file().parent().unwrap().to_owned();
    let path = folder.join("by-id");
    let config = config(&path);
    let lab = Lab::new(Options { networks: 1, clients: 1, ..Options::default() }).unwrap();
    lab.configure(&config).unwrap();
    lab.start_both().unwrap();
    let said = |node, words: &'static str| {
        let shown = path.display().to_string();
        lab.wait_event(
            node,
            |line| {
                let text = line.raw["what"].as_str().unwrap_or_default();
                line.is("host_problem") && text.contains(&shown) && text.contains(words)
            },
            SOON,
        )
        .unwrap();
    };
    for node in Node::BOTH {
        said(node, "No such file or directory");
        // Everything else works.
        lab.wait_event(node, |line| line.is("peer_good"), SOON).unwrap();
    }
    lab.wait_event(Node::A, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
    // A file system on it is not touched.
    disk.damage(0, 0, b"XFSB").unwrap();
    std::os::unix::fs::symlink(&disk.path, &path).unwrap();
    for node in Node::BOTH {
        said(node, "is not prepared, or is another disk; right would be `heartbeat arbiter --prepare`");
    }
    assert!(fs::read(disk.file()).unwrap().starts_with(b"XFSB"));
    prepare(&path, PAIR, true, blank).unwrap();
    for node in Node::BOTH {
        lab.wait_event(node, |line| line.is_of("channel_good", "disk"), LATE).unwrap();
        lab.wait_event(node, |line| line.is_of("socket_works", "disk"), SOON).unwrap();
    }
}

#[test]
fn a_disk_whose_contents_are_gone_is_a_channel_that_is_bad_until_it_is_prepared_and_nothing_else() {
    let disk = disk();
    let lab = running(&config(&disk.path)).unwrap();
    let marks = lab.marks();
    let file = File::options().write(true).open(disk.file()).unwrap();
    file.set_len(0).unwrap();
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        lab.wait_event_since(node, mark, |line| line.is_of("socket_failed", "disk"), SOON).unwrap();
        lab.wait_event_since(node, mark, |line| line.is_of("channel_bad", "disk"), SOON).unwrap();
    }
    file.set_len(1 << 20).unwrap();
    prepare(&disk.path, PAIR, true, blank).unwrap();
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        lab.wait_event_since(node, mark, |line| line.is_of("channel_good", "disk"), LATE).unwrap();
        let told: Vec<_> = changes(&lab, node, mark).into_iter().filter_map(|line| line.event).collect();
        assert!(!told.iter().any(|event| event.starts_with("group_") || event == "peer_dead"), "{told:?}");
    }
}

#[test]
fn with_all_networks_gone_the_disk_keeps_the_pair_together_and_tells_a_dead_host() {
    let disk = disk();
    let lab = running(&config(&disk.path)).unwrap();
    let marks = lab.marks();
    lab.silence("net1").unwrap();
    lab.silence("xlink").unwrap();
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let placed = |line: &LogLine| line.is_of("fault_placed", "net1");
        lab.wait_event_since(node, mark, placed, SOON).unwrap();
    }
    // Nobody is dead, nothing moves, and nothing is held twice.
    let end = Instant::now() + DETECTION * 5;
    while Instant::now() < end {
        let status = Node::BOTH.map(|node| lab.status(node).unwrap().json);
        assert_eq!(status.each_ref().map(held), [[true], [false]]);
        assert_eq!(status.each_ref().map(owners), [["a"], ["a"]]);
        thread::sleep(EVERY / 2);
    }
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        let moved = |line: &LogLine| line.is("peer_dead") || line.is("group_releasing") || line.is("group_acquiring");
        assert!(!lab.events_since(node, mark).iter().any(moved), "{node}");
    }

    let mark = lab.mark(Node::B);
    let off_ns = lab.power_off(Node::A).unwrap();
    let dead = lab.wait_event_since(Node::B, mark, |line| line.is("peer_dead"), SOON).unwrap();
    let after = Duration::from_nanos(dead.time_ns.saturating_sub(off_ns));
    println!("found dead {after:?} after its power was cut");
    // At most one write, one look and a slow host later.
    assert!(after > DETECTION / 2 && after < DETECTION + EVERY * 2 + Duration::from_secs(1), "{after:?}");
    // Whether it is us who are cut off is another question: as long as the network answers to nobody, nothing is taken.
    let withheld = lab.wait_event_since(Node::B, mark, |line| line.is("takeover_withheld"), SOON).unwrap();
    assert_eq!(withheld.raw["reason"], "isolated");
    lab.mend("net1").unwrap();
    lab.wait_event_since(Node::B, mark, |line| line.is_of("group_acquired", "storage-a"), Duration::from_secs(30))
        .unwrap();
}

#[test]
fn one_that_is_stopped_says_so_by_the_disk_as_well() {
    let disk = disk();
    let lab = running(&config(&disk.path)).unwrap();
    let marks = lab.marks();
    lab.silence("xlink").unwrap();
    lab.silence("net1").unwrap();
    for (node, mark) in Node::BOTH.into_iter().zip(marks) {
        lab.wait_event_since(node, mark, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
        lab.wait_event_since(node, mark, |line| line.is_of("channel_bad", "xlink"), SOON).unwrap();
    }
    lab.stop(Node::B).unwrap();
    lab.wait_event_since(Node::A, marks[0], |line| line.is("peer_left"), SOON).unwrap();
}

#[test]
fn a_reload_goes_on_over_the_disk() {
    let disk = disk();
    let lab = running(&config(&disk.path)).unwrap();
    let mark = lab.mark(Node::B);
    lab.reload(Node::A).unwrap();
    until("the disk is heard again", || Ok(is_good(&lab, Node::A).then_some(()))).unwrap();
    let bad = |line: &LogLine| line.is("peer_dead") || line.is("group_acquiring");
    assert!(!lab.events_since(Node::B, mark).iter().any(bad));
}

#[test]
fn one_disk_is_a_channel_and_the_arbiter_at_once() {
    let disk = disk();
    let mut config = config(&disk.path);
    config.groups[0].extra = "exclusive = true\n".to_owned();
    config.extra = format!("[arbiter]\ndisk = \"{}\"\nio_timeout = \"300ms\"\n", disk.path.display());
    let lab = running(&config).unwrap();
    for node in Node::BOTH {
        let well = |line: &LogLine| line.is("arbiter_checked") && line.raw["well"] == true;
        lab.wait_event(node, well, SOON).unwrap();
    }
    let mark = lab.mark(Node::B);
    lab.power_off(Node::A).unwrap();
    let granted = lab.wait_event_since(Node::B, mark, |line| line.is("arbiter_granted"), SOON).unwrap();
    let acquired = lab.wait_event_since(Node::B, mark, |line| line.is_of("group_acquired", "storage-a"), LATE);
    let said = || lab.events_since(Node::B, mark).into_iter().map(|line| format!("{}\n", line.raw)).collect::<String>();
    let acquired = acquired.unwrap_or_else(|_| panic!("it is not taken:\n{}", said()));
    assert!(granted.time_ns <= acquired.time_ns);
    lab.power_on(Node::A).unwrap();
    lab.start(Node::A).unwrap();
    until("they hear each other by the disk again", || {
        Ok((is_good(&lab, Node::A) && is_good(&lab, Node::B)).then_some(()))
    })
    .unwrap();
    // The group stays where it is, with one holder.
    assert_eq!(Node::BOTH.map(|node| held(&lab.status(node).unwrap().json)), [[false], [true]]);
}
