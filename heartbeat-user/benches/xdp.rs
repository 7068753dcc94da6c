//! What a frame costs in the XDP program, beside an empty program in the same run. Needs root.
//!
//! Each figure is a mean over a batch as the kernel measures it (BPF_PROG_TEST_RUN), so it contains the kernel's own loop;
//! the program's cost is the difference to the row `empty` above it. Batches of all rows take turns, so that whatever
//! else the machine does hits all of them.
//!
//! A frame repeated is a replay, so `valid` and `echo answered` cannot be had from repeats: its runs are single ones, each with a newly signed
//! frame, and stand beside an empty program's single runs. A single run pays for reading the clock and for caches that
//! the system call has cooled, which is closer to what a heartbeat finds. `replayed, single` joins the two halves.
//!
//! Where groups are held, each frame of others costs a look at their addresses; what leaves is looked at by a tc program, beside an
//! empty one of its kind. A frame that is about a group is held against the lease, which takes a clock's reading, while the peer works.
//!
//! An answered echo pays for two tags: one to check, one to sign.
//!
//! Most of a forged frame's cost is SipHash, in 64-bit arithmetic without rotations. `tag alone` is the same function in this
//! process, as native code with rotations: what this machine, at this moment, makes of it at best.

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use heartbeat::{
    dataplane::{Kernel, Tables, Yardstick},
    types::{ChannelIndex, Node, XdpPreference},
};
use heartbeat_ebpf::{
    echo::Echo,
    frame::Address,
    layout::Outcome,
    wire::{self, Message, View},
};
use pnet_packet::ethernet::EtherTypes;
use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};
use support::*;

const BATCHES: usize = 200;
const REPEATS: u32 = 20_000;
/// Single runs a batch.
const SINGLES: usize = 200;
const CHANNEL: u8 = 0;
const CHANNEL_V6: u8 = 1;
const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;
/// linux/pkt_cls.h: others have their say.
const UNSPEC: u32 = u32::MAX;

/// As many service addresses as a large pair has.
fn guarded() -> Vec<IpAddr> {
    (0..256_u16).map(|i| Ipv4Addr::from(0x0a01_0000 + u32::from(i)).into()).collect()
}

/// What is in place here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// Groups, and the peer is dead: there is no lease.
    Alone,
    BesideThePeer,
}

struct Row {
    name: &'static str,
    budget: Option<u64>,
    /// Whole nanoseconds, as the kernel gives them.
    runs: Histogram<u64>,
}

impl Row {
    fn new(name: &'static str, budget: Option<u64>) -> Result<Self> {
        Ok(Self { name, budget, runs: Histogram::new(3)? })
    }

    fn at(&self, quantile: f64) -> u64 {
        self.runs.value_at_quantile(quantile)
    }
}

fn main() -> Result<()> {
    in_namespace(measure)
}

fn measure() -> Result<()> {
    let pins = PinFolder::new();
    let (mut kernel, _) = Kernel::open(&settings(), pins.path())?;
    kernel.attach(ChannelIndex(CHANNEL), "lo", ADDRESS_V4.into(), XdpPreference::Auto)?;
    kernel.attach(ChannelIndex(CHANNEL_V6), "lo", ADDRESS_V6.into(), XdpPreference::Auto)?;
    let tables = kernel.tables();
    name_channels(&tables);
    tables.agent().incarnation.set(OWN);
    tables.agent().peer_incarnation.set(PEER);
    ensure!(kernel.test_run(Yardstick::Heartbeat, &valid(1), 1)?.0 == DROP, "a valid frame was not taken");
    // Longer than all this takes.
    tables.kernel().orders.lease_ns.set(1 << 50);
    kernel.guard(&guarded().iter().map(|ip| (*ip, 1)).collect())?;

    let mut repeated = repeated(&tables)?;
    let mut single = singles()?;
    let mut tag_alone = Row::new("tag alone, native code", None)?;
    let mut sequence = 1;
    for _ in 0..BATCHES {
        for one in &mut repeated {
            one.run(&mut kernel, &tables)?;
        }
        tables.kernel().orders.active.set(0);
        run_tag(&mut tag_alone)?;
        for _ in 0..SINGLES {
            sequence += 1;
            run_singles(&mut single, &mut kernel, &tables, sequence)?;
        }
    }
    let accepted = tables.slot(ChannelIndex(CHANNEL)).counted(Outcome::Accepted);
    ensure!(accepted == sequence, "{accepted} of {sequence} valid frames were accepted");
    // Of the kernel's figures, none depends on how this process was built; this one does.
    let tag_alone = Some(tag_alone).filter(|_| !cfg!(debug_assertions));
    print(repeated.into_iter().map(|one| one.row).chain(single).chain(tag_alone));
    kernel.remove()
}

