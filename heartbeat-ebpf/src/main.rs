//! The programs in the kernel: they adapt packets to the shared part, nothing more (WO 01/82077, FIG. 3, 318, in the kernel).
//!
//! XDP: everything that is not a UDP datagram to our port at the end of one of our channels passes untouched. What is ours is
//! consumed here: stamped and stored if it is life, and counted by its outcome in any case. An echo request goes back as its
//! reply, at once, and a heartbeat as a notice while the agent cannot answer it. What is about an address that is kept silent
//! about ([`guard`](heartbeat_ebpf::guard)) is dropped: here, and by the tc programs where it leaves, or comes in where XDP is
//! not. That the agent died is noted by the program at its thread's end.

#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{
        TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_pidns_info,
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        xdp_md,
    },
    helpers::{bpf_get_ns_current_pid_tgid, bpf_ktime_get_ns},
    macros::{classifier, map, raw_tracepoint, xdp},
    maps::{Array, HashMap, RingBuf},
    programs::{RawTracePointContext, TcContext, XdpContext},
};
use aya_log_ebpf::info;
use heartbeat_ebpf::{
    admit,
    echo::{self, Answerable},
    frame::{Address, Frame, Way},
    guard::Guard,
    layout::{ADDRESSES, AgentCell, CHANNELS, ENDS, End, Heard, Histogram, INTERFACES, KernelCell, Outcome, Slot},
    machine::opaque,
    notice,
    reply::ReplyFrame,
    siphash::Key,
    verify::{Expected, News},
    wire::{self, View},
};

/// linux/bpf.h: lets the agent map an array into its memory.
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// linux/bpf.h: the program itself may only read.
const BPF_F_RDONLY_PROG: u32 = 1 << 7;

#[map]
static AGENT: Array<AgentCell> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static CHANNEL_OF: HashMap<End, u32> = HashMap::with_max_entries(ENDS, 0);
#[map]
static DOORBELL: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
static GUARDED: HashMap<Address, u64> = HashMap::with_max_entries(ADDRESSES, 0);
#[map]
static HEARD: Array<Heard> = Array::with_max_entries(INTERFACES, BPF_F_MMAPABLE);
#[map]
static INTER_ARRIVAL: Array<Histogram> = Array::with_max_entries(CHANNELS, BPF_F_MMAPABLE);
#[map]
static KERNEL: Array<KernelCell> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static KEYS: Array<Key> = Array::with_max_entries(2, BPF_F_RDONLY_PROG);
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(CHANNELS, BPF_F_MMAPABLE);

/// Settings, written by the agent before loading.
#[unsafe(no_mangle)]
static PORT: u16 = wire::PORT;
#[unsafe(no_mangle)]
static PAIR_ID: u32 = 0;
#[unsafe(no_mangle)]
static NODE: u8 = 0;

macro_rules! setting {
    ($name:ident) => {
        // SAFETY: a static; volatile, since the loader replaces its value behind the compiler's back.
        unsafe { core::ptr::read_volatile(&raw const $name) }
    };
}

/// Attached to the interface of every channel.
#[xdp(frags)]
fn heartbeat(context: XdpContext) -> u32 {
    let context = context.ctx;
    let found = frame(context).datagram(setting!(PORT)).and_then(|datagram| {
        let end = End { interface: interface(context), zero: 0, address: datagram.destination };
        // SAFETY: a plain value that only the agent writes.
        Some((datagram, *unsafe { CHANNEL_OF.get(end) }?))
    });
    let Some((datagram, channel)) = found else { return pass(context) };
    match datagram.payload::<{ wire::LEN }>() {
        Some(payload) => {
            let offset = payload as usize - XdpContext::new(context).data();
            consume(context, channel, unknown(context, offset))
        }
        None => {
            if let Some(slot) = SLOTS.get(channel) {
                slot.count(Outcome::Malformed);
            }
            XDP_DROP
        }
    }
}

/// The same offset, of which the verifier knows nothing but that it is below 16 KiB: else it would walk all that follows for
/// each of the ways in which a message can lie in a frame.
#[inline(always)]
fn unknown(context: *mut xdp_md, offset: usize) -> usize {
    // Read twice, so that the difference is 0 for the machine alone.
    // SAFETY: the verifier knows the context; the field is a plain u32.
    let [a, b] = unsafe {
        let field = &raw const (*context).ingress_ifindex;
        [field.read_volatile(), field.read_volatile()]
    };
    opaque(offset.wrapping_add(a.wrapping_sub(b) as usize)) & 0x3fff
}

