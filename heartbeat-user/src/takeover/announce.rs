//! Tells the neighbours whose Ethernet address a taken-over IP address now leads to (WO 01/82077, S3).
//!
//! - **IPv4**: an ARP announcement, broadcast, whose sender and target are both the address: as a *request* and as a *reply*.
//!   RFC 5227 §3 wants the request, for hosts must look at the sender of any request (RFC 826); but some heed only
//!   replies (RFC 5944 §4.6 allows both). Linux takes a request as gratuitous always, a reply only where its target
//!   hardware address repeats the sender's (`arp_is_garp`), and overrides a fresh entry for either.
//! - **IPv6**: an unsolicited Neighbor Advertisement to all nodes, override set (RFC 4861 §7.2.6).

use super::frames::{arp_announcement, arp_announcing_reply, probe, unsolicited_advertisement};
use crate::system::netlink::{NetlinkResult, NetworkInterface};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::{
        socket::{
            AddressFamily, ControlMessage, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, sendmmsg, setsockopt,
            socket, sockopt,
        },
        time::TimeVal,
    },
};
use std::{
    collections::HashMap,
    fs,
    io::{self, IoSlice},
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

/// Two thousand frames on their way.
const SEND_BUFFER: usize = 4 << 20;
/// How long a full queue may hold up the takeover thread.
const PATIENCE_MS: i64 = 20;

/// One address to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The interface, with its Ethernet address of this moment: that of a bond may change.
    pub link: NetworkInterface,
    /// The address.
    pub ip: IpAddr,
    /// Whether this host forwards IPv6 from the interface ([`forwards_ipv6`]): an advertisement that does not say so
    /// makes hosts drop it as their router (RFC 4861 §7.2.5).
    pub router: bool,
}

/// Sends announcements, and questions, through one AF_PACKET socket, which receives nothing.
pub struct Announcer {
    socket: OwnedFd,
    /// The kernel's own link-layer addresses, by interface index.
    links: HashMap<u32, LinkAddr>,
}

impl Announcer {
    /// Opens the socket, in the network namespace of this thread.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, `EPERM`.
    pub fn open() -> io::Result<Self> {
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER))?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(0, PATIENCE_MS * 1_000))?;
        let mut announcer = Self { socket, links: HashMap::new() };
        announcer.learn_links()?;
        Ok(announcer)
    }

    /// Announces each of `announcements` once, in each form, all in as few system calls as the kernel allows, and returns what
    /// became of each, in their order. Where the interface has no Ethernet address, `EOPNOTSUPP`.
    pub fn announce(&mut self, announcements: &[Announcement]) -> Vec<NetlinkResult> {
        self.send_each(announcements, |announcement, mac| match announcement.ip {
            IpAddr::V4(ip) => vec![arp_announcement(mac, ip).to_vec(), arp_announcing_reply(mac, ip).to_vec()],
            IpAddr::V6(ip) => vec![unsolicited_advertisement(mac, ip, announcement.router).to_vec()],
        })
    }

    /// Asks, for the address of each of `questions`, whether a neighbour has it ([`probe`]), and returns what became of each
    /// question, in their order. Where the interface has no Ethernet address, `EOPNOTSUPP`.
    pub fn ask(&mut self, questions: &[Announcement]) -> Vec<NetlinkResult> {
        self.send_each(questions, |question, mac| vec![probe(mac, question.ip)])
    }

    fn send_each(
        &mut self,
        announcements: &[Announcement],
        frames_of: impl Fn(&Announcement, [u8; 6]) -> Vec<Vec<u8>>,
    ) -> Vec<NetlinkResult> {
        let mut outcomes = vec![Ok(()); announcements.len()];
        let mut places = Vec::with_capacity(announcements.len());
        let mut frames = Vec::with_capacity(announcements.len());
        let mut links = Vec::with_capacity(announcements.len());
        for (place, announcement) in announcements.iter().enumerate() {
            let mac = announcement.link.mac.ok_or(Errno::EOPNOTSUPP);
            match mac.and_then(|mac| Ok((mac, self.link_addr(announcement.link.index)?))) {
                Ok((mac, link)) => {
                    frames.extend(frames_of(announcement, mac));
                    places.resize(frames.len(), place);
                    links.resize(frames.len(), Some(link));
                }
                Err(errno) => outcomes[place] = Err(errno),
            }
        }
        let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut begin = 0;
        while begin < slices.len() {
            match self.send(&slices[begin..], &links[begin..]) {
                Ok(sent) => begin += sent,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    outcomes[places[begin]] = Err(errno); // of the first one; the others have not been tried
                    begin += 1;
                }
            }
        }
        outcomes
    }

    /// Returns how many were sent, at least one.
    fn send(&self, slices: &[[IoSlice<'_>; 1]], links: &[Option<LinkAddr>]) -> nix::Result<usize> {
        let no_control: [ControlMessage<'_>; 0] = [];
        let mut headers = MultiHeaders::preallocate(slices.len(), None);
        let sent = sendmmsg(self.socket.as_raw_fd(), &mut headers, slices, links, no_control, MsgFlags::empty())?;
        Ok(sent.count())
    }

    fn link_addr(&mut self, index: u32) -> Result<LinkAddr, Errno> {
        if !self.links.contains_key(&index) {
            self.learn_links()?;
        }
        self.links.get(&index).copied().ok_or(Errno::ENODEV)
    }

    /// getifaddrs is the one safe source of `LinkAddr`; it walks all addresses, so it is asked once for each new interface.
    fn learn_links(&mut self) -> Result<(), Errno> {
        let found = getifaddrs()?.filter_map(|entry| entry.address.and_then(|a| a.as_link_addr().copied()));
        self.links = found.map(|link| (link.ifindex() as u32, link)).collect();
        Ok(())
    }
}

/// Whether this host forwards IPv6 packets that come in on `interface`.
#[must_use]
pub fn forwards_ipv6(interface: &str) -> bool {
    fs::read(format!("/proc/sys/net/ipv6/conf/{interface}/forwarding")).is_ok_and(|text| text.starts_with(b"1"))
}
