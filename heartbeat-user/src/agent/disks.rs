//! Channels over disks, as the control side knows them: their threads, and what is told of them.

use super::{arbitrating::Arbitrating, desk::Desk, options::RunOptions};
use crate::{
    dataplane::{DiskEnd, DiskThreads, Disks},
    events::ControlEvent,
    system::clock,
    types::ChannelIndex,
};
use anyhow::{Context as _, Result};
use std::time::Duration;

/// What was said last is written within so long, where the disk is well; beyond that nobody waits for it.
const FAREWELL: Duration = Duration::from_secs(1);

/// The threads of the channels that are disks, and the pulse thread's end of them; none where no channel is one.
pub(super) fn start(options: &RunOptions) -> Result<(Option<Disks>, Option<DiskThreads>)> {
    let RunOptions { config, node, .. } = options;
    let ends = config.channels.iter().filter_map(|channel| {
        let (path, _) = channel.disk(*node)?;
        // As it is sent.
        let every = config.timing.interval.times(channel.pace(config.timing.interval).into());
        Some((channel.index.0, DiskEnd { path: path.to_owned(), pair: config.pair.id, node: *node, every }))
    });
    let ends: Vec<_> = ends.collect();
    if ends.is_empty() {
        return Ok((None, None));
    }
    let (disks, threads) = Disks::new(ends).context("threads for disks")?;
    Ok((Some(disks), Some(threads)))
}

/// Waits until the threads have written what was said last; the pulse thread must have ended.
pub(super) fn finish(threads: Option<DiskThreads>) {
    if let Some(threads) = threads {
        threads.wait(FAREWELL);
    }
}

/// `why`: none where a read or write has not returned in time.
pub(super) fn failed(desk: &Desk<'_>, channel: ChannelIndex, why: Option<String>) {
    let Some(configured) = desk.options.config.channels.get(channel.usize()) else { return };
    let why = why.unwrap_or_else(|| "a read or write has not returned in time; nothing is sent before it does".into());
    let what = format!("channel \"{}\": {}: {why}", configured.name, configured.port(desk.options.node));
    desk.journal.control(&ControlEvent::HostProblem { what });
}

/// A disk that keeps this process from becoming another one, in words: the kernel ends no thread that waits for a disk.
pub(super) fn hanging(
    options: &RunOptions,
    channels: Option<&DiskThreads>,
    arbitrating: &Arbitrating,
) -> Option<String> {
    let RunOptions { config, node, .. } = options;
    let channel = channels.and_then(DiskThreads::hanging);
    let name = channel.and_then(|number| config.channels.get(usize::from(number))).map(|c| c.port(*node));
    let name = name.or_else(|| {
        let lasts = arbitrating.busy()?.lasts(clock::monotonic());
        config.arbiter.as_ref().filter(|arbiter| lasts > arbiter.within()).map(|arbiter| arbiter.described())
    });
    Some(format!("a read or write of {} has not returned", name?))
}
