//! From one life of the agent to the next: what the record and the cell of the last one say is taken over as the agent does.

use super::Side;
use crate::file::File;
use heartbeat::{
    agent::{
        inherit::{Cell, Inheritance, LastSign, inherit, slots},
        life::{Life, LivedAddress, LivedChannel, LivedGroup},
    },
    core::{Hook, HookedGroups, Resumed},
    dataplane::PinnedCell,
    types::Nanos,
};

/// Each group of the world has one address, which ends in its number.
fn address(group: usize) -> LivedAddress {
    LivedAddress { interface: "eth0".into(), index: 1, ip: [10, 0, 0, group as u8].into(), prefix: 24 }
}

fn group_of(address: &LivedAddress) -> usize {
    match address.ip {
        std::net::IpAddr::V4(ip) => ip.octets()[3].into(),
        std::net::IpAddr::V6(_) => unreachable!("all are IPv4"),
    }
}

/// What a life begins with.
pub struct Begun {
    pub resumed: Option<Resumed>,
    pub hooks: HookedGroups,
    /// The groups that only a life before had, in the core's bits.
    pub departed: u64,
}

impl Side {
    /// The file is read, what an earlier life left is taken over or taken away, and the record is this life's from then on.
    pub fn take_over(&mut self, now: Nanos, incarnation: u64) -> Begun {
        let groups: Vec<String> = self.file.groups.iter().map(|group| File::group_name(*group)).collect();
        let addresses = self.file.groups.iter().map(|group| vec![address(*group)]);
        let groups: Vec<_> = groups.iter().map(String::as_str).zip(addresses).collect();
        let left = PinnedCell::of_tables(&self.host.tables);
        let in_time = |cell: &PinnedCell| {
            LastSign::of(cell).is_in_time(now, self.timing.detection(), &self.timing, self.restart_grace)
        };
        let in_time = left.as_ref().is_some_and(in_time);
        let cell = left.as_ref().map(|cell| Cell::of(cell, in_time));
        if self.switches && incarnation.is_multiple_of(3) {
            self.host.switch(left.as_ref());
        }
        let life = self.life.take();
        let taken = inherit(life.as_ref(), cell, &groups);
        assert!(taken.surplus.is_empty(), "there is room for all");

        let own = self.file.groups.len();
        self.running = self.file.clone();
        self.running.groups.extend(taken.departed.iter().map(|group| File::number(&group.name)));
        self.running.departed = taken.departed.len();
        let before = life.as_ref().map_or(&[][..], |life| &life.channels);
        let names: Vec<String> = self.file.cables.iter().map(|cable| File::cable_name(*cable)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (order, fresh) = slots(before, &names);
        self.tables = self.host.attach(&self.running, order, fresh);
        let hooks = self.hooks_of(own);
        self.life = Some(self.record(incarnation, &taken));

        // What is stale is removed, and what is here without being ours.
        let in_place = self.running.to_world(taken.held | taken.in_place);
        let stale = taken.stale.iter().fold(0, |bits, address| bits | 1 << group_of(address));
        self.addresses &= in_place & !stale;
        taken.leave(&self.host.tables, cell.map_or(0, |cell| cell.closed));
        let resumed = left.map(|cell| taken.resumed(&cell, in_time)).or_else(|| taken.resumed_without());
        // Of a file with as many groups as there can be, none is beside them.
        let departed = (own..own + taken.departed.len()).fold(0, |bits, i| bits | 1 << i);
        Begun { resumed, hooks, departed }
    }

    /// Of groups that departed, only what lets go of them is run.
    fn hooks_of(&self, own: usize) -> HookedGroups {
        let (file, own) = (&self.running, if own >= 64 { u64::MAX } else { (1 << own) - 1 });
        let mut has = self.hooks.has.map(|of| file.groups_of(of));
        has[Hook::OnAcquire as usize] &= own;
        has[Hook::OnAcquired as usize] &= own;
        HookedGroups { has, force: file.groups_of(self.hooks.force) }
    }

    fn record(&self, incarnation: u64, taken: &Inheritance) -> Life {
        let command = |hook: Hook, group: usize| (self.hooks.has[hook as usize] >> group & 1 == 1).then(Vec::new);
        let lived = |group: &usize| LivedGroup {
            name: File::group_name(*group),
            departed: false,
            home: self.homes[*group],
            addresses: vec![address(*group)],
            on_releasing: command(Hook::OnReleasing, *group),
            on_release: command(Hook::OnRelease, *group),
            timeout_ns: 0,
            force: self.hooks.force >> group & 1 == 1,
        };
        let channel = |(channel, cable)| LivedChannel {
            name: File::cable_name(cable),
            interface: None,
            slot: self.tables.number(channel),
        };
        Life {
            incarnation: incarnation.to_string(),
            channels: self.running.channels().map(channel).collect(),
            groups: self.file.groups.iter().map(lived).chain(taken.departed.iter().cloned()).collect(),
            ..Life::default()
        }
    }
}
