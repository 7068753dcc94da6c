//! What SIGHUP asks for: the configuration as it is now, read where it may take its time, and judged before anything changes.
//!
//! A change is brought to the two controllers one after the other, so meanwhile their files differ. Whatever the new file says,
//! the two must go on hearing each other: what would keep them from that is refused, with the order in which it works.

use super::{life::Life, options::RunOptions, runtime_dir::RuntimeDir};
use crate::{
    arbiter,
    config::{ChannelConfig, Config, Contents, Pair, PairKeys, host::hostname},
    dataplane::{Kernel, ProgramSettings},
    types::{Node, XdpMode, XdpPreference},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use heartbeat_ebpf::{layout, siphash::Key};
use nix::unistd::{AccessFlags, access};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// So long may a file take to be read: beyond that, its file system hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a new life would begin with.
pub(super) struct Candidate {
    pub(super) config: Config,
    pub(super) node: Node,
    pub(super) keys: PairKeys,
    /// The files as they were read.
    pub(super) files: Files,
}

/// Files by their paths, as they were read for a new life, which begins with just that.
pub(super) type Files = Vec<(PathBuf, Contents)>;

/// Reads what a new life would begin with. `one_at_a_time`: of readers that hang, there is one at most. `pins`: where the kernel
/// keeps what is shared with it, in a life without XDP: loading the program takes longer than the peer waits, so the new life is to
/// find it there.
///
/// # Errors
/// What keeps a new life from beginning, or that reading takes too long.
pub(super) async fn read(
    options: RunOptions,
    one_at_a_time: Arc<Semaphore>,
    pins: Option<PathBuf>,
) -> Result<Candidate> {
    let path = options.config_file.display().to_string();
    let Ok(permit) = one_at_a_time.try_acquire_owned() else {
        bail!("{path} is still being read for the reload before: its file system does not answer");
    };
    let reading = spawn_blocking(move || {
        let _permit = permit;
        let RunOptions { config_file, node_said, program, .. } = options;
        let candidate = load(&config_file, node_said)?;
        let Candidate { config, node, keys, .. } = &candidate;
        access(&program, AccessFlags::X_OK)
            .with_context(|| format!("{}: cannot be started again; put the binary there", program.display()))?;
        if let Some(pins) = pins.filter(|_| config.dataplane.xdp != XdpPreference::Socket) {
            let Pair { port, id, .. } = config.pair;
            let settings =
                ProgramSettings { port, pair_id: id, node: *node, keys: keys.keys.map(|key| key.map(Key::new)) };
            // Where that cannot be, the new life says why.
            let _ = Kernel::open(&settings, &pins);
        }
        Ok(candidate)
    });
    match timeout(PATIENCE, reading).await {
        Ok(read) => read.unwrap_or_else(|error| Err(anyhow!("reading {path}: {error}"))),
        Err(_) => bail!(
            "{path}, or a file that it names, was not read within {PATIENCE:?}: its file system does not answer; put it \
             where it does"
        ),
    }
}

fn load(config_file: &Path, node_said: Option<Node>) -> Result<Candidate> {
    let (config, file) = Config::load_with_contents(config_file)?;
    let (keys, key_file) = PairKeys::load_with_contents(&config.pair.key_file)?;
    let files = vec![(config_file.to_owned(), file), (config.pair.key_file.clone(), key_file)];
    arbiter::ensure_usable(&config)?;
    let node = match node_said {
        Some(node) => node,
        None => config.node_for(None, &hostname()?)?,
    };
    Ok(Candidate { config, node, keys, files })
}

/// Whether this version could be the next life of an agent that runs with that file in that runtime directory: an agent looks at
/// the file by itself before it makes room, but with the eyes of its own version.
///
/// # Errors
/// Why not.
pub fn ensure_could_go_on(config_file: &Path, node_said: Option<Node>, runtime_dir: &Path) -> Result<()> {
    load(config_file, node_said)?;
    // What it cannot read, it would let go of.
    let folder = RuntimeDir::open(runtime_dir)?;
    let Some(life) = Life::read(&folder)? else { return Ok(()) };
    ensure!(
        folder.cells().iter().any(|cell| life.is_of(cell.incarnation())),
        "the running agent has nothing on record in the kernel that this version reads: it is gone, or of another version than {}",
        layout::VERSION
    );
    Ok(())
}

/// How things stand between the two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing<'a> {
    /// The peer was met at least once.
    pub(super) met: bool,
    /// It said that it leaves.
    pub(super) left: bool,
    /// Both are in maintenance, or we are and the peer is silent.
    pub(super) maintenance: bool,
    /// The channels on which it is heard, a bit each.
    pub(super) heard: u64,
    /// The prints of its keys, once it was heard.
    pub(super) peer_keys: Option<[u16; 2]>,
    /// How each channel is read.
    pub(super) modes: &'a [Option<XdpMode>],
}

