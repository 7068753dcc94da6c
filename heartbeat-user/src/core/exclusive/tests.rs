//! The product of what is known of a silent peer, each with what follows, as a file; and what makes one group safe, by itself.

use super::*;
use crate::{
    core::{
        Action, Arbitrated, Exclusivity, HookedGroups, Names, Needs, NoticeSaid,
        testing::{Bench, SECOND, timing},
    },
    types::{ChannelIndex, GroupIndex, Link, Node},
};
use std::fmt::Write as _;

/// Rewritten where HEARTBEAT_WRITE is set: what changes there, changes for the operator.
const PRODUCT: &str = include_str!("product.txt");
const MS: fn(u64) -> Nanos = Nanos::from_millis;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Peer {
    Silent,
    Stalled,
    /// And may still come back in time.
    Died,
    /// And is not waited for.
    DiedLate,
    /// And its kernel keeps silent.
    Closed,
    /// And then its host fell silent.
    DiedSilent,
    Left,
    Kept,
    Maintained,
}
use Peer::*;

const PEERS: [Peer; 9] = [Silent, Stalled, Died, DiedLate, Closed, DiedSilent, Left, Kept, Maintained];
const STATES: [&str; 4] = ["none", "running", "failed", "done"];
const ANSWERS: [&str; 4] = ["none", "granted", "denied", "unreachable"];

/// The peer had everything: a group without hooks, one that is exclusive, and one that is and has hooks.
struct Product {
    bench: Bench,
    peer: Peer,
    fence: usize,
    arbiter: usize,
    taken: u64,
    fell_silent: bool,
}

impl Product {
    fn new(peer: Peer, isolated: bool, fence: usize, arbiter: usize) -> Self {
        let mut bench = Bench::of(0, |setup| {
            setup.names = Names::new(["net1", "net2"], ["plain", "exclusive", "hooked"]);
            (setup.homes, setup.failback) = (vec![Node::B; 3], vec![None; 3]);
            setup.judging.needs = vec![Needs::default(); 3];
            setup.hooks = HookedGroups { has: [0b100; 4], force: 0 };
            setup.guards.fence = fence != 0;
            setup.exclusivity = Exclusivity {
                groups: 0b110,
                arbiter: (arbiter != 0).then_some(Nanos(0)),
                release_isolated: true,
                release_within: SECOND,
                ..Exclusivity::default()
            };
        });
        bench.hear(|message| {
            message.release_within = 1;
            match peer {
                Left => (message.flags, message.owned) = (flags::LEAVING, 0),
                Kept => (message.flags, message.owned, message.wanted) = (flags::LEAVING, 0b010, 0b010),
                Maintained => message.flags = flags::MAINTENANCE,
                _ => {}
            }
        });
        let link = Link::Present { index: 1, carrier: !isolated, address: true };
        (0..2).for_each(|channel| bench.core.handle_link(bench.now, ChannelIndex(channel), link));
        let mut product = Self { bench, peer, fence, arbiter, taken: 0, fell_silent: false };
        product.answer();
        product
    }

    fn run(&mut self, span: Nanos) {
        let until = self.bench.now.after(span);
        while self.bench.now < until {
            self.bench.silence(timing().interval);
            let died = !matches!(self.peer, Stalled);
            let answers = matches!(self.peer, Stalled | Died | DiedLate | Closed | DiedSilent) && !self.fell_silent;
            if answers {
                let grace = if self.peer == Died { SECOND.times(60) } else { Nanos(0) };
                let closed = if self.peer == Closed { self.bench.core.owned() } else { 0 };
                let names_digest = Names::new(["net1", "net2"], ["plain", "exclusive", "hooked"]).digest();
                let said = NoticeSaid {
                    incarnation: self.bench.core.peer_incarnation(),
                    asked: self.bench.now,
                    died,
                    leased: true,
                    silent: MS(100),
                    owned: 0b111,
                    closed,
                    names_digest,
                    term: 1,
                    grace,
                };
                self.bench.core.handle_notice(self.bench.now, &said);
            }
            self.bench.turn();
            self.answer();
        }
    }

    fn answer(&mut self) {
        for action in self.bench.done() {
            let now = self.bench.now;
            match action {
                Action::Fence(number) if self.fence > 1 => {
                    self.bench.core.handle_fenced(now, number, STATES[self.fence] == "done");
                }
                Action::Arbitrate(number, question) => {
                    let until = now.after(SECOND.times(100));
                    let outcome = match ANSWERS[self.arbiter] {
                        "granted" => Arbitrated::Granted { groups: question.groups(), until },
                        "denied" => Arbitrated::Denied,
                        _ => Arbitrated::Unreachable,
                    };
                    self.bench.core.handle_arbitrated(now, number, outcome);
                }
                Action::Acquire(group, _) | Action::RunHook(group, ..) => self.taken |= group.bit(),
                _ => {}
            }
        }
    }

