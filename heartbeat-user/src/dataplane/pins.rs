//! The folder of pins: what is in it, what of it can be adopted, and how it is emptied.

use super::bpf_link;
use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use heartbeat_ebpf::layout::{self, End, map};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the BPF file system belongs.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// The maps that an agent adopts from the one before it.
pub(super) const PINNED: [&str; 4] = [map::AGENT, map::CHANNEL_OF, map::INTER_ARRIVAL, map::SLOTS];
/// What the names of links' pins start with.
pub(super) const LINK: &str = "link-";

/// What the name of the program's pin starts with.
pub(super) const PROGRAM: &str = "program-";

/// The pin of an interface's link.
pub(super) fn link_path(folder: &Path, interface: &str) -> PathBuf {
    // bpffs keeps names with dots, as VLAN interfaces have, for itself.
    folder.join(format!("{LINK}{}", interface.replace('%', "%25").replace('.', "%2e")))
}

/// The interface's name, of what follows [`LINK`] in a pin's.
pub(super) fn unescape(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

pub(super) fn mount_bpffs() -> Result<()> {
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
        map::AGENT => (4, size_of::<layout::Agent>(), 1),
        map::CHANNEL_OF => (size_of::<End>(), 4, layout::CHANNELS),
        map::INTER_ARRIVAL => (4, size_of::<layout::Histogram>(), layout::CHANNELS),
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

/// Removes all pins in a folder, and programs from interfaces with their links.
pub(super) fn empty(folder: &Path) -> Result<()> {
    for path in entries(folder)? {
        remove_pin(&path)?;
    }
    Ok(())
}

pub(super) fn remove_pin(path: &Path) -> Result<()> {
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(LINK.as_bytes()))
        && let Err(error) = bpf_link::detach(path)
    {
        // Its interface is gone, or it is no link at all: the pin has to go in any case.
        log::debug!("detaching {}: {error}", path.display());
    }
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
}

pub(super) fn unpin(path: &Path) {
    if let Err(error) = remove_pin(path) {
        log::warn!("{error:#}");
    }
}
