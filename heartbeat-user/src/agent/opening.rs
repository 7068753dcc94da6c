//! The kernel's part of the agent at the start: what earlier lives left there goes on, with each channel in its place; where no
//! XDP is to be had, a file of tables takes its place.

use super::{inherit::slots, left::Left, runtime_dir::RuntimeDir};
use crate::{
    config::Config,
    dataplane::{Adopted, Kernel, ProgramSettings, SlotOrder, Tables},
    events::{ControlEvent, Journal},
    types::XdpPreference,
};
use anyhow::Result;
use std::sync::Arc;

/// What was opened.
pub(super) struct Opened {
    /// Or why heartbeats come by sockets.
    pub(super) kernel: Result<Kernel, NoXdp>,
    pub(super) tables: Arc<Tables>,
    /// An earlier life's records go on.
    pub(super) adopted: bool,
}

/// Heartbeats come by sockets.
#[derive(Clone, Debug, Default)]
pub(super) struct NoXdp {
    /// Why, where the configuration does not say so.
    pub(super) why: Option<String>,
}

/// Opens it; where it is XDP, takes away the file of tables that an earlier life without it had.
///
/// # Errors
/// Neither is to be had.
pub(super) fn open(
    config: &Config,
    settings: &ProgramSettings,
    folder: &RuntimeDir,
    left: &Left,
    journal: &Journal,
) -> Result<Opened> {
    let names: Vec<_> = config.channels.iter().map(|c| c.name.as_str()).collect();
    let life = left.life.as_ref().filter(|life| left.cell.is_some_and(|cell| life.is_of(cell.incarnation())));
    let (order, fresh) = slots(life.map_or(&[], |life| &life.channels), &names);
    match kernel(config.dataplane.xdp, settings, folder, journal) {
        Ok(kernel) => with_kernel(kernel, order, fresh, folder, left),
        Err(none) => without_kernel(none, order, fresh, folder, left),
    }
}

fn kernel(
    preference: XdpPreference,
    settings: &ProgramSettings,
    folder: &RuntimeDir,
    journal: &Journal,
) -> Result<(Kernel, Adopted), NoXdp> {
    if preference == XdpPreference::Socket {
        return Err(NoXdp::default());
    }
    let error = match folder.pin_folder().and_then(|pins| Kernel::open(settings, &pins)) {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    let why = format!("no XDP is to be had on this host: {error:#}");
    if preference != XdpPreference::Auto {
        let what = format!("dataplane.xdp = \"{}\": {why}; \"auto\" would fall back to sockets", preference.name());
        journal.control(&ControlEvent::HostProblem { what });
    }
    Err(NoXdp { why: Some(why) })
}

/// `fresh`: the channels whose place is new to them, a bit each.
fn with_kernel(
    (mut kernel, adopted): (Kernel, Adopted),
    order: SlotOrder,
    fresh: u64,
    folder: &RuntimeDir,
    left: &Left,
) -> Result<Opened> {
    kernel.arrange(order, if adopted.maps { fresh } else { 0 })?;
    let tables = kernel.tables();
    left.put_into(&tables);
    folder.forget_tables();
    Ok(Opened { kernel: Ok(kernel), tables, adopted: adopted.maps })
}

/// What programs of an earlier life keep silent about goes before they do ([`go_on`](super::left::go_on)).
fn without_kernel(none: NoXdp, order: SlotOrder, fresh: u64, folder: &RuntimeDir, left: &Left) -> Result<Opened> {
    let (tables, adopted) = match Tables::in_file(&folder.tables()) {
        Ok(opened) => opened,
        Err(error) => {
            log::warn!("{error:#}: the next life will not know what this one counted and held");
            (Tables::anonymous()?, false)
        }
    };
    let tables = tables.arranged(order);
    let _repaired = tables.repair();
    if adopted {
        tables.channels().filter(|channel| fresh & channel.bit() != 0).for_each(|channel| tables.clear(channel));
    }
    left.put_into(&tables);
    Ok(Opened { kernel: Err(none), tables: Arc::new(tables), adopted })
}
