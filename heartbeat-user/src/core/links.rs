//! What follows where an interface of ours changes or a socket fails, and that a stranger was heard.

use super::{Action, Core, Event, SocketResult};
use crate::types::{ChannelIndex, Link, Nanos};

impl Core {
    /// Heartbeats that are not our peer's, or not provably so, arrived on this channel.
    pub fn handle_stranger(&mut self, now: Nanos, channel: ChannelIndex) {
        if let Some(c) = self.channels.get_mut(channel.usize()) {
            c.stranger_at = Some(now);
        }
    }

    /// A channel's interface was looked at.
    pub fn handle_link(&mut self, now: Nanos, channel: ChannelIndex, link: Link) {
        let was_isolated = self.isolated();
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        let before = c.link;
        if before == link {
            return;
        }
        c.link = link;
        self.ownership.forget_failures();
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        let index = |link| match link {
            Link::Absent => None,
            Link::Present { index, .. } => Some(index),
        };
        if index(before) != index(link) {
            if c.generator.is_open() {
                c.generator.close(&c.timing, now);
                self.actions.push(Action::CloseSocket(channel));
            }
            match link {
                Link::Absent => self.tell(now, Event::InterfaceGone { channel }),
                Link::Present { .. } => {
                    self.actions.push(Action::Attach(channel));
                    self.tell(now, Event::InterfaceBack { channel });
                }
            }
        }
        if before.carrier() != link.carrier() {
            self.analysis.memory.carrier(now, channel, link.carrier());
        }
        match (before.carrier(), link.carrier()) {
            (true, false) => self.tell(now, Event::CarrierLost { channel }),
            (false, true) => self.tell(now, Event::CarrierFound { channel }),
            _ => {}
        }
        let lost = |link| matches!(link, Link::Present { address: false, .. });
        match (lost(before), lost(link)) {
            (false, true) => self.tell(now, Event::OwnAddressGone { channel }),
            (true, false) => self.tell(now, Event::OwnAddressBack { channel }),
            _ => {}
        }
        if was_isolated && !self.isolated() {
            // It was us; the peer gets a full detection time to be heard again.
            self.ownership.listen(now.after(self.detection()));
        }
    }

    /// How an operation on a channel's socket went.
    pub fn handle_socket(&mut self, now: Nanos, channel: ChannelIndex, result: SocketResult) {
        let Some(c) = self.channels.get_mut(channel.usize()) else { return };
        match result {
            SocketResult::Opened => {
                c.generator.opened(&c.timing);
                self.actions.push(Action::Send(channel));
            }
            SocketResult::Full => {}
            SocketResult::Sent => {
                if c.errno.take().is_some() {
                    self.tell(now, Event::SocketWorks { channel });
                }
            }
            SocketResult::Failed(errno) => {
                // WO 01/82077, claim 2: a socket error is recognised and leads to a new socket.
                if c.generator.is_open() {
                    self.actions.push(Action::CloseSocket(channel));
                }
                c.generator.close(&c.timing, now);
                if c.errno.replace(errno) != Some(errno) {
                    self.tell(now, Event::SocketFailed { channel, errno });
                }
            }
        }
    }
}
