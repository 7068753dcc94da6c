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
const DRAWS: u64 = 64;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn decoys_are_in_the_network_and_nobodys_that_is_known() {
        for (text, prefix) in [("192.0.2.10", 26), ("10.1.2.3", 8), ("2001:db8::10", 64), ("2001:db8::10", 120)] {
            let taken: HashSet<IpAddr> = (0..40).map(|n| ip(&format!("192.0.2.{n}"))).collect();
            for _ in 0..50 {
                let drawn = decoys(ip(text), prefix, &taken);
                assert!(drawn.len() == DECOYS && drawn[0] != drawn[1], "{drawn:?}");
                for decoy in drawn {
                    assert_eq!(network(decoy, prefix), network(ip(text), prefix));
                    assert!(decoy != network(decoy, prefix) && decoy != ip("192.0.2.63") && !taken.contains(&decoy));
                }
            }
        }
    }

    #[test]
    fn a_small_or_full_network_has_none() {
        assert_eq!(decoys(ip("192.0.2.10"), 27, &HashSet::new()), [] as [IpAddr; 0]);
        assert_eq!(decoys(ip("192.0.2.10"), 32, &HashSet::new()), [] as [IpAddr; 0]);
        assert_eq!(decoys(ip("2001:db8::10"), 128, &HashSet::new()), [] as [IpAddr; 0]);
        let taken: HashSet<IpAddr> = (0..64).map(|n| ip(&format!("192.0.2.{n}"))).collect();
        assert_eq!(decoys(ip("192.0.2.10"), 26, &taken), [] as [IpAddr; 0]);
    }

    #[test]
    fn a_network_is_its_first_address() {
        assert_eq!(network(ip("192.0.2.77"), 26), ip("192.0.2.64"));
        assert_eq!(network(ip("192.0.2.77"), 0), ip("0.0.0.0"));
        assert_eq!(network(ip("2001:db8::1:2"), 112), ip("2001:db8::1:0"));
    }
}
