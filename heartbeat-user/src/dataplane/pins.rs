//! The folder of pins: what is in it, what of it can be adopted, and how it is emptied.

use super::{bpf_link, filter};
use crate::system::bpffs;
pub(super) use crate::system::bpffs::BPFFS;
use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use heartbeat_ebpf::frame::Way;
use heartbeat_ebpf::{
    frame::Address,
    layout::{self, End, map},
};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The maps that an agent adopts from the one before it.
pub(super) const PINNED: [&str; 6] =
    [map::AGENT, map::CHANNEL_OF, map::GUARDED, map::INTER_ARRIVAL, map::KERNEL, map::SLOTS];
/// What the names of links' pins start with.
pub(super) const LINK: &str = "link-";
/// The same of the tc programs', by the way that the frames go.
pub(super) const OUT: &str = "out-";
pub(super) const IN: &str = "in-";
/// The pin of the link of the program that notes a death.
pub(super) const DEATH: &str = "death";

/// What the name of the program's pin starts with.
pub(super) const PROGRAM: &str = "program-";

/// Below it each runtime directory has its folder.
pub(super) const ROOT: &str = "/sys/fs/bpf/heartbeat";
/// The longest name of a folder, well below what the file system takes.
const LONGEST: usize = 200;

/// The folder for the pins of an agent with this runtime directory, which must be there: agents beside each other do not
/// share maps. `/run/heartbeat` has `/sys/fs/bpf/heartbeat/run%2fheartbeat`; no two directories have the same.
///
/// # Errors
/// Where the directory is not there.
pub fn pin_folder(runtime_dir: &Path) -> io::Result<PathBuf> {
    let absolute = runtime_dir.canonicalize()?;
    let name = escape(absolute.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default());
    let name = if name.len() <= LONGEST {
        name
    } else {
        // '#' stands in no escaped name.
        let digest = Sha256::digest(absolute.as_os_str().as_bytes());
        format!(
            "{}#{}",
            &name[..LONGEST / 2],
            digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        )
    };
    Ok(Path::new(ROOT).join(name))
}

