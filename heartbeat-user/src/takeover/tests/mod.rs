//! A network namespace of each test's own: `near0` is the controller's port, `far0` the other end of its cable.

mod addresses;
mod announce;
mod claims;
mod damping;
mod guard;
mod neighbours;
mod rivals;
mod running;
mod sweep;
mod telling;
mod worker;

use super::{Address, PlannedAddress};
use crate::system::netlink::{Netlink, NetworkInterface};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sched::{CloneFlags, unshare},
    sys::{
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt},
        time::{TimeVal, TimeValLike},
    },
};
use std::{
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(5);

/// Of a controller.
const MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 0x01];

/// What [`MAC`] tells or asks everybody about 192.0.2.10, byte by byte (RFC 826).
fn arp(operation: u8, sender: [u8; 4], target_mac: [u8; 6]) -> [u8; 42] {
    let [s0, s1, s2, s3] = sender;
    let [m0, m1, m2, m3, m4, m5] = target_mac;
    #[rustfmt::skip]
    let frame = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0x5e, 0x10, 0, 0x01, 0x08, 0x06,
        0, 1, 0x08, 0, 6, 4, 0, operation,
        0x02, 0, 0x5e, 0x10, 0, 0x01, s0, s1, s2, s3,
        m0, m1, m2, m3, m4, m5, 192, 0, 2, 10,
    ];
    frame
}

pub(super) struct Lab {
    pub(super) netlink: Netlink,
    pub(super) near: NetworkInterface,
    far: OwnedFd,
}

/// Runs `test` on a thread in a network namespace that ends with it.
pub(super) fn in_namespace(test: impl FnOnce(&mut Lab) + Send + 'static) {
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test makes a network namespace: it must be run as root");
        test(&mut Lab::new());
    });
    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
}

impl Lab {
    fn new() -> Self {
        let mut netlink = Netlink::open().unwrap();
        add_cable(&mut netlink, "near0", "far0");
        let near = netlink.link("near0").unwrap();
        Self { near, far: capture("far0"), netlink }
    }

    /// The cable was laid anew.
    pub(super) fn relay(&mut self) {
        self.near = self.netlink.link("near0").unwrap();
        self.far = capture("far0");
    }

    /// The next frame at the far end that `wanted` says yes to; `None` where none comes in time.
    pub(super) fn frame_within(&self, time: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_micros().max(1) as i64;
            setsockopt(&self.far, sockopt::ReceiveTimeout, &TimeVal::microseconds(left)).unwrap();
            let mut frame = vec![0; 2048];
            match recv(self.far.as_raw_fd(), &mut frame, nix::sys::socket::MsgFlags::empty()) {
                Ok(length) if wanted(&frame[..length]) => return Some(frame[..length].to_vec()),
                Ok(_) | Err(Errno::ENETDOWN) if Instant::now() < deadline => {}
                Ok(_) | Err(Errno::EAGAIN) => return None,
                Err(errno) => panic!("capture: {errno}"),
            }
        }
    }

    pub(super) fn frame(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.frame_within(PATIENCE, wanted).expect("the frame should have come")
    }

    pub(super) fn at(&self, ip: &str, prefix: u8) -> Address {
        Address { interface: self.near.index, ip: ip.parse().unwrap(), prefix }
    }

    /// All on `near0`, in any order, without those that the kernel gave itself.
    pub(super) fn present(&mut self) -> Vec<IpAddr> {
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let listed = self.netlink.list(Some(self.near.index)).unwrap();
        listed.iter().map(|address| address.ip).filter(|ip| !link_local(ip)).collect()
    }
}

pub(super) fn add_cable(netlink: &mut Netlink, near: &str, far: &str) {
    lay_cable(netlink, near, named(far));
    set_up(netlink, &[near, far]);
}

fn lay_cable(netlink: &mut Netlink, near: &str, far: LinkMessage) {
    let mut cable = named(near);
    let peer = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far)));
    cable.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), peer]));
    let outcomes = netlink.apply(vec![RouteNetlinkMessage::NewLink(cable)], NLM_F_CREATE | NLM_F_EXCL).unwrap();
    assert_eq!(outcomes, [Ok(())], "a veth pair");
}

