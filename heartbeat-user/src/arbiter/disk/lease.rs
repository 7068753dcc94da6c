//! The protocol of the disk's lease, without a disk: who may hold a group, by two blocks each of which one controller writes.
//!
//! As sanlock's delta lease, which goes back to Chockler and Malkhi (Light-Weight Leases for Storage-Centric Coordination, 2004):
//! a lease is kept by writing, lost by silence, and all times follow from one, how long a read or write may take. Here each
//! controller has a block of its own, so that no late write can wipe out what the other one said. With `ttl` = 8 x io_timeout:
//!
//! - **Claim**: write `claiming`, then read the peer's block. Two who both write before they read cannot both miss each other. If
//!   the peer neither holds nor claims the group, it is ours; else not. If both claim, b withdraws, and a waits for that.
//! - **Hold**: write `holding`. Ours until `ttl` after that write began, if it and the look at what it wrote ended before what was
//!   ours ran out. What is not prolonged in time is lost, and has to be claimed again.
//! - **Silence**: what the peer says counts until its block has stayed the same, whole or torn, for `ttl` by our clock, from the end
//!   of the first read to the beginning of the last.
//!
//! - **A new life** of the agent goes on saying for `ttl` what the one before it had, for its host may serve on.
//!
//! A write that failed, or took too long, may have been done, may still be: it gives nothing, and its like may only be what we
//! would have said. Nothing is read or written while a read or write has not returned.

use super::record::{LeaseRecord, damage};
use crate::{
    arbiter::until,
    config::show,
    core::Arbitrate,
    disk::{self, Block},
    types::{Nanos, Node},
};

/// The multiple of a read's or write's time that a lease lasts.
pub(super) const TTL: u64 = 8;
/// The longest that a lease may last, whatever the peer's block says: that of the longest time for a read or write.
const MAX_TTL: Nanos = Nanos::from_millis(8 * 60_000);

/// The disk, and the time.
pub(super) trait Device {
    /// CLOCK_MONOTONIC.
    fn now(&self) -> Nanos;
    /// Writes the block of that number, whole and durably.
    async fn write(&mut self, number: u64, block: &Block) -> Result<(), String>;
    /// Reads the two blocks.
    async fn read(&mut self) -> Result<[Block; 2], String>;
    /// Lets time go by.
    async fn pause(&mut self, span: Nanos);
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Ours until then, on our clock: some of the groups that were asked for.
    Granted { groups: u64, until: Nanos },
    /// The peer has them all, claims them, or may have them; it counts as silent in so long, if it stays silent.
    Denied { silent_in: Nanos },
    /// Said to be ours no more.
    Released,
}

/// What is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The peer neither has nor claims anything.
    Nothing,
    /// It wrote that it has, or claims, these groups, or some that cannot be told (`None`). Since when, one look does not show; it
    /// counts as silent once its block has stayed the same for so long.
    Peers { groups: Option<u64>, silence: Nanos },
    /// Blocks that say nothing: whose, and why. The peer's counts as if it had everything, until it has stayed the same for so long.
    Damaged { blocks: Vec<(Node, String)>, silence: Nanos },
}

/// A controller's part in it, for one life of the agent.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    node: Node,
    io_timeout: Nanos,
    /// What we say next. Its `holding` is what was granted, until `until`: less may be said only once that is over or given back.
    record: LeaseRecord,
    until: Nanos,
    /// What a life before this one said to hold; said until then, and given back by us, but not ours.
    inherited: (u64, Nanos),
    /// What we wrote last; `None` where nothing was written, or it is not known whether it was.
    written: Option<Block>,
    /// What the peer's block was when it was read last, and when the first read that showed it had ended.
    peer: Option<(Block, Nanos)>,
    /// How long the peer's lease lasts, as its last whole block said: that counts while it is torn.
    peer_ttl: Nanos,
    /// When the last read began.
    looked: Nanos,
}

/// What the peer says, as far as that counts: a bit for each of our groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    holding: u64,
    claiming: u64,
}

impl Lease {
    /// That of a new life of `node`'s agent, a random number, on the disk of that `area`; `groups` tells its table of groups from
    /// others.
    pub(super) fn new(node: Node, io_timeout: Nanos, area: u64, life: u64, groups: u64) -> Self {
        let record = LeaseRecord { area, life, groups, ttl: io_timeout.times(TTL).0, ..LeaseRecord::default() };
        let inherited = (u64::MAX, Nanos::NEVER);
        let (until, looked, peer_ttl) = (Nanos(0), Nanos(0), Nanos(0));
        Self { node, io_timeout, record, until, inherited, written: None, peer: None, peer_ttl, looked }
    }

