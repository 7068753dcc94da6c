//! A takeover thread of the test's own.

use super::{PATIENCE, planned};
use crate::{
    system::clock,
    takeover::{Answering, Done, GroupPlan, Order, PlannedAddress, TakeoverSettings, Worker},
    types::GroupIndex,
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::{
    net::IpAddr,
    thread::{self, JoinHandle},
};

pub(super) const FIRST: GroupIndex = GroupIndex(0);
pub(super) const SECOND: GroupIndex = GroupIndex(1);

pub(super) struct Running {
    pub(super) orders: Option<Sender<Order>>,
    pub(super) done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(super) fn new(plans: Vec<GroupPlan>) -> Self {
        Self::with_channels(plans, Vec::new())
    }

    pub(super) fn with_channels(plans: Vec<GroupPlan>, channels: Vec<String>) -> Self {
        Self::with(TakeoverSettings { plans, channels, ..TakeoverSettings::default() })
    }

    pub(super) fn with(settings: TakeoverSettings) -> Self {
        let worker = Worker::open(settings).unwrap();
        let (orders, given) = unbounded();
        let (report, done) = unbounded();
        let thread = thread::spawn(move || worker.run(&given, |what| report.send(what).unwrap_or(())));
        Self { orders: Some(orders), done, thread: Some(thread) }
    }

    pub(super) fn order(&self, order: Order) -> Done {
        self.orders.as_ref().unwrap().send(order).unwrap();
        self.report()
    }

    pub(super) fn report(&self) -> Done {
        self.done.recv_timeout(PATIENCE).expect("a report of the takeover thread")
    }

    pub(super) fn acquire(&self, group: GroupIndex) -> Done {
        self.order(Order::Acquire {
            group,
            ordered: clock::monotonic(),
            unless_isolated: false,
            answering: Answering::Skip,
        })
    }

    pub(super) fn release(&self, group: GroupIndex) -> Done {
        self.order(Order::Release { group, ordered: clock::monotonic() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.orders.take();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

pub(super) fn plan(name: &str, addresses: impl IntoIterator<Item = PlannedAddress>) -> GroupPlan {
    GroupPlan { name: name.to_owned(), addresses: addresses.into_iter().collect() }
}

pub(super) fn near(ip: &str) -> PlannedAddress {
    planned("near0", ip, if ip.contains(':') { 64 } else { 24 })
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
