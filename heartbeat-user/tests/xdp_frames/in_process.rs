//! The program's own code in this process: the second executor, and what both have to show.

use super::{DROP, PASS, V4, V6, support::*};
use heartbeat::{dataplane::Tables, types::ChannelIndex};
use heartbeat_ebpf::{
    frame::{Address, Frame},
    layout::{MessageCell, Outcome},
    receive,
    verify::{Expected, News},
    wire::{self, View},
};
use std::net::IpAddr;

/// What one executor has to show after a case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) outcomes: Vec<[u64; Outcome::COUNT]>,
    pub(crate) windows: Vec<[u64; 4]>,
    /// Message and whether it has a stamp, of live and handshake.
    records: Vec<Vec<([u64; wire::WORDS], bool)>>,
    intervals: Vec<u64>,
}

impl State {
    pub(crate) fn of(tables: &Tables) -> Self {
        let read =
            |record: &MessageCell| record.read().map(|(words, stamp_ns)| (words, stamp_ns != 0)).expect("no writer");
        Self {
            outcomes: tables
                .channels()
                .map(|c| tables.slot(c))
                .map(|slot| Outcome::ALL.map(|outcome| slot.counted(outcome)))
                .collect(),
            windows: tables
                .channels()
                .map(|c| tables.slot(c))
                .map(|s| [&s.missing, &s.window_of, &s.highest, &s.window].map(|w| w.get()))
                .collect(),
            records: tables.channels().map(|c| tables.slot(c).records().map(read).to_vec()).collect(),
            intervals: tables
                .channels()
                .map(|c| tables.inter_arrival(c).counts.iter().map(|count| count.get()).sum())
                .collect(),
        }
    }
}

/// When the newest of all records came, in ns of CLOCK_MONOTONIC; never 0.
pub(crate) fn newest(tables: &Tables) -> u64 {
    let stamps = |record: &MessageCell| record.read().map(|(_, stamp_ns)| stamp_ns);
    tables.channels().flat_map(|c| tables.slot(c).records().map(stamps)).flatten().max().unwrap_or(0).max(1)
}

pub(crate) fn pair_up(tables: &Tables) {
    name_channels(tables);
    tables.agent().incarnation.set(OWN);
    tables.agent().peer_incarnation.set(PEER);
}

/// What the XDP program does with a frame on the loopback interface, in this process.
pub(crate) fn in_process(tables: &Tables, frame: &[u8], stamp_ns: u64) -> (u32, News) {
    let ends = [(IpAddr::from(ADDRESS_V4), V4), (ADDRESS_V6.into(), V6)];
    let Some(datagram) = Frame::new(frame).datagram(wire::PORT) else {
        return (PASS, News::None);
    };
    let Some((_, channel)) = ends.into_iter().find(|(address, _)| Address::from(*address) == datagram.destination)
    else {
        return (PASS, News::None);
    };
    // `payload` vouches for the bytes; found again in the frame, since views of raw addresses are for the kernel.
    let message: Option<&[u8; wire::LEN]> = datagram.payload::<{ wire::LEN }>().map(|at| {
        let offset = at as usize - frame.as_ptr() as usize;
        frame[offset..offset + wire::LEN].try_into().expect("a whole message")
    });
    let expected = Expected { pair_id: PAIR, node: 0, channel_id: channel.into() };
    let keys = [key(), second_key()];
    let index = ChannelIndex(channel);
    let received = receive::receive(
        message.map(View::new),
        expected,
        tables.agent(),
        |id| keys.get(usize::from(id)).copied(),
        tables.slot(index),
        tables.inter_arrival(index),
        || stamp_ns,
    );
    (DROP, received.news)
}
