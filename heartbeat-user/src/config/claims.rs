//! What only one place in the file may have, and who has it.

use super::error::Report;
use crate::types::Node;
use std::{collections::HashMap, net::IpAddr, ops::Range};

/// What only one place in the file may have.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Claim<'t> {
    /// By their ids: what stands for a name in messages must not stand for two.
    ChannelName(u32),
    GroupName(u32),
    /// Or a device.
    Interface(Node, &'t str),
    /// Link-local addresses are a channel's own: the same one may stand on another channel.
    Address(Option<usize>, IpAddr),
}

impl Claim<'_> {
    /// Of a channel, or of a group on it.
    pub(super) fn address(channel: usize, address: IpAddr) -> Self {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        Self::Address(link_local.then_some(channel), address)
    }
}

/// Who has what so far: the holder, and where it stands in the text.
#[derive(Default)]
pub(super) struct Taken<'t>(HashMap<Claim<'t>, (String, usize)>);

impl<'t> Taken<'t> {
    /// Notes that the value at `span` claims it; reports it where something else did before.
    pub(super) fn claim(
        &mut self,
        report: &mut Report<'_>,
        claim: Claim<'t>,
        span: Range<usize>,
        key: String,
        holder: String,
        right: &'static str,
    ) {
        if let Some((before, offset)) = self.0.get(&claim) {
            report.taken(span, key, before, *offset, right);
        } else {
            self.0.insert(claim, (holder, span.start));
        }
    }
}
