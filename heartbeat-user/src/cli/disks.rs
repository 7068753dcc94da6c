//! The disks of a configuration that both controllers have: whether they are prepared, and making them so.

use crate::{
    arbiter,
    config::{ArbiterEngine, Config},
    disk::{self, Disk},
    types::Node,
};
use anyhow::{Result, anyhow, ensure};
use std::{os::unix::fs::MetadataExt as _, path::Path, sync::mpsc, thread, time::Duration};

/// A disk that has not answered by then hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The disks that channels of `node` are.
fn of_channels(config: &Config, node: Node) -> impl Iterator<Item = (&str, &Path)> {
    config.channels.iter().filter_map(move |channel| Some((channel.name.as_str(), channel.disk(node)?.0)))
}

/// What keeps the channels over disks of `node` from working. Changes nothing.
pub(super) fn look(config: &Config, node: Node) -> Vec<String> {
    let (mut wrong, mut areas) = (Vec::new(), Vec::<(u64, &str, &Path)>::new());
    for (channel, path) in of_channels(config, node) {
        let shown = path.display();
        match area(path, config.pair.id) {
            Err(why) => wrong.push(format!("channel \"{channel}\": {shown}: {why}")),
            Ok(area) => {
                // By two ways to it, each of which is a device of its own.
                if let Some((_, first, at)) = areas.iter().find(|(other, _, at)| *other == area && !is_one(at, path)) {
                    wrong.push(format!(
                        "channel \"{channel}\": {shown} is the same disk as channel \"{first}\": {}, or a copy of it: what one writes, \
                         the other one reads; right would be another disk, prepared for itself, or one channel",
                        at.display()
                    ));
                }
                areas.push((area, channel, path));
            }
        }
    }
    wrong
}

/// One device under two names is found before, by those who do not read it.
fn is_one(path: &Path, other: &Path) -> bool {
    let id = |path: &Path| match path.metadata() {
        Ok(found) if found.rdev() != 0 => Some((found.rdev(), 0)),
        found => found.map(|found| (found.dev(), found.ino())).ok(),
    };
    id(path) == id(other)
}

/// What tells the disk from others.
fn area(path: &Path, pair: u32) -> Result<u64, String> {
    let (done, found) = mpsc::channel();
    let disk = path.to_owned();
    // Left behind where it hangs.
    thread::spawn(move || {
        done.send(Disk::open(&disk, pair, false).map(|disk| disk.area()).map_err(|error| error.to_string()))
    });
    found.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(format!("was not read within {PATIENCE:?}")))
}

/// Prepares the disks of the arbiter and of channels, as `node` has them: what was done with each.
///
/// # Errors
/// There are none, or what is in the way of one; those before it are prepared then.
pub(super) fn prepare(config: &Config, node: Node, force: bool) -> Result<Vec<String>> {
    let lease = config.arbiter.iter().filter_map(|arbiter| match &arbiter.engine {
        ArbiterEngine::Disk(path) => Some(path.as_path()),
        _ => None,
    });
    let mut disks: Vec<&Path> = Vec::new();
    for path in lease.chain(of_channels(config, node).map(|(_, path)| path)) {
        if !disks.contains(&path) {
            disks.push(path);
        }
    }
    ensure!(!disks.is_empty(), "--prepare is for disks, and neither the arbiter nor a channel is one");
    let pair = config.pair.id;
    let prepared = disks.iter().map(|path| {
        let shown = path.display();
        match disk::prepare(path, pair, force, arbiter::blank) {
            Ok(true) => Ok(format!("{shown}: prepared for pair {pair}")),
            Ok(false) => Ok(format!("{shown}: was prepared for pair {pair} before, and stays as it is")),
            Err(why) => Err(anyhow!("{shown}: {why}")),
        }
    });
    prepared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;
    use std::fs;

    /// A pair with a channel over a disk and, where there is a lease, one on that.
    fn config(disk: &Path, lease: Option<&Path>) -> Config {
        let end = format!("{{ device = \"{}\" }}", disk.display());
        let lease = lease.map_or(String::new(), |path| format!("[arbiter]\ndisk = \"{}\"\n", path.display()));
        let text = format!("{EXAMPLE}\n[[channel]]\nname = \"disk\"\nkind = \"disk\"\na = {end}\nb = {end}\n{lease}");
        Config::parse(&text, "test.toml").unwrap()
    }

    fn on_a_disk() -> tempfile::TempDir {
        // In memory, some kernels cannot read and write past the cache.
        tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
    }

    #[test]
    fn all_disks_of_a_configuration_are_prepared_once_and_what_is_on_them_stays() {
        let folder = on_a_disk();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        for path in [&one, &other] {
            fs::write(path, "").unwrap();
        }
        let said = |config: &Config| prepare(config, Node::A, false).unwrap().join("\n");
        let same = config(&one, Some(&one));
        let wrong = look(&same, Node::A);
        assert!(wrong[0].starts_with("channel \"disk\": ") && wrong[0].contains("is not prepared"), "{wrong:?}");
        assert_eq!(said(&same), format!("{}: prepared for pair 7", one.display()));
        assert_eq!(look(&same, Node::A), Vec::<String>::new());
        let before = fs::read(&one).unwrap();
        let both = said(&config(&one, Some(&other)));
        assert!(both.contains("other: prepared for pair 7\n") && both.ends_with("stays as it is"), "{both}");
        assert_eq!(fs::read(&one).unwrap(), before);
        assert!(prepare(&Config::parse(EXAMPLE, "x").unwrap(), Node::A, false).is_err());
    }

    #[test]
    fn one_disk_by_two_ways_to_it_is_told() {
        let folder = on_a_disk();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        fs::write(&one, "").unwrap();
        let second = |path: &Path| {
            let end = format!("{{ device = \"{}\" }}", path.display());
            let first = format!("{{ device = \"{}\" }}", one.display());
            let channel = |name: &str, end: &str| {
                format!("[[channel]]\nname = \"{name}\"\nkind = \"disk\"\na = {end}\nb = {end}\n")
            };
            let text = format!("{EXAMPLE}\n{}{}", channel("disk", &first), channel("disk2", &end));
            Config::parse(&text, "test.toml").unwrap()
        };
        prepare(&config(&one, None), Node::A, false).unwrap();
        // As whoever reads it by another way would see it.
        fs::copy(&one, &other).unwrap();
        let said = look(&second(&other), Node::A);
        let begin =
            format!("channel \"disk2\": {} is the same disk as channel \"disk\": {}", other.display(), one.display());
        assert!(said.len() == 1 && said[0].starts_with(&begin), "{said:?}");
        prepare(&config(&other, None), Node::A, true).unwrap();
        assert_eq!(look(&second(&other), Node::A), Vec::<String>::new());
    }

    #[test]
    fn a_disk_with_something_on_it_is_named_and_left_alone() {
        let folder = on_a_disk();
        let path = folder.path().join("disk");
        fs::write(&path, "LABELONE").unwrap();
        let why = prepare(&config(&path, None), Node::B, false).unwrap_err().to_string();
        assert!(why.starts_with(&path.display().to_string()) && why.contains("--force"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), b"LABELONE");
        prepare(&config(&path, None), Node::B, true).unwrap();
    }
}
