//! What the judgement wants done, as data that others carry out.

use super::event::{Event, Reason};
use crate::types::{ChannelIndex, GroupIndex, Nanos};
use serde::Serialize;
use std::collections::VecDeque;

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open the channel's socket, then say [`Core::handle_socket`](super::Core::handle_socket).
    OpenSocket(ChannelIndex),
    /// Close it.
    CloseSocket(ChannelIndex),
    /// Send what [`Core::message`](super::Core::message) gives on the channel.
    Send(ChannelIndex),
    /// The channel's interface is another one than before: attach the XDP program anew.
    Attach(ChannelIndex),
    /// Add and announce the group's addresses, then say [`Core::handle_acquired`](super::Core::handle_acquired). Where the reason is a dead peer, first
    /// take a fresh look whether any own channel has a carrier; if none has, say [`Core::handle_isolated`](super::Core::handle_isolated) instead.
    Acquire(GroupIndex, Reason),
    /// Remove the group's addresses, then say [`Core::handle_released`](super::Core::handle_released); or, where some of them stay,
    /// [`Core::handle_release_failed`](super::Core::handle_release_failed).
    Release(GroupIndex, Reason),
    /// Announce the group's addresses again: somebody else may have done so meanwhile.
    Announce(GroupIndex),
    /// Run a hook of the group, then say [`Core::handle_hook_ended`](super::Core::handle_hook_ended). For each group there is one at a time.
    RunHook(GroupIndex, Hook, Reason),
    /// Run the local analysis of this number (FIG. 8), then say [`Core::handle_probed`](super::Core::handle_probed). Of one that [`is_quick`](super::is_quick), only look
    /// afresh at our own interfaces and addresses.
    Probe(u32),
    /// Look whether any of our networks answers, then say [`Core::handle_looked`](super::Core::handle_looked) with this number.
    Look(u32),
    /// Ask the peer's host for a sign of life, then say [`Core::handle_echo`](super::Core::handle_echo) if there is one.
    Echo(ChannelIndex),
    /// Fence the peer, then say [`Core::handle_fenced`](super::Core::handle_fenced) with this number.
    Fence(u32),
    /// End the fencing of this number: it has nothing to do any more.
    FenceAbort(u32),
    /// Ask the arbiter, then say [`Core::handle_arbitrated`](super::Core::handle_arbitrated) with this number. A later question of another number overrides one
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

/// A command of the operator's, of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before its addresses are added; where it fails, they are not.
    OnAcquire,
    /// Once its addresses are in place.
    OnAcquired,
    /// Before its addresses are removed.
    OnReleasing,
    /// After its addresses are gone; where it fails, the group was not let go of.
    OnRelease,
}

impl Hook {
    /// All of them, in the order of a group's life.
    pub const ALL: [Self; 4] = [Self::OnAcquire, Self::OnAcquired, Self::OnReleasing, Self::OnRelease];

    /// Its key in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnAcquire => "on_acquire",
            Self::OnAcquired => "on_acquired",
            Self::OnReleasing => "on_releasing",
            Self::OnRelease => "on_release",
        }
    }
}

/// What the arbiter is asked for: groups, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arbitrate {
    /// To have them granted; those that are granted to us already stay so.
    Acquire(u64),
    /// To have the grant of them prolonged. What cannot be prolonged, because it ran out, may be granted anew.
    Renew(u64),
    /// To give them back. What comes of it need not be known, but that it is over is.
    Release(u64),
}

impl Arbitrate {
    /// The groups that it is about.
    #[must_use]
    pub const fn groups(self) -> u64 {
        match self {
            Self::Acquire(groups) | Self::Renew(groups) | Self::Release(groups) => groups,
        }
    }
}

/// What the arbiter said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arbitrated {
    /// Nobody else has these groups before `until`, on CLOCK_MONOTONIC: counted from before the question was sent, less what
    /// clocks may drift. Those that were asked for and are not among them are denied. After a release, whatever it says.
    Granted {
        /// A bit each.
        groups: u64,
        /// When the grant runs out.
        until: Nanos,
    },
    /// The other controller has them.
    Denied,
    /// It did not answer in time, or not in a way that says anything.
    Unreachable,
}

/// What is to be done, in order. There is room for all that one turn can cause, and it never grows.
#[derive(Clone, Debug)]
pub(super) struct Actions(VecDeque<Action>);

impl Actions {
    /// None yet, of so many at most.
    pub(super) fn with_room(actions: usize) -> Self {
        Self(VecDeque::with_capacity(actions))
    }

    /// How many there is room for.
    pub(super) fn room(&self) -> usize {
        self.0.capacity()
    }

    /// To be done after all others.
    pub(super) fn push(&mut self, action: Action) {
        self.0.push_back(action);
    }

    /// To be told to the operator; it happened now.
    pub(super) fn tell(&mut self, now: Nanos, event: Event) {
        self.push(Action::Tell(now, event));
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<Action> {
        self.0.pop_front()
    }
}

impl Extend<Action> for Actions {
    fn extend<T: IntoIterator<Item = Action>>(&mut self, actions: T) {
        self.0.extend(actions);
    }
}
