//! The files and programs that keys of the configuration name, but for devices: all of them are looked at here, and what is wrong
//! with one is said in one way.

use super::{
    super::{
        AgentOptions, Config, Fence, Means, Use,
        read::{ReadFault, read},
    },
    HostProblem,
};
use crate::{command, types::Node};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs::{File, metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The largest file with a password, in bytes.
const MAX_SECRET: u64 = 4 * 1024;
/// Lengths of a token.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=1_024;
/// Options of fence agents that name a program, of the 84 agents of Debian 12. Other paths of theirs are no files of this host
/// (`api_path`), or are written (`debug_file`, `store_path`).
const PROGRAMS: [&str; 18] = [
    "amttool_path",
    "corosync_cmap_path",
    "gnutlscli_path",
    "ipmitool_path",
    "mpathpersist_path",
    "openstack_path",
    "powerman_path",
    "sbd_path",
    "sg_persist_path",
    "sg_turs_path",
    "snmpget_path",
    "snmpset_path",
    "snmpwalk_path",
    "ssh_path",
    "sudo_path",
    "telnet_path",
    "vboxmanage_path",
    "vgs_path",
];
/// Those that name a file which nobody else is to read, and those that name another one.
const PRIVATE: [&str; 6] = ["identity_file", "key_file", "kubeconfig", "serviceaccount", "tlskey", "token_file"];
const PUBLIC: [&str; 3] = ["cacert", "tlscacert", "tlscert"];

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It is not there, or the system does not give it.
    Missing(Errno),
    /// A folder, device or pipe.
    NotAFile,
    /// Its mode lets nobody run it.
    NotExecutable(u32),
    /// Its mode lets others read what they are not to know.
    Exposed(u32),
    /// There is nothing in it.
    Empty,
    /// It is larger than so many bytes.
    TooLarge(u64),
    /// It was written to each time that it was read.
    Changing,
    /// What is in it is not what it should be: what that is, and what would be right.
    Wrong(String),
}

