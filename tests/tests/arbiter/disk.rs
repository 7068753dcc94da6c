//! A lease on a disk: a loop device, where this kernel has them, else the file behind it, read and written past all caches.

use super::{ACQUIRE, Held, Random, done, end_of, granted, until};
use heartbeat::arbiter::{Arbiter, ArbiterAnswer, blank};
use heartbeat::config::Config;
use heartbeat::disk::{self, USED_BYTES};
use heartbeat::system::clock;
use heartbeat::{
    core::{Arbitrate, Arbitrated},
    types::Node,
};
use heartbeat_tests::lab::disk::{BLOCK, SharedDisk};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// One that is prepared for pair 7.
fn prepared() -> SharedDisk {
    let disk = SharedDisk::new().unwrap();
    prepare(&disk.path, 7, false).unwrap();
    disk
}

fn prepare(path: &Path, pair: u32, force: bool) -> Result<bool, String> {
    disk::prepare(path, pair, force, blank).map_err(|error| error.to_string())
}

fn config(disk: &SharedDisk, io_timeout: &str) -> Config {
    super::config(7, &format!("disk = \"{}\"\nio_timeout = \"{io_timeout}\"", disk.path.display()))
}

fn asked(arbiter: &Arbiter, question: Arbitrate) -> ArbiterAnswer {
    done(arbiter.ask(question))
}

fn both(config: &Config) -> [Arbiter; 2] {
    [Node::A, Node::B].map(|node| Arbiter::new(config, node).unwrap())
}

#[test]
fn one_has_it_until_it_gives_it_back_or_falls_silent() {
    let disk = prepared();
    let config = config(&disk, "100ms");
    let [a, b] = both(&config);
    assert!(done(a.look()).unwrap().ends_with("controller b has nothing there"));
    let first = asked(&a, ACQUIRE);
    assert!(first.why.ends_with("storage-a, storage-b is written to be ours"), "{first:?}");
    let denied = asked(&b, ACQUIRE);
    assert!(denied.outcome == Arbitrated::Denied && denied.why.contains("controller a has it there"), "{denied:?}");
    asked(&a, Arbitrate::Release(0b01));
    let some = asked(&b, ACQUIRE);
    assert!(matches!(some.outcome, Arbitrated::Granted { groups: 0b01, .. }), "{some:?}");
    let second = asked(&a, Arbitrate::Renew(0b10));
    assert!(end_of(&second) > end_of(&first));
    // A new life of b's agent has what the one before had, and a dies.
    let b = Arbiter::new(&config, Node::B).unwrap();
    let all = until(|| asked(&b, ACQUIRE), |outcome| matches!(outcome, Arbitrated::Granted { groups: 0b11, .. }));
    let now = clock::monotonic();
    assert!(now > end_of(&second) && now.since(end_of(&second)).0 < 2_000_000_000, "{all:?}");
    assert_eq!(asked(&a, Arbitrate::Renew(0b10)).outcome, Arbitrated::Denied);
}

#[test]
fn a_disk_that_is_not_prepared_or_is_anothers_is_named_and_only_force_overwrites_it() {
    let disk = SharedDisk::new().unwrap();
    let config = config(&disk, "100ms");
    let a = Arbiter::new(&config, Node::A).unwrap();
    let shown = disk.path.display().to_string();
    let why = |words: &str| {
        let answered = asked(&a, ACQUIRE);
        assert!(answered.outcome == Arbitrated::Unreachable, "{answered:?}");
        assert!(answered.why.starts_with(&shown) && answered.why.contains(words), "{words}: {answered:?}");
        assert!(done(a.look()).unwrap_err().contains(words));
    };
    why("is not prepared, or is another disk; right would be `heartbeat arbiter --prepare`");
    disk.damage(2, 100, b"XFSB").unwrap();
    let refused = prepare(&disk.path, 7, false).unwrap_err();
    assert!(refused.contains("has something in its first 20 KiB; --force"), "{refused}");
    prepare(&disk.path, 8, true).unwrap();
    let refused = prepare(&disk.path, 7, false).unwrap_err();
    assert!(refused.contains("is prepared already, for pair 8"), "{refused}");
    why("is prepared for pair 8, this is pair 7");
    prepare(&disk.path, 7, true).unwrap();
    assert!(granted(asked(&a, ACQUIRE).outcome));
    // Under an agent that runs, it is another disk.
    prepare(&disk.path, 7, true).unwrap();
    why("is another disk than before, or was prepared anew");
}

#[test]
fn paths_that_are_no_disk_are_named_with_what_would_be_right() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let short = folder.path().join("short");
    fs::write(&short, [0; USED_BYTES - 1]).unwrap();
    for (path, words) in [
        (folder.path().join("none"), "cannot be opened: No such file or directory"),
        (pipe, "cannot be opened"),
        ("/dev/zero".into(), "cannot be opened"),
        (short, "is not prepared"),
        (folder.path().to_owned(), "cannot be opened: Is a directory"),
    ] {
        let config = super::config(7, &format!("disk = \"{}\"", path.display()));
        let answered = asked(&Arbiter::new(&config, Node::A).unwrap(), ACQUIRE);
        assert!(answered.outcome == Arbitrated::Unreachable, "{answered:?}");
        assert!(
            answered.why.contains(words) || answered.why.contains("is no disk"),
            "{}: {answered:?}",
            path.display()
        );
    }
}

