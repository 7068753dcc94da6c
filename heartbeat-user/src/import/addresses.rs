//! How the lines of `virtual_ipaddress`, `virtual_routes` and `virtual_rules` are read.

use super::error::Fault;
use super::model::Address;
use super::reading::{Reading, is_a_hosts};
use super::tree::Item;
use crate::config::is_interface_name;
use std::net::IpAddr;

const CIDR: &str =
    "an address that a single host can have, and the length of its network's prefix, such as 192.0.2.10/24";

/// An address of a group; nothing where it is wrong.
pub(super) fn read(line: &Item, reading: &mut Reading) -> Option<Address> {
    if line.block.is_some() {
        reading.wrong(line, Fault::Block);
        return None;
    }
    // As `ip address add` has it, and keepalived does.
    let words: Vec<&str> = line.words.iter().map(|word| word.text.as_str()).collect();
    let Some((address, prefix)) = cidr(words[0]) else {
        reading.wrong(line, Fault::Wrong(CIDR));
        return None;
    };
    let mut interface = None;
    let mut rest = words[1..].iter();
    while let Some(&word) = rest.next() {
        match word {
            "dev" => match rest.next().filter(|name| is_interface_name(name)) {
                Some(name) => interface = Some((*name).to_owned()),
                None => {
                    reading.wrong(line, Fault::Wrong("dev and the name of a network interface"));
                    return None;
                }
            },
            "brd" | "broadcast" | "scope" | "label" | "preferred_lft" | "metric" | "track_group" | "peer" => {
                let Some(value) = rest.next() else {
                    reading.wrong(line, Fault::Wrong("a value after each option"));
                    return None;
                };
                option(line, address, word, value, reading);
            }
            "use_vmac" => reading.lost(line, "use_vmac: no virtual Ethernet address; see use_vmac of the instance"),
            "home" | "-nodad" | "nodad" | "mngtmpaddr" | "noprefixroute" | "autojoin" => {
                reading.note(
                    line,
                    format!("{word}: the agent sets what an address needs; others of `ip address` it does not"),
                );
            }
            "no_track" => reading.note(line, "no_track: an address that somebody removes is put back"),
            _ => {
                reading.wrong(
                    line,
                    Fault::Wrong("an address with options of `ip address add`, such as dev eth0, on a line of its own"),
                );
                return None;
            }
        }
    }
    Some(Address { place: line.place.clone(), address, prefix, interface })
}

fn option(line: &Item, address: IpAddr, option: &str, value: &str, reading: &mut Reading) {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let usual = if is_link_local { "link" } else { "global" };
    match option {
        "scope" if value == usual => {}
        "scope" => {
            reading.note(line, format!("scope {value}: an address has the scope that the kernel gives such addresses"))
        }
        "label" => {
            reading.note(line, format!("label {value}: addresses have no labels; `ip address` shows them without"))
        }
        "brd" | "broadcast" => {
            reading.note(line, format!("{option} {value}: the broadcast address is that of the prefix"))
        }
        "peer" => reading.lost(
            line,
            format!("peer {value}: an address without a peer; have a hook of the group add the route to it"),
        ),
        "preferred_lft" => reading
            .note(line, "preferred_lft: IPv6 addresses of groups are never the source of the host's own connections"),
        _ => reading.note(line, format!("{option} {value}: not needed")),
    }
}

/// An address and its prefix: all of its bits where none is said, as keepalived takes it.
fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok().filter(is_a_hosts)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|prefix| (1..=most).contains(prefix))?
        }
        Some(_) => return None,
    };
    if let IpAddr::V4(v4) = address
        && prefix <= 30
    {
        // The network's own address, and its broadcast address.
        let host = u32::MAX >> prefix;
        let bits = v4.to_bits() & host;
        return (bits != 0 && bits != host).then_some((address, prefix));
    }
    Some((address, prefix))
}

/// What a hook is to do for a line of `virtual_routes` (`what` is "route") or `virtual_rules` ("rule").
pub(super) fn route(line: &Item, what: &str, reading: &mut Reading) {
    let mut words = Vec::new();
    let mut rest = line.words.iter().map(|word| word.text.as_str());
    while let Some(word) = rest.next() {
        match word {
            "no_track" => {}
            "track_group" => {
                rest.next();
            }
            "gw" => words.push("via"),
            word => words.push(word),
        }
    }
    let text = words.join(" ");
    let add = if what == "route" { "replace" } else { "add" };
    let instead = format!(
        "no {what}s of a group; have on_acquired run `ip {what} {add} {text}`, and on_releasing `ip {what} del {text}`, or leave it there \
         on both for good"
    );
    reading.lost(line, instead);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_prefix_has_all_of_its_bits() {
        for (text, expected) in [
            ("192.0.2.10", Some(("192.0.2.10", 32))),
            ("192.0.2.10/24", Some(("192.0.2.10", 24))),
            ("2001:db8::1", Some(("2001:db8::1", 128))),
            ("fe80::1/64", Some(("fe80::1", 64))),
            ("192.0.2.0/24", None),
            ("192.0.2.255/24", None),
            ("192.0.2.0/32", Some(("192.0.2.0", 32))),
            ("192.0.2.1/33", None),
            ("192.0.2.1/0", None),
            ("192.0.2.1/+8", None),
            ("192.0.2.1/", None),
            ("127.0.0.1/8", None),
            ("224.0.0.18", None),
            ("192.0.2", None),
            ("$VIP", None),
        ] {
            let expected = expected.map(|(address, prefix)| (address.parse().unwrap(), prefix));
            assert_eq!(cidr(text), expected, "{text}");
        }
    }
}
