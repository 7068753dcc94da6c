//! What one node's keepalived is told, as far as a pair's configuration can follow from it.

use super::place::Place;
use crate::types::Nanos;
use std::net::IpAddr;

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

/// One node's file.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// `default_interface`.
    pub(super) default_interface: Option<String>,
    /// `script_user`: name, and group.
    pub(super) script_user: Option<Vec<String>>,
    /// The least `vrrp_garp_master_refresh` and `garp_master_refresh` that is not 0.
    pub(super) refresh: Option<At<Nanos>>,
    /// `vrrp_down_timer_adverts`, `down_timer_adverts`.
    pub(super) down_timer: Option<At<u32>>,
    /// In the order of the file.
    pub(super) instances: Vec<Instance>,
    pub(super) groups: Vec<SyncGroup>,
    pub(super) checks: Vec<Check>,
}

/// `vrrp_instance`
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) place: Place,
    pub(super) name: String,
    /// It begins as MASTER.
    pub(super) is_master: bool,
    pub(super) interface: Option<At<String>>,
    pub(super) router_id: Option<At<u32>>,
    /// 1 to 255; 100 unless said otherwise.
    pub(super) priority: u32,
    pub(super) advert: At<Nanos>,
    pub(super) nopreempt: Option<Place>,
    pub(super) preempt_delay: Option<Nanos>,
    /// `unicast_src_ip`, `mcast_src_ip`.
    pub(super) source: Option<At<IpAddr>>,
    pub(super) peers: Vec<At<IpAddr>>,
    pub(super) addresses: Vec<Address>,
    /// `dont_track_primary`
    pub(super) untracked: Option<Place>,
    /// The name of its VMAC.
    pub(super) vmac: Option<String>,
    pub(super) tracked: Tracked,
    pub(super) notify: Notify,
}

/// A line of `virtual_ipaddress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    /// `dev`
    pub(super) interface: Option<String>,
}

/// `vrrp_sync_group`
#[derive(Clone, Debug)]
pub(super) struct SyncGroup {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) members: Vec<At<String>>,
    pub(super) tracked: Tracked,
    pub(super) notify: Notify,
}

/// What an instance's state depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracked {
    pub(super) interfaces: Vec<Track>,
    /// Scripts and processes.
    pub(super) checks: Vec<Track>,
}

/// A line of `track_interface`, `track_script` or `track_process`.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) weight: Option<i64>,
    pub(super) reverse: bool,
}

/// The scripts that are told of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Notify {
    pub(super) master: Option<Command>,
    pub(super) backup: Option<Command>,
    pub(super) fault: Option<Command>,
    pub(super) stop: Option<Command>,
    pub(super) any: Option<Command>,
}

/// A command line, and who runs it.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) place: Place,
    /// At least one.
    pub(super) words: Vec<String>,
    /// User, and group; nothing where the file's `script_user` counts.
    pub(super) user: Option<Vec<String>>,
}

/// `vrrp_script`, or `vrrp_track_process`.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) command: Command,
    pub(super) interval: Nanos,
    pub(super) timeout: Nanos,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) weight: i64,
    pub(super) reverse: bool,
}
