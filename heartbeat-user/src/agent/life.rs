//! The record of a life: what its cell's bits stand for, by name, and all that is needed to let go of it, so that whoever comes
//! after it can, also with another file, another mode or none at all.
//!
//! It is written before anything is claimed, and again when an interface is another one than before. The cell changes all the
//! time and costs nothing; this does not, and costs a write.

use super::runtime_dir::{RuntimeDir, remove, replace};
use crate::{
    config::{Config, GroupConfig, ServiceAddress},
    dataplane::PinnedCell,
    system::netlink::name_of,
    takeover::PlannedAddress,
    types::Node,
};
use anyhow::{Context, Result, ensure};
use heartbeat_ebpf::layout::AgentCell;
use serde::{Deserialize, Serialize};
use std::{fmt, fs::OpenOptions, io::Read as _, net::IpAddr, os::unix::fs::OpenOptionsExt as _};

/// Changes with every change of the record that an older agent would not understand.
const VERSION: u32 = 1;
/// The largest record that is read, in bytes: 64 groups with 4,096 addresses have some 400 KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// A life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The version of the record.
    pub version: u32,
    /// Its incarnation, in decimal digits: the cell that has the same is its own.
    pub incarnation: String,
    /// The boot that it was in: nothing outlives that.
    pub boot: String,
    /// What its hooks were told: which controller it was, and the other one's host name.
    pub node: Option<Node>,
    /// See `node`.
    pub peer: String,
    /// Its channels, in the order of its file.
    pub channels: Vec<LivedChannel>,
    /// Its groups, in the order of the bits in its cell.
    pub groups: Vec<LivedGroup>,
    /// Addresses that it could not remove, of groups that it had no place for.
    #[serde(default)]
    pub left: Vec<LivedAddress>,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivedChannel {
    /// Its name.
    pub name: String,
    /// Its interface; none of a serial line.
    pub interface: Option<String>,
    /// Where it was counted.
    pub slot: u8,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivedGroup {
    /// Its name.
    pub name: String,
    /// Its file had none of that name: it was left by a life before, and is only there to be let go of.
    #[serde(default)]
    pub departed: bool,
    /// Where it is at home.
    pub home: Node,
    /// Its addresses.
    pub addresses: Vec<LivedAddress>,
    /// The command, if it has one.
    #[serde(default)]
    pub on_releasing: Option<Vec<String>>,
    /// The same.
    #[serde(default)]
    pub on_release: Option<Vec<String>>,
    /// How long each of the two may take, in ns.
    pub timeout_ns: u64,
    /// Where `on_release` fails, it counts as released all the same.
    #[serde(default)]
    pub force: bool,
}

/// An address of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LivedAddress {
    /// The interface's name.
    pub interface: String,
    /// The interface's index; 0 while there was none of that name.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
}

/// The groups of which an agent that ended could not let go, a bit each: they are in place, or its hooks have something of them in use.
#[must_use]
pub fn still_here(cell: &AgentCell) -> u64 {
    cell.owned.get() | cell.hooked.get()
}

impl LivedGroup {
    /// Whether anything is run when it is let go of.
    pub const fn has_hooks(&self) -> bool {
        self.on_releasing.is_some() || self.on_release.is_some()
    }
}

impl Life {
    /// The record of a life that begins. `index_of` an interface's name; `slots` of the channels; `departed`: groups of earlier
    /// lives, whose bits follow those of the file.
    pub(super) fn new(
        config: &Config,
        node: Node,
        incarnation: u64,
        slots: &[u8],
        departed: &[LivedGroup],
        index_of: impl Fn(&str) -> u32,
    ) -> Result<Self> {
        let channels = config.channels.iter().zip(slots).map(|(channel, &slot)| LivedChannel {
            name: channel.name.clone(),
            interface: channel.end(node).map(|end| end.interface.clone()),
            slot,
        });
        let own = config.groups.iter().filter(|group| !group.departed);
        let groups = own.map(|group| LivedGroup {
            name: group.name.clone(),
            departed: false,
            home: group.home,
            addresses: addresses(config, node, group, &index_of),
            on_releasing: group.hooks.on_releasing.clone(),
            on_release: group.hooks.on_release.clone(),
            timeout_ns: group.hooks.timeout.0,
            force: group.hooks.force,
        });
        let groups = groups.chain(departed.iter().cloned()).collect();
        Ok(Self {
            version: VERSION,
            incarnation: incarnation.to_string(),
            boot: boot()?,
            node: Some(node),
            peer: config.hostnames[usize::from(node.other().wire())].clone().unwrap_or_default(),
            channels: channels.collect(),
            groups,
            left: Vec::new(),
        })
    }

