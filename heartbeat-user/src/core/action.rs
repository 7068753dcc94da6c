//! What the judgement wants done.

use super::{Arbitrate, Event, Hook, Reason};
use crate::types::{ChannelIndex, GroupIndex, Nanos};

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open the channel's socket, then say [`Core::handle_socket`].
    OpenSocket(ChannelIndex),
    /// Close it.
    CloseSocket(ChannelIndex),
    /// Send what [`Core::message`] gives on the channel.
    Send(ChannelIndex),
    /// The channel's interface is another one than before: attach the XDP program anew.
    Attach(ChannelIndex),
    /// Add and announce the group's addresses, then say [`Core::handle_acquired`]. Where the reason is a dead peer, first
    /// take a fresh look whether any own channel has a carrier; if none has, say [`Core::handle_isolated`] instead.
    Acquire(GroupIndex, Reason),
    /// Remove the group's addresses, then say [`Core::handle_released`]; or, where some of them stay,
    /// [`Core::handle_release_failed`].
    Release(GroupIndex, Reason),
    /// Announce the group's addresses again: somebody else may have done so meanwhile.
    Announce(GroupIndex),
    /// Run a hook of the group, then say [`Core::handle_hook_ended`]. For each group there is one at a time.
    RunHook(GroupIndex, Hook, Reason),
    /// Run the local analysis of this number (FIG. 8), then say [`Core::handle_probed`]. Of one that [`is_quick`], only look
    /// afresh at our own interfaces and addresses.
    Probe(u32),
    /// Look whether any of our networks answers, then say [`Core::handle_looked`] with this number.
    Look(u32),
    /// Ask the peer's host for a sign of life, then say [`Core::handle_echo`] if there is one.
    Echo(ChannelIndex),
    /// Fence the peer, then say [`Core::handle_fenced`] with this number.
    Fence(u32),
    /// End the fencing of this number: it has nothing to do any more.
    FenceAbort(u32),
    /// Ask the arbiter, then say [`Core::handle_arbitrated`] with this number. A later question of another number overrides one
    /// that is not answered yet.
    Arbitrate(u32, Arbitrate),
    /// Tell the operator; it happened at this time.
    Tell(Nanos, Event),
    /// Everything is released and said: end.
    Exit,
}

/// How an operation on a socket went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketResult {
    /// It was opened.
    Opened,
    /// The message was taken.
    Sent,
    /// No room: the message is lost, the socket is not.
    Full,
    /// Neither: the error number.
    Failed(i32),
}
