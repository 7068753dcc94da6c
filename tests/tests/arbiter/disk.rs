//! A lease on a disk: a loop device, where this kernel has them, else the file behind it, read and written past all caches.

use super::{ACQUIRE, Held, Random, config, done, end_of, granted, until};
use heartbeat::arbiter::{Answered, Arbiter, LEASE_BYTES, prepare};
use heartbeat::config::Config;
use heartbeat::core::{Arbitrate, Arbitrated, Node};
use heartbeat::dataplane::clock;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BLOCK: u64 = 4096;

/// A disk of 1 MiB.
struct Disk {
    path: PathBuf,
    is_loop: bool,
    folder: TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = folder.path().join("disk");
        File::create(&file).unwrap().set_len(1 << 20).unwrap();
        let made = Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&file).output();
        match made {
            Ok(made) if made.status.success() => {
                let path = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
                Self { path, is_loop: true, folder }
            }
            other => {
                eprintln!("NOT ON A LOOP DEVICE, but on the file: {other:?}");
                Self { path: file, is_loop: false, folder }
            }
        }
    }

    fn prepared() -> Self {
        let disk = Self::new();
        prepare(&disk.path, 7, false).unwrap();
        disk
    }

    fn config(&self, io_timeout: &str) -> Config {
        config(7, &format!("disk = \"{}\"\nio_timeout = \"{io_timeout}\"", self.path.display()))
    }

    /// Overwrites bytes of a block, past us.
    fn damage(&self, block: u64, at: u64, bytes: &[u8]) {
        let mut whole = Aligned([0; BLOCK as usize]);
        let file = direct(&self.path);
        file.read_exact_at(&mut whole.0, block * BLOCK).unwrap();
        whole.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
        file.write_all_at(&whole.0, block * BLOCK).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_loop {
            let _ = Command::new("losetup").arg("--detach").arg(&self.path).output();
        }
    }
}

#[repr(align(4096))]
struct Aligned([u8; BLOCK as usize]);

fn direct(path: &Path) -> File {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = nix::fcntl::OFlag::O_DIRECT.bits();
    File::options().read(true).write(true).custom_flags(flags).open(path).unwrap()
}

fn asked(arbiter: &Arbiter, question: Arbitrate) -> Answered {
    done(arbiter.ask(question))
}

fn both(config: &Config) -> [Arbiter; 2] {
    [Node::A, Node::B].map(|node| Arbiter::new(config, node).unwrap())
}

#[test]
fn one_has_it_until_it_gives_it_back_or_falls_silent() {
    let disk = Disk::prepared();
    let config = disk.config("100ms");
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
    let disk = Disk::new();
    let config = disk.config("100ms");
    let a = Arbiter::new(&config, Node::A).unwrap();
    let shown = disk.path.display().to_string();
    let why = |words: &str| {
        let answered = asked(&a, ACQUIRE);
        assert!(answered.outcome == Arbitrated::Unreachable, "{answered:?}");
        assert!(answered.why.starts_with(&shown) && answered.why.contains(words), "{words}: {answered:?}");
        assert!(done(a.look()).unwrap_err().contains(words));
    };
    why("is not prepared, or is another disk; right would be `heartbeat arbiter --prepare`");
    disk.damage(2, 100, b"XFSB");
    let refused = prepare(&disk.path, 7, false).unwrap_err();
    assert!(refused.contains("has something in its first 12 KiB; --force"), "{refused}");
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
    fs::write(&short, [0; LEASE_BYTES - 1]).unwrap();
    for (path, words) in [
        (folder.path().join("none"), "cannot be opened: No such file or directory"),
        (pipe, "cannot be opened"),
        ("/dev/zero".into(), "cannot be opened"),
        (short, "is not prepared"),
        (folder.path().to_owned(), "cannot be opened: Is a directory"),
    ] {
        let config = config(7, &format!("disk = \"{}\"", path.display()));
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
    let disk = Disk::prepared();
    let config = disk.config("100ms");
    let [a, b] = both(&config);
    let first = asked(&a, ACQUIRE);
    disk.damage(1, 30, b"torn");
    let torn = asked(&b, ACQUIRE);
    assert_eq!(torn.outcome, Arbitrated::Denied, "{torn:?}");
    let own = asked(&a, Arbitrate::Renew(0b11));
    assert!(
        own.outcome == Arbitrated::Unreachable && own.why.contains("not as it was written") || granted(own.outcome)
    );
    disk.damage(1, 30, b"torn");
    let begin = Instant::now();
    until(|| asked(&b, ACQUIRE), granted);
    assert!(begin.elapsed() >= Duration::from_millis(800), "{:?}", begin.elapsed());
    assert!(clock::monotonic() > end_of(&first));
}

#[test]
fn a_disk_that_fails_or_is_gone_is_no_grant_and_the_one_before_stays() {
    let disk = Disk::prepared();
    if !disk.is_loop {
        return;
    }
    let [a, b] = both(&disk.config("100ms"));
    let first = asked(&a, ACQUIRE);
    // The file behind it is shorter: what is beyond cannot be read.
    let file = File::options().write(true).open(disk.folder.path().join("disk")).unwrap();
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

#[test]
fn two_controllers_on_a_real_disk_with_torn_blocks_never_have_a_group_both() {
    let disks: Vec<_> = (0..12).map(|_| Disk::prepared()).collect();
    let end = Instant::now() + Duration::from_secs(12);
    let (mut grants, mut torn) = ([0; 2], 0);
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for (seed, disk) in disks.iter().enumerate() {
            let config = disk.config("100ms");
            let [a, b] = [Node::A, Node::B].map(|node| {
                let config = config.clone();
                scope.spawn(move || contend(&config, node, seed as u64, end))
            });
            runs.push((seed, a, b));
        }
        let mut random = Random::of(99);
        while Instant::now() < end {
            thread::sleep(random.ms(100));
            let disk = &disks[random.below(disks.len() as u64) as usize];
            disk.damage(1 + random.below(2), random.below(60), &[0xa5; 12]);
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
    println!("12 disks, {torn} torn blocks: {grants:?} grants, never both");
    assert!(grants.iter().all(|count| *count > 20), "{grants:?}");
}