/// Whether a new life with that file would go on hearing the peer, which has the old one.
///
/// # Errors
/// Why not, and in which order the change works.
pub(super) fn judge(now: &Config, node: Node, candidate: &Candidate, standing: Standing<'_>) -> Result<()> {
    let Candidate { config: new, node: new_node, keys, .. } = candidate;
    ensure!(
        *new_node == node,
        "the file makes this host controller {new_node}, and it is {node}: stop both agents, bring the file to both, start them"
    );
    xdp_is_to_be_had(now, new, standing.modes)?;
    // Who has never met it, or was told that it leaves, or is told to keep still, loses nothing.
    if !standing.met || standing.left || standing.maintenance {
        return Ok(());
    }
    let order = "`heartbeat maintenance on` here and there, bring the file to both and reload both, `heartbeat maintenance off` \
                 here and there";
    ensure!(
        new.pair.port == now.pair.port,
        "pair.port is {} and cannot become {} while the peer listens on the old one; the order that works: {order}",
        now.pair.port,
        new.pair.port
    );
    ensure!(
        new.pair.id == now.pair.id,
        "pair.id is {} and cannot become {} while the peer knows the old one; the order that works: {order}",
        now.pair.id,
        new.pair.id
    );
    if let Some(theirs) = standing.peer_keys {
        let ours = keys.keys.map(|key| key.map_or(0, |key| Key::new(key).print()));
        ensure!(
            ours.iter().any(|print| *print != 0 && theirs.contains(print)),
            "{}: the peer has none of these keys; the order that works: bring the new key to both as the second line and \
             reload both, then make it the first one, then delete the old one",
            new.pair.key_file.display()
        );
    }
    let heard = now.channels.iter().filter(|channel| standing.heard & channel.index.bit() != 0);
    let (mut any, mut goes_on) = (false, false);
    for channel in heard {
        any = true;
        goes_on |= new.channels.iter().any(|other| is_same_path(channel, other));
    }
    ensure!(
        goes_on || !any,
        "of the channels on which the peer is heard now the file has none: keep one until both have loaded the others, or \
         the order that works: {order}"
    );
    Ok(())
}

/// Whether what one sends by it, the other goes on hearing: the same name, and the same addresses, the same disk, or a serial line
/// both times.
fn is_same_path(one: &ChannelConfig, other: &ChannelConfig) -> bool {
    let ends = |channel: &ChannelConfig| [Node::A, Node::B].map(|node| channel.end(node).map(|end| end.address));
    let disks =
        |channel: &ChannelConfig| [Node::A, Node::B].map(|node| channel.disk(node).map(|(path, _)| path.to_owned()));
    one.name == other.name && ends(one) == ends(other) && disks(one) == disks(other)
}

/// Where the best mode was tried before, what was refused then would be refused again.
fn xdp_is_to_be_had(now: &Config, new: &Config, modes: &[Option<XdpMode>]) -> Result<()> {
    let wanted = new.dataplane.xdp;
    if now.dataplane.xdp != XdpPreference::Auto {
        return Ok(());
    }
    for (channel, mode) in now.channels.iter().zip(modes) {
        let (Some(mode), stays) = (mode, new.channels.iter().any(|other| is_same_path(channel, other))) else {
            continue;
        };
        ensure!(
            !stays || wanted.allows(*mode) || wanted == XdpPreference::Socket || better(wanted, *mode),
            "dataplane.xdp = \"{}\" is not to be had for channel \"{}\", where \"auto\" came to {mode}; right would be \"auto\"",
            wanted.name(),
            channel.name
        );
    }
    Ok(())
}