impl FileFault {
    /// In words, with what would be right, for a file at `path` that is for that.
    #[must_use]
    pub fn said(&self, of: Use, path: &Path) -> String {
        let (noun, right) = match of {
            Use::Run | Use::Script => ("command", "the path of a program or a script"),
            Use::Read | Use::Secret | Use::Private | Use::Write => ("file", "the path of a file"),
        };
        let shown = path.display();
        match self {
            Self::Missing(reason) if of == Use::Write => {
                let folder = path.parent().unwrap_or(path).display();
                format!("its folder: {reason}; right would be `mkdir -p {folder}`")
            }
            Self::Missing(Errno::EACCES) => {
                format!("{}; right would be to let its owner read it, or to run this as root", Errno::EACCES)
            }
            Self::Missing(reason) => format!("{reason}; put the {noun} there, or correct its path"),
            Self::NotAFile => format!("not a file; right would be {right}"),
            Self::NotExecutable(mode) => {
                format!("mode {mode:04o} lets nobody run it; right would be `chmod 755 {shown}`")
            }
            Self::Exposed(mode) => {
                let right = if of == Use::Script { "700" } else { "600" };
                format!(
                    "mode {mode:04o} lets others than its owner read it; right would be `chmod {right} {shown}`, and another secret \
                     if others may have read it"
                )
            }
            Self::Empty => format!("nothing in it; put there what the {noun} is to hold, or correct its path"),
            Self::TooLarge(most) => format!("larger than {most} bytes; this is hardly the right file"),
            Self::Changing => "it is being written to at this moment; try again when that is done".to_owned(),
            Self::Wrong(what) => what.clone(),
        }
    }
}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        Self::Missing(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

/// What is in a file that somebody wrote for the agent to read, of at most `most` bytes.
///
/// # Errors
/// The system's; it is no regular file, empty, larger, or, of a secret, others may read it.
pub fn read_file(path: &Path, most: u64, of: Use) -> Result<Vec<u8>, FileFault> {
    let contents = read(path, most, if of == Use::Secret { 0o077 } else { 0 }).map_err(|fault| match fault {
        ReadFault::System(error) => error.into(),
        ReadFault::NotRegular => FileFault::NotAFile,
        ReadFault::Exposed(mode) => FileFault::Exposed(mode),
        ReadFault::TooLarge => FileFault::TooLarge(most),
        ReadFault::Changing => FileFault::Changing,
    })?;
    if contents.bytes.is_empty() { Err(FileFault::Empty) } else { Ok(contents.bytes) }
}

/// What a file holds that nobody but its owner may read, without the end of its line.
///
/// # Errors
/// Why not, and what would be right.
pub fn read_secret(path: &Path) -> Result<String, String> {
    secret(path).map_err(|fault| fault.said(Use::Secret, path))
}

fn secret(path: &Path) -> Result<String, FileFault> {
    let bytes = read_file(path, MAX_SECRET, Use::Secret)?;
    let text =
        String::from_utf8(bytes).map_err(|_| FileFault::Wrong("not text; right would be one line of it".to_owned()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err(FileFault::Empty) } else { Ok(secret.to_owned()) }
}

/// The token that orders over HTTP must bring.
///
/// # Errors
/// As [`read_secret`]; or it is too short, too long, or has characters that no header can have.
pub fn read_token(path: &Path) -> Result<String, String> {
    token(path).map_err(|fault| fault.said(Use::Secret, path))
}

fn token(path: &Path) -> Result<String, FileFault> {
    let token = secret(path)?;
    if TOKEN.contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(token);
    }
    let count = token.chars().count();
    Err(FileFault::Wrong(format!(
        "holds {count} characters; right would be one line of 16 to 1024 printable ones without a space"
    )))
}

/// A key, as messages name it, with the file that it names.
type Named = (String, PathBuf, Use);

/// What takes part in a takeover: commands, fence agents, and what these are told to read or run.
fn programs(config: &Config) -> Vec<Named> {
    let commands = config.commands().filter_map(|(key, words, _)| Some((key, PathBuf::from(words.first()?), Use::Run)));
    let agents = config.agents().filter_map(|(key, name)| Some((key, command::find(name).ok()?, Use::Run)));
    let mut named: Vec<_> = commands.chain(agents).collect();
    for device in config.fence.iter().flat_map(Fence::devices) {
        let Means::Agent { options, .. } = &device.by else { continue };
        for (name, path, of) in [Node::A, Node::B].iter().flat_map(|node| told(&options[usize::from(node.wire())])) {
            let key = format!("{}: option {name}", device.key);
            if !named.iter().any(|(other, at, _)| (other, at) == (&key, &path)) {
                named.push((key, path, of));
            }
        }
    }
    named
}

/// The files that an agent's options name by their absolute paths.
fn told(options: &AgentOptions) -> Vec<(&str, PathBuf, Use)> {
    let file = |(name, value)| {
        let of = match name {
            name if str::ends_with(name, "_script") => Use::Script,
            name if PROGRAMS.contains(&name) => Use::Run,
            name if PRIVATE.contains(&name) => Use::Private,
            name if PUBLIC.contains(&name) => Use::Read,
            _ => return None,
        };
        // A script is a line for a shell: its first word is the program.
        let path = if of == Use::Script { str::split_whitespace(value).next()? } else { value };
        path.starts_with('/').then(|| (name, PathBuf::from(path), of))
    };
    options.iter().filter_map(file).collect()
}

/// The other ones. The key file of the pair, and those of the arbiter's TLS, are looked at by those who understand what is in them.
fn others(config: &Config) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    named.extend(config.api.token_file.iter().map(|path| ("api.token_file".to_owned(), path.clone(), Use::Secret)));
    let arbiter = config.arbiter.iter().flat_map(|arbiter| arbiter.files());
    named.extend(arbiter.map(|(key, path, of)| (key.to_owned(), path.to_owned(), of)));
    let written = [("events.file", &config.events.file), ("histograms.log", &config.histograms.log)];
    named.extend(
        written.into_iter().filter_map(|(key, file)| Some((key.to_owned(), file.as_ref()?.path.clone(), Use::Write))),
    );
    named
}

/// What is wrong with a file, without running it; of those that the agent does not read itself, nothing is said of who else may.
fn look(key: &str, path: &Path, of: Use) -> Option<FileFault> {
    match (key, of) {
        ("api.token_file", _) => return token(path).err(),
        (_, Use::Secret) => return secret(path).err(),
        (_, Use::Write) => return written(path),
        _ => {}
    }
    let found = match metadata(path) {
        Err(error) => return Some(error.into()),
        Ok(found) if !found.is_file() => return Some(FileFault::NotAFile),
        Ok(found) => found,
    };
    match of {
        Use::Run | Use::Script if found.permissions().mode() & 0o111 == 0 => {
            Some(FileFault::NotExecutable(found.permissions().mode() & 0o7777))
        }
        Use::Read | Use::Private if found.len() == 0 => Some(FileFault::Empty),
        Use::Read | Use::Private => File::open(path).err().map(FileFault::from),
        _ => None,
    }
}

