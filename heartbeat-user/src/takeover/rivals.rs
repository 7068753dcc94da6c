//! What the claims of neighbours mean: answers to our questions, or rivals for what is held. A table without clock, socket or
//! names; at most one rival, and one answer, for each planned address.

use super::{claims::On, frames::AddressClaim};
use crate::types::{GroupIndex, Nanos};
use std::collections::{BTreeMap, HashMap};

/// A rival that was not heard for so long is gone. Longer than the gaps between the first announcements of another agent like
/// this one ([`ANNOUNCE_AGAIN`](super::ANNOUNCE_AGAIN)), so that a takeover of its that is given up makes one rival, not
/// several.
pub const RIVAL_GONE: Nanos = Nanos::from_millis(3_500);
/// Of so many answered addresses the answer is kept: enough to say who it is.
pub const NAMED: usize = 16;
/// Of so many who answer for the same address: the first may be one who answers for everything.
const EACH: usize = 4;

/// A group and a place in its plan.
pub(super) type Place = (GroupIndex, usize);

/// Who else claims which address.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    held: HashMap<On, Place>,
    open: BTreeMap<Place, Rival>,
    questions: Vec<Question>,
}

/// A rival for one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rival {
    pub(super) mac: [u8; 6],
    pub(super) first: Nanos,
    pub(super) last: Nanos,
}

/// Addresses of a group that the neighbours have been asked for.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) group: GroupIndex,
    /// Until when answers count.
    pub(super) due: Nanos,
    /// Places in the group's plan.
    pub(super) asked: HashMap<On, usize>,
    /// Addresses that nobody should have, and who answered for each; [`EACH`] at most.
    pub(super) decoys: HashMap<On, Vec<[u8; 6]>>,
    /// Places that are answered for, on which interface, and by which Ethernet addresses; [`NAMED`] places at most.
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    interface: u32,
    place: usize,
    macs: Vec<[u8; 6]>,
}

impl Question {
    /// Whether another answer would say nothing new, but for who answers for everything.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.len() == NAMED.min(self.asked.len())
    }

    /// The places that are answered for, and by which Ethernet address first. Who answered for all decoys on the interface answers
    /// for everything, and does not count.
    pub(super) fn answers(&self) -> Vec<(usize, [u8; 6])> {
        let counts = |interface: u32, mac: &[u8; 6]| {
            let mut decoys = self.decoys.iter().filter(|((on, _), _)| *on == interface).peekable();
            decoys.peek().is_none() || decoys.any(|(_, macs)| !macs.contains(mac))
        };
        let first = |answer: &Answer| {
            let mac = answer.macs.iter().find(|mac| counts(answer.interface, mac))?;
            Some((answer.place, *mac))
        };
        self.answers.iter().filter_map(first).collect()
    }

    /// Whether the claim was asked for, and so is an answer.
    fn hear(&mut self, on: On, mac: [u8; 6]) -> bool {
        if let Some(macs) = self.decoys.get_mut(&on) {
            note(macs, mac);
            return true;
        }
        let Some(place) = self.asked.get(&on).copied() else { return false };
        let full = self.is_answered();
        match self.answers.iter_mut().find(|answer| answer.place == place) {
            Some(answer) => note(&mut answer.macs, mac),
            None if full => {}
            None => self.answers.push(Answer { interface: on.0, place, macs: vec![mac] }),
        }
        true
    }
}

fn note(macs: &mut Vec<[u8; 6]>, mac: [u8; 6]) {
    if macs.len() < EACH && !macs.contains(&mac) {
        macs.push(mac);
    }
}

impl Rivals {
    /// From now on `held` are the addresses that are held.
    pub(super) fn hold(&mut self, held: HashMap<On, Place>) {
        self.held = held;
    }

    /// From now on `more` are held, too.
    pub(super) fn hold_too(&mut self, more: impl IntoIterator<Item = (On, Place)>) {
        self.held.extend(more);
    }

    /// The neighbours are asked for more addresses of a group. Until `due`, what is heard for them is an answer, not a rival.
    pub(super) fn ask(&mut self, group: GroupIndex, asked: impl IntoIterator<Item = (On, usize)>, due: Nanos) {
        self.open(group, due).asked.extend(asked);
    }

    /// And for these, which nobody should have.
    pub(super) fn ask_decoys(&mut self, group: GroupIndex, decoys: impl IntoIterator<Item = On>, due: Nanos) {
        self.open(group, due).decoys.extend(decoys.into_iter().map(|on| (on, Vec::new())));
    }

    fn open(&mut self, group: GroupIndex, due: Nanos) -> &mut Question {
        let known = self.questions.iter().position(|question| question.group == group);
        let place = known.unwrap_or_else(|| {
            let question = Question { group, due, asked: HashMap::new(), decoys: HashMap::new(), answers: Vec::new() };
            self.questions.push(question);
            self.questions.len() - 1
        });
        self.questions[place].due = due;
        &mut self.questions[place]
    }

    /// The question for the group, if it is open.
    pub(super) fn question(&self, group: GroupIndex) -> Option<&Question> {
        self.questions.iter().find(|question| question.group == group)
    }

    /// Closes the question for the group.
    pub(super) fn close(&mut self, group: GroupIndex) -> Option<Question> {
        let place = self.questions.iter().position(|question| question.group == group)?;
        Some(self.questions.swap_remove(place))
    }

    /// A question whose time is over, closed.
    pub(super) fn due(&mut self, now: Nanos) -> Option<Question> {
        let group = self.questions.iter().find(|question| question.due <= now)?.group;
        self.close(group)
    }

    /// When the next question is over.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.questions.iter().map(|question| question.due).min()
    }

    /// The addresses that are held or asked for.
    pub(super) fn of_interest(&self) -> impl Iterator<Item = On> {
        let asked = self.questions.iter().flat_map(|question| question.asked.keys().chain(question.decoys.keys()));
        self.held.keys().chain(asked).copied()
    }

    /// Whether a claim for the address would mean anything.
    pub(super) fn is_of_interest(&self, on: &On) -> bool {
        let asks = |question: &Question| question.asked.contains_key(on) || question.decoys.contains_key(on);
        self.held.contains_key(on) || self.questions.iter().any(asks)
    }

    /// A neighbour, not this host itself, has made a claim on the interface. Returns for which address it is a new rival.
    pub(super) fn heard(&mut self, interface: u32, claim: AddressClaim, now: Nanos) -> Option<Place> {
        let on = (interface, claim.ip);
        if self.questions.iter_mut().any(|question| question.hear(on, claim.mac)) {
            return None;
        }
        let place = *self.held.get(&on)?;
        let new = !self.open.contains_key(&place);
        self.open.entry(place).or_insert(Rival { mac: claim.mac, first: now, last: now }).last = now;
        new.then_some(place)
    }

    /// Rivals that have not been heard for [`RIVAL_GONE`]. They are forgotten.
    pub(super) fn gone(&mut self, now: Nanos) -> Vec<(Place, Rival)> {
        self.open.extract_if(.., |_, rival| now.since(rival.last) >= RIVAL_GONE).collect()
    }

    /// The group is not held any more. Returns its rivals, which are forgotten.
    pub(super) fn release(&mut self, group: GroupIndex) -> Vec<(Place, Rival)> {
        self.close(group);
        self.held.retain(|_, (of, _)| *of != group);
        self.open.extract_if(.., |(of, _), _| *of == group).collect()
    }
}