    pub(super) const fn area(&self) -> u64 {
        self.record.area
    }

    /// Settles a question.
    ///
    /// # Errors
    /// What the disk did not do, or not in time, or did otherwise: what was granted before holds until its time is over.
    pub(super) async fn settle(&mut self, device: &mut impl Device, ask: Arbitrate) -> Result<Settled, String> {
        if self.inherited.1 == Nanos::NEVER {
            self.look(device).await?;
        }
        self.expire(device.now());
        match ask {
            Arbitrate::Acquire(groups) | Arbitrate::Renew(groups) => self.grant(device, groups).await,
            Arbitrate::Release(groups) => {
                self.record.holding &= !groups;
                self.inherited.0 &= !groups;
                self.say(device, self.record.holding, 0).await?;
                Ok(Settled::Released)
            }
        }
    }

    /// What the disk says now, without changing it.
    ///
    /// # Errors
    /// As [`Lease::settle`].
    pub(super) async fn observe(&mut self, device: &mut impl Device) -> Result<Seen, String> {
        let mut blocks = self.look(device).await?;
        if !self.damaged(&blocks).is_empty() {
            // What is being written at this moment is whole in the next one.
            device.pause(Nanos(self.io_timeout.0 / 10)).await;
            blocks = self.look(device).await?;
        }
        let (damaged, silence) = (self.damaged(&blocks), self.silence());
        if !damaged.is_empty() {
            return Ok(Seen::Damaged { blocks: damaged, silence });
        }
        let Taken { holding, claiming } = self.taken();
        let same = self.peer_record().is_some_and(|peer| peer.groups == self.record.groups);
        Ok(match holding | claiming {
            0 => Seen::Nothing,
            groups => Seen::Peers { groups: same.then_some(groups), silence },
        })
    }

    fn damaged(&self, blocks: &[Block; 2]) -> Vec<(Node, String)> {
        let of = |(node, block): (Node, &Block)| Some((node, damage(block, disk::lease(node), self.record.area)?));
        [Node::A, Node::B].into_iter().zip(blocks).filter_map(of).collect()
    }

    /// Why what the peer's block said when it was read last cannot be read.
    pub(super) fn peer_damage(&self) -> Option<String> {
        let (block, _) = self.peer.as_ref()?;
        damage(block, disk::lease(self.node.other()), self.record.area)
    }

    async fn grant(&mut self, device: &mut impl Device, groups: u64) -> Result<Settled, String> {
        let missing = groups & !self.record.holding;
        // What is ours, and what is newly won, has to be confirmed by then.
        let (mut won, mut by) = (0, self.until);
        if missing != 0 {
            self.look(device).await?;
            // Who holds it is not disturbed by a claim.
            let free = missing & !self.taken().holding;
            if free != 0 {
                (won, by) = self.claim(device, free).await?;
            } else if self.record.holding & groups == 0 {
                return Ok(Settled::Denied { silent_in: self.silent_in(device.now()) });
            }
        }
        // Says what is ours, and what is not claimed any more: the peer waits for that.
        let holding = self.record.holding | won;
        let began = self.say(device, holding, 0).await?;
        if holding & groups == 0 {
            return Ok(Settled::Denied { silent_in: self.silent_in(device.now()) });
        }
        self.keep(device.now(), by, holding, began);
        match self.record.holding & groups {
            0 => Err("the disk was too slow: the time was over before it was confirmed".to_owned()),
            groups => Ok(Settled::Granted { groups, until: self.until }),
        }
    }

    /// Claims groups, and waits for a peer that does so at the same time: those that the peer neither has nor claims, and until
    /// when that is sure without being confirmed.
    async fn claim(&mut self, device: &mut impl Device, groups: u64) -> Result<(u64, Nanos), String> {
        let began = self.say(device, self.record.holding, groups).await?;
        self.keep(device.now(), self.until, self.record.holding, began);
        let patience = device.now().after(self.io_timeout.times(2));
        while self.node == Node::A && self.taken().claiming & groups != 0 && device.now() < patience {
            device.pause(Nanos(self.io_timeout.0 / 10)).await;
            self.look(device).await?;
        }
        let Taken { holding, claiming } = self.taken();
        Ok((groups & !holding & !claiming, until(began, self.ttl())))
    }

