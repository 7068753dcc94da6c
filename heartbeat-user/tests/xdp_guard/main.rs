//! What the kernel does when the agent cannot: crafted frames by BPF_PROG_TEST_RUN, and programs on interfaces. Needs root and
//! iproute2.

mod attached;
mod by_others;
mod frames;
mod notices;
#[path = "../support/mod.rs"]
mod support;

use heartbeat::{
    dataplane::{
        Kernel, Mended, Tables,
        drain::{KernelOrders, Mark},
        guard::Instructions,
    },
    system::clock,
    types::{ChannelIndex, Nanos, XdpMode, XdpPreference},
};
use heartbeat_ebpf::wire::Message;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};
use support::*;

const CHANNEL: u8 = 0;
const NAMES: u32 = 77;
const INTERVAL: Nanos = Nanos::from_millis(20);
const LEASE: Nanos = Nanos::from_millis(60_000);
const GRACE: Nanos = Nanos::from_millis(2_000);
/// Addresses of group 0, and one of group 1.
const SERVICE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const SERVICE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x64);
const OF_THE_OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);

/// A host whose agent holds both groups, with a channel on the loopback interface. Tests move its sign of life.
struct Host {
    kernel: Kernel,
    tables: Arc<Tables>,
    _pins: PinFolder,
}

impl Host {
    fn new() -> Self {
        let pins = PinFolder::new();
        let (mut kernel, _) = Kernel::open(&settings(), pins.path()).expect("opening");
        let attached =
            kernel.attach(ChannelIndex(CHANNEL), "lo", ADDRESS_V4.into(), XdpPreference::Auto).expect("attaching");
        assert_ne!(attached.mode, XdpMode::Socket, "{:?}", attached.why);
        kernel.guard(&addresses()).expect("room");
        let tables = kernel.tables();
        name_channels(&tables);
        tables.agent().incarnation.set(OWN);
        Instructions { interval: INTERVAL, grace: GRACE, names_digest: 88 }.give(&tables);
        mark(0b11).leave(tables.agent(), tables.kernel());
        Self { kernel, tables, _pins: pins }
    }

    /// The agent's last sign of life was so long ago.
    fn silent_for(&self, silent: Nanos) {
        self.tables.agent().alive_ns.set(clock::monotonic().since(silent).0);
    }

    /// It is dead.
    fn dead(&self) {
        self.tables.kernel().dead_ns.set(clock::monotonic().0);
        self.tables.kernel().dead_of.set(OWN);
    }

    fn closed(&self) -> u64 {
        self.tables.kernel().closed.get()
    }
}

fn addresses() -> BTreeMap<std::net::IpAddr, u64> {
    [(SERVICE_V4.into(), 0b01), (SERVICE_V6.into(), 0b01), (OF_THE_OTHER.into(), 0b10)].into()
}

/// What a live agent leaves that has something of these groups.
fn mark(active: u64) -> Mark {
    let mut places = [u8::MAX; 64];
    // The peer has them the other way round.
    places[..2].copy_from_slice(&[1, 0]);
    let orders = KernelOrders {
        active,
        open: 0,
        shut: 0,
        closed: 0,
        peer_good: true,
        lease_ns: LEASE.0,
        limited: 0,
        serve_until_ns: 0,
        peer_names: Some(NAMES),
        places,
    };
    let alive_ns = clock::monotonic().0;
    Mark {
        peer_incarnation: PEER,
        owned: active,
        hooked: 0,
        peer_flags: 0,
        peer_kept: 0,
        letting_go_ns: 0,
        forced: 0,
        fenced_ns: 0,
        term: 5,
        alive_ns,
        heard_ns: 0,
        orders,
    }
}

/// The peer says that it holds these groups, in its order, by a higher term.
fn claim(sequence: u64, owned: u64) -> Message {
    Message { owned, term: 6, names_digest: NAMES, ..heartbeat(CHANNEL, sequence) }
}
