//! What the pair consists of: `[[channel]]` and `[[group]]`, and that no two of their parts get in each other's way.

use super::{
    ChannelConfig, ChannelEnd, ChannelKind, GroupConfig, MAX_ADDRESSES, ServiceAddress, Targets, Wiring,
    claims::{Claim, Taken},
    commands::{self, HOOK_KEYS},
    devices,
    error::{Fault, Report},
    table::{At, Table, called},
    values::name,
};
use crate::{
    core::name_id,
    types::{ChannelIndex, GroupIndex, MAX_CHANNELS, MAX_GROUPS, Node},
};
use std::net::IpAddr;
use std::ops::Range;

const ADDRESS: &str = "an IPv4 or IPv6 address without prefix or scope, such as \"192.0.2.1\" or \"fe80::1\"";
const CIDR: &str = "an address with the length of its network's prefix, such as \"192.0.2.10/24\"";

/// The channels and groups; `None` where the report says why.
pub(super) fn read(root: &Table<'_>, report: &mut Report<'_>) -> Option<(Vec<ChannelConfig>, Vec<GroupConfig>)> {
    let mut taken = Taken::default();
    let channels = channels(root, report, &mut taken);
    let groups = groups(root, report, &mut taken, &channels);
    let channels: Option<Vec<_>> = channels.into_iter().map(|channel| channel.whole).collect();
    Some((channels?, groups?))
}

/// A channel as far as it could be read.
struct ReadChannel<'t> {
    name: Option<&'t str>,
    kind: Option<ChannelKind>,
    whole: Option<ChannelConfig>,
}

fn channels<'t>(root: &Table<'t>, report: &mut Report<'_>, taken: &mut Taken<'t>) -> Vec<ReadChannel<'t>> {
    const RIGHT: &str = "at least one [[channel]]";
    let tables = root.filled_array(report, "channel", RIGHT);
    at_most(report, tables.get(MAX_CHANNELS).map(|table| table.span()), "channel", "channels", MAX_CHANNELS);

    let mut channels = Vec::new();
    for (i, value) in tables.iter().enumerate() {
        let path = called("channel", i + 1, value.get_ref());
        let known = ["name", "kind", "a", "b", "speed", "every", "probe", "probe_quorum", "weight"];
        if let Some(table) = Table::of(report, path, value, &known, "a table [[channel]]") {
            channels.push(channel(i, &table, report, taken));
        }
    }
    channels
}

fn channel<'t>(i: usize, table: &Table<'t>, report: &mut Report<'_>, taken: &mut Taken<'t>) -> ReadChannel<'t> {
    let name = name(table, report);
    if let Some(name) = &name {
        let holder = format!("the name of channel {}", i + 1);
        let claim = Claim::ChannelName(name_id(name.value));
        taken.claim(report, claim, name.span.clone(), table.name("name"), holder, "another name");
    }
    let kind = kind(table, report);
    if kind.is_none() {
        // What belongs into it is not known.
        return ReadChannel { name: name.map(|name| name.value), kind, whole: None };
    }
    if let Some(kind @ (ChannelKind::Serial | ChannelKind::Disk)) = kind {
        let whole = devices::channel(i, kind, name.as_ref(), table, report, taken);
        return ReadChannel { name: name.map(|name| name.value), kind: Some(kind), whole };
    }
    devices::refuse_others(table, report, kind);
    let label = name.as_ref().map_or(format!("channel {}", i + 1), |name| format!("channel \"{}\"", name.value));
    let [a, b] = [Node::A, Node::B].map(|node| end(i, node, &label, table, report, taken));
    if let (Some(a), Some(b)) = (&a.1, &b.1)
        && a.value.is_ipv4() != b.value.is_ipv4()
    {
        let fault = Fault::DifferentFamilies { a: a.value.to_string() };
        report.value(b.span.clone(), table.name("b.address"), fault);
    }

    let own = [&a.1, &b.1].map(|end| end.as_ref().map(|end| end.value));
    let probe = probe(table, report, kind, own);
    let asked = match &probe {
        Some(Targets::Addresses(addresses)) => addresses.len().max(1) as u64,
        _ => 1,
    };
    let probe_quorum = table.integer(report, "probe_quorum", 1..=asked).map_or(1, |quorum| quorum.value as u8);
    let weight = table.integer(report, "weight", 1..=1_000).map_or(100, |weight| weight.value as u32);
    let whole = || {
        let whole = |(interface, address): (Option<At<&str>>, Option<At<IpAddr>>)| {
            Some(ChannelEnd { interface: interface?.value.to_owned(), address: address?.value })
        };
        Some(ChannelConfig {
            index: ChannelIndex(u8::try_from(i).ok()?),
            name: name.as_ref()?.value.to_owned(),
            kind: kind?,
            wiring: Wiring::Interfaces([whole(a)?, whole(b)?]),
            probe: probe?,
            probe_quorum,
            weight,
        })
    };
    ReadChannel { name: name.as_ref().map(|name| name.value), kind, whole: whole() }
}