fn valid(sequence: u64) -> Vec<u8> {
    over_ipv4(&signed(heartbeat(CHANNEL, sequence)))
}

/// A frame that is run again and again.
struct Repeated {
    row: Row,
    yardstick: Yardstick,
    holds: Holds,
    frame: Vec<u8>,
    verdict: u32,
}

impl Repeated {
    fn run(&mut self, kernel: &mut Kernel, tables: &Tables) -> Result<()> {
        tables.kernel().orders.active.set((self.holds != Holds::Nothing).into());
        tables.kernel().orders.peer_good.set((self.holds == Holds::BesideThePeer).into());
        let (given, time) = kernel.test_run(self.yardstick, &self.frame, REPEATS)?;
        let Self { row, verdict, .. } = self;
        ensure!(given == *verdict, "{}: verdict {given} instead of {verdict}", row.name);
        Ok(row.runs.record(time.as_nanos() as u64)?)
    }
}

fn repeated(tables: &Tables) -> Result<Vec<Repeated>> {
    let mut forged = valid(1);
    *forged.last_mut().expect("a frame") ^= 1;
    let others = over_ipv4(&signed(Message { pair_id: PAIR + 1, ..heartbeat(CHANNEL, 1) }));
    // Of somebody else, which is noted; and of the peer, which is looked at each time.
    let by_the_peer = ethernet(EtherTypes::Ipv4, &ipv4_with(ADDRESS_V4, 6, &[], &[0; 1000]));
    let mut tcp = by_the_peer.clone();
    tcp[11] = 9;
    let mut other = ethernet(
        EtherTypes::Ipv4,
        &ipv4_with(ADDRESS_V4, 17, &[], &udp_to(ADDRESS_V4.into(), wire::PORT + 1, &[0; 1000])),
    );
    other[11] = 9;
    let mut to_a_service = tcp.clone();
    to_a_service[14 + 16..14 + 20].copy_from_slice(&[10, 1, 0, 0]);
    // Of others, one that the filter tells from them, and one that it does not.
    let filter = &tables.kernel().filter;
    let may_be = |ip: &u32| filter.may_have(&Address::new(Ipv4Addr::from(*ip).to_ipv6_mapped().octets()));
    let strangers = 0x0a02_0000..0x0a03_0000;
    let (unlike, like) = (strangers.clone().find(|ip| !may_be(ip)), strangers.clone().find(may_be));
    let (tcp, other, like_one) = (about(&tcp, unlike)?, about(&other, unlike)?, about(&tcp, like)?);
    let found = strangers.clone().filter(may_be).count() as f64 * 100.0 / strangers.len() as f64;
    println!("of addresses of others, {found:.2} % are looked up");

    let row = |name, budget, yardstick, holds, frame: &Vec<u8>, verdict| -> Result<_> {
        Ok(Repeated { row: Row::new(name, budget)?, yardstick, holds, frame: frame.clone(), verdict })
    };
    let (xdp, tc) = (Yardstick::Heartbeat, Yardstick::Outgoing);
    let (none, alone, held) = (Holds::Nothing, Holds::Alone, Holds::BesideThePeer);
    Ok(vec![
        row("empty", None, Yardstick::Empty, none, &valid(1), PASS)?,
        row("the peer's: TCP", Some(5), xdp, none, &by_the_peer, PASS)?,
        row("foreign: TCP", Some(3), xdp, none, &tcp, PASS)?,
        row("same, groups held", Some(15), xdp, held, &tcp, PASS)?,
        row("like one of a group's", None, xdp, held, &like_one, PASS)?,
        row("to a group's, peer well", None, xdp, held, &to_a_service, PASS)?,
        row("same, peer dead", None, xdp, alone, &to_a_service, PASS)?,
        row("foreign: UDP, other port", Some(3), xdp, none, &other, PASS)?,
        row("same, groups held", Some(15), xdp, held, &other, PASS)?,
        row("of another pair (no tag)", None, xdp, none, &others, DROP)?,
        row("forged", Some(70), xdp, none, &forged, DROP)?,
        row("replayed", Some(140), xdp, none, &valid(1), DROP)?,
        row("empty, tc", None, Yardstick::EmptyTc, none, &tcp, UNSPEC)?,
        row("leaving: TCP", Some(3), tc, none, &tcp, UNSPEC)?,
        row("same, groups held", Some(15), tc, held, &tcp, UNSPEC)?,
    ])
}