#[test]
fn a_torn_block_of_the_peers_is_no_grant_until_it_has_stayed_the_same_for_long_enough() {
    let disk = prepared();
    let config = config(&disk, "100ms");
    let [a, b] = both(&config);
    let first = asked(&a, ACQUIRE);
    disk.damage(1, 30, b"torn").unwrap();
    let torn = asked(&b, ACQUIRE);
    assert_eq!(torn.outcome, Arbitrated::Denied, "{torn:?}");
    let own = asked(&a, Arbitrate::Renew(0b11));
    assert!(
        own.outcome == Arbitrated::Unreachable && own.why.contains("not as it was written") || granted(own.outcome)
    );
    disk.damage(1, 30, b"torn").unwrap();
    let begin = Instant::now();
    until(|| asked(&b, ACQUIRE), granted);
    assert!(begin.elapsed() >= Duration::from_millis(800), "{:?}", begin.elapsed());
    assert!(clock::monotonic() > end_of(&first));
}

#[test]
fn a_disk_that_fails_or_is_gone_is_no_grant_and_the_one_before_stays() {
    let disk = prepared();
    if !disk.is_loop {
        return;
    }
    let [a, b] = both(&config(&disk, "100ms"));
    let first = asked(&a, ACQUIRE);
    // The file behind it is shorter: what is beyond cannot be read.
    let file = File::options().write(true).open(disk.file()).unwrap();
    file.set_len(BLOCK * 2).unwrap();
    let failed = asked(&a, Arbitrate::Renew(0b11));
    let short = asked(&b, ACQUIRE);
    for answered in [&failed, &short] {
        assert!(!granted(answered.outcome), "{answered:?}");
    }
    assert!(Command::new("losetup").arg("--detach").arg(&disk.path).status().unwrap().success());
    let gone = asked(&a, Arbitrate::Renew(0b11));
    assert!(gone.outcome == Arbitrated::Unreachable && gone.why.starts_with("/dev/loop"), "{gone:?}; {first:?}");
}

/// Asks for the group again and again, in one life or several.
fn contend(config: &Config, node: Node, seed: u64, end: Instant) -> Vec<Held> {
    let mut random = Random::of(seed * 2 + u64::from(node.wire()));
    let mut arbiter = Arbiter::new(config, node).unwrap();
    let mut held: Vec<Held> = Vec::new();
    while Instant::now() < end {
        thread::sleep(random.ms(if random.clone().below(4) == 0 { 1_500 } else { 150 }));
        let question = match random.below(6) {
            0 => {
                let now = clock::monotonic();
                for held in &mut held {
                    held.until = held.until.min(now);
                }
                Arbitrate::Release(1)
            }
            1 => {
                arbiter = Arbiter::new(config, node).unwrap();
                Arbitrate::Acquire(1)
            }
            _ => Arbitrate::Acquire(1),
        };
        if let Arbitrated::Granted { groups: 1, until } = asked(&arbiter, question).outcome {
            held.push(Held { from: clock::monotonic().min(until), until });
        }
    }
    held
}

/// With `HEARTBEAT_TRIALS=20`, 20 rounds of 25 disks.
#[test]
fn two_controllers_on_a_real_disk_with_torn_blocks_never_have_a_group_both() {
    let rounds = std::env::var("HEARTBEAT_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (mut grants, mut torn) = ([0; 2], 0);
    for round in 0..rounds {
        let (more, damaged) = contended(round);
        grants = [grants[0] + more[0], grants[1] + more[1]];
        torn += damaged;
    }
    println!("{rounds} rounds of {DISKS} disks, {torn} torn blocks: {grants:?} grants, never both");
    assert!(grants.iter().all(|count| *count as u64 > 20 * rounds), "{grants:?}");
}

/// Disks of one round.
const DISKS: u64 = 25;

/// A round of that number: how often each was granted something, and how many blocks were torn.
fn contended(round: u64) -> ([usize; 2], u32) {
    let disks: Vec<_> = (0..DISKS).map(|_| prepared()).collect();
    let end = Instant::now() + Duration::from_secs(10);
    let (mut grants, mut torn) = ([0; 2], 0);
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for (seed, disk) in (round * DISKS..).zip(&disks) {
            let config = config(disk, "100ms");
            let [a, b] = [Node::A, Node::B].map(|node| {
                let config = config.clone();
                scope.spawn(move || contend(&config, node, seed, end))
            });
            runs.push((seed, a, b));
        }
        let mut random = Random::of(99 + round);
        while Instant::now() < end {
            thread::sleep(random.ms(50));
            let disk = &disks[random.below(disks.len() as u64) as usize];
            disk.damage(1 + random.below(2), random.below(60) as usize, &[0xa5; 12]).unwrap();
            torn += 1;
        }
        for (seed, a, b) in runs {
            let [a, b] = [a, b].map(|thread| thread.join().unwrap());
            for (one, other) in a.iter().flat_map(|one| b.iter().map(move |other| (one, other))) {
                let both = one.from.max(other.from) < one.until.min(other.until);
                assert!(!both, "disk {seed}: a {one:?}, b {other:?}");
            }
            grants[0] += a.len();
            grants[1] += b.len();
        }
    });
    (grants, torn)
}
