//! What reads a file's items has: where problems and findings are kept, and how values are read.

use super::error::{Fault, Problem};
use super::finding::{Finding, FindingKind};
use super::keywords::{self, Fate, Table};
use super::model::At;
use super::place::Place;
use super::tree::Item;
use crate::config::nearest;
use crate::types::Nanos;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Of one file.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) problems: Vec<Problem>,
    pub(super) findings: Vec<Finding>,
}

impl Reading {
    /// `item` is at `fault`.
    pub(super) fn wrong(&mut self, item: &Item, fault: Fault) {
        self.problems.push(item.problem(fault));
    }

    /// `item` has no counterpart.
    pub(super) fn lost(&mut self, item: &Item, instead: impl Into<String>) {
        self.findings.push(Finding::new(FindingKind::Lost, &item.place, &item.text(), instead));
    }

    /// Something is to be known of `item`.
    pub(super) fn note(&mut self, item: &Item, what: impl Into<String>) {
        self.findings.push(Finding::new(FindingKind::Note, &item.place, &item.text(), what));
    }

    /// Whether `item`, which stands where `table`'s keywords do, is to be read; else it is said what became of it.
    pub(super) fn is_read(&mut self, item: &Item, table: Table) -> bool {
        match keywords::fate(table, item.keyword()) {
            Some(Fate::Read) => return true,
            Some(Fate::Note(why)) => self.note(item, why),
            Some(Fate::Lost(_)) if ["off", "no", "false"].contains(&item.value(1).unwrap_or_default()) => {}
            Some(Fate::Lost(instead)) => self.lost(item, instead),
            None => self.unknown(item, table),
        }
        false
    }

    fn unknown(&mut self, item: &Item, table: Table) {
        let word = item.keyword();
        let elsewhere = keywords::ALL.into_iter().find(|other| keywords::words(*other).any(|known| known == word));
        match elsewhere.filter(|_| item.block.is_none()) {
            Some(other) => {
                self.note(item, format!("keepalived knows it {}, not {}, and ignored it", other.place, table.place))
            }
            None => {
                let nearest = self.nearest(word, keywords::words(table));
                self.wrong(item, Fault::Unknown { within: table.place, nearest });
            }
        }
    }

    /// The known word most like `word`; not looked for where no message would say it any more.
    pub(super) fn nearest<'k>(&self, word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
        if self.problems.len() < 100 { nearest(word, known) } else { None }
    }

    /// The items of a keyword's block; an empty list where it has none, which is said.
    pub(super) fn block<'i>(&mut self, item: &'i Item) -> &'i [Item] {
        if item.block.is_none() {
            self.wrong(item, Fault::NoBlock);
        }
        item.items()
    }

    /// A keyword's value.
    pub(super) fn text<'i>(&mut self, item: &'i Item, right: &'static str) -> Option<&'i str> {
        if item.block.is_some() {
            self.wrong(item, Fault::Block);
            return None;
        }
        let value = item.value(1).filter(|text| !text.is_empty());
        if value.is_none() {
            self.wrong(item, Fault::Missing(right));
        }
        value
    }

    /// A name: what a block is called by.
    pub(super) fn name(&mut self, item: &Item) -> Option<String> {
        let name = item.value(1).filter(|text| !text.is_empty());
        if name.is_none() {
            self.wrong(item, Fault::Missing("a name after it, such as VI_1"));
        }
        name.map(str::to_owned)
    }

    /// A whole number within `range`; `right` says which.
    pub(super) fn number(&mut self, item: &Item, range: RangeInclusive<u32>, right: &'static str) -> Option<u32> {
        let number = self.text(item, right)?.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(item, Fault::Wrong(right));
        }
        number
    }

    /// A time in seconds, with a fraction or none, within `range`.
    pub(super) fn seconds(&mut self, item: &Item, range: RangeInclusive<Nanos>, right: &'static str) -> Option<Nanos> {
        let span = seconds(self.text(item, right)?).filter(|span| range.contains(span));
        if span.is_none() {
            self.wrong(item, Fault::Wrong(right));
        }
        span
    }

    /// An address of one host.
    pub(super) fn address(&mut self, item: &Item, text: Option<&str>) -> Option<At<IpAddr>> {
        const RIGHT: &str = "an IPv4 or IPv6 address of one host, such as 192.0.2.1";
        let Some(text) = text else {
            self.wrong(item, Fault::Missing(RIGHT));
            return None;
        };
        match text.parse().ok().filter(is_a_hosts) {
            Some(address) => Some(At { place: item.place.clone(), value: address }),
            None => {
                self.wrong(item, Fault::Wrong(RIGHT));
                None
            }
        }
    }

    /// Sets what may be set once; keepalived takes the last one, and so do we, and say so.
    pub(super) fn set<T>(&mut self, item: &Item, before: &mut Option<At<T>>, value: T) {
        if let Some(before) = before {
            self.note(item, format!("said at {}, too: this one counts", before.place));
        }
        *before = Some(At { place: item.place.clone(), value });
    }

    /// Reports a name that an earlier block of this kind has.
    pub(super) fn once(&mut self, item: &Item, earlier: Option<&Place>) -> bool {
        if let Some(first) = earlier {
            self.wrong(item, Fault::Twice { first: first.clone() });
        }
        earlier.is_none()
    }
}

/// Whether a single host can have it.
pub(super) fn is_a_hosts(address: &IpAddr) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let more = match address {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
    };
    !special && !more
}

/// Seconds with at most nine digits after the point.
pub(super) fn seconds(text: &str) -> Option<Nanos> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: u64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Nanos(whole.checked_mul(1_000_000_000)?.checked_add(fraction)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_fraction_or_none() {
        for (text, ns) in [
            ("1", 1_000_000_000),
            ("0.92", 920_000_000),
            (".5", 500_000_000),
            ("2.", 2_000_000_000),
            ("0.0000000001", 0),
        ] {
            assert_eq!(seconds(text), Some(Nanos(ns)), "{text}");
        }
        for text in ["", ".", "-1", "1s", "1e3", "1.2.3", "99999999999999999999", "20000000000"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