/// Who is probed: of the ends' family, and neither end.
fn probe(
    table: &Table<'_>,
    report: &mut Report<'_>,
    kind: Option<ChannelKind>,
    ends: [Option<IpAddr>; 2],
) -> Option<Targets> {
    const RIGHT: &str = "\"auto\", \"gateway\", \"none\", or at most 8 addresses such as [\"192.0.2.254\"], who answer as \
                         long as the network works";
    const ONE: &str = "the address of somebody else in the network, of the same family as the channel's ends";
    const MOST: usize = 8;
    if kind == Some(ChannelKind::Dedicated) {
        if let Some(span) = table.peek_span("probe") {
            report.value(span, table.name("probe"), Fault::NotJudged(ChannelKind::Dedicated.name()));
            return None;
        }
        return Some(Targets::None);
    }
    match table.peek("probe").map(|probe| probe.value) {
        None if !table.has("probe") => return Some(Targets::Auto),
        Some("auto") => return Some(Targets::Auto),
        Some("gateway") => return Some(Targets::Gateway),
        Some("none") => return Some(Targets::None),
        _ => {}
    }
    let list = table.filled_array(report, "probe", RIGHT);
    at_most(report, list.get(MOST).map(|value| value.span()), &table.name("probe"), "addresses to probe", MOST);
    let mut targets = Vec::new();
    for (n, value) in list.iter().enumerate() {
        let name = table.name(&format!("probe[{}]", n + 1));
        let Some(text) = value.get_ref().as_str() else {
            report.value(value.span(), name, Fault::BadText { right: ONE });
            return None;
        };
        let fault = match parse_address(text, ONE) {
            Err(fault) => fault,
            Ok(address) if ends.iter().flatten().any(|end| *end == address || end.is_ipv4() != address.is_ipv4()) => {
                Fault::BadText { right: ONE }
            }
            Ok(address) if targets.contains(&address) => Fault::BadText { right: "each address once" },
            Ok(address) => {
                targets.push(address);
                continue;
            }
        };
        report.value(value.span(), name, fault);
        return None;
    }
    Some(Targets::Addresses(targets))
}

fn kind(table: &Table<'_>, report: &mut Report<'_>) -> Option<ChannelKind> {
    const RIGHT: &str = "\"network\", \"dedicated\", \"serial\" or \"disk\"";
    let choices = [ChannelKind::Network, ChannelKind::Dedicated, ChannelKind::Serial, ChannelKind::Disk];
    let choices = choices.map(|kind| (kind.name(), kind));
    match table.choice(report, "kind", RIGHT, &choices) {
        None if !table.has("kind") => Some(ChannelKind::Network),
        kind => kind,
    }
}

type ReadEnd<'t> = (Option<At<&'t str>>, Option<At<IpAddr>>);