    /// These groups were confirmed by what began to be written at `began`: in time if that was before `by`.
    fn keep(&mut self, now: Nanos, by: Nanos, holding: u64, began: Nanos) {
        if now < by {
            self.record.holding = holding;
            self.until = until(began, self.ttl());
        }
        self.expire(now);
    }

    fn expire(&mut self, now: Nanos) {
        if self.until <= now {
            self.record.holding = 0;
        }
        if self.inherited.1 <= now {
            self.inherited.0 = 0;
        }
    }

    const fn ttl(&self) -> Nanos {
        Nanos(self.record.ttl)
    }

    /// Writes what we say, and reads what both say: when the write began.
    async fn say(&mut self, device: &mut impl Device, holding: u64, claiming: u64) -> Result<Nanos, String> {
        self.record.sequence += 1;
        let number = disk::lease(self.node);
        let holding = holding | self.inherited.0;
        let block = LeaseRecord { holding, claiming, ..self.record }.block(number);
        self.written = None;
        let began = device.now();
        device.write(number, &block).await?;
        self.in_time(began, device.now(), "write")?;
        self.written = Some(block);
        self.look(device).await?;
        Ok(began)
    }

    /// Reads what both say: the blocks of a and of b.
    async fn look(&mut self, device: &mut impl Device) -> Result<[Block; 2], String> {
        let began = device.now();
        let blocks = device.read().await?;
        let now = device.now();
        self.in_time(began, now, "read")?;
        let [own, peer] = [self.node, self.node.other()].map(|node| blocks[usize::from(node.wire())].clone());
        if self.written.as_ref().is_some_and(|written| *written != own) {
            self.written = None;
            return Err(format!(
                "its block {} is not as it was written: another controller {} writes there, or it loses \
                                what is written",
                disk::lease(self.node),
                self.node
            ));
        }
        self.looked = began;
        if self.inherited.1 == Nanos::NEVER {
            let before = LeaseRecord::read(&own, disk::lease(self.node), self.record.area);
            let same = before.filter(|before| before.groups == self.record.groups);
            let nothing = before.is_some_and(|before| before.holding == 0);
            let groups = if nothing { 0 } else { same.map_or(u64::MAX, |before| before.holding) };
            let before = before.map_or(Nanos(0), |before| Nanos(before.ttl).min(MAX_TTL));
            self.inherited = (groups, now.after(self.silence_of(before)));
        }
        if self.peer.as_ref().is_none_or(|(known, _)| *known != peer) {
            self.peer = Some((peer, now));
            self.peer_ttl = self.peer_record().map_or(self.peer_ttl, |record| Nanos(record.ttl).min(MAX_TTL));
        }
        Ok(blocks)
    }

    fn in_time(&self, began: Nanos, ended: Nanos, what: &str) -> Result<(), String> {
        let took = ended.since(began);
        if took <= self.io_timeout {
            return Ok(());
        }
        Err(format!("a {what} took {took}, longer than the io_timeout of {}", show(self.io_timeout)))
    }

    fn peer_record(&self) -> Option<LeaseRecord> {
        let (block, _) = self.peer.as_ref()?;
        LeaseRecord::read(block, disk::lease(self.node.other()), self.record.area)
    }

    /// What the peer says, as far as that counts.
    fn taken(&self) -> Taken {
        if self.peer.as_ref().is_some_and(|(_, since)| self.looked >= since.after(self.silence())) {
            return Taken::default();
        }
        // Where groups stand in another order, or nothing can be read, it may be any.
        let any = |groups: u64| if groups == 0 { 0 } else { u64::MAX };
        match self.peer_record() {
            Some(peer) if peer.groups == self.record.groups => Taken { holding: peer.holding, claiming: peer.claiming },
            Some(peer) => Taken { holding: any(peer.holding), claiming: any(peer.claiming) },
            None => Taken { holding: u64::MAX, claiming: u64::MAX },
        }
    }

    /// A peer that says nothing for so long, by our clock, has nothing any more: the longer of both leases, and 1 % for a clock
    /// that is fast.
    fn silence(&self) -> Nanos {
        self.silence_of(self.peer_ttl)
    }

    fn silence_of(&self, theirs: Nanos) -> Nanos {
        let ttl = theirs.0.max(self.record.ttl);
        Nanos(ttl + ttl / 100)
    }

    fn silent_in(&self, now: Nanos) -> Nanos {
        let since = self.peer.as_ref().map_or(now, |(_, since)| *since);
        since.after(self.silence()).since(now)
    }
}