/// The frame, from that address and to it.
fn about(frame: &[u8], ip: Option<u32>) -> Result<Vec<u8>> {
    let mut frame = frame.to_vec();
    let ip = ip.context("the filter has all or nothing")?.to_be_bytes();
    frame[14 + 12..14 + 20].copy_from_slice(&[ip, ip].concat());
    Ok(frame)
}

fn run_tag(row: &mut Row) -> Result<()> {
    let message = signed(heartbeat(CHANNEL, 1));
    let message = View::new(message.as_slice().try_into()?);
    let start = Instant::now();
    for _ in 0..REPEATS {
        ensure!(black_box(message).tag_is_right(black_box(key())), "a wrong tag");
    }
    Ok(row.runs.record(start.elapsed().as_nanos() as u64 / u64::from(REPEATS))?)
}

fn singles() -> Result<[Row; 5]> {
    Ok([
        Row::new("empty, single", None)?,
        Row::new("replayed, single", Some(140))?,
        Row::new("valid, single", Some(140))?,
        Row::new("echo answered, single", None)?,
        Row::new("same over IPv6, single", None)?,
    ])
}

fn run_singles(single: &mut [Row; 5], kernel: &mut Kernel, tables: &Tables, sequence: u64) -> Result<()> {
    let frame = valid(sequence);
    // Each twice: the second time, a replay.
    for (row, yardstick) in [(0, Yardstick::Empty), (2, Yardstick::Heartbeat), (1, Yardstick::Heartbeat)] {
        let (_, time) = kernel.test_run(yardstick, &frame, 1)?;
        single[row].runs.record(time.as_nanos() as u64)?;
    }
    // Each is newer than the one before, and comes when the channel has long been quiet.
    let echo = |channel: u8| {
        tables.slot(ChannelIndex(channel)).answered[0].at_ns.set(0);
        let mut bytes = [0; wire::LEN];
        Echo::request(PAIR, Node::B.wire(), channel.into(), 0, PEER, OWN, sequence).emit(key(), &mut bytes);
        bytes
    };
    for (row, frame) in [(3, over_ipv4(&echo(CHANNEL))), (4, over_ipv6(&echo(CHANNEL_V6)))] {
        let (verdict, time) = kernel.test_run(Yardstick::Heartbeat, &frame, 1)?;
        ensure!(verdict == TX, "{}: verdict {verdict}", single[row].name);
        single[row].runs.record(time.as_nanos() as u64)?;
    }
    Ok(())
}

fn print(rows: impl Iterator<Item = Row>) {
    println!("XDP program, ns a run: {BATCHES} batches of {REPEATS} runs; single: {} runs", BATCHES * SINGLES);
    let columns = ["n", "min", "median", "p99", "max", "min-e", "median-e", "budget"];
    println!("{:26}{}   (-e: less the empty program's)", "", columns.map(|column| format!("{column:>9}")).concat());
    let mut empty = (0, 0);
    for row in rows {
        let (min, median, max) = (row.runs.min(), row.at(0.5), row.runs.max());
        if row.name.starts_with("empty") {
            empty = (min, median);
        } else if row.name.starts_with("tag alone") {
            empty = (0, 0);
        }
        let figures = [min, median, row.at(0.99), max, min.saturating_sub(empty.0), median.saturating_sub(empty.1)];
        let budget = row.budget.map_or("-".into(), |budget| budget.to_string());
        println!(
            "{:26}{:>9}{}{budget:>9}",
            row.name,
            row.runs.len(),
            figures.map(|figure| format!("{figure:>9}")).concat()
        );
    }
}