    /// Whether the cell of this incarnation is this life's.
    pub(super) fn is_of(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation.to_string()
    }

    /// The cell of the life before, of those that were found: that of the record, else the one that lived last.
    pub(super) fn cell(record: Option<&Self>, cells: &[PinnedCell]) -> Option<PinnedCell> {
        let of_record = cells.iter().find(|cell| record.is_some_and(|life| life.is_of(cell.incarnation())));
        of_record.or_else(|| cells.iter().max_by_key(|cell| cell.alive_ns())).copied()
    }

    /// An interface has this index now; whether that is another one than before. What was put on the one before goes with that,
    /// unless it was only renamed.
    pub(super) fn see(&mut self, interface: &str, index: u32) -> bool {
        let mut changed = false;
        let own = self.groups.iter_mut().filter(|group| !group.departed).flat_map(|group| &mut group.addresses);
        for address in own.filter(|address| address.interface == interface && address.index != index) {
            if name_of(address.index).is_some() {
                self.left.push(address.clone());
            }
            address.index = index;
            changed = true;
        }
        changed
    }

    /// Only what the bits say is left of it.
    pub fn keep_only(&mut self, groups: u64) {
        let mut place = 0;
        self.groups.retain(|_| {
            place += 1;
            place <= 64 && groups >> (place - 1) & 1 == 1
        });
    }

    /// The interfaces that it may have attached to.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().filter_map(|channel| channel.interface.as_deref())
    }

    /// What is in the folder; none where there is nothing, or nothing that outlived the host's boot.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(folder: &RuntimeDir) -> Result<Option<Self>> {
        let path = folder.life();
        let shown = path.display();
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path);
        let file = match open {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            open => open.with_context(|| format!("{shown}: cannot be read"))?,
        };
        let mut text = Vec::new();
        (&file).take(MAX_FILE + 1).read_to_end(&mut text).with_context(|| format!("{shown}: cannot be read"))?;
        ensure!(text.len() as u64 <= MAX_FILE, "{shown}: larger than 1 MiB; this is no record of an agent's life");
        let life: Self =
            serde_json::from_slice(&text).with_context(|| format!("{shown}: no record of an agent's life"))?;
        ensure!(life.version == VERSION, "{shown}: version {}; right would be {VERSION}", life.version);
        ensure!(life.groups.len() <= 128, "{shown}: {} groups; the most is 128", life.groups.len());
        Ok(Some(life).filter(|life| boot().is_ok_and(|boot| boot == life.boot)))
    }

    /// Puts it there.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, folder: &RuntimeDir) -> Result<()> {
        let path = folder.life();
        let text = serde_json::to_vec(self)?;
        replace(&path, &text).with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Takes it away: nothing is left of it.
    pub(super) fn forget(folder: &RuntimeDir) {
        if let Err(error) = remove(&folder.life()) {
            log::warn!("{}: {error}", folder.life().display());
        }
    }
}

/// The addresses of a group on controller `node`, in the order of the file.
pub(super) fn addresses(
    config: &Config,
    node: Node,
    group: &GroupConfig,
    index_of: impl Fn(&str) -> u32,
) -> Vec<LivedAddress> {
    let address = |a: &ServiceAddress| {
        let interface = config.channels[a.channel.usize()].end(node)?.interface.clone();
        Some(LivedAddress { index: index_of(&interface), interface, ip: a.address, prefix: a.prefix })
    };
    group.addresses.iter().filter_map(address).collect()
}

impl LivedAddress {
    /// As the takeover thread has it.
    pub(super) fn planned(&self) -> PlannedAddress {
        PlannedAddress { interface: self.interface.clone(), ip: self.ip, prefix: self.prefix }
    }
}

impl fmt::Display for LivedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.planned().fmt(f)
    }
}