    fn shown(&self) -> String {
        let claimed = self.bench.core.owned() & !self.taken;
        let of = |group: GroupIndex| match (self.taken & group.bit() != 0, claimed & group.bit() != 0) {
            (true, _) => "taken",
            (_, true) => "claimed",
            _ => "-",
        };
        let [plain, exclusive, hooked] = [0, 1, 2].map(|i| of(GroupIndex(i)));
        let why = self.bench.core.withheld().map_or(String::new(), |why| format!("{why:?}"));
        format!("{plain:7} {exclusive:9} {hooked:7} {why:12}")
    }
}

#[test]
fn the_product_of_all_that_is_known_is_as_on_file() {
    let mut product = String::from(
        "peer       isolated fence   arbiter     | at once: plain, exclusive, with hooks; why not | after the promise\n",
    );
    for peer in PEERS {
        for (isolated, fence, arbiter) in (0..32).map(|i| (i / 16 == 1, i / 4 % 4, i % 4)) {
            let mut row = Product::new(peer, isolated, fence, arbiter);
            row.run(MS(700));
            let at_once = row.shown();
            row.fell_silent = row.peer == DiedSilent;
            row.run(SECOND.times(4));
            let [fence, arbiter] = [STATES[fence], ANSWERS[arbiter]];
            let line = format!(
                "{:10} {:8} {fence:7} {arbiter:11} | {at_once} | {}",
                format!("{peer:?}"),
                if isolated { "isolated" } else { "" },
                row.shown()
            );
            writeln!(product, "{}", line.trim_end()).unwrap();
        }
    }
    if std::env::var_os("HEARTBEAT_WRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/core/exclusive/product.txt"), &product).unwrap();
        return;
    }
    for (now, before) in product.lines().zip(PRODUCT.lines()) {
        assert_eq!(now, before);
    }
    assert_eq!(product.lines().count(), PRODUCT.lines().count());
}

/// Of all rows: nothing exclusive is taken but where something of the table makes it safe.
#[test]
fn in_no_row_of_the_product_an_exclusive_group_is_taken_unsafely() {
    for line in PRODUCT.lines().skip(1) {
        let (known, rest) = line.split_once('|').unwrap();
        let (at_once, later) = rest.split_once('|').unwrap();
        let is = |word: &str| known.split_whitespace().any(|w| w == word);
        let taken = |column: &str, i: usize| column.split_whitespace().nth(i) == Some("taken");
        let (left, fenced) = (is("Left") || is("Kept"), is("done"));
        let safe_at_once = |i: usize| left || fenced || i == 1 && (is("Closed") || is("DiedSilent"));
        let alone = !["running", "failed", "denied", "unreachable"].into_iter().any(is);
        for i in [1, 2] {
            assert!(!taken(at_once, i) || safe_at_once(i), "{line}");
            let gone = is("granted") || alone;
            let agent_gone = is("Stalled") || known.starts_with("Died") || is("Closed");
            let let_go = gone && (i == 1 || !agent_gone);
            assert!(!taken(later, i) || safe_at_once(i) || let_go, "{line}");
            assert!(!is("isolated") || left || !taken(later, i), "{line}");
        }
    }
}

/// It died, or stands still, since: what it was granted until then, it need not have let go of.
#[test]
fn what_an_agent_that_is_gone_has_in_use_is_ours_after_its_watchdogs_time_where_the_arbiter_says_so() {
    let peer = SilentPeer {
        groups: 0b1,
        hooked: 0b1,
        left_behind: u64::MAX,
        without_agent: true,
        watched: true,
        gone_at: Some(SECOND),
        ..SilentPeer::default()
    };
    let arbitrated = SilentPeer { has_arbiter: true, ..peer };
    let said = |peer: SilentPeer| {
        let safety = peer.weigh(SECOND);
        safety.because(safety.safe()).ok_or(safety.why)
    };
    assert_eq!(said(peer), Ok(Safe::Promised));
    assert_eq!(said(SilentPeer { granted: 0b1, ..arbitrated }), Ok(Safe::Promised));
    assert_eq!(said(arbitrated), Err(None), "it is being asked");
    assert_eq!(said(SilentPeer { denied: 0b1, ..arbitrated }), Err(Some(Withheld::Denied)));
    assert_eq!(said(SilentPeer { granted: 0b1, answers: true, ..arbitrated }), Err(Some(Withheld::InUse)));
}

/// It may have been alone for long, and lose its networks only now.
#[test]
fn one_that_did_not_hear_us_has_the_time_to_find_out_that_it_is_cut_off() {
    let waits = |heard| {
        let mut bench = Bench::of(0, |setup| {
            setup.guards.by_probe = true;
            let (groups, release_within) = (0b10, SECOND);
            setup.exclusivity =
                Exclusivity { groups, release_isolated: true, release_within, ..Exclusivity::default() };
        });
        let promise = bench.core.setup.exclusivity.promise();
        for _ in 0..20 {
            bench.silence(timing().interval);
            bench.hear(|message| (message.heard, message.release_within) = (heard, promise));
        }
        (bench.core.gone_at().unwrap().since(bench.now), bench.core)
    };
    let ((heard, core), (deaf, _)) = (waits(0b11), waits(0));
    let finds_out = core.setup.finds_out_within();
    assert!(finds_out > core.longest_silence());
    assert_eq!(deaf.since(heard), finds_out.since(core.longest_silence()));
}
