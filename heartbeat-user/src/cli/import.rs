//! `heartbeat import`: a configuration of another program's as one of ours.

#![forbid(unsafe_code)]

use crate::import::{FindingKind, ImportOptions, keepalived};
use anyhow::{Context as _, Result, bail};
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _, stdout},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where something was lost, or is to be filled in. 2 is clap's, for a command line that is wrong.
const NOT_WHOLE: u8 = 3;

/// Make a configuration of another program's: keepalived
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Whose
    #[command(subcommand)]
    of: Program,
}

#[derive(Debug, clap::Subcommand)]
enum Program {
    Keepalived(KeepalivedArgs),
}

/// Make a configuration for both controllers of keepalived's files
///
/// Reads keepalived.conf of one node, or of both, with all that they include, and writes one heartbeat.toml for both controllers: to standard
/// output, or to a file. What has no counterpart is named on standard error with its file, its line and what to do instead; so is what no
/// file says, as the other node's address where there is only one file and no unicast_peer. Nothing is started, stopped or asked.
///
/// The exit code is 0 if nothing was lost, 3 if something was, or is to be filled in; 1 if the files are broken or not of a pair, and nothing
/// was written.
#[derive(Debug, clap::Args)]
struct KeepalivedArgs {
    /// The file of the node that becomes controller a
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file of the other node, controller b
    #[arg(value_name = "FILE-OF-THE-OTHER")]
    other: Option<PathBuf>,
    /// The id that keepalived is started with (its own -i, or the host's name), for lines such as `@high priority 150`: once for a, once
    /// more for b. With one file and two ids, the file is both nodes'
    #[arg(short = 'i', long = "config-id", value_name = "ID")]
    ids: Vec<String>,
    /// Controller a's host name
    #[arg(long, value_name = "NAME")]
    hostname_a: Option<String>,
    /// Controller b's host name
    #[arg(long, value_name = "NAME")]
    hostname_b: Option<String>,
    /// Controller a's own address on an interface
    #[arg(long = "own-address", value_name = "INTERFACE=ADDRESS", value_parser = address)]
    own_addresses: Vec<(String, IpAddr)>,
    /// Controller b's own address on what a calls by that name
    #[arg(long = "peer-address", value_name = "INTERFACE=ADDRESS", value_parser = address)]
    peer_addresses: Vec<(String, IpAddr)>,
    /// What b calls an interface of a's; without it, both call it the same
    #[arg(long = "peer-interface", value_name = "INTERFACE=INTERFACE", value_parser = interfaces)]
    peer_interfaces: Vec<(String, String)>,
    /// The pair's id, which no other pair in these networks has; default: the first virtual_router_id
    #[arg(long, value_name = "NUMBER")]
    pair_id: Option<u32>,
    /// Where to write the configuration; default: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite that file
    #[arg(long, requires = "output")]
    force: bool,
}

fn address(text: &str) -> Result<(String, IpAddr), String> {
    let parsed =
        text.split_once('=').and_then(|(interface, address)| Some((interface.to_owned(), address.parse().ok()?)));
    parsed.ok_or_else(|| "right would be an interface and an address, such as eth0=192.0.2.1".into())
}

fn interfaces(text: &str) -> Result<(String, String), String> {
    let parsed = text.split_once('=').filter(|(one, other)| !one.is_empty() && !other.is_empty());
    parsed
        .map(|(one, other)| (one.to_owned(), other.to_owned()))
        .ok_or_else(|| "right would be a's name and b's name of an interface, such as eth0=ens3".into())
}

/// Writes the configuration, and says what was lost.
#[must_use]
pub fn run(args: &ImportArgs) -> ExitCode {
    let Program::Keepalived(args) = &args.of;
    match import(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_WHOLE),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was carried over.
fn import(args: &KeepalivedArgs) -> Result<bool> {
    if args.ids.len() > 2 {
        bail!("-i {}: a third id; right would be one for controller a and one for controller b", args.ids[2]);
    }
    let options = ImportOptions {
        ids: [args.ids.first().cloned(), args.ids.get(1).cloned()],
        hostnames: [args.hostname_a.clone(), args.hostname_b.clone()],
        pair_id: args.pair_id,
        own_addresses: args.own_addresses.clone(),
        peer_addresses: args.peer_addresses.clone(),
        peer_interfaces: args.peer_interfaces.clone(),
    };
    let imported = keepalived(&args.file, args.other.as_deref(), &options)?;
    match &args.output {
        Some(file) => write(file, &imported.toml, args.force)?,
        None => stdout().lock().write_all(imported.toml.as_bytes()).context("standard output")?,
    }
    for finding in &imported.findings {
        eprintln!("{finding}");
    }
    let count = |kind| imported.findings.iter().filter(|finding| finding.kind == kind).count();
    eprintln!(
        "{} lost, {} to fill in, {} notes",
        count(FindingKind::Lost),
        count(FindingKind::ToFillIn),
        count(FindingKind::Note)
    );
    Ok(imported.is_whole())
}

/// Writes a file that is not there, or with `force` any.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{}: exists already and is not overwritten; right would be another file, or --force", path.display())
        }
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be written", path.display())),
    };
    file.write_all(text.as_bytes()).with_context(|| format!("{}: cannot be written", path.display()))
}