pub(super) fn set_up(netlink: &mut Netlink, names: &[&str]) {
    let up = names.iter().map(|name| {
        let mut end = named(name);
        end.header.flags = LinkFlags::Up;
        end.header.change_mask = LinkFlags::Up;
        RouteNetlinkMessage::SetLink(end)
    });
    assert!(netlink.apply(up.collect(), 0).unwrap().iter().all(Result::is_ok), "{names:?} up");
}

fn named(name: &str) -> LinkMessage {
    let mut end = LinkMessage::default();
    end.attributes.push(LinkAttribute::IfName(name.to_owned()));
    end
}

/// Sets the interface's attribute, or its master.
fn change(netlink: &mut Netlink, name: &str, attribute: LinkAttribute) {
    let mut link = LinkMessage::default();
    link.header.index = netlink.link(name).unwrap().index;
    link.attributes.push(attribute);
    assert_eq!(netlink.apply(vec![RouteNetlinkMessage::SetLink(link)], 0).unwrap(), [Ok(())]);
}

pub(super) fn rename(netlink: &mut Netlink, from: &str, to: &str) {
    change(netlink, from, LinkAttribute::IfName(to.to_owned()));
}

pub(super) fn set_mac(netlink: &mut Netlink, name: &str, mac: [u8; 6]) {
    change(netlink, name, LinkAttribute::Address(mac.to_vec()));
}

pub(super) fn enslave(netlink: &mut Netlink, name: &str, master: u32) {
    change(netlink, name, LinkAttribute::Controller(master));
}

pub(super) fn add_bridge(netlink: &mut Netlink, name: &str) {
    let mut bridge = named(name);
    bridge.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
    let outcomes = netlink.apply(vec![RouteNetlinkMessage::NewLink(bridge)], NLM_F_CREATE | NLM_F_EXCL).unwrap();
    assert_eq!(outcomes, [Ok(())], "a bridge");
    set_up(netlink, &[name]);
}

/// An interface without Ethernet header or address.
pub(super) fn add_tunnel(netlink: &mut Netlink, name: &str) {
    let mut tunnel = named(name);
    let data = InfoData::Vxlan(vec![InfoVxlan::CollectMetadata(true), InfoVxlan::Learning(false), InfoVxlan::Gpe]);
    tunnel.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(data)]));
    let outcomes = netlink.apply(vec![RouteNetlinkMessage::NewLink(tunnel)], NLM_F_CREATE | NLM_F_EXCL).unwrap();
    assert_eq!(outcomes, [Ok(())], "a tunnel");
    set_up(netlink, &[name]);
}

pub(super) fn set_down(netlink: &mut Netlink, name: &str) {
    let mut end = named(name);
    end.header.change_mask = LinkFlags::Up;
    assert_eq!(netlink.apply(vec![RouteNetlinkMessage::SetLink(end)], 0).unwrap(), [Ok(())]);
}

pub(super) fn remove_link(netlink: &mut Netlink, name: &str) {
    let mut link = LinkMessage::default();
    link.header.index = netlink.link(name).unwrap().index;
    assert_eq!(netlink.apply(vec![RouteNetlinkMessage::DelLink(link)], 0).unwrap(), [Ok(())]);
}

pub(super) fn set_ipv4(interface: &str, knob: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/{knob}"), value).unwrap();
}

pub(super) fn planned(interface: &str, ip: &str, prefix: u8) -> PlannedAddress {
    PlannedAddress { interface: interface.to_owned(), ip: ip.parse().unwrap(), prefix }
}

fn capture(interface: &str) -> OwnedFd {
    let capture = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
    setsockopt(&capture, sockopt::RcvBufForce, &(16 << 20)).unwrap();
    let named = |entry: &nix::ifaddrs::InterfaceAddress| entry.interface_name == interface;
    let link = getifaddrs().unwrap().filter(named).find_map(|entry| entry.address?.as_link_addr().copied());
    bind(capture.as_raw_fd(), &link.unwrap()).unwrap();
    capture
}
