//! For tests: one controller and a disk in virtual time that stands still: what it reads there, and what follows.

use super::{
    AtOnce as _, Pair, blank,
    lease::{Device, Lease, Seen, Settled},
    record::LeaseRecord,
    tests::{AREA, IO, LEASE},
    told,
};
use crate::{
    core::Arbitrate,
    disk::Block,
    types::{Nanos, Node},
};

/// A disk on which a read or write takes so long, and which may lose what is written.
struct Still {
    now: Nanos,
    blocks: [Block; 2],
    takes: Nanos,
    loses: bool,
}

impl Still {
    /// On which everything takes no time.
    fn new() -> Self {
        Self { now: Nanos(1), blocks: blank(AREA), takes: Nanos(0), loses: false }
    }
}

impl Device for Still {
    fn now(&self) -> Nanos {
        self.now
    }

    async fn write(&mut self, number: u64, block: &Block) -> Result<(), String> {
        self.now = self.now.after(self.takes);
        if !self.loses {
            self.blocks[number as usize - 1] = block.clone();
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<[Block; 2], String> {
        self.now = self.now.after(self.takes);
        Ok(self.blocks.clone())
    }

    async fn pause(&mut self, span: Nanos) {
        self.now = self.now.after(span);
    }
}

/// Controller b has group 1 for so long.
fn of_b(ttl: u64) -> Block {
    LeaseRecord { area: AREA, life: 9, sequence: 5, holding: 1, ttl, ..LeaseRecord::default() }.block(2)
}

#[test]
fn a_peer_whose_lease_is_longer_than_ours_is_waited_for_even_where_its_block_is_torn() {
    for torn in [false, true] {
        let mut disk = Still::new();
        disk.blocks[1] = of_b(10 * LEASE);
        let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
        let mut ask = |disk: &mut Still| lease.settle(disk, Arbitrate::Acquire(1)).at_once();
        assert_eq!(ask(&mut disk), Ok(Settled::Denied { silent_in: Nanos(10 * LEASE / 100 * 101) }));
        if torn {
            disk.blocks[1].0[100] ^= 1;
        }
        for at in [LEASE * 2, LEASE * 10] {
            disk.now = Nanos(1 + at);
            assert!(matches!(ask(&mut disk), Ok(Settled::Denied { .. })), "torn: {torn}, {at}");
        }
        disk.now = Nanos(1 + LEASE * 25);
        assert!(matches!(ask(&mut disk), Ok(Settled::Granted { groups: 1, .. })), "torn: {torn}");
    }
}

#[test]
fn what_is_confirmed_only_after_it_was_over_is_not_ours() {
    let mut disk = Still::new();
    let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
    let first = lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once();
    let Ok(Settled::Granted { until, .. }) = first else { panic!("{first:?}") };
    // Each write and look in time, and both together too late.
    (disk.now, disk.takes) = (Nanos(until.0 - IO), Nanos(IO * 3 / 4));
    let late = lease.settle(&mut disk, Arbitrate::Renew(1)).at_once();
    assert!(late.as_ref().is_err_and(|why| why.starts_with("the disk was too slow")), "{late:?}");
    (disk.now, disk.takes) = (disk.now.after(Nanos(IO)), Nanos(0));
    assert!(matches!(lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once(), Ok(Settled::Granted { .. })));
}

#[test]
fn a_write_or_look_that_takes_longer_than_it_may_gives_nothing() {
    let mut disk = Still::new();
    let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
    lease.settle(&mut disk, Arbitrate::Release(1)).at_once().unwrap();
    disk.takes = Nanos(IO + 1);
    for ask in [Arbitrate::Acquire(1), Arbitrate::Release(1)] {
        let slow = lease.settle(&mut disk, ask).at_once();
        assert!(slow.as_ref().is_err_and(|why| why.contains("longer than the io_timeout of 1ms")), "{ask:?}: {slow:?}");
    }
    disk.takes = Nanos(IO);
    assert!(matches!(lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once(), Ok(Settled::Granted { .. })));
}

#[test]
fn of_a_peer_with_another_table_of_groups_any_bit_may_be_any_group() {
    for (holding, claiming) in [(2, 0), (0, 2)] {
        let mut disk = Still::new();
        let record =
            LeaseRecord { area: AREA, life: 9, groups: 8, holding, claiming, ttl: LEASE, ..LeaseRecord::default() };
        disk.blocks[1] = record.block(2);
        let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 7);
        let asked = lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once();
        assert!(matches!(asked, Ok(Settled::Denied { .. })), "{holding} {claiming}: {asked:?}");
    }
}

#[test]
fn a_disk_that_loses_what_is_written_grants_nothing() {
    let mut disk = Still { loses: true, ..Still::new() };
    let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
    let asked = lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once();
    assert!(asked.as_ref().is_err_and(|why| why.contains("is not as it was written")), "{asked:?}");
}

#[test]
fn no_peer_is_waited_for_longer_than_the_longest_lease_that_may_be_configured() {
    let mut disk = Still::new();
    disk.blocks[1] = of_b(u64::MAX);
    let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
    let asked = lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once();
    assert_eq!(asked, Ok(Settled::Denied { silent_in: Nanos(8 * 60_000_000_000 / 100 * 101) }));
}

#[test]
fn a_sequence_that_wraps_around_is_only_another_one() {
    // What matters is that a block is another one than before; nobody compares numbers.
    let mut disk = Still::new();
    let block = |sequence| {
        LeaseRecord { area: AREA, life: 9, sequence, holding: 1, ttl: LEASE, ..LeaseRecord::default() }.block(2)
    };
    let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
    for (i, sequence) in [u64::MAX - 1, u64::MAX, 0, 1].into_iter().enumerate() {
        disk.now = Nanos(1 + i as u64 * LEASE / 2);
        disk.blocks[1] = block(sequence);
        let asked = lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once();
        assert!(matches!(asked, Ok(Settled::Denied { .. })), "{sequence}: {asked:?}");
    }
    disk.now = Nanos(disk.now.0 + LEASE * 2);
    let asked = lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once();
    assert!(matches!(asked, Ok(Settled::Granted { .. })), "{asked:?}");
}

/// What a first look of a's at such a block of b's, and such a one of a's, is told as.
fn seen(own: Option<Block>, peer: Block) -> (Seen, Result<String, String>) {
    let mut disk = Still::new();
    disk.blocks[1] = peer;
    if let Some(own) = own {
        disk.blocks[0] = own;
    }
    let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
    let seen = lease.observe(&mut disk).at_once().unwrap();
    let groups = vec!["g1".to_owned(), "g2".to_owned()];
    let pair = Pair { id: 7, node: Node::A, hostname: String::new(), groups, ttl: Nanos(LEASE) };
    let told = told(&seen, &pair);
    (seen, told)
}

#[test]
fn a_look_tells_what_the_peer_has_there_and_invents_no_time_for_it() {
    assert_eq!(seen(None, blank(AREA)[1].clone()).1.unwrap(), "controller b has nothing there");
    assert_eq!(
        seen(None, of_b(LEASE)).1.unwrap(),
        "controller b has, or had, g1 there: it counts as silent once its block has not changed for 8080us"
    );
    let other = LeaseRecord { area: AREA, groups: 8, holding: 2, ttl: LEASE, ..LeaseRecord::default() }.block(2);
    assert!(seen(None, other).1.unwrap().contains("something, by another table of groups, there"));
}

#[test]
fn a_block_that_says_nothing_is_called_damaged_with_what_is_wrong() {
    let mut torn = of_b(LEASE);
    torn.0[100] ^= 1;
    let elsewhere = LeaseRecord { area: AREA + 1, ttl: LEASE, ..LeaseRecord::default() }.block(2);
    for (block, why) in [
        (torn.clone(), "its checksum is wrong"),
        (Block::ZERO, "it is all zeros"),
        (Block([b'x'; 4096]), "it begins with something that is not Heartbeat's"),
        (elsewhere, "it is of another disk, or of the same one before it was prepared anew"),
    ] {
        let (seen, told) = seen(None, block);
        let silence = Nanos(LEASE / 100 * 101);
        assert_eq!(seen, Seen::Damaged { blocks: vec![(Node::B, why.to_owned())], silence });
        let said = told.unwrap_err();
        let begin = format!("block 2, which is controller b's lease, is damaged: {why}; ");
        assert!(said.starts_with(&begin) && said.contains("--prepare --force") && !said.contains(" ago"), "{said}");
    }
    let both = seen(Some(Block::ZERO), torn).1.unwrap_err();
    assert!(
        both.starts_with("block 1, which is controller a's lease, is damaged: it is all zeros; block 2, "),
        "{both}"
    );
}

#[test]
fn a_denial_for_a_damaged_block_is_told_as_that() {
    let mut disk = Still::new();
    disk.blocks[1] = Block::ZERO;
    let mut lease = Lease::new(Node::A, Nanos(IO), AREA, 1, 0);
    let asked = lease.settle(&mut disk, Arbitrate::Acquire(1)).at_once();
    assert!(matches!(asked, Ok(Settled::Denied { .. })), "{asked:?}");
    assert_eq!(lease.peer_damage().as_deref(), Some("it is all zeros"));
}