/// What tells this boot of the host from others.
fn boot() -> Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    /// The index of no interface.
    const GONE: u32 = 2_000_000_007;

    fn life() -> Life {
        let config = Config::parse(EXAMPLE, "example.toml").unwrap();
        Life::new(&config, Node::A, u64::MAX, &[0, 2, 1], &[], |name| if name == "eth0" { GONE } else { 0 }).unwrap()
    }

    fn folder() -> (tempfile::TempDir, RuntimeDir) {
        let folder = tempfile::tempdir().unwrap();
        let checked = RuntimeDir::open(folder.path()).unwrap();
        (folder, checked)
    }

    #[test]
    fn a_record_comes_back_as_it_was_written_and_is_nobody_elses_business() {
        let (_guard, folder) = folder();
        assert_eq!(Life::read(&folder).unwrap(), None);
        let life = life();
        life.write(&folder).unwrap();
        life.write(&folder).unwrap();
        assert_eq!(Life::read(&folder).unwrap().as_ref(), Some(&life));
        assert!(life.is_of(u64::MAX) && !life.is_of(1));
        assert_eq!(fs::metadata(folder.life()).unwrap().permissions().mode() & 0o777, 0o600);
        let address = &life.groups[0].addresses[0];
        assert_eq!((address.interface.as_str(), address.index, address.prefix), ("eth0", GONE, 24));
        Life::forget(&folder);
        assert_eq!(Life::read(&folder).unwrap(), None);
    }

    #[test]
    fn an_interface_made_anew_is_noted_and_one_that_was_renamed_is_not_forgotten() {
        let mut life = life();
        assert!(!life.see("eth0", GONE) && life.see("eth0", 9));
        assert!(life.left.is_empty(), "there is no such interface any more");
        let mut renamed = life.clone();
        // The loopback interface is always there.
        assert!(renamed.see("eth0", 1) && renamed.see("eth0", 8));
        assert!(!renamed.left.is_empty() && renamed.left.iter().all(|address| address.index == 1), "{renamed:?}");
        life.keep_only(0b10);
        assert_eq!(life.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["storage-b"]);
    }

    #[test]
    fn the_cell_of_a_life_is_the_one_that_its_record_names_else_the_one_that_lived_last() {
        let record = life();
        let own = record.incarnation.parse().unwrap();
        let cell = |version, incarnation, alive_ns| PinnedCell::sample(version, incarnation, alive_ns).unwrap();
        // As of versions before whose pins are still there, in any order, and of a file of tables.
        let (second, third, of_file, of_record) =
            (cell(2, 5, 900), cell(3, 6, 400), cell(4, 7, 800), cell(4, own, 100));
        let chosen =
            |record: Option<&Life>, cells: &[PinnedCell]| Life::cell(record, cells).map(|cell| cell.incarnation());
        assert_eq!((chosen(None, &[]), chosen(Some(&record), &[])), (None, None));
        for cells in [[second, third, of_file], [third, of_file, second], [of_file, second, third]] {
            assert_eq!(chosen(None, &cells), Some(5), "an old version's, if that lived last");
            assert_eq!(chosen(Some(&record), &cells), Some(5), "the record is of none of them");
        }
        for cells in [[second, of_record, of_file], [of_record, of_file, third], [third, second, of_record]] {
            assert_eq!(chosen(Some(&record), &cells), Some(own), "though others lived later");
            assert_ne!(chosen(None, &cells), Some(own));
        }
        // Taken over into a file, a cell is there twice: the first one is as good as the other.
        let twice = [of_record, cell(3, own, 100)];
        assert_eq!(Life::cell(Some(&record), &twice), Some(of_record));
    }

    #[test]
    fn a_record_of_another_boot_says_nothing() {
        let (_guard, folder) = folder();
        Life { boot: "another".into(), ..life() }.write(&folder).unwrap();
        assert_eq!(Life::read(&folder).unwrap(), None);
    }

    #[test]
    fn what_is_no_record_is_said_to_be_none() {
        let (guard, folder) = folder();
        let refused = |bytes: &[u8]| {
            fs::write(folder.life(), bytes).unwrap();
            format!("{:#}", Life::read(&folder).unwrap_err())
        };
        assert!(refused(b"").contains("no record of an agent's life"));
        assert!(refused(b"{\"version\": 1}").contains("no record of an agent's life"));
        assert!(refused(&vec![b' '; MAX_FILE as usize + 1]).contains("larger than 1 MiB"));
        let other = serde_json::to_string(&Life { version: 9, ..life() }).unwrap();
        assert!(refused(other.as_bytes()).contains("version 9; right would be 1"));
        // Neither a link nor a pipe is followed or waited for.
        remove(&folder.life()).unwrap();
        std::os::unix::fs::symlink(guard.path().join("elsewhere"), folder.life()).unwrap();
        assert!(Life::read(&folder).is_err());
        life().write(&folder).unwrap();
        assert!(!guard.path().join("elsewhere").exists() && Life::read(&folder).unwrap().is_some());
    }
}
