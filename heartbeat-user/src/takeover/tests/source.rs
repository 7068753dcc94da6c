use super::running::ip;
use crate::takeover::{SourceReason, becomes_source};
use std::net::IpAddr;

fn reason(service: (&str, u8), present: &[(&str, u8)]) -> Option<SourceReason> {
    let present: Vec<(IpAddr, u8)> = present.iter().map(|(text, prefix)| (ip(text), *prefix)).collect();
    let services = [ip(service.0), ip("192.0.2.20")];
    becomes_source((ip(service.0), service.1), &present, |ip| services.contains(&ip))
}

#[test]
fn a_service_address_beside_one_that_stays_in_the_same_network_is_no_source() {
    let own = ("192.0.2.1", 24);
    assert_eq!(reason(("192.0.2.10", 24), &[own]), None);
    assert_eq!(reason(("192.0.2.10", 24), &[own, ("192.0.2.10", 24)]), None);
    assert_eq!(reason(("198.51.100.10", 32), &[own]), None, "a network that nobody else is in");
    assert_eq!(reason(("2001:db8::10", 64), &[]), None, "deprecated from the start");
}

#[test]
fn it_is_one_where_it_is_alone_or_first() {
    let own = ("192.0.2.1", 24);
    assert_eq!(reason(("192.0.2.10", 25), &[own]), Some(SourceReason::Alone), "another prefix");
    assert_eq!(reason(("198.51.100.10", 24), &[own]), Some(SourceReason::Alone));
    assert_eq!(reason(("192.0.2.10", 24), &[("192.0.2.20", 24)]), Some(SourceReason::Alone), "that one may go, too");
    assert_eq!(reason(("192.0.2.10", 32), &[("2001:db8::1", 64)]), Some(SourceReason::Alone));
    assert_eq!(reason(("192.0.2.10", 24), &[("192.0.2.10", 24), own]), Some(SourceReason::First));
}
