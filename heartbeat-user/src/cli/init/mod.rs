//! `heartbeat init`: looks at this host, and writes the one file and the key of a new pair.
#![forbid(unsafe_code)]

mod draft;
mod hosts;
mod other;
mod words;

use super::{check, keygen};
use crate::{
    config::{Config, PairKeys},
    probe::{same_network, who_is_on},
    types::Node,
};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use draft::Draft;
use hosts::{End, Facts, Kind, is_link_local, listed};
use other::Other;
use std::{
    fs::{self, OpenOptions},
    io::{IsTerminal as _, Write as _, stdin},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};
use words::{GroupWords, PathWords};

/// Look at this host, and write the configuration and the key of a new pair
///
/// This host becomes controller a. Every network that both controllers are on becomes a channel: by what `--channel` and `--cable`
/// say; else by what the other controller says of itself (`--ssh`), its name resolves to (`--peer`), or the kernel knows of the
/// neighbours; on a terminal, what is missing is asked for. Nothing that exists is overwritten.
///
///   heartbeat init --ssh root@filer-b --group storage-a=192.0.2.10/24
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct InitArgs {
    /// The configuration file to write; the key is written beside it, as pair.key, unless it is there
    #[arg(value_name = "FILE", default_value = "/etc/heartbeat/heartbeat.toml")]
    file: PathBuf,
    /// The other controller's host name
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// A network of both: our interface, the other controller's address there, and its interface where that has another name. Again
    /// for each
    #[arg(long, value_name = "IF=ADDRESS[@IF]")]
    channel: Vec<PathWords>,
    /// The same of a cable that only the two are on: it is not judged
    #[arg(long, value_name = "IF=ADDRESS[@IF]")]
    cable: Vec<PathWords>,
    /// A group of service addresses, with the controller that is to have it, a unless said. Again for each
    #[arg(long, value_name = "NAME=ADDRESS/PREFIX[,..][@a|b]")]
    group: Vec<GroupWords>,
    /// Tells this pair from others in the same networks; default: a random one
    #[arg(long, value_name = "ID")]
    pair: Option<u32>,
    /// How quick a dead peer is found
    #[arg(long, default_value = "lan", value_parser = ["classic", "lan", "fast", "ultra"])]
    profile: String,
    /// Ask the other controller about itself by ssh, copy both files to it, and check there
    #[arg(long, value_name = "[USER@]HOST")]
    ssh: Option<String>,
    /// Only print what would be written
    #[arg(long)]
    dry_run: bool,
    /// Only print what this host has, as JSON: what `--ssh` asks the other one for
    #[arg(long, hide = true)]
    facts: bool,
}

/// Writes both files, and says what to do next.
///
/// # Errors
/// What is missing, with the flag that says it; what exists already; what does not fit this host.
pub fn run(args: &InitArgs) -> Result<()> {
    let file = std::path::absolute(&args.file)?;
    let files = [file.clone(), file.with_file_name("pair.key")];
    let own = Facts::read(&files)?;
    if args.facts {
        println!("{}", serde_json::to_string(&own)?);
        return Ok(());
    }
    let other = args.ssh.as_deref().map(|host| Other::new(host, &file)).transpose()?;
    let peer = other.as_ref().map(Other::facts).transpose()?;
    if !args.dry_run {
        ensure!(
            !own.taken.contains(&file),
            "{0}: exists already and is not overwritten; right would be another FILE, `heartbeat check --config {0}`, or to move it away",
            file.display()
        );
        if let Some(there) = peer.as_ref().and_then(|facts| facts.taken.first()) {
            bail!(
                "{}: exists already at the other controller and is not overwritten; right would be to move it away there, or to do without \
                 --ssh",
                there.display()
            );
        }
    }
    let draft = draft(args, &own, peer.as_ref(), &file)?;
    let text = draft.text();
    Config::parse(&text, &file.display().to_string())?;
    if args.dry_run {
        print!("{text}");
        return Ok(());
    }
    write(&file, &draft.key_file, &text)?;
    println!();
    let checked = check::run(&check::CheckArgs { config: file.clone(), node: Some(Node::A) });
    draft.hints().iter().for_each(|hint| eprintln!("hint: {hint}"));
    checked.context("the files are written, and an agent could not start here yet")?;
    match &other {
        Some(other) => other.bring(&[&draft.key_file, &file]),
        None => {
            println!("\n{}", draft.next_steps(&file));
            Ok(())
        }
    }
}