/// Letters, digits, '-', '_', ':' and '@' as they are, all else as '%' and two hexadecimal digits: bpffs keeps names with
/// dots, as VLAN interfaces have, for itself.
fn escape(name: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:@".contains(&byte);
    name.iter().map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

/// What [`escape`] made `name` of.
pub(super) fn unescape(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The pin of an interface's link.
pub(super) fn link_path(folder: &Path, interface: &str) -> PathBuf {
    path_of(folder, LINK, interface)
}

/// The pin of an interface's link of one sort.
pub(super) fn path_of(folder: &Path, sort: &str, interface: &str) -> PathBuf {
    folder.join(format!("{sort}{}", escape(interface.as_bytes())))
}

/// The interface that a pin of one sort is for; none where it is of another.
pub(super) fn interface_of(path: &Path, sort: &str) -> Option<String> {
    path.file_name()?.to_str()?.strip_prefix(sort).map(unescape)
}

/// Sees to it that there is one, and says where it does not last.
pub(super) fn mount_bpffs() -> Result<()> {
    let mounted = mount_where_missing();
    if let Some(why) = bpffs::passes() {
        log::warn!("{why}");
    }
    mounted
}

fn mount_where_missing() -> Result<()> {
    let mounted = || statfs(BPFFS).map(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if mounted() == Ok(true) {
        return Ok(());
    }
    fs::create_dir_all(BPFFS).with_context(|| format!("making {BPFFS}"))?;
    match mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700")) {
        // Somebody else was faster.
        Err(Errno::EBUSY) if mounted() == Ok(true) => Ok(()),
        result => result.with_context(|| format!("mounting the BPF file system at {BPFFS}")),
    }
}

/// Pins of other versions of the records hold the interfaces, and tell us nothing.
pub(super) fn remove_other_versions(pin_folder: &Path, ours: &Path) -> Result<()> {
    for path in entries(pin_folder)? {
        let is_version = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix('v'))
            .is_some_and(|number| number.parse::<u32>().is_ok());
        if is_version && path != ours {
            empty(&path)?;
            fs::remove_dir(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Whether all maps are pinned there, with the shapes that ours have.
pub(super) fn all_adoptable(folder: &Path) -> bool {
    let sizes = |name: &str| match name {
        map::AGENT => (4, size_of::<layout::AgentCell>(), 1),
        map::CHANNEL_OF => (size_of::<End>(), 4, layout::ENDS),
        map::GUARDED => (size_of::<Address>(), 8, layout::ADDRESSES),
        map::INTER_ARRIVAL => (4, size_of::<layout::Histogram>(), layout::CHANNELS),
        map::KERNEL => (4, size_of::<layout::KernelCell>(), 1),
        _ => (4, size_of::<layout::Slot>(), layout::CHANNELS),
    };
    PINNED.iter().all(|name| {
        MapInfo::from_pin(folder.join(name))
            .is_ok_and(|info| (info.key_size() as usize, info.value_size() as usize, info.max_entries()) == sizes(name))
    })
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    list().with_context(|| format!("listing {}", folder.display()))
}

/// All pins of one sort below a folder, two levels deep: runtime directories and versions.
pub(super) fn below(root: &Path, sort: &str) -> Vec<PathBuf> {
    let within = |path: &PathBuf| entries(path).unwrap_or_default();
    within(&root.to_owned())
        .iter()
        .flat_map(within)
        .flat_map(|path| if path.is_dir() { within(&path) } else { vec![path] })
        .filter(|path| interface_of(path, sort).is_some())
        .collect()
}

/// Takes away what agents with this folder of pins have left, of whatever version; nothing where there is no such folder.
///
/// # Errors
/// Where something cannot be removed.
pub fn remove_pins(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for version in entries(folder)? {
        empty(&version)?;
        fs::remove_dir(&version).with_context(|| format!("removing {}", version.display()))?;
    }
    fs::remove_dir(folder).with_context(|| format!("removing {}", folder.display()))
}

/// Removes all pins in a folder, and programs from interfaces with their links.
pub(super) fn empty(folder: &Path) -> Result<()> {
    for path in entries(folder)? {
        remove_pin(&path)?;
    }
    Ok(())
}

pub(super) fn remove_pin(path: &Path) -> Result<()> {
    let of_interface = [LINK, OUT, IN].into_iter().find_map(|sort| Some((sort, interface_of(path, sort)?)));
    if let Some((sort, interface)) = of_interface
        && let Err(error) = bpf_link::detach(path)
        && !way_of(sort).is_some_and(|way| filter::detach(way, &interface))
    {
        // Its interface is gone, or it is no link at all: the pin has to go in any case.
        log::debug!("detaching {}: {error}", path.display());
    }
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
}

/// Which way the frames go that a program of such a pin looks at, where it can be a filter.
fn way_of(sort: &str) -> Option<Way> {
    match sort {
        OUT => Some(Way::Out),
        IN => Some(Way::In),
        _ => None,
    }
}

pub(super) fn unpin(path: &Path) {
    if let Err(error) = remove_pin(path) {
        log::warn!("{error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(below: &Path, name: &str) -> PathBuf {
        let directory = below.join(name);
        fs::create_dir_all(&directory).unwrap();
        pin_folder(&directory).unwrap()
    }

    #[test]
    fn no_two_runtime_directories_share_a_folder_of_pins() {
        let below = tempfile::tempdir().unwrap();
        let names = ["a-b", "a/b", "a.b", "a_b", "a%2fb", "a b", "a\u{e9}b"];
        let mut folders: Vec<_> = names.iter().map(|name| folder(below.path(), name)).collect();
        let long = ["x".repeat(150) + "/" + &"y".repeat(150), "x".repeat(150) + "/" + &"y".repeat(151)];
        folders.extend(long.iter().map(|name| folder(below.path(), name)));
        for folder in &folders {
            let name = folder.file_name().unwrap().to_str().unwrap();
            assert!(folder.parent() == Some(Path::new(ROOT)) && !name.contains('.') && name.len() < 255, "{name}");
        }
        let count = folders.len();
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), count);
        assert!(pin_folder(&below.path().join("not-there")).is_err());
    }

    proptest! {
        #[test]
        fn every_interface_name_comes_back_from_the_name_of_its_pin(name in "[!-.0-~]{1,15}") {
            let path = link_path(Path::new("/"), &name);
            let pin = path.file_name().unwrap().to_str().unwrap();
            prop_assert!(!pin.contains('.'));
            prop_assert_eq!(unescape(pin.strip_prefix(LINK).unwrap()), name);
        }
    }
}