/// A message for a channel of ours, at `offset`.
#[inline(never)]
fn consume(context: *mut xdp_md, channel: u32, offset: usize) -> u32 {
    let packet = XdpContext::new(context);
    let at = packet.data() + offset;
    if at + wire::LEN > packet.data_end() {
        return XDP_DROP;
    }
    // SAFETY: all of the message lies within the packet.
    let message = unsafe { View::at(at as *const u8) };
    if message.is_echo() {
        answer(context, message, channel)
    } else if message.is_notice() {
        learn_from(message, channel)
    } else if count(context, message, channel) {
        tell(context, message, channel)
    } else {
        XDP_DROP
    }
}

/// A heartbeat for a channel of ours. Whether it is to be answered with a notice. Functions of their own have stacks of their
/// own: this one's and those of [`answer`] and [`tell`] do not add up.
#[inline(never)]
fn count(context: *mut xdp_md, message: View<'_>, channel: u32) -> bool {
    let (Some(slot), Some(histogram), Some(guard)) = (SLOTS.get(channel), INTER_ARRIVAL.get(channel), guard()) else {
        return false;
    };
    let agent = guard.agent;
    let received = admit::receive(Some(message), expected(slot), agent, key, slot, histogram, now);
    if received.outcome == Outcome::Accepted {
        learn(context);
    }
    if received.news != News::None {
        // Full means that the agent has not looked at all yet: it will.
        let _ = DOORBELL.output::<u32>(channel, 0);
        if received.news == News::Pairing {
            info!(
                XdpContext::new(context),
                "channel {}: counting incarnation {:x} of the peer",
                channel,
                slot.window_of.get()
            );
        }
    }
    // To read a clock takes longer than all that a message costs which another pair sent.
    matches!(received.outcome, Outcome::Accepted | Outcome::Handshake)
        && guard.heard(message, received.outcome, slot, now())
}

/// The answer to a heartbeat while the agent cannot give one.
#[inline(never)]
fn tell(context: *mut xdp_md, message: View<'_>, channel: u32) -> u32 {
    let (Some(slot), Some(guard), Some(key)) = (SLOTS.get(channel), guard(), key(message.key_id())) else {
        return XDP_DROP;
    };
    let context = XdpContext::new(context);
    // SAFETY: the kernel keeps the packet for the time of this run, and lets nobody else at it.
    match unsafe { ReplyFrame::between(context.data() as *mut u8, context.data_end() as *mut u8) } {
        Some(turn) => {
            turn.into_reply(&notice::answer(message, expected(slot), guard, now()), key);
            XDP_TX
        }
        None => XDP_DROP,
    }
}

/// A notice for a channel of ours.
#[inline(never)]
fn learn_from(message: View<'_>, channel: u32) -> u32 {
    let (Some(slot), Some(agent)) = (SLOTS.get(channel), AGENT.get(0)) else {
        return XDP_DROP;
    };
    let received = notice::receive(message, expected(slot), agent, key, slot, now());
    if received.news != News::None {
        let _ = DOORBELL.output::<u32>(channel, 0);
    }
    XDP_DROP
}

/// The packet. Taken from its context where it is asked for: to keep it would cost those a register that only pass.
#[inline(always)]
fn frame(context: *mut xdp_md) -> Frame {
    // Volatile, so that they are: to the compiler these are words of 32 bits, to the verifier pointers.
    // SAFETY: the verifier knows the context, and the kernel keeps the packet for the time of this run.
    unsafe {
        let (start, end) = (&raw const (*context).data, &raw const (*context).data_end);
        Frame::between(start.read_volatile() as usize, end.read_volatile() as usize)
    }
}

#[inline(always)]
fn interface(context: *mut xdp_md) -> u32 {
    // SAFETY: the verifier knows the context; the field is a plain u32.
    unsafe { (*context).ingress_ifindex }
}

/// The record of the kernel, where there is anything to keep silent about: where nothing of ours is in place, it costs a look at
/// two words.
#[inline(always)]
fn armed() -> Option<&'static KernelCell> {
    KERNEL.get(0).filter(|kernel| kernel.is_armed())
}

/// Whether a frame is about an address that is kept silent about: a look at a filter, and rarely at the addresses of the groups.
#[inline(always)]
fn is_silenced(kernel: &KernelCell, frame: Frame, way: Way) -> bool {
    let groups = frame.about(way, |address| match kernel.filter.may_have(address) {
        // SAFETY: a plain value that only the agent writes.
        true => unsafe { GUARDED.get(address) }.copied().unwrap_or(0),
        false => 0,
    });
    groups != 0 && AGENT.get(0).is_some_and(|agent| Guard { agent, kernel }.is_silent(groups, now))
}

