//! What the control side asks of the networks: the local analysis, and whether it is us who are cut off.

use super::{
    desk::Desk,
    messages::{Command, Job},
};
use crate::{
    config::Config,
    core::{ChannelState, is_quick},
    probe::{self, Network, Plan},
    types::{ChannelIndex, Node},
};
use std::{sync::Arc, time::Duration};

/// The networks that are judged.
pub(super) struct Probing {
    networks: Vec<Network>,
}

impl Probing {
    /// Those of the configuration.
    pub(super) fn new(config: &Config, node: Node) -> Self {
        Self { networks: probe::networks(config, node) }
    }

    /// WO 01/82077, FIG. 7, step 714: the local analysis. Whoever asks waits for it, but not for ever.
    pub(super) fn analyse(&self, desk: &mut Desk<'_>, analysis: u32) {
        let (networks, plan) = self.networks(desk);
        let facts = Arc::clone(&desk.facts);
        desk.jobs.spawn(async move {
            let findings = if is_quick(analysis) {
                let own = probe::look(&networks, plan).await;
                probe::beside(own, probe::analyse(&networks, plan.at_once(), analysis).await)
            } else {
                let findings = probe::analyse(&networks, plan, analysis).await;
                facts.judge_by(&findings);
                findings
            };
            Job::Probed(Command::Probed { analysis, probed: probe::seen(&findings) })
        });
    }

    /// Whether it is us who are cut off.
    pub(super) fn look(&self, desk: &mut Desk<'_>, number: u32) {
        let (networks, plan) = self.networks(desk);
        desk.jobs.spawn(async move {
            let findings = probe::any_answers(&networks, plan, number).await;
            Job::Probed(Command::Looked { number, probed: probe::seen(&findings) })
        });
    }

    fn networks(&self, desk: &Desk<'_>) -> (Vec<Network>, Plan) {
        let judging = &desk.options.config.judging;
        let view = desk.facts.view();
        let state = |channel: ChannelIndex| view.channels.get(channel.usize()).map(|c| c.state);
        let is_heard = |network: &Network| state(network.channel) == Some(ChannelState::Open);
        let networks = self.networks.iter().map(|n| Network { peer_heard: is_heard(n), ..n.clone() }).collect();
        (networks, Plan { rounds: judging.probe_rounds, pause: Duration::from_nanos(judging.probe_pause.0) })
    }
}
