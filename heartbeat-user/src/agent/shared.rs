//! What the agent's three threads say to each other.

use crate::core::{ChannelIndex, ChannelView, Event, GroupIndex, Nanos, PeerState, Withheld};
use crate::takeover::Done;
use heartbeat_ebpf::{histogram, layout::Histogram};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// To the pulse thread.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// A group's addresses are in place since `at`, or none of them could be added.
    Acquired {
        /// The group.
        group: GroupIndex,
        /// When.
        at: Nanos,
        /// Whether any address is in place.
        in_place: bool,
    },
    /// A group was not acquired: a fresh look showed that none of our own channels has a carrier.
    Isolated {
        /// The group.
        group: GroupIndex,
        /// When.
        at: Nanos,
    },
    /// A group's addresses are gone since `at`.
    Released {
        /// The group.
        group: GroupIndex,
        /// When.
        at: Nanos,
    },
    /// A channel's interface was attached to anew.
    Attached {
        /// The channel.
        channel: ChannelIndex,
        /// Whether its heartbeats come by the socket.
        by_socket: bool,
    },
    /// End for good: release everything and say so.
    Stop,
    /// End for a new life: keep everything.
    Restart,
}

/// To the control side.
#[derive(Clone, Debug)]
pub enum Report {
    /// Something happened.
    Event {
        /// On CLOCK_REALTIME, in ns since 1970.
        time_ns: u64,
        /// What.
        event: Event,
    },
    /// A channel's interface wants the XDP program.
    Attach(ChannelIndex),
    /// What the takeover thread did.
    Takeover(Done),
}

/// The judgement as of the pulse thread's last turn.
#[derive(Clone, Debug)]
pub struct View {
    /// When that was.
    pub at: Nanos,
    /// Where the peer stands.
    pub peer: PeerState,
    /// Whether it said that it leaves.
    pub peer_left: bool,
    /// Its incarnation; 0 before the first pairing.
    pub peer_incarnation: u64,
    /// The groups that it said it holds.
    pub peer_owned: u64,
    /// The groups that we hold or are about to.
    pub owned: u64,
    /// Those whose addresses are in place.
    pub held: u64,
    /// Our term.
    pub term: u64,
    /// Why nothing is acquired, where something would be.
    pub withheld: Option<Withheld>,
    /// What the configurations differ in: channels, groups, interval.
    pub differences: [bool; 3],
    /// One for each channel.
    pub channels: Vec<ChannelView>,
}

/// What the pulse thread shows without being asked.
pub struct Shared {
    /// The judgement. The pulse thread only ever tries the lock.
    pub view: Mutex<View>,
    /// How late it came to its appointments.
    pub lateness: LatenessHistogram,
    /// Events that the control side had no room for.
    pub events_lost: AtomicU64,
}

/// Durations that one thread records and others read.
pub struct LatenessHistogram {
    counts: Box<Histogram>,
    max_ns: AtomicU64,
}

impl LatenessHistogram {
    /// An empty one.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { counts: Box::new(Histogram::new()), max_ns: AtomicU64::new(0) }
    }

    /// Records one duration.
    pub fn record(&self, duration: Nanos) {
        self.counts.counts[histogram::bucket(duration.0)].add(1);
        self.max_ns.fetch_max(duration.0, Relaxed);
    }

    /// The longest one.
    #[must_use]
    pub fn max(&self) -> Nanos {
        Nanos(self.max_ns.load(Relaxed))
    }

    /// As an HdrHistogram in ns.
    #[must_use]
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        to_hdr(&self.counts)
    }
}

/// The counts as an HdrHistogram in ns: bucket by bucket the same, so nothing is lost.
#[must_use]
pub fn to_hdr(histogram: &Histogram) -> hdrhistogram::Histogram<u64> {
    let mut hdr = hdrhistogram::Histogram::new_with_bounds(1_024, histogram::MAX_NS, 2)
        .expect("these are the bounds of our buckets");
    for (bucket, count) in histogram.counts.iter().enumerate().map(|(i, c)| (i, c.get())).filter(|&(_, c)| c > 0) {
        hdr.record_n(histogram::lowest_ns(bucket), count).expect("every bucket is within the bounds");
    }
    hdr
}