fn written(path: &Path) -> Option<FileFault> {
    match metadata(path.parent()?) {
        Err(error) => return Some(error.into()),
        Ok(folder) if !folder.is_dir() => return Some(FileFault::Missing(Errno::ENOTDIR)),
        Ok(_) => {}
    }
    // It is renamed when it is large: not to be done with a device.
    metadata(path).is_ok_and(|found| !found.is_file()).then_some(FileFault::NotAFile)
}

fn problem((key, path, of): Named) -> Option<HostProblem> {
    let fault = look(&key, &path, of)?;
    Some(HostProblem::File { key, path, of, fault })
}

/// The commands of `config` that could not be run on this host, and what its fence agents could not run or read; empty if there is
/// nothing. Runs none.
#[must_use]
pub fn check_commands(config: &Config) -> Vec<HostProblem> {
    let agents = config.agents().filter_map(|(key, name)| {
        let why = command::find(name).err()?;
        Some(HostProblem::AgentMissing { key, why })
    });
    programs(config).into_iter().filter_map(problem).chain(agents).collect()
}

/// The other files of `config` that could not be read or written. An agent runs all the same.
#[must_use]
pub fn check_files(config: &Config) -> Vec<HostProblem> {
    let parsed = |key: &str| ["arbiter.ca_file", "arbiter.cert_file", "arbiter.key_file"].contains(&key);
    others(config).into_iter().filter(|(key, ..)| !parsed(key)).filter_map(problem).collect()
}

/// The files that the agent reads or runs, `config_file` among them, that others than root (and who runs this) could change, or
/// put others in the place of; and those with secrets that others could read.
#[must_use]
pub fn check_owners(config: &Config, config_file: &Path) -> Vec<HostProblem> {
    let mut files = vec![("the configuration".to_owned(), config_file.to_owned(), Use::Read)];
    files.push(("pair.key_file".to_owned(), config.pair.key_file.clone(), Use::Secret));
    files.extend(others(config).into_iter().chain(programs(config)).filter(|(.., of)| *of != Use::Write));
    let exposed: Vec<_> = files.iter().filter_map(|(key, path, of)| exposed(key, path, *of)).collect();
    let mut seen = BTreeSet::new();
    let places = files.into_iter().flat_map(|(what, path, _)| {
        let folder = path.parent().map(Path::to_owned).filter(|folder| folder.is_absolute());
        let folder = folder.map(|folder| (format!("{what}: its folder"), folder));
        [Some((what, path)), folder].into_iter().flatten()
    });
    let writable = places.filter(|(_, path)| seen.insert(path.clone())).filter_map(|(what, path)| writable(what, path));
    writable.chain(exposed).collect()
}

/// A secret that others may read; where that is the agent's to read, it is no warning but an error.
fn exposed(key: &str, path: &Path, of: Use) -> Option<HostProblem> {
    // What is not there is somebody else's to say.
    let found = metadata(path).ok().filter(|_| matches!(of, Use::Private | Use::Script))?;
    let others = if found.gid() == 0 { 0o004 } else { 0o044 };
    let mode = found.mode() & 0o7777;
    let fault = (mode & others != 0).then_some(FileFault::Exposed(mode))?;
    Some(HostProblem::File { key: key.to_owned(), path: path.to_owned(), of, fault })
}

fn writable(what: String, path: PathBuf) -> Option<HostProblem> {
    let found = metadata(&path).ok()?;
    let (owner, mode) = (found.uid(), found.mode());
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let remedy = format!("chown root {}", path.display());
        return Some(HostProblem::Writable { what, path, how: format!("belongs to user {owner}"), remedy });
    }
    let others = if found.gid() == 0 { 0o002 } else { 0o022 };
    // In a folder such as /tmp nobody can replace what is another's.
    let guarded = found.is_dir() && mode & 0o1000 != 0;
    if mode & others == 0 || guarded {
        return None;
    }
    let remedy = format!("chmod go-w {}", path.display());
    Some(HostProblem::Writable { what, path, how: format!("mode {:04o}", mode & 0o7777), remedy })
}

#[cfg(test)]
mod tests;
