//! What follows from a configuration: what the judgement, the hand-over and the hooks are set up with; what is run, and what is secret.

use super::{
    AgentOptions, ArbiterConfig, ArbiterEngine, Config, Fence, GroupConfig, Hooks, JudgingConfig, Means, Targets,
    fence::is_secret,
};
use crate::{
    core::{self, Hook, HookedGroups, Names, Needs},
    types::Nanos,
};

impl Config {
    /// One bit for each channel.
    #[must_use]
    pub fn channel_mask(&self) -> u64 {
        self.channels.iter().fold(0, |mask, channel| mask | channel.index.bit())
    }

    /// The channels whose networks are judged (FIG. 9, step 914).
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.channels.iter().filter(|c| c.is_judged()).fold(0, |mask, channel| mask | channel.index.bit())
    }

    /// What each group needs of whoever is to hold it.
    fn needs(&self) -> Vec<Needs> {
        let networks = |g: &GroupConfig| g.addresses.iter().fold(0, |bits, address| bits | address.channel.bit());
        self.groups.iter().map(|g| Needs { networks: networks(g), qos: g.needs }).collect()
    }

    /// Silence on all channels after which the peer is dead: the slowest channel's detection time.
    #[must_use]
    pub fn detection(&self) -> Nanos {
        let slowest = self.channels.iter().map(|c| c.pace(self.timing.interval)).max().unwrap_or(1);
        self.timing.paced(slowest).detection()
    }

    /// What the judgement is set up with.
    #[must_use]
    pub fn core_judging(&self) -> core::Judging {
        let JudgingConfig { both_faulted, probe_rounds, probe_pause, again, hold, rise, .. } = self.judging;
        core::Judging {
            networks: self.judged(),
            found: self
                .channels
                .iter()
                .filter(|c| c.is_judged() && matches!(c.probe, Targets::Auto | Targets::None))
                .fold(0, |mask, channel| mask | channel.index.bit()),
            weights: self.channels.iter().map(|c| c.weight).collect(),
            checks: self.checks.iter().map(|c| c.weight).collect(),
            needs: self.needs(),
            rise,
            both_faulted,
            bound: probe_pause.times(probe_rounds.into()),
            again,
            hold,
        }
    }

    /// An order to hand a group over is given up after this: both sides' hooks, and ten seconds.
    #[must_use]
    pub fn patience(&self) -> Nanos {
        let hooks = |g: &GroupConfig| Hook::ALL.into_iter().filter(|hook| g.hooks.words(*hook).is_some()).count();
        let longest = self.groups.iter().map(|g| g.hooks.timeout.times(hooks(g) as u64)).max().unwrap_or_default();
        longest.after(Nanos::from_millis(10_000))
    }

    /// For so long after its death, the agent is waited for.
    #[must_use]
    pub fn restart_grace(&self) -> Nanos {
        let default = if self.hooked().any() == 0 { 2_000 } else { 10_000 };
        self.takeover.restart_grace.unwrap_or(Nanos::from_millis(default))
    }

    /// A controller that is cut off has let go of everything after this: of all hooks that may run on the way of one group, for
    /// those of several run at once, twice what the arbiter may take, and five seconds to find out and for the addresses.
    #[must_use]
    pub fn release_within(&self) -> Nanos {
        let hooks = |g: &GroupConfig| Hook::ALL.into_iter().filter(|hook| g.hooks.words(*hook).is_some()).count();
        let longest = self.groups.iter().map(|g| g.hooks.timeout.times(hooks(g) as u64)).max().unwrap_or_default();
        let arbitration = self.arbiter.as_ref().map_or(Nanos(0), |arbiter| arbiter.within().times(2));
        self.judging.release_within.unwrap_or(longest.after(arbitration).after(Nanos::from_millis(5_000)))
    }

    /// How it is made sure that exclusive groups are held by one only.
    #[must_use]
    pub fn exclusivity(&self) -> core::Exclusivity {
        core::Exclusivity {
            groups: self.groups.iter().filter(|g| g.exclusive).fold(0, |bits, g| bits | g.index.bit()),
            arbiter: self.arbiter.as_ref().map(ArbiterConfig::within),
            grant: self.arbiter.as_ref().map_or(Nanos(0), |arbiter| arbiter.ttl),
            release_isolated: self.judging.release_isolated,
            release_within: self.release_within(),
            watchdog: Nanos(0),
        }
    }

    /// Which groups have which hooks.
    #[must_use]
    pub fn hooked(&self) -> HookedGroups {
        let those = |which: &dyn Fn(&Hooks) -> bool| {
            self.groups.iter().filter(|g| which(&g.hooks)).fold(0, |bits, g| bits | g.index.bit())
        };
        let has = Hook::ALL.map(|hook| those(&|hooks| hooks.words(hook).is_some()));
        HookedGroups { has, force: those(&|hooks| hooks.force) }
    }

    /// The names of channels and groups, as messages have them.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::new(self.channels.iter().map(|c| c.name.as_str()), self.groups.iter().map(|g| g.name.as_str()))
    }

    /// Every command: the key that has it, as messages name it; its words, at least one; the longest that it may take.
    pub fn commands(&self) -> impl Iterator<Item = (String, &[String], Nanos)> {
        let hooks = self.groups.iter().flat_map(|GroupConfig { name, hooks, .. }| {
            Hook::ALL.into_iter().filter_map(move |hook| {
                Some((format!("group \"{name}\": {}", hook.name()), hooks.words(hook)?, hooks.timeout))
            })
        });
        let fence = self.fence.iter().flat_map(Fence::devices).filter_map(|device| match &device.by {
            Means::Command(words) => Some((format!("{}.command", device.key), &words[..], device.timeout)),
            Means::Agent { .. } => None,
        });
        let checks = self
            .checks
            .iter()
            .map(|check| (format!("check \"{}\": command", check.name), &check.command[..], check.timeout));
        let on_event = self.events.on_event.iter();
        let on_event = on_event.map(|hook| ("events.on_event".to_owned(), &hook.command[..], hook.timeout));
        let arbiter = self.arbiter.iter().filter_map(|arbiter| match &arbiter.engine {
            ArbiterEngine::Command(words) => Some(("arbiter.command".to_owned(), &words[..], arbiter.timeout)),
            ArbiterEngine::Etcd(_) | ArbiterEngine::Disk(_) => None,
        });
        fence.chain(arbiter).chain(checks).chain(on_event).chain(hooks)
    }

    /// Every fence agent: the key that has it, as messages name it, and its name.
    pub fn agents(&self) -> impl Iterator<Item = (String, &str)> {
        self.fence.iter().flat_map(Fence::devices).filter_map(|device| match &device.by {
            Means::Agent { name, .. } => Some((format!("{}.agent", device.key), name.as_str())),
            Means::Command(_) => None,
        })
    }

    /// The key of an option that is a secret, if the file has any: others must not be able to read it then.
    #[must_use]
    pub fn secret(&self) -> Option<String> {
        self.fence.iter().flat_map(Fence::devices).find_map(|device| {
            let Means::Agent { options, .. } = &device.by else { return None };
            let name =
                options.iter().flat_map(AgentOptions::iter).map(|(name, _)| name).find(|name| is_secret(name))?;
            Some(format!("{}: {name}", device.key))
        })
    }
}