fn draft(args: &InitArgs, own: &Facts, peer: Option<&Facts>, file: &Path) -> Result<Draft> {
    let asks = stdin().is_terminal();
    let peer_name = match (peer, &args.peer) {
        (Some(facts), _) => facts.hostname.clone(),
        (None, Some(name)) => name.clone(),
        (None, None) if asks => ask("the other controller's host name", None)?.unwrap_or_default(),
        (None, None) => {
            bail!("who is the other controller? --peer NAME says its host name, or --ssh [USER@]HOST has it asked")
        }
    };
    ensure!(
        !own.hostname.eq_ignore_ascii_case(&peer_name),
        "both controllers would be {peer_name:?}; right would be host names that differ"
    );
    let mut draft = Draft {
        pair: args.pair.map_or_else(random_pair, Ok)?,
        key_file: file.with_file_name("pair.key"),
        hostnames: [own.hostname.clone(), peer_name.clone()],
        profile: args.profile.clone(),
        channels: Vec::new(),
        groups: Vec::new(),
    };
    for (words, kind) in
        args.channel.iter().map(|w| (w, Kind::Network)).chain(args.cable.iter().map(|w| (w, Kind::Cable)))
    {
        draft.add_channel(kind, words.ends(own, peer)?);
    }
    if draft.channels.is_empty() {
        let resolved = other::addresses_of(&peer_name);
        for (interface, addresses) in &own.interfaces {
            match decide(interface, addresses, peer, &resolved, asks)? {
                Some((kind, ends)) => draft.add_channel(kind, ends),
                None => eprintln!(
                    "{interface} ({}) is left out: where the other controller is there, --channel {interface}=ADDRESS says so",
                    listed(addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}")))
                ),
            }
        }
    }
    ensure!(
        !draft.channels.is_empty(),
        "no network was found that both controllers are on; --channel INTERFACE=ADDRESS says which of the other one's addresses is behind \
         which of our interfaces: {}",
        listed(own.interfaces.keys())
    );
    for words in &args.group {
        draft.add_group(words)?;
    }
    Ok(draft)
}

/// Both ends on an interface of ours, where the other controller is there: as it says itself, else by the addresses that its name
/// `resolved` to, else as whoever sits at the terminal says.
fn decide(
    interface: &str,
    addresses: &[(IpAddr, u8)],
    peer: Option<&Facts>,
    resolved: &[IpAddr],
    asks: bool,
) -> Result<Option<(Kind, [End; 2])>> {
    let of = |address| {
        let ends = hosts::ends(interface, addresses, interface, address)?;
        Some((hosts::kind(addresses, &ends), ends))
    };
    let sure = match peer {
        Some(facts) => hosts::common(interface, addresses, facts),
        None => resolved.iter().find_map(|address| of(*address)),
    };
    if sure.is_some() || peer.is_some() || !asks {
        return Ok(sure);
    }
    let shown = listed(addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}")));
    let proposed = likely(interface, addresses)?.map(|address| address.to_string());
    loop {
        let question = format!("{interface} ({shown}): the other controller's address there, or - for none");
        let Some(answer) = ask(&question, proposed.as_deref())?.filter(|answer| answer != "-") else { return Ok(None) };
        match answer.parse().map(of) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => eprintln!("{answer} is not in a network of {interface} ({shown})"),
            Err(_) => eprintln!("{answer:?} is no address"),
        }
    }
}

/// Who may be the other controller: in a network of two the other one, else the neighbour that was heard of last and is no gateway.
fn likely(interface: &str, addresses: &[(IpAddr, u8)]) -> Result<Option<IpAddr>> {
    if let Some(other) = addresses.iter().find_map(|(own, prefix)| hosts::only_other(*own, *prefix)) {
        return Ok(Some(other));
    }
    let (gateways, neighbours) = who_is_on(interface).with_context(|| format!("{interface}: who is there"))?;
    let here = |ip: IpAddr| addresses.iter().any(|(own, prefix)| *own != ip && same_network(*own, ip, *prefix));
    Ok(neighbours.into_iter().find(|ip| !gateways.contains(ip) && here(*ip) && !is_link_local(*ip)))
}

/// A line from whoever sits at the terminal; what is proposed where it is empty.
fn ask(question: &str, proposed: Option<&str>) -> Result<Option<String>> {
    match proposed {
        Some(proposed) => eprint!("{question} [{proposed}]: "),
        None => eprint!("{question}: "),
    }
    std::io::stderr().flush()?;
    let mut line = String::new();
    ensure!(stdin().read_line(&mut line)? > 0, "no answer to: {question}");
    let line = line.trim();
    Ok(if line.is_empty() { proposed.map(str::to_owned) } else { Some(line.to_owned()) })
}

fn random_pair() -> Result<u32> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(u32::from(u16::from_ne_bytes(bytes)).max(1))
}

/// The key unless it is there, then the configuration.
fn write(file: &Path, key_file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made; as root?", folder.display()))?;
    if key_file.exists() {
        PairKeys::load(key_file)?;
        println!("{}: is there already, and is the key of this pair", key_file.display());
    } else {
        keygen::create(key_file)?;
        println!("{}: made", key_file.display());
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(file);
    let mut made = made.with_context(|| format!("{}: cannot be made", file.display()))?;
    if let Err(error) = made.write_all(text.as_bytes()).and_then(|()| made.sync_all()) {
        // Half of it would be in the way of a second try.
        fs::remove_file(file).ok();
        return Err(error).with_context(|| format!("{}: cannot be written", file.display()));
    }
    println!("{}: made", file.display());
    Ok(())
}

#[cfg(test)]
mod tests;
