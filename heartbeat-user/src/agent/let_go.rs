//! What a start, a reload or an exec that fails leaves to be done: whatever an earlier life held is let go of, in order, for
//! nobody guards it any more, and the peer is about to find us dead.

use super::{
    inherit::{Cell, inherit},
    life::{Life, LivedAddress, LivedGroup},
    runs::{self, Runs},
    runtime_dir::{Claim, RuntimeDir},
};
use crate::{
    command::{self, MARK, signals::Signals},
    dataplane,
    events::{ControlEvent, Journal},
    system::netlink::{Netlink, name_of},
    takeover::{self, Failure, LetGo, Recorded},
};
use anyhow::{Context as _, Result, ensure};
use std::{path::Path, thread::sleep, time::Duration};

/// So often is a hook run that fails.
const TRIES: u32 = 3;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets go of everything that earlier lives in this runtime directory have left, unless another agent runs on it. Says on
/// standard error what it does; where there is nothing to do, it says and does nothing.
pub fn let_go(runtime_dir: &Path) {
    // An agent that runs guards what it holds; and who cannot even open the folder has never held anything in it.
    let Some(folder) = RuntimeDir::find(runtime_dir) else { return };
    let Ok(claim) = folder.claim() else { return };
    let stays = let_go_of_all(&folder, &claim);
    for what in stays {
        eprintln!("not let go of: {what}");
    }
}

/// The same by hand; what stays, and why.
///
/// # Errors
/// An agent runs on the directory, or it is not ours to use.
pub fn let_go_by_hand(runtime_dir: &Path) -> Result<Vec<String>> {
    if !runtime_dir.exists() {
        return Ok(Vec::new());
    }
    let folder = RuntimeDir::open(runtime_dir)?;
    let claim = folder.claim()?;
    // Of what cannot be read nobody knows what it holds, and while its kernel keeps silent, the peer may have it.
    Life::read(&folder)?;
    Ok(let_go_of_all(&folder, &claim))
}

fn let_go_of_all(folder: &RuntimeDir, _claim: &Claim) -> Vec<String> {
    let life = Life::read(folder).unwrap_or_else(|error| {
        eprintln!("{error:#}: what it held is not known");
        None
    });
    let cell = Life::cell(life.as_ref(), &folder.cells());
    if life.is_none() && cell.is_none() {
        return Vec::new();
    }
    let inheritance = inherit(life.as_ref(), cell.map(|cell| Cell::of(&cell, false)), &[]);
    let groups = [inheritance.departed, inheritance.surplus].concat();
    let mut stays = Vec::new();
    let mut addresses: Vec<LivedAddress> = groups.iter().flat_map(|group| group.addresses.clone()).collect();
    addresses.extend(inheritance.stale);
    addresses.dedup();
    if !groups.is_empty() || !addresses.is_empty() {
        eprintln!("letting go of what an earlier life held: {}", listed(&groups, &addresses));
    }
    let mut runs = Runs::read(folder, u64::from(std::process::id()));
    // Its failing changes nothing.
    let releasing = |group: &LivedGroup| match &group.on_releasing {
        Some(words) => run_hook(&mut runs, life.as_ref(), group, words),
        None => Ok(()),
    };
    each(&groups, |group| group.on_releasing.is_some(), "on_releasing", releasing);
    let left = remove(&addresses).stays;
    stays.extend(left.iter().map(|(address, why)| format!("{address}: {why}")));
    let half_way: Vec<_> = runs.groups().map(str::to_owned).collect();
    let has_release = |group: &LivedGroup| group.on_release.is_some() || half_way.contains(&group.name);
    let unreleased = each(&groups, has_release, "on_release", |group| release(&mut runs, life.as_ref(), group));
    stays.extend(unreleased.iter().map(|name| format!("group {name}: its on_release failed")));

    // What stays must not answer beside the peer: where the kernel keeps silent about it, it goes on.
    if left.is_empty() {
        for interface in life.iter().flat_map(Life::interfaces) {
            if let Err(error) = dataplane::release(interface) {
                eprintln!("{interface}: {error:#}");
            }
        }
        folder.forget_pins();
        folder.forget_tables();
    }
    let groups: Vec<_> = groups.into_iter().filter(|group| unreleased.contains(&group.name)).collect();
    let left: Vec<_> = left.into_iter().map(|(address, _)| address).collect();
    match life {
        Some(life) if !groups.is_empty() || !left.is_empty() => {
            // Whoever starts next goes on with it.
            if let Err(error) = (Life { groups, left, ..life }).write(folder) {
                eprintln!("{error:#}");
            }
        }
        _ => {
            Life::forget(folder);
            runs::forget(folder);
        }
    }
    stays
}

fn listed(groups: &[LivedGroup], addresses: &[LivedAddress]) -> String {
    let names = groups.iter().map(|group| group.name.clone());
    names.chain(addresses.iter().map(LivedAddress::to_string)).collect::<Vec<_>>().join(", ")
}

