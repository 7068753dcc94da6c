//! What the control side does about the fence: has the peer switched off, calls that off, and has its devices asked whether
//! they answer.

use super::{
    desk::Desk,
    hooks,
    messages::{Command, FenceNews, Job},
    options::RunOptions,
};
use crate::{
    api::FenceDevice,
    core::PeerState,
    events::ControlEvent,
    fence::{self, Asked, Power, Ran},
    system::clock,
    types::Nanos,
};
use tokio::{sync::mpsc, task::AbortHandle};

/// The fencing that runs, and where it is told how that goes.
pub(super) struct Fencing {
    /// By its number.
    running: Option<(u32, AbortHandle)>,
    news: mpsc::UnboundedSender<FenceNews>,
}

impl Fencing {
    /// None runs. `news`: what is told of it, and what its devices say.
    pub(super) const fn new(news: mpsc::UnboundedSender<FenceNews>) -> Self {
        Self { running: None, news }
    }

    /// Has the peer switched off.
    pub(super) fn strike(&mut self, desk: &mut Desk<'_>, number: u32) {
        let RunOptions { config, node, .. } = desk.options;
        let (node, news) = (*node, self.news.clone());
        let Some(fence) = config.fence.clone() else { return };
        let environment = hooks::peer(config, node);
        let job = desk.jobs.spawn(async move {
            let told = |ran| drop(news.send(FenceNews::Ran(ran)));
            Job::Fenced(number, fence::strike(&fence, node, &environment, told).await)
        });
        if let Some((_, before)) = self.running.replace((number, job)) {
            before.abort();
        }
    }

    /// Ends what runs with all that it started: dropping it does.
    pub(super) fn call_off(&mut self, number: u32) {
        if let Some((running, job)) = self.running.take_if(|(running, _)| *running == number) {
            log::debug!("fencing {running} is ended");
            job.abort();
        }
    }

    /// Each agent is asked for ever.
    pub(super) fn watch(&self, desk: &mut Desk<'_>) {
        let RunOptions { config, node, .. } = desk.options;
        let Some(fence) = &config.fence else { return };
        for (i, device) in fence.devices().enumerate() {
            let news = self.news.clone();
            let told = move |asked| drop(news.send(FenceNews::Asked(i, asked)));
            let peer = hooks::peer(config, *node);
            desk.watchers.spawn(fence::watch(device.clone(), *node, fence.status_every, peer, told));
        }
    }
}

/// Whether the peer is off: the end of the fencing of that number.
pub(super) fn ended(desk: &Desk<'_>, number: u32, succeeded: bool) {
    desk.command(Command::Fenced { number, succeeded });
}

/// What became known of it.
pub(super) fn told(desk: &Desk<'_>, news: FenceNews) {
    let event = match news {
        FenceNews::Ran(level) => Some(ran(desk, level)),
        FenceNews::Asked(device, said) => asked(desk, device, said),
    };
    if let Some(event) = event {
        desk.journal.control(&event);
    }
}

/// Of a level that succeeded, all of it is told; of one that failed, what failed.
fn ran(desk: &Desk<'_>, ran: Ran) -> ControlEvent {
    let Ran { level, device, succeeded, how, output, took } = ran;
    let level = desk.options.config.fence.as_ref().and_then(|fence| fence.levels.get(level));
    let (key, by) = match level.map(|level| (level, level.devices.get(device))) {
        Some((_, Some(device))) if !succeeded => (device.key.clone(), device.runs().to_owned()),
        Some((level, _)) => (level.key.clone(), level.runs()),
        None => Default::default(),
    };
    if succeeded {
        desk.facts.known().fence.fenced = Some((by.clone(), clock::monotonic()));
    }
    let took_ns = Nanos(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    ControlEvent::FenceRan { level: key, by, succeeded, how, took_ns, output }
}

/// What is to be told: that a device does not answer, or does again.
fn asked(desk: &Desk<'_>, place: usize, asked: Asked) -> Option<ControlEvent> {
    let device = desk.options.config.fence.as_ref()?.devices().nth(place)?;
    let (key, by) = (device.key.clone(), device.runs().to_owned());
    let mut known = desk.facts.known();
    let device = known.fence.devices.get_mut(place)?;
    let before = device.clone();
    let (how, output) = match asked {
        Asked::Unfit(problems) => {
            device.unfit = problems.join("; ");
            let changed = device.unfit != before.unfit && !device.unfit.is_empty();
            return changed.then(|| ControlEvent::FenceUnfit { level: key, by, why: problems.join("; ") });
        }
        Asked::Answered { power, of_power, output } => {
            let heard = desk.facts.view().peer == PeerState::Good;
            (unwell(&power, of_power, heard), output)
        }
    };
    *device = FenceDevice {
        answers: Some(how.is_none()),
        how: how.clone().unwrap_or_default(),
        at: clock::monotonic(),
        ..before
    };
    // The first answer is what is expected.
    let told = before.answers.unwrap_or(true) != how.is_none();
    told.then(|| ControlEvent::FenceDevice {
        level: key,
        by,
        answers: how.is_none(),
        how: how.unwrap_or_default(),
        output,
    })
}

/// Why a device that says this could not be relied on; nothing where it can. `heard`: whether the peer is.
fn unwell(power: &Power, of_power: bool, heard: bool) -> Option<String> {
    match power {
        Power::Unknown(ended) => Some(format!("asked whether the peer has power, it {ended}")),
        Power::Off if of_power && heard => Some(
            "it says that the peer is off, and the peer is heard: it is something else that would be switched off"
                .to_owned(),
        ),
        // `monitor` knows 0 and failures only.
        Power::Off if !of_power => Some("asked whether it is well, it ended with 2".to_owned()),
        Power::On | Power::Off => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Ended;

    #[test]
    fn a_device_is_relied_on_unless_it_is_silent_or_contradicted_by_the_peer() {
        assert_eq!(unwell(&Power::On, true, true), None);
        assert_eq!(unwell(&Power::On, true, false), None);
        assert_eq!(unwell(&Power::Off, true, false), None, "as it should be, of a peer that has no power");
        assert!(unwell(&Power::Off, true, true).unwrap().contains("something else"));
        assert!(unwell(&Power::Unknown(Ended::Exit(1)), true, false).unwrap().ends_with("it ended with 1"));
        assert_eq!(unwell(&Power::On, false, true), None);
        assert!(unwell(&Power::Off, false, true).is_some());
    }
}
