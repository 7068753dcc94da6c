//! Filters of the `clsact` qdisc, for kernels without tcx.

use anyhow::{Result, anyhow};
use aya::programs::{
    Link as _, ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};
use heartbeat_ebpf::frame::Way;
use std::mem;

/// What our filters are known by: "HB".
pub(super) const HANDLE: TcHandle = TcHandle::new(0, 0x4842);
/// Filters of others may be of another kind and have one of these: then the next is ours.
const PRIORITIES: std::ops::RangeInclusive<u16> = 1..=4;

/// By the `clsact` qdisc, in the place of an earlier one of ours; its priority.
pub(super) fn attach(program: &mut SchedClassifier, name: &str, way: Way) -> Result<u16> {
    // It is there already, or what follows says that it is not.
    let _ = tc::qdisc_add_clsact(name);
    let mut first = None;
    for priority in PRIORITIES {
        let before = SchedClassifierLink::attached(name, type_of(way), priority, HANDLE, None)?;
        let new = || NlOptions { priority, handle: HANDLE, ..NlOptions::default() };
        // A link that is dropped is a filter that is removed.
        let attached = program
            .attach_to_link(before)
            .or_else(|_| program.attach_with_options(name, type_of(way), TcAttachOptions::Netlink(new())));
        match attached {
            Ok(id) => {
                mem::forget(program.take_link(id)?);
                return Ok(priority);
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.map_or_else(|| anyhow!("no priority"), anyhow::Error::from))
}

/// Removes our filter from an interface; whether there was one.
pub(super) fn detach(way: Way, interface: &str) -> bool {
    let remove = |priority| -> Result<(), ProgramError> {
        let link = SchedClassifierLink::attached(interface, type_of(way), priority, HANDLE, None);
        link.map_err(tc::TcError::IoError)?.detach()
    };
    PRIORITIES.fold(false, |detached, priority| detached | remove(priority).is_ok())
}

/// Where it is attached, in the words of tc.
pub(super) const fn type_of(way: Way) -> TcAttachType {
    match way {
        Way::Out => TcAttachType::Egress,
        Way::In => TcAttachType::Ingress,
    }
}
