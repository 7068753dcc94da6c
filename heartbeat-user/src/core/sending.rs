//! When the core sends: a tick of each channel's generator (FIG. 5), or at once where something must be said.

use super::{Action, Channel, ChannelState, Core, generator::Step};
use crate::types::{ChannelIndex, Nanos};

impl Core {
    /// FIG. 5, a tick of each channel's generator, when it is due or something must be said at once.
    pub(super) fn generate(&mut self, now: Nanos) {
        let owes = self.channels.iter().any(|c| c.owes_answer);
        if now < self.next_send && !self.urgent && !owes && self.farewells.is_none() {
            return;
        }
        let timing = self.setup.timing;
        if now >= self.next_send {
            let next = self.next_send.after(timing.interval);
            // Late by an interval or more: no burst to make up for it.
            self.next_send = if next > now { next } else { now.after(timing.interval) };
            self.ticks += 1;
            for i in 0..self.channels.len() {
                let channel = ChannelIndex(i as u8);
                let c = &mut self.channels[i];
                if !self.ticks.is_multiple_of(c.pace.into()) {
                    continue;
                }
                let heard = c.counter.state() == ChannelState::Open;
                let actions: &[Action] = match c.generator.tick(&c.timing, now, heard) {
                    Step::Open => &[Action::OpenSocket(channel)],
                    Step::Send => &[Action::Send(channel)],
                    Step::Close => &[Action::CloseSocket(channel)],
                    Step::Reopen => &[Action::CloseSocket(channel), Action::OpenSocket(channel)],
                    Step::Wait => &[],
                };
                self.actions.extend(actions.iter().copied());
                let c = &self.channels[i];
                if c.generator.is_open() && c.counter.last_arrival().is_some() && self.is_silent(i, now) {
                    self.actions.push(Action::Echo(channel));
                }
            }
        } else {
            let all = self.urgent;
            self.send_where(|c| all || c.owes_answer);
        }
        self.urgent = false;
        self.channels.iter_mut().for_each(|c| c.owes_answer = false);
        if let Some(farewells) = self.farewells.take() {
            for _ in 0..farewells {
                self.send_where(|_| true);
            }
            self.actions.push(Action::Exit);
        }
    }

    /// Where it can.
    fn send_where(&mut self, wanted: impl Fn(&Channel) -> bool) {
        for (i, c) in self.channels.iter().enumerate() {
            if c.generator.is_open() && wanted(c) {
                self.actions.push(Action::Send(ChannelIndex(i as u8)));
            }
        }
    }
}
