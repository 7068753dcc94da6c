//! A message of any kind, taken outside the kernel: the XDP program tells the kinds apart by itself, so that heartbeats do not pay for
//! it.

use crate::{
    admit, echo,
    layout::{AgentCell, Histogram, Slot},
    notice,
    siphash::Key,
    verify::{Expected, Received},
    wire::View,
};

/// Takes a message of any kind that came to a channel's end: examines, records and counts it. None is a datagram that has
/// not the length of a message. `now` gives the time of arrival in ns and is asked only where something is stored.
///
/// After [`Outcome::EchoRequest`](crate::layout::Outcome::EchoRequest) the caller owes the peer what [`echo::answer`] gives.
pub fn receive(
    message: Option<View<'_>>,
    expected: Expected,
    agent: &AgentCell,
    key: impl FnOnce(u8) -> Option<Key>,
    slot: &Slot,
    histogram: &Histogram,
    now: impl FnOnce() -> u64,
) -> Received {
    match message {
        Some(echo) if echo.is_echo() => {
            Received::plain(echo::receive(echo, expected, agent, key, slot, echo::Answerable::Yes, now()))
        }
        Some(notice) if notice.is_notice() => notice::receive(notice, expected, agent, key, slot, now()),
        _ => admit::receive(message, expected, agent, key, slot, histogram, now),
    }
}
