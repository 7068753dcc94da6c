//! A slot's records and its window, over several frames: kernel and process side by side.

use super::{DROP, V4, in_process, pair_up, support::*};
use heartbeat::{
    dataplane::{Kernel, Tables, Yardstick},
    types::{ChannelIndex, XdpPreference},
};
use heartbeat_ebpf::{
    layout::{Outcome, Slot},
    wire::{self, Message},
};
use std::sync::Arc;

/// Kernel and process, fed with the same frames on channel `V4`.
struct Both {
    kernel: Kernel,
    tables: [Arc<Tables>; 2],
    _pins: PinFolder,
}

impl Both {
    fn new() -> Self {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).expect("opening");
        kernel.attach(ChannelIndex(V4), "lo", ADDRESS_V4.into(), XdpPreference::Auto).expect("attaching");
        let tables = [kernel.tables(), Arc::new(Tables::anonymous().expect("memory"))];
        tables.iter().for_each(|tables| pair_up(tables));
        Self { kernel, tables, _pins: pins }
    }

    fn deliver(&mut self, message: Message) {
        let frame = over_ipv4(&signed(message));
        assert_eq!(self.kernel.test_run(Yardstick::Heartbeat, &frame, 1).expect("a run").0, DROP);
        assert_eq!(in_process(&self.tables[1], &frame, 1).0, DROP);
    }

    fn slots(&self) -> [&Slot; 2] {
        self.tables.each_ref().map(|tables| tables.slot(ChannelIndex(V4)))
    }
}

#[test]
fn a_heartbeat_that_finds_another_processor_at_its_record_is_lost_and_counted() {
    in_namespace(|| {
        let mut both = Both::new();
        both.deliver(heartbeat(V4, 1));
        for slot in both.slots() {
            assert!(slot.live.lock() && slot.handshake.lock());
        }
        both.deliver(heartbeat(V4, 2));
        both.deliver(Message { peer_incarnation: 0, ..heartbeat(V4, 3) });
        for slot in both.slots() {
            slot.live.unlock();
            slot.handshake.unlock();
        }
        for slot in both.slots() {
            assert_eq!((slot.counted(Outcome::Accepted), slot.counted(Outcome::Busy), slot.highest.get()), (1, 1, 1));
            assert_eq!(slot.counted(Outcome::Handshake), 1, "counted, though not stored");
            assert_eq!(slot.handshake.read().unwrap().0, [0; wire::WORDS]);
        }
        both.deliver(heartbeat(V4, 4));
        for slot in both.slots() {
            assert_eq!((slot.counted(Outcome::Accepted), slot.missing.get()), (2, 2));
        }
        both.kernel.remove().unwrap();
    });
}

#[test]
fn a_new_incarnation_of_the_peer_starts_a_new_window_and_the_old_one_is_not_heard_again() {
    in_namespace(|| {
        let mut both = Both::new();
        let new = |sequence| Message { incarnation: PEER + 1, ..heartbeat(V4, sequence) };
        both.deliver(heartbeat(V4, 500));
        both.deliver(new(3));
        for slot in both.slots() {
            assert_eq!((slot.counted(Outcome::Handshake), slot.highest.get()), (1, 500));
        }
        for tables in &both.tables {
            tables.agent().peer_incarnation.set(PEER + 1);
        }
        both.deliver(new(3));
        both.deliver(new(2));
        both.deliver(heartbeat(V4, 501));
        both.deliver(new(4));
        for slot in both.slots() {
            let counted = [Outcome::Accepted, Outcome::Replayed, Outcome::Handshake].map(|o| slot.counted(o));
            assert_eq!(counted, [3, 1, 2], "accepted, replayed, handshake");
            assert_eq!((slot.missing.get(), slot.highest.get(), slot.window_of.get()), (0, 4, PEER + 1));
        }
        both.kernel.remove().unwrap();
    });
}