/// What became of addresses that nothing has any more.
#[derive(Default)]
pub(super) struct Gone {
    /// They were there, and are not.
    pub(super) removed: Vec<String>,
    /// The host goes on answering for them, and why.
    pub(super) stays: Vec<(LivedAddress, String)>,
}

/// Removes addresses from the interfaces that they were put on, whatever those are called now.
pub(super) fn remove(addresses: &[LivedAddress]) -> Gone {
    if addresses.is_empty() {
        return Gone::default();
    }
    let recorded: Vec<_> = addresses.iter().map(|a| Recorded { planned: a.planned(), index: a.index }).collect();
    match Netlink::open().and_then(|mut netlink| takeover::let_go(&recorded, &mut netlink)) {
        Ok(LetGo { removed, failures }) => {
            let of = |failure: &Failure| addresses.iter().find(|address| address.planned() == failure.address).cloned();
            let stays = failures.into_iter().filter_map(|failure| Some((of(&failure)?, failure.reason)));
            Gone { removed: removed.iter().map(ToString::to_string).collect(), stays: stays.collect() }
        }
        Err(error) => {
            Gone { removed: Vec::new(), stays: addresses.iter().map(|a| (a.clone(), error.to_string())).collect() }
        }
    }
}

/// The interface that has an index now, else the one of that name.
pub(super) fn interface_now(address: &LivedAddress) -> String {
    name_of(address.index).unwrap_or_else(|| address.interface.clone())
}

/// The same, and says so. What stays.
pub(super) fn remove_and_tell(addresses: &[LivedAddress], journal: &Journal) -> Vec<LivedAddress> {
    let Gone { removed, stays } = remove(addresses);
    for address in removed {
        journal.control(&ControlEvent::AddressForgotten { address });
    }
    for (address, why) in &stays {
        journal.control(&ControlEvent::AddressStays { address: address.to_string(), why: why.clone() });
    }
    stays.into_iter().map(|(address, _)| address).collect()
}

/// Does it for each group that has it, one after the other, and says so; the groups where that failed, unless they count as released.
fn each(
    groups: &[LivedGroup],
    has: impl Fn(&LivedGroup) -> bool,
    what: &str,
    mut run: impl FnMut(&LivedGroup) -> Result<()>,
) -> Vec<String> {
    let mut failed = Vec::new();
    for group in groups.iter().filter(|group| has(group)) {
        match run(group) {
            Ok(()) => eprintln!("group {}: {what}: done", group.name),
            Err(error) if group.force => {
                eprintln!("group {}: {what} failed, and that counts as released: {error:#}", group.name);
            }
            Err(error) => {
                eprintln!("group {}: {what} failed: {error:#}", group.name);
                failed.push(group.name.clone());
            }
        }
    }
    failed
}

/// Runs the `on_release` of a group, if it has one, to its end, here and now.
pub(super) fn release(runs: &mut Runs, life: Option<&Life>, group: &LivedGroup) -> Result<()> {
    match &group.on_release {
        Some(words) => run_hook(runs, life, group, words).context("on_release"),
        None => runs.end_left(&group.name, Duration::from_nanos(group.timeout_ns)),
    }
}

/// Runs a hook of a group to its end, here and now; more than once where it fails.
fn run_hook(runs: &mut Runs, life: Option<&Life>, group: &LivedGroup, words: &[String]) -> Result<()> {
    insist(runs, group, async |mark| {
        let environment = [
            ("HEARTBEAT_NODE", life.and_then(|life| life.node).map_or_else(String::new, |node| node.to_string())),
            ("HEARTBEAT_PEER", life.map_or_else(String::new, |life| life.peer.clone())),
            ("HEARTBEAT_GROUP", group.name.clone()),
            ("HEARTBEAT_REASON", "leftover".to_owned()),
            ("HEARTBEAT_VERDICT", "null".to_owned()),
            (MARK, mark),
        ];
        let outcome = command::run(words, &environment, Duration::from_nanos(group.timeout_ns)).await;
        ensure!(outcome.succeeded(), "{}: {}", outcome.ended, outcome.output);
        Ok(())
    })
}

/// Does it here and now, once nothing is left of what was half-way; more than once where it fails. What it runs has a mark.
fn insist(runs: &mut Runs, group: &LivedGroup, attempt: impl AsyncFn(String) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let mut tries = 0;
    loop {
        runs.end_left(&group.name, Duration::from_nanos(group.timeout_ns))?;
        let (mark, on_record) = runs.begin(&group.name);
        if let Err(error) = on_record {
            eprintln!("group {}: {error:#}", group.name);
        }
        let done = runtime.block_on(async {
            // So that it begins with no signal blocked; those that come change nothing any more.
            let _signals = Signals::catch()?;
            attempt(mark.clone()).await
        });
        runs.end(&[mark]);
        tries += 1;
        if done.is_ok() || tries == TRIES {
            return done;
        }
        sleep(PAUSE);
    }
}