fn end<'t>(
    i: usize,
    node: Node,
    label: &str,
    table: &Table<'t>,
    report: &mut Report<'_>,
    taken: &mut Taken<'t>,
) -> ReadEnd<'t> {
    const RIGHT: &str = "{ interface = \"eth0\", address = \"192.0.2.1\" } with this controller's own values";
    const INTERFACE: &str = "the name of a network interface: 1 to 15 characters, no space, / or :";
    let key = node.to_string();
    table.require(report, &key, RIGHT);
    let Some(end) = table.table(report, &key, &["interface", "address"], RIGHT) else {
        return (None, None);
    };

    end.require(report, "interface", INTERFACE);
    let interface = end.text(report, "interface", INTERFACE, is_interface_name);
    if let Some(interface) = &interface {
        let claim = Claim::Interface(node, interface.value);
        let holder = format!("controller {node}'s interface for {label}");
        let key = end.name("interface");
        taken.claim(report, claim, interface.span.clone(), key, holder, "one channel an interface");
    }

    end.require(report, "address", ADDRESS);
    let text = end.text(report, "address", ADDRESS, |_| true);
    let address = text.and_then(|text| match parse_address(text.value, ADDRESS) {
        Ok(address) => Some(At { value: address, span: text.span }),
        Err(fault) => {
            report.value(text.span, end.name("address"), fault);
            None
        }
    });
    if let Some(address) = &address {
        let holder = format!("controller {node}'s own address on {label}");
        let claim = Claim::address(i, address.value);
        let right = "an address that only this controller has";
        taken.claim(report, claim, address.span.clone(), end.name("address"), holder, right);
    }
    (interface, address)
}

fn groups<'t>(
    root: &Table<'t>,
    report: &mut Report<'_>,
    taken: &mut Taken<'t>,
    channels: &[ReadChannel<'t>],
) -> Option<Vec<GroupConfig>> {
    let tables = root.array(report, "group", "[[group]] tables");
    at_most(report, tables.get(MAX_GROUPS).map(|table| table.span()), "group", "groups", MAX_GROUPS);

    let mut groups = Some(Vec::new());
    let mut addresses_before = 0;
    for (i, value) in tables.iter().enumerate() {
        let path = called("group", i + 1, value.get_ref());
        let known = [&["name", "home", "addresses", "needs", "failback", "exclusive"][..], &HOOK_KEYS].concat();
        let table = Table::of(report, path, value, &known, "a table [[group]]");
        let group = table.and_then(|table| group(i, &table, report, taken, channels, &mut addresses_before));
        groups = groups.zip(group).map(|(mut groups, group)| {
            groups.push(group);
            groups
        });
    }
    groups
}

fn group<'t>(
    i: usize,
    table: &Table<'t>,
    report: &mut Report<'_>,
    taken: &mut Taken<'t>,
    channels: &[ReadChannel<'t>],
    addresses_before: &mut usize,
) -> Option<GroupConfig> {
    let name = name(table, report);
    if let Some(name) = &name {
        let holder = format!("the name of group {}", i + 1);
        let claim = Claim::GroupName(name_id(name.value));
        taken.claim(report, claim, name.span.clone(), table.name("name"), holder, "another name");
    }
    const HOME: &str = "\"a\" or \"b\": the controller that holds the group when both are well";
    table.require(report, "home", HOME);
    let home = table.choice(report, "home", HOME, &[("a", Node::A), ("b", Node::B)]);

    const ADDRESSES: &str = "at least one { channel = \"net1\", cidr = \"192.0.2.10/24\" }";
    let list = table.filled_array(report, "addresses", ADDRESSES);
    let first_too_many = MAX_ADDRESSES.checked_sub(*addresses_before).and_then(|left| list.get(left));
    at_most(report, first_too_many.map(|value| value.span()), &table.name("addresses"), "addresses", MAX_ADDRESSES);
    *addresses_before += list.len();

    let label = name.as_ref().map_or(format!("group {}", i + 1), |name| format!("group \"{}\"", name.value));
    let mut addresses = Vec::new();
    for (n, value) in list.iter().enumerate() {
        let path = format!("{}.", table.name(&format!("addresses[{}]", n + 1)));
        let entry = Table::of(report, path, value, &["channel", "cidr"], ADDRESSES);
        addresses.push(entry.and_then(|entry| service_address(&label, &entry, report, taken, channels)));
    }
    let needs = table.integer(report, "needs", 0..=1_000_000).map_or(0, |needs| needs.value as u32);
    let hooks = commands::hooks(table, report);
    let failback = commands::failback(table, report);
    let exclusive = table.flag(report, "exclusive");
    Some(GroupConfig {
        needs,
        exclusive: exclusive.unwrap_or_else(|| hooks.on_acquire.is_some() || hooks.on_release.is_some()),
        hooks,
        failback,
        departed: false,
        index: GroupIndex(u8::try_from(i).ok()?),
        name: name?.value.to_owned(),
        home: home?,
        addresses: addresses.into_iter().collect::<Option<_>>()?,
    })
}

