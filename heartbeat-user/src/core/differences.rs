//! What the two controllers' configurations differ in, and what of that was told (FIG. 9, steps 908, 910): nothing moves because of it.

use super::{
    action::Actions,
    event::{Difference, Event},
    names::OnlyHere,
};
use crate::types::{Nanos, Node};

/// What the two controllers' configurations differ in (FIG. 9, step 908).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The channels.
    pub channels: bool,
    /// The groups: their names, homes or addresses. Nothing changes hands while that is so.
    pub groups: bool,
    /// The interval. The longer one counts.
    pub interval: bool,
}

impl Differences {
    /// In what they do.
    pub fn all(self) -> impl Iterator<Item = Difference> {
        Difference::ALL.into_iter().filter(move |what| self.has(*what))
    }

    const fn has(self, what: Difference) -> bool {
        match what {
            Difference::Channels => self.channels,
            Difference::Groups => self.groups,
            Difference::Interval => self.interval,
        }
    }
}

/// The differences that were told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told(Differences);

impl Told {
    /// Whether that was not told yet.
    pub(super) fn is_news(&self, differs: Differences) -> bool {
        self.0 != differs
    }

    /// Tells what began to differ, and what does no more. `newer`: whose file was changed last, who does not have to load it.
    pub(super) fn step(
        &mut self,
        now: Nanos,
        differs: Differences,
        only: OnlyHere,
        newer: Option<Node>,
        out: &mut Actions,
    ) {
        let before = std::mem::replace(&mut self.0, differs);
        for what in Difference::ALL {
            let (channels_only_here, groups_only_here, only_there) = match what {
                Difference::Channels => (only.channels, 0, only.there),
                Difference::Groups => (0, only.groups, only.there),
                Difference::Interval => (0, 0, 0),
            };
            match (before.has(what), differs.has(what)) {
                (false, true) => out.tell(
                    now,
                    Event::ConfigurationDiffers { what, newer, channels_only_here, groups_only_here, only_there },
                ),
                (true, false) => out.tell(now, Event::ConfigurationAgrees { what }),
                _ => {}
            }
        }
    }
}

/// Whose file was changed last: `here` and `there` in seconds since 1970; nothing where either is not known (0), or both are alike.
pub(super) fn newer(node: Node, here: u32, there: u32) -> Option<Node> {
    if here == 0 || there == 0 || here == there {
        return None;
    }
    Some(if here > there { node } else { node.other() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Action;

    const NONE: Differences = Differences { channels: false, groups: false, interval: false };
    const ONLY: OnlyHere = OnlyHere { channels: 0b10, groups: 0b1, there: 3 };

    #[test]
    fn each_difference_is_told_once_with_what_only_one_side_has_of_it_and_once_when_it_is_gone() {
        let (mut told, mut out) = (Told::default(), Actions::with_room(4));
        let mut step = |differs| {
            told.step(Nanos(7), differs, ONLY, Some(Node::B), &mut out);
            std::iter::from_fn(|| out.pop()).collect::<Vec<_>>()
        };
        let differs = |what, channels_only_here, groups_only_here, only_there| {
            let newer = Some(Node::B);
            let event = Event::ConfigurationDiffers { what, newer, channels_only_here, groups_only_here, only_there };
            Action::Tell(Nanos(7), event)
        };
        let agrees = |what| Action::Tell(Nanos(7), Event::ConfigurationAgrees { what });
        let (channels, groups) = (differs(Difference::Channels, 0b10, 0, 3), differs(Difference::Groups, 0, 0b1, 3));
        assert_eq!(step(NONE), []);
        assert_eq!(step(Differences { channels: true, groups: true, interval: false }), [channels, groups]);
        let interval = Differences { groups: true, interval: true, channels: false };
        assert_eq!(step(interval), [agrees(Difference::Channels), differs(Difference::Interval, 0, 0, 0)]);
        assert_eq!(step(interval), [], "they go on to differ in that");
        assert_eq!(step(NONE), [agrees(Difference::Groups), agrees(Difference::Interval)]);
        assert_eq!([told.is_news(NONE), told.is_news(interval)], [false, true]);
    }

    #[test]
    fn the_newer_file_is_the_one_that_was_changed_last_where_both_say_so() {
        for (here, there, newest) in
            [(0, 9, None), (9, 0, None), (9, 9, None), (9, 8, Some(Node::A)), (8, 9, Some(Node::B))]
        {
            assert_eq!(newer(Node::A, here, there), newest, "{here} {there}");
        }
        assert_eq!(newer(Node::B, 8, 9), Some(Node::A));
    }

    #[test]
    fn what_differs_is_named() {
        assert_eq!(NONE.all().count(), 0);
        let two = Differences { interval: true, channels: true, groups: false };
        assert_eq!(two.all().collect::<Vec<_>>(), [Difference::Channels, Difference::Interval]);
    }
}