/// What leaves.
#[classifier]
fn heartbeat_out(context: TcContext) -> i32 {
    silence(&context, Way::Out)
}

/// What comes in where the XDP program is not.
#[classifier]
fn heartbeat_in(context: TcContext) -> i32 {
    silence(&context, Way::In)
}

#[inline(always)]
fn silence(context: &TcContext, way: Way) -> i32 {
    // SAFETY: the kernel keeps the packet for the time of this run.
    let frame = unsafe { Frame::between(context.data(), context.data_end()) };
    // What others have attached here has its say, too.
    if armed().is_some_and(|kernel| is_silenced(kernel, frame, way)) { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}

/// A thread ends: the agent's, perhaps.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn heartbeat_death(_: RawTracePointContext) -> i32 {
    let Some(guard) = guard() else { return 0 };
    let [device, inode] = &guard.kernel.orders.namespace;
    let mut thread = bpf_pidns_info { pid: 0, tgid: 0 };
    let len = size_of::<bpf_pidns_info>() as u32;
    // SAFETY: room for what the helper writes.
    if unsafe { bpf_get_ns_current_pid_tgid(device.get(), inode.get(), &raw mut thread, len) } == 0 && thread.pid != 0 {
        guard.ended(thread.pid, now());
    }
    0
}

#[inline(always)]
fn guard() -> Option<Guard<'static>> {
    Some(Guard { agent: AGENT.get(0)?, kernel: KERNEL.get(0)? })
}

/// Which Ethernet address the peer has on this network.
#[inline(always)]
fn learn(context: *mut xdp_md) {
    let source = frame(context).source();
    if let (Some(heard), Some(source)) = (HEARD.get(interface(context) % INTERFACES), source)
        && heard.peer.get() != source
    {
        heard.peer.set(source);
    }
}

/// A frame that is not for us. Where it is not the peer's either, somebody else is there: the network works towards us. Noted
/// once until the agent has seen it, so that it costs a look at a word.
#[inline(always)]
fn pass(context: *mut xdp_md) -> u32 {
    if armed().is_some_and(|kernel| is_silenced(kernel, frame(context), Way::In)) {
        return XDP_DROP;
    }
    if let Some(heard) = HEARD.get(interface(context) % INTERFACES)
        && heard.others.get() == 0
        && let frame = frame(context)
        && let Some(source) = frame.source()
        && source != heard.peer.get()
        && !frame.is_link_control()
    {
        heard.others.set(1);
    }
    XDP_PASS
}

/// An echo for a channel of ours. A function of its own, so that heartbeats do not pay for its registers.
#[inline(never)]
fn answer(context: *mut xdp_md, message: View<'_>, channel: u32) -> u32 {
    let (Some(slot), Some(agent)) = (SLOTS.get(channel), AGENT.get(0)) else {
        return XDP_DROP;
    };
    let context = XdpContext::new(context);
    let (start, end) = (context.data() as *mut u8, context.data_end() as *mut u8);
    // SAFETY: the kernel keeps the packet for the time of this run, and lets nobody else at it.
    let turn = unsafe { ReplyFrame::between(start, end) };
    let answerable = if turn.is_some() { Answerable::Yes } else { Answerable::No };
    let now_ns = now();
    let outcome = echo::receive(message, expected(slot), agent, key, slot, answerable, now_ns);
    match (outcome, turn, key(message.key_id())) {
        (Outcome::EchoRequest, Some(turn), Some(key)) => {
            turn.into_reply(&echo::answer(message, expected(slot), agent, now_ns), key);
            XDP_TX
        }
        _ => XDP_DROP,
    }
}

#[inline(always)]
fn expected(slot: &Slot) -> Expected {
    Expected { pair_id: setting!(PAIR_ID), node: setting!(NODE), channel_id: slot.channel_id.get() as u32 }
}

#[inline(always)]
fn key(id: u8) -> Option<Key> {
    KEYS.get(u32::from(id)).copied()
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Passes everything: the yardstick of benchmarks. The agent never loads it.
#[xdp(frags)]
fn empty(_: XdpContext) -> u32 {
    XDP_PASS
}

/// The same for tc.
#[classifier]
fn empty_tc(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
