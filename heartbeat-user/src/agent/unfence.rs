//! Opening by hand what the kernel keeps silent about in the place of an agent: `heartbeat unfence`.

use super::{life::Life, runtime_dir::RuntimeDir};
use crate::{dataplane::Tables, system::clock, types::Nanos};
use anyhow::{Context as _, Result, bail, ensure};
use heartbeat_ebpf::{
    guard::{Guard, claimed_of},
    layout::Orders,
    wire::Message,
};
use nix::unistd::geteuid;
use std::path::Path;

/// The peer counts as heard for so long after a heartbeat.
const HEARD: Nanos = Nanos::from_millis(10_000);

/// Has the kernel serve a group again, or all, that it keeps silent about for the agent with this runtime directory, whether that
/// runs or not. The names of the groups that were opened.
///
/// # Errors
/// This is not root; there is no such agent or group; an agent runs, which decides by itself; or the peer is heard to hold one of
/// them, and it is not to be `forced`.
pub fn unfence(runtime_dir: &Path, group: Option<&str>, forced: bool) -> Result<Vec<String>> {
    let shown = runtime_dir.display();
    ensure!(
        geteuid().is_root(),
        "what is kept in the kernel is root's: right would be `sudo heartbeat unfence{}`",
        group.map_or_else(String::new, |group| format!(" {group}"))
    );
    ensure!(
        runtime_dir.exists(),
        "--runtime-dir {shown}: there is none, so no agent has run with it since this host booted, and nothing is kept silent about"
    );
    let folder = RuntimeDir::open(runtime_dir)?;
    let tables = Tables::of_pins(&folder.pin_folder()?)?.with_context(|| {
        format!(
            "--runtime-dir {shown}: an agent of this version that ran with it has left no programs in this kernel, so nothing is \
             kept silent about"
        )
    })?;
    let life = Life::read(&folder)?.filter(|life| life.is_of(tables.agent().incarnation.get()));
    let names: Vec<String> = life.iter().flat_map(|life| &life.groups).map(|group| group.name.clone()).collect();
    let place = group.map(|wanted| {
        let place = names.iter().take(64).position(|name| name == wanted);
        place.with_context(|| unknown(wanted, &names, &folder))
    });
    let wanted = place.transpose()?.map_or(u64::MAX, |place| 1 << place);
    let now = clock::monotonic();
    let guard = Guard { agent: tables.agent(), kernel: tables.kernel() };
    let silent = guard.silent(now.0);
    let opened = silent & wanted;
    let named = |bits: u64| -> Vec<String> {
        let name = |i: usize| names.get(i).cloned().unwrap_or_else(|| format!("number {i}"));
        (0..64).filter(|i| bits >> i & 1 == 1).map(name).collect()
    };
    ensure!(opened != 0, "{}", nothing_to_open(group, &named(silent)));
    ensure!(
        guard.is_out(now.0),
        "the agent runs, and decides by itself what this host serves: `heartbeat explain` says why it does not serve {}; right \
         would be `heartbeat takeover {}`",
        named(opened).join(", "),
        group.unwrap_or("GROUP")
    );
    let theirs = opened & of_the_peer(&tables, now);
    if theirs != 0 && !forced {
        bail!(
            "the peer is heard, and holds {}: both would serve it; take it over instead, or stop the peer (--force: all the same)",
            named(theirs).join(", ")
        );
    }
    // What else is silent because of a lease or a grant stays so.
    let kernel = tables.kernel();
    kernel.closed.set_bits(silent & !opened);
    kernel.orders.peer_good.set(0);
    kernel.orders.serve_until_ns.set(0);
    if theirs != 0 {
        // Else the next heartbeat of the peer closes it again. From now on none does, until an agent is started.
        kernel.orders.peer_names.set(0);
    }
    kernel.closed.clear_bits(opened);
    Ok(named(opened))
}

fn unknown(wanted: &str, names: &[String], folder: &RuntimeDir) -> String {
    let record = folder.life().display().to_string();
    match names {
        [] => format!(
            "group \"{wanted}\" is not known: the agent's record {record} is gone, or another life's; right would be no name, for \
             all that is kept silent about"
        ),
        names => format!("there is no group \"{wanted}\"; right would be one of: {}", names.join(", ")),
    }
}

fn nothing_to_open(group: Option<&str>, silent: &[String]) -> String {
    match (group, silent) {
        (Some(group), silent @ [_, ..]) => format!(
            "this host's kernel does not keep silent about group \"{group}\"; it does about: {}",
            silent.join(", ")
        ),
        _ => "this host's kernel keeps silent about no group: there is nothing to open".to_owned(),
    }
}

/// The groups that the peer said it holds, in our order, if it was heard lately; all of them where it is not known which.
fn of_the_peer(tables: &Tables, now: Nanos) -> u64 {
    let heard = tables.channels().filter_map(|channel| tables.slot(channel).live.read());
    let Some((words, arrived_ns)) = heard.max_by_key(|(_, arrived_ns)| *arrived_ns) else { return 0 };
    let message = Message::parse(&words);
    let orders = &tables.kernel().orders;
    match message.owned {
        _ if now.since(Nanos(arrived_ns)) > HEARD => 0,
        0 => 0,
        owned if orders.peer_names.get() == Orders::KNOWN | u64::from(message.names_digest) => {
            claimed_of(u64::MAX, owned, orders)
        }
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_nothing_to_open_it_is_said_what_there_would_be() {
        let silent = ["g1".to_owned(), "g2".to_owned()];
        let none = "this host's kernel keeps silent about no group: there is nothing to open";
        assert_eq!([nothing_to_open(None, &[]), nothing_to_open(Some("g3"), &[])], [none, none]);
        assert_eq!(
            nothing_to_open(Some("g3"), &silent),
            "this host's kernel does not keep silent about group \"g3\"; it does about: g1, g2"
        );
    }
}
