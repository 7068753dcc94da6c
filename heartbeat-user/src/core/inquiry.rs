//! A question to somebody who takes his time, or never answers: whether any network of ours works, the fence, the arbiter.
//!
//! ```text
//!           ask                  answer, of the same number
//!  Idle ----------> Asked -------------------------------> Answered
//!    ^                | ^          ask again                   |
//!    |                | +--------------------------------------+
//!    +-- forget ------+----------------------------------------+
//! ```
//! Each question has a number, and the answer to another one than the last counts for nothing. Nothing of it is by time: whoever
//! asks says when a question is given up, and for how long an answer is good.

use crate::types::Nanos;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage<T> {
    /// Nothing is asked.
    #[default]
    Idle,
    /// It is under way.
    Asked { at: Nanos },
    /// It was answered.
    Answered { at: Nanos, answer: T },
}

/// The last question, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inquiry<T> {
    number: u32,
    stage: Stage<T>,
}

impl<T: Copy> Inquiry<T> {
    /// One that an earlier life of the agent had answered.
    pub(super) const fn answered_before(at: Nanos, answer: T) -> Self {
        Self { number: 0, stage: Stage::Answered { at, answer } }
    }

    /// Where it stands.
    pub(super) const fn stage(&self) -> Stage<T> {
        self.stage
    }

    /// Of the question that counts.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// When the question was asked that is under way.
    pub(super) const fn asked(&self) -> Option<Nanos> {
        match self.stage {
            Stage::Asked { at } => Some(at),
            _ => None,
        }
    }

    /// The answer, and when it came.
    pub(super) const fn answered(&self) -> Option<(Nanos, T)> {
        match self.stage {
            Stage::Answered { at, answer } => Some((at, answer)),
            _ => None,
        }
    }

    /// What was answered.
    pub(super) fn answer(&self) -> Option<T> {
        self.answered().map(|(_, answer)| answer)
    }

    /// It is asked now, by this number. What was asked or answered before counts for nothing any more.
    pub(super) const fn ask(&mut self, now: Nanos) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.stage = Stage::Asked { at: now };
        self.number
    }

    /// The question of this number was answered. When it had been asked; none where it counts for nothing.
    pub(super) fn take(&mut self, now: Nanos, number: u32, answer: T) -> Option<Nanos> {
        let asked = self.asked().filter(|_| number == self.number)?;
        self.stage = Stage::Answered { at: now, answer };
        Some(asked)
    }

    /// It is known without being asked.
    pub(super) const fn know(&mut self, now: Nanos, answer: T) {
        self.stage = Stage::Answered { at: now, answer };
    }

    /// A question that is under way is not any more: its number, for whoever has to end it.
    pub(super) fn call_off(&mut self) -> Option<u32> {
        self.asked()?;
        self.stage = Stage::Idle;
        Some(self.number)
    }

    /// Nothing is asked or known any more.
    pub(super) const fn forget(&mut self) {
        self.stage = Stage::Idle;
    }

    /// When it is to be asked again: a question is given up after `patience`, and an answer is good for as long as `good_for`
    /// says. None: at once.
    pub(super) fn again_at(&self, patience: Nanos, good_for: impl Fn(T) -> Nanos) -> Option<Nanos> {
        match self.stage {
            Stage::Idle => None,
            Stage::Asked { at } => Some(at.after(patience)),
            Stage::Answered { at, answer } => Some(at.after(good_for(answer))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_last_question_counts_and_only_once() {
        let mut inquiry = Inquiry::default();
        assert_eq!(inquiry.take(Nanos(1), 0, 'x'), None, "nothing was asked");
        let first = inquiry.ask(Nanos(1));
        let second = inquiry.ask(Nanos(2));
        assert_eq!(inquiry.take(Nanos(3), first, 'x'), None);
        assert_eq!(inquiry.take(Nanos(3), second, 'y'), Some(Nanos(2)));
        assert_eq!(inquiry.take(Nanos(4), second, 'z'), None);
        assert_eq!(inquiry.answered(), Some((Nanos(3), 'y')));
    }

    #[test]
    fn what_is_called_off_is_not_answered_any_more_and_what_was_answered_is_not_called_off() {
        let mut inquiry = Inquiry::default();
        assert_eq!(inquiry.call_off(), None);
        let number = inquiry.ask(Nanos(1));
        assert_eq!((inquiry.call_off(), inquiry.call_off()), (Some(number), None));
        assert_eq!((inquiry.take(Nanos(2), number, ()), inquiry.stage()), (None, Stage::Idle));
        let next = inquiry.ask(Nanos(3));
        assert_ne!(next, number);
        inquiry.take(Nanos(4), next, ());
        assert_eq!((inquiry.call_off(), inquiry.answer()), (None, Some(())));
        inquiry.forget();
        assert_eq!(inquiry.answer(), None);
    }

    #[test]
    fn what_is_known_meanwhile_needs_no_answer() {
        let mut inquiry = Inquiry::default();
        let number = inquiry.ask(Nanos(1));
        inquiry.know(Nanos(2), 'x');
        assert_eq!((inquiry.take(Nanos(3), number, 'y'), inquiry.answered()), (None, Some((Nanos(2), 'x'))));
    }

    #[test]
    fn it_is_asked_again_after_what_whoever_asks_says() {
        let mut inquiry = Inquiry::default();
        let again =
            |inquiry: &Inquiry<bool>| inquiry.again_at(Nanos(10), |good| if good { Nanos::NEVER } else { Nanos(20) });
        assert_eq!(again(&inquiry), None);
        let number = inquiry.ask(Nanos(1));
        assert_eq!(again(&inquiry), Some(Nanos(11)));
        inquiry.take(Nanos(5), number, false);
        assert_eq!(again(&inquiry), Some(Nanos(25)));
        assert_eq!(again(&Inquiry::answered_before(Nanos(5), true)), Some(Nanos::NEVER));
    }
}
