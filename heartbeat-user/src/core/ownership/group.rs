//! One group, as this controller holds it, and by when that may change.

use crate::{
    core::{
        event::Reason,
        timers::{Wake, is_to_come},
    },
    types::{Nanos, Node},
};

/// How long a group rests after none of its addresses could be added.
pub(super) const REST: Nanos = Nanos::from_millis(1_000);
/// For so long, a group that could not be acquired is not asked for again.
pub(super) const SPOILT: Nanos = Nanos::from_millis(60_000);
/// How long a group that could not be let go of is kept before that is tried again; twice as long each time.
pub(super) const KEEP: Nanos = Nanos::from_millis(10_000);
pub(super) const KEEP_MOST: Nanos = Nanos::from_millis(320_000);
/// So often, and each time so soon, does a home let go of a group before the other wishes for it.
pub(super) const TRIES: u8 = 3;
pub(super) const TRY: Nanos = Nanos::from_millis(120_000);
/// While both hold something, nothing else is claimed or handed over, for so long.
pub(super) const SETTLING: Nanos = Nanos::from_millis(10_000);
/// A group that its home does not take within this time, and two detection times, is the other's to wish for.
pub(super) const UNHELD: Nanos = Nanos::from_millis(5_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Standby,
    /// The peer's kernel is to keep silent for it before anything of it is here: we say that it is ours, and wait.
    Claiming {
        until: Nanos,
        reason: Reason,
    },
    Acquiring,
    Held,
    Releasing,
    /// It could neither be had nor let go of: nothing of it is served here, and nobody else may have it.
    Stuck {
        until: Nanos,
    },
    Resting {
        until: Nanos,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) home: Node,
    /// The file has it no more: it is never claimed.
    pub(super) departed: bool,
    pub(super) holding: Holding,
    /// Both hold it, and that was said.
    pub(super) dual: bool,
    /// Since when.
    pub(super) dual_since: Option<Nanos>,
    /// It was taken from a peer that had it, and that was found dead.
    pub(super) taken: bool,
    /// The last attempt to acquire it failed, and that was said: the next ones are silent until one succeeds.
    pub(super) failing: bool,
    /// When that was.
    pub(super) failed_at: Option<Nanos>,
    /// Since when it is, or is not, held here.
    pub(super) moved_at: Option<Nanos>,
    /// It could not be let go of: not tried again before this time.
    pub(super) kept_until: Option<Nanos>,
    /// For so long it was kept then.
    pub(super) kept_for: Nanos,
    /// It is stuck, and that was said.
    pub(super) stuck: bool,
    /// Since when neither holds it.
    pub(super) unheld_since: Option<Nanos>,
    /// Since when the peer has held it, or tried to.
    pub(super) peers_since: Option<Nanos>,
    /// How often it let go of it again soon after.
    pub(super) let_go: u8,
}

impl Group {
    /// One that is held from the start, or not.
    pub(super) const fn new(home: Node, held: bool) -> Self {
        Self {
            home,
            departed: false,
            holding: if held { Holding::Held } else { Holding::Standby },
            dual: false,
            dual_since: None,
            taken: false,
            failing: false,
            failed_at: None,
            moved_at: None,
            kept_until: None,
            kept_for: Nanos(0),
            stuck: false,
            unheld_since: None,
            peers_since: None,
            let_go: 0,
        }
    }

    /// Until when it is not asked for again, where it could not be acquired when that was last tried.
    fn spoilt_until(&self) -> Option<Nanos> {
        self.failed_at.map(|at| at.after(SPOILT))
    }

    /// Whether it could not be acquired when that was last tried, not long ago.
    pub(super) fn failed(&self, now: Nanos) -> bool {
        is_to_come(self.spoilt_until(), now)
    }

    /// When it will have been held by neither for so long.
    pub(super) fn lies_at(&self, unheld: Nanos) -> Option<Nanos> {
        self.unheld_since.map(|since| since.after(unheld))
    }

    /// Until when the peer is waited for to say what of what both hold it took from us: it does as soon as it hears us.
    pub(super) fn heard_out_at(&self, detection: Nanos) -> Option<Nanos> {
        self.dual_since.map(|since| since.after(detection))
    }

    /// When time alone may change something of it. The ends of `SETTLING` and of `hold` are seen with the next heartbeat.
    pub(super) fn times(&self, detection: Nanos, unheld: Nanos, wake: &mut Wake) {
        let Self {
            home: _,
            departed: _,
            holding,
            dual: _,
            dual_since: _,
            taken: _,
            failing: _,
            failed_at: _,
            moved_at: _,
            kept_until,
            kept_for: _,
            stuck: _,
            unheld_since: _,
            peers_since: _,
            let_go: _,
        } = self;
        match *holding {
            Holding::Resting { until } | Holding::Stuck { until } => wake.due(until),
            Holding::Claiming { until, .. } => {
                wake.ends(until);
                wake.ends(until.after(SETTLING));
            }
            Holding::Standby | Holding::Acquiring | Holding::Held | Holding::Releasing => {}
        }
        wake.ends(self.lies_at(unheld));
        wake.ends(*kept_until);
        wake.ends(self.spoilt_until());
        wake.ends(self.heard_out_at(detection));
    }
}