fn service_address<'t>(
    label: &str,
    entry: &Table<'t>,
    report: &mut Report<'_>,
    taken: &mut Taken<'t>,
    channels: &[ReadChannel<'t>],
) -> Option<ServiceAddress> {
    const CHANNEL: &str = "the name of a [[channel]]";
    entry.require(report, "channel", CHANNEL);
    let channel = entry.text(report, "channel", CHANNEL, |_| true);
    let channel = channel.and_then(|name| match channels.iter().position(|known| known.name == Some(name.value)) {
        Some(i) => match channels[i].kind.filter(|kind| *kind != ChannelKind::Network) {
            Some(kind) => {
                report.value(name.span, entry.name("channel"), Fault::NoClients(kind.name()));
                None
            }
            None => Some(i),
        },
        None => {
            let known = || channels.iter().filter_map(|channel| channel.name).take(MAX_CHANNELS);
            let nearest = report.nearest(name.value, known());
            let fault = Fault::UnknownChannel { nearest, known: known().map(str::to_owned).collect() };
            report.value(name.span, entry.name("channel"), fault);
            None
        }
    });

    entry.require(report, "cidr", CIDR);
    let cidr = entry.text(report, "cidr", CIDR, |_| true)?;
    let (address, prefix) = match parse_cidr(cidr.value) {
        Ok(parts) => parts,
        Err(fault) => {
            report.value(cidr.span, entry.name("cidr"), fault);
            return None;
        }
    };
    let channel = channel?;
    let claim = Claim::address(channel, address);
    let holder = format!("a service address of {label}");
    taken.claim(report, claim, cidr.span, entry.name("cidr"), holder, "an address that nothing else in the pair has");
    Some(ServiceAddress { channel: ChannelIndex(u8::try_from(channel).ok()?), address, prefix })
}

fn at_most(report: &mut Report<'_>, first: Option<Range<usize>>, key: &str, what: &'static str, max: usize) {
    if let Some(span) = first {
        report.key(span.start, key, Fault::TooMany { what, max });
    }
}

/// As the kernel's `dev_valid_name`.
pub(crate) fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || "/:".contains(c))
}

fn parse_address(text: &str, right: &'static str) -> Result<IpAddr, Fault> {
    let address: IpAddr = text.parse().map_err(|_| Fault::NotAnAddress { right })?;
    let kind = match address {
        _ if address.is_unspecified() => "unspecified",
        _ if address.is_loopback() => "loopback",
        _ if address.is_multicast() => "multicast",
        IpAddr::V4(v4) if v4.is_broadcast() => "broadcast",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "IPv4-mapped",
        _ => return Ok(address),
    };
    Err(Fault::UnusableAddress { kind })
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), Fault> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address = parse_address(address, CIDR)?;
    let (usual, max) = if address.is_ipv4() { (24, 32) } else { (64, 128) };
    let prefix = prefix.ok_or_else(|| Fault::NoPrefix { address: address.to_string(), usual })?;
    let prefix = match prefix.parse() {
        Ok(length) if (1..=max).contains(&length) && !prefix.starts_with('+') => length,
        _ => return Err(Fault::BadPrefix { max }),
    };
    if let IpAddr::V4(v4) = address
        && prefix <= 30
    {
        let host = u32::MAX >> prefix;
        match v4.to_bits() & host {
            0 => return Err(Fault::UnusableAddress { kind: "network" }),
            bits if bits == host => return Err(Fault::UnusableAddress { kind: "broadcast" }),
            _ => {}
        }
    }
    Ok((address, prefix))
}
