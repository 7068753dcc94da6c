//! Addresses that nobody should have, asked for beside those that are wanted: who answers for them, too, answers for everything
//! (a router with proxy ARP, a fabric that suppresses ARP) and says nothing of who holds what.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

/// So many in each network: one alone may really be of him who answers.
pub(super) const DECOYS: usize = 2;
/// So often an address is drawn that is taken, before there are none.
const DRAWS: u64 = 16;

/// Two addresses of the network of `ip`, drawn at random, that are not `taken`. None where the network is so small that they may
/// well be somebody's: fewer than 6 bits are left for hosts.
pub(super) fn decoys(ip: IpAddr, prefix: u8, taken: &HashSet<IpAddr>) -> Vec<IpAddr> {
    let width: u32 = if ip.is_ipv4() { 32 } else { 128 };
    let hosts = width.saturating_sub(u32::from(prefix)).min(64);
    if hosts < 6 {
        return Vec::new();
    }
    let mask = u64::MAX >> (64 - hosts);
    let random = RandomState::new();
    let mut drawn: Vec<IpAddr> = Vec::with_capacity(DECOYS);
    for draw in 0..DRAWS {
        let bits = random.hash_one(draw) & mask;
        let address = match ip {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & !(mask as u32) | bits as u32).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(mask) | u128::from(bits)).into()),
        };
        // Neither the network's own address nor, in IPv4, its broadcast address.
        if bits != 0 && bits != mask && !taken.contains(&address) && !drawn.contains(&address) {
            drawn.push(address);
            if drawn.len() == DECOYS {
                return drawn;
            }
        }
    }
    Vec::new()
}

/// The network's own address.
pub(super) fn network(ip: IpAddr, prefix: u8) -> IpAddr {
    let hosts = |width: u32| width.saturating_sub(u32::from(prefix));
    match ip {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(hosts(32)).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(hosts(128)).unwrap_or(0)).into()),
    }
}
