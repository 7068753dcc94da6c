//! What every job of the control side works with: whose agent it is, whom it tells, and where its tasks run.

use super::{
    messages::{Command, Job},
    options::RunOptions,
};
use crate::{api::Shown, events::Journal, system::bell::Bell};
use crossbeam_channel::Sender;
use std::sync::Arc;
use tokio::task::JoinSet;

/// See above.
pub(super) struct Desk<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) journal: Journal,
    /// What is shown.
    pub(super) facts: Arc<Shown>,
    /// To the pulse thread.
    commands: Sender<Command>,
    pulse_bell: Bell,
    /// What takes its time, and what follows from it.
    pub(super) jobs: JoinSet<Job>,
    /// Health checks and questions to the fence's devices, for ever.
    pub(super) watchers: JoinSet<()>,
}

impl<'a> Desk<'a> {
    /// Nothing runs yet. The pulse thread takes commands from `commands` when `pulse_bell` rings.
    pub(super) fn new(
        options: &'a RunOptions,
        journal: Journal,
        facts: Arc<Shown>,
        commands: Sender<Command>,
        pulse_bell: Bell,
    ) -> Self {
        Self { options, journal, facts, commands, pulse_bell, jobs: JoinSet::new(), watchers: JoinSet::new() }
    }

    /// To the pulse thread. One that has ended needs no command, and that it has is noticed.
    pub(super) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
        self.pulse_bell.ring();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        api::{CoreView, Known, Latest, Shared},
        config::{Config, EXAMPLE},
        core::{
            Core,
            testing::{Bench, SECOND},
        },
        dataplane::Tables,
        events::{EventNames, Output, feed::Feed, sinks::Sinks},
        latency::Latencies,
        types::Node,
    };
    use crossbeam_channel::{Receiver, unbounded};
    use nix::sched::{CloneFlags, unshare};
    use std::{
        path::{Path, PathBuf},
        sync::{Mutex, atomic::AtomicU64},
        thread,
    };

    /// Those of controller a, with this for `dataplane.xdp`.
    pub(in crate::agent) fn options(xdp: &str) -> RunOptions {
        let text = EXAMPLE.replace("# xdp = \"auto\"", &format!("xdp = \"{xdp}\""));
        let nowhere = PathBuf::new();
        RunOptions {
            config: Config::parse(&text, "example.toml").unwrap(),
            config_file: nowhere.clone(),
            node: Node::A,
            node_said: None,
            runtime_dir: nowhere.clone(),
            program: nowhere,
        }
    }

    /// One that leaves nothing anywhere.
    pub(in crate::agent) fn journal(options: &RunOptions) -> Journal {
        let RunOptions { config, node, .. } = options;
        let (output, feed) = (Output::new(), Arc::<Feed>::default());
        let sinks = Sinks::start(config, *node, Path::new("/nowhere"), output, &feed).unwrap();
        Journal { names: EventNames::new(config, *node), output, sinks, feed }
    }

    /// What the pulse thread shows of a core.
    pub(in crate::agent) fn shared(core: &Core) -> Arc<Shared> {
        let view = Latest::new(&CoreView::new(core, SECOND, 2));
        Arc::new(Shared { view, latencies: Latencies::new(2), events_lost: AtomicU64::new(0) })
    }

    /// A desk, and what it has for the pulse thread.
    pub(in crate::agent) fn desk(options: &RunOptions) -> (Desk<'_>, Receiver<Command>) {
        let RunOptions { config, node, .. } = options;
        let (journal, (commands, given)) = (journal(options), unbounded());
        let facts = Shown {
            config: config.clone(),
            node: *node,
            incarnation: 1,
            shared: shared(&Bench::of(0, |_| {}).core),
            tables: Arc::new(Tables::anonymous().unwrap()),
            judged_by: Mutex::default(),
            modes: Mutex::new(vec![None; config.channels.len()]),
            known: Mutex::new(Known::new(config)),
            watchdog: None,
            key_prints: [0; 2],
            feed: Arc::clone(&journal.feed),
            sinks: journal.sinks.clone(),
        };
        (Desk::new(options, journal, Arc::new(facts), commands, Bell::new().unwrap()), given)
    }

    /// On a thread in a network namespace that has an interface `eth0`, and ends with it.
    pub(in crate::agent) fn in_namespace(test: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: it must be run as root");
            let words = ["link", "add", "eth0", "type", "veth", "peer", "name", "far0"];
            assert!(std::process::Command::new("ip").args(words).status().unwrap().success(), "ip {words:?}");
            test();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    #[test]
    fn a_command_to_a_pulse_thread_that_has_ended_is_nobodys_business() {
        let options = options("auto");
        let (desk, given) = desk(&options);
        desk.command(Command::Fitness(true));
        assert!(matches!(given.try_recv(), Ok(Command::Fitness(true))));
        drop(given);
        // Neither does it fail, nor has it anything to be looked at.
        let () = desk.command(Command::Fitness(false));
    }
}
