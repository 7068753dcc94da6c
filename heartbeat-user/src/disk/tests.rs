use super::*;
use crate::system::clock;
use std::fs;

/// A file on a disk: in memory, some kernels cannot read and write past the cache.
fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let program = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn leases(_: u64) -> [Block; 2] {
    [Block::ZERO, Block::ZERO]
}

#[test]
fn each_block_is_written_and_read_at_its_own_place() {
    let (_folder, path) = file(&[]);
    assert!(prepare(&path, 7, false, leases).unwrap());
    let disk = Disk::open(&path, 7, true).unwrap();
    let blocks = [1, 2, 3, 4].map(|number| Block::of(9, number, &number.to_le_bytes()));
    for (number, block) in (1..).zip(&blocks) {
        disk.write(number, block).unwrap();
    }
    let [lease_a, lease_b] = disk.read(lease).unwrap();
    let [a, b] = disk.read(heartbeats).unwrap();
    assert_eq!([lease_a, lease_b, a, b], blocks);
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), USED_BYTES);
    assert!((1..5).all(|i| bytes[i * BLOCK..][..BLOCK] == blocks[i - 1].0));
}

#[test]
fn what_has_anything_on_it_is_prepared_by_force_only_and_what_is_prepared_stays_as_it_is() {
    for at in [0, 511, BLOCK, USED_BYTES - 1] {
        let mut bytes = vec![0; USED_BYTES + BLOCK];
        bytes[at] = 1;
        let (_folder, path) = file(&bytes);
        let refused = prepare(&path, 7, false, leases).unwrap_err();
        assert!(refused.to_string().starts_with("has something in its first 20 KiB; --force"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let (_folder, short) = file(b"text");
    assert!(matches!(prepare(&short, 7, false, leases), Err(DiskError::Occupied(_))));
    assert_eq!(fs::read(&short).unwrap(), b"text");
    let mut beyond = vec![0; USED_BYTES + 1];
    beyond[USED_BYTES] = 1;
    let (_folder, path) = file(&beyond);
    assert!(prepare(&path, 7, false, leases).unwrap());
    let prepared = fs::read(&path).unwrap();
    assert_eq!(prepared[USED_BYTES], 1);
    assert!(!prepare(&path, 7, false, leases).unwrap());
    assert_eq!(fs::read(&path).unwrap(), prepared);
    let refused = prepare(&path, 8, false, leases).unwrap_err();
    assert!(refused.to_string().starts_with("is prepared already, for pair 7"), "{refused}");
    assert!(prepare(&path, 8, true, leases).unwrap());
    assert_ne!(Disk::open(&path, 8, false).unwrap().area(), 0);
}

#[test]
fn what_is_no_disk_of_ours_is_not_opened_and_its_errno_says_what_kind_of_fault_it_is() {
    let (folder, path) = file(&vec![0; USED_BYTES]);
    let short = folder.path().join("short");
    fs::write(&short, [0; USED_BYTES - 1]).unwrap();
    let others = folder.path().join("others");
    fs::write(&others, "").unwrap();
    prepare(&others, 8, false, leases).unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, words, errno) in [
        (
            folder.path().join("none"),
            "cannot be opened: No such file or directory (os error 2); right would be this host's path",
            libc::ENOENT,
        ),
        (folder.path().to_owned(), "is no disk; right would be a block device", libc::ENOTBLK),
        (pipe, "is no disk", libc::ENOTBLK),
        ("/dev/zero".into(), "is no disk", libc::ENOTBLK),
        (path, "is not prepared, or is another disk; right would be `heartbeat arbiter --prepare`", libc::EMEDIUMTYPE),
        (short, "is not prepared", libc::EMEDIUMTYPE),
        (others, "is prepared for pair 8, this is pair 7; right would be a disk of this pair's own", libc::EMEDIUMTYPE),
    ] {
        let error = Disk::open(&path, 7, true).unwrap_err();
        assert!(error.to_string().starts_with(words) && error.errno() == errno, "{}: {error}", path.display());
    }
}

#[test]
fn a_disk_whose_first_block_was_changed_is_called_damaged_and_not_unprepared() {
    let (_folder, path) = file(&[]);
    prepare(&path, 7, false, leases).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = Disk::open(&path, 7, true).unwrap_err();
    assert!(
        error.to_string().starts_with("is damaged: of what says whose disk it is (block 0) the checksum"),
        "{error}"
    );
    assert_eq!(error.errno(), libc::EMEDIUMTYPE);
}

#[test]
fn a_disk_that_ends_too_soon_is_called_so_and_not_prepared_already() {
    let (_folder, path) = file(&[]);
    prepare(&path, 7, false, leases).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(8_192).unwrap();
    for error in [Disk::open(&path, 7, true).unwrap_err(), prepare(&path, 7, false, leases).unwrap_err()] {
        assert_eq!((error.to_string(), error.errno()), ("has 8192 bytes, and 20480 are needed".into(), libc::ENOSPC));
    }
}

#[test]
fn a_disk_that_is_prepared_anew_is_another_one() {
    let (_folder, path) = file(&[]);
    prepare(&path, 7, false, leases).unwrap();
    let disk = Disk::open(&path, 7, true).unwrap();
    disk.read(heartbeats).unwrap();
    prepare(&path, 7, true, leases).unwrap();
    let error = disk.read(heartbeats).unwrap_err();
    assert!(error.to_string().starts_with("is another disk than before"), "{error}");
}

#[test]
fn how_long_something_has_not_returned_is_known_to_others() {
    let busy = Busy::default();
    let others = busy.clone();
    let now = clock::monotonic();
    assert_eq!(others.lasts(now), Nanos(0));
    let reading = busy.begin(now);
    assert_eq!(others.lasts(now.after(Nanos(5))), Nanos(5));
    drop(reading);
    assert_eq!(others.lasts(now.after(Nanos(5))), Nanos(0));
}