/// Whether the mode that was come to is a better one than that which is wanted now.
fn better(wanted: XdpPreference, mode: XdpMode) -> bool {
    wanted == XdpPreference::Generic && mode == XdpMode::Native
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    const KEYS: &str = "0 000102030405060708090a0b0c0d0e0f\n";
    const OTHER: &str = "1 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff\n";

    fn config(change: impl Fn(&str) -> String) -> Config {
        Config::parse(&change(EXAMPLE), "example.toml").unwrap()
    }

    fn candidate(config: Config, keys: &str) -> Candidate {
        Candidate { config, node: Node::A, keys: PairKeys::parse(keys, "pair.key").unwrap(), files: Vec::new() }
    }

    fn prints(keys: &str) -> [u16; 2] {
        PairKeys::parse(keys, "").unwrap().keys.map(|key| key.map_or(0, |key| Key::new(key).print()))
    }

    fn judged(change: impl Fn(&str) -> String, standing: Standing<'_>) -> Result<(), String> {
        let now = config(str::to_owned);
        judge(&now, Node::A, &candidate(config(change), KEYS), standing).map_err(|error| error.to_string())
    }

    fn met() -> Standing<'static> {
        Standing { met: true, heard: 0b111, peer_keys: Some(prints(KEYS)), ..Standing::default() }
    }

    #[test]
    fn what_both_must_have_at_once_is_refused_while_they_hear_each_other_with_the_order_that_works() {
        let port = |text: &str| text.replace("# port = 694", "port = 695").replace("\nport = 694", "\nport = 695");
        let id = |text: &str| text.replacen("id = 7", "id = 8", 1);
        for (change, key) in [(&port as &dyn Fn(&str) -> String, "pair.port"), (&id, "pair.id")] {
            let said = judged(change, met()).unwrap_err();
            assert!(said.starts_with(key) && said.contains("maintenance on"), "{said}");
            for allowed in [
                Standing { maintenance: true, ..met() },
                Standing { left: true, ..met() },
                Standing { met: false, ..met() },
            ] {
                assert_eq!(judged(change, allowed), Ok(()), "{key}");
            }
        }
    }

    #[test]
    fn a_key_that_the_peer_has_is_enough() {
        let now = config(str::to_owned);
        let with = |keys: &str, theirs: &str| {
            let standing = Standing { peer_keys: Some(prints(theirs)), ..met() };
            judge(&now, Node::A, &candidate(config(str::to_owned), keys), standing).map_err(|error| error.to_string())
        };
        let both = format!("{OTHER}{KEYS}");
        for (ours, theirs) in [(KEYS, KEYS), (&both, KEYS), (KEYS, &both), (OTHER, &both)] {
            assert_eq!(with(ours, theirs), Ok(()), "{ours:?} {theirs:?}");
        }
        let said = with(OTHER, KEYS).unwrap_err();
        assert!(said.contains("the peer has none of these keys") && said.contains("second line"), "{said}");
    }

    #[test]
    fn one_channel_on_which_the_peer_is_heard_must_stay() {
        let renamed = |text: &str| text.replace("\"net1\"", "\"lan1\"").replace("\"net2\"", "\"lan2\"");
        assert_eq!(judged(renamed, met()), Ok(()), "the third one stays");
        let said = judged(renamed, Standing { heard: 0b011, ..met() }).unwrap_err();
        assert!(said.contains("the file has none") && said.contains("keep one"), "{said}");
        assert_eq!(judged(renamed, Standing { heard: 0, ..met() }), Ok(()), "there is nothing to lose");
        let moved = |text: &str| text.replace("\"192.0.2.2\"", "\"192.0.2.3\"");
        let said = judged(moved, Standing { heard: 0b001, ..met() }).unwrap_err();
        assert!(said.contains("the file has none"), "the peer goes on sending to and from the old address: {said}");
    }

    #[test]
    fn another_letter_is_refused() {
        let now = config(str::to_owned);
        let other = Candidate { node: Node::B, ..candidate(config(str::to_owned), KEYS) };
        let said = judge(&now, Node::A, &other, Standing::default()).unwrap_err().to_string();
        assert!(said.contains("makes this host controller b, and it is a"), "{said}");
    }

    #[test]
    fn a_mode_that_was_not_to_be_had_before_is_refused() {
        let native = |text: &str| text.replace("# xdp = \"auto\"", "xdp = \"native\"");
        let modes = [Some(XdpMode::Native), Some(XdpMode::Generic), None];
        let said = judged(native, Standing { modes: &modes, ..met() }).unwrap_err();
        assert!(said.contains("\"native\" is not to be had for channel \"net2\""), "{said}");
        let modes = [Some(XdpMode::Native); 3];
        assert_eq!(judged(native, Standing { modes: &modes, ..met() }), Ok(()));
    }
}
