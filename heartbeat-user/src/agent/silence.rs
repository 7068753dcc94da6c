//! That the kernel can keep silent in the place of this agent: its programs are where they should be, also on what was made
//! anew, and so are their pins.

use super::{
    attaching::{Attaching, tell_detached},
    desk::Desk,
};
use crate::{
    api::{Problem, ProblemKind},
    config::Config,
    dataplane::Mended,
    events::ControlEvent,
    types::Node,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// That somebody removes something again and again is said no oftener.
const RESTORED_AGAIN: Duration = Duration::from_secs(30);

/// What was found and said.
pub(super) struct Silence {
    /// The interfaces on which the kernel is to keep silent where the agent cannot decide.
    on: BTreeSet<String>,
    /// What keeps the kernel from that was said.
    troubles: Vec<String>,
    /// What was put back in the kernel and is not said yet.
    restored: BTreeSet<String>,
    /// When such a thing was said last.
    restored_said: Option<Instant>,
}

impl Silence {
    /// Nothing looked at yet.
    pub(super) const fn new(on: BTreeSet<String>) -> Self {
        Self { on, troubles: Vec::new(), restored: BTreeSet::new(), restored_said: None }
    }

    /// Puts back what is not there, and says so.
    pub(super) fn keep(&mut self, desk: &Desk<'_>, attaching: &mut Attaching) {
        let Ok(kernel) = &mut attaching.kernel else { return };
        let interfaces = self.on.iter().map(String::as_str).collect();
        let Mended { restored, troubles, detached } = kernel.keep_silent_on(&interfaces);
        let said = std::mem::replace(&mut self.troubles, troubles);
        for what in self.troubles.iter().filter(|what| !said.contains(what)) {
            desk.journal.control(&ControlEvent::HostProblem { what: what.clone() });
        }
        for (interface, channels) in detached {
            tell_detached(&desk.journal, &interface);
            attaching.want(channels);
        }
        self.restored.extend(restored);
        if !self.restored.is_empty() && self.restored_said.is_none_or(|said| said.elapsed() >= RESTORED_AGAIN) {
            self.restored_said = Some(Instant::now());
            let what: Vec<_> = std::mem::take(&mut self.restored).into_iter().collect();
            desk.journal.control(&ControlEvent::KernelRestored { what: what.join(", ") });
        }
    }

    /// What keeps the kernel from keeping silent, on interfaces with service addresses: what leaves by others for want of a better way
    /// is said once, and keeps no failover from working.
    pub(super) fn problems(&self, config: &Config, node: Node) -> Vec<Problem> {
        let ends = config.groups.iter().flat_map(|group| &group.addresses);
        let ends = ends.filter_map(|address| config.channels[address.channel.usize()].end(node));
        let serve: BTreeSet<_> = ends.map(|end| format!("interface {}", end.interface)).collect();
        let problem = |what: &String| Problem {
            kind: ProblemKind::Kernel,
            thing: what.split(':').next().unwrap_or_default().to_owned(),
            text: what.clone(),
        };
        let matters = |problem: &Problem| !problem.thing.starts_with("interface ") || serve.contains(&problem.thing);
        self.troubles.iter().map(problem).filter(matters).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EXAMPLE;

    #[test]
    fn a_kernel_that_cannot_keep_silent_is_a_problem_where_service_addresses_are() {
        let config = Config::parse(EXAMPLE, "example.toml").unwrap();
        let mut silence = Silence::new(BTreeSet::new());
        for what in
            ["interface eth0: its kernel cannot", "interface eth9: its kernel cannot", "the kernel will not notice: no"]
        {
            silence.troubles.push(what.to_owned());
        }
        let problems = silence.problems(&config, Node::A);
        let things: Vec<_> = problems.iter().map(|problem| problem.thing.as_str()).collect();
        assert_eq!(things, ["interface eth0", "the kernel will not notice"], "eth9 is the direct cable's");
    }
}
