//! keepalived's keywords, as keepalived.conf(5) has them, and what becomes of each: read by us, needless, or lost.

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is read.
    Read,
    /// It is not needed here, for this reason.
    Note(&'static str),
    /// It has no counterpart; this is what to do instead.
    Lost(&'static str),
}

use Fate::{Lost, Note, Read};

/// The keywords of one kind of block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// How messages call where they are.
    pub(super) place: &'static str,
    /// What becomes of those that stand in one text.
    rows: &'static [(Fate, &'static str)],
}

const OWN: Fate = Note("not needed: it is about keepalived's own processes, files and buffers");
const PROTOCOL: Fate = Note("not needed: it is about VRRP, which is not spoken any more");
const ANNOUNCED: Fate = Note(
    "announcements have times of their own, from the moment that the addresses are there; [takeover] announce_every repeats them",
);
const MAIL: Fate = Lost("no mail is sent; have [events] on_event run a command that sends it");
const MAILING: Fate = Note("goes with the mail that is not sent");
const FIFO: Fate =
    Lost("no FIFO; [events] file has every event as a line of JSON, and on_event runs a command for each");
const SNMP: Fate = Lost("no SNMP; [api] http serves metrics for Prometheus, and [events] on_event can run snmptrap");
const DBUS: Fate = Lost("no D-Bus; `heartbeat events --follow` and [events] on_event tell what happens");
const BALANCE: Fate = Lost(
    "no load balancer; keep a keepalived with its virtual_server and real_server blocks alone, on both, or use IPVS or a proxy that \
     the hooks of a group start",
);
const BALANCING: Fate = Note("goes with the load balancer, which is not carried over");
const STATIC: Fate =
    Lost("what does not move is the host's: put it into the host's own network configuration, on both");
const REAL_TIME: Fate = Note("the agent has real-time threads of its own: [dataplane] priority");
const LINK: Fate = Note("not needed: carriers are told by the kernel, and networks are asked whether they work");
const TRACK_FILE: Fate =
    Lost("no number in a file; a [[check]] whose command ends with 0 where the file says that all is well");
const BFD: Fate = Lost("no BFD; every channel finds its own silence, within three intervals of its [timing]");
const FILTER: Fate = Note("not needed: no packets are filtered but those of a group that is not held");
const UNIT: Fate = Lost("what the agent's unit is for: ExecStartPre=, ExecStopPost= or NetworkNamespacePath= of it");
const START: Fate =
    Lost("[timing] failed_waits says for how many intervals a start waits for the peer's first heartbeat");
const VMAC: Fate = Lost(
    "no virtual Ethernet address: clients learn the new one by gratuitous ARP and neighbour advertisements; give clients with static ARP \
     entries dynamic ones",
);

/// Outside of all blocks.
pub(super) const TOP: Table = Table {
    place: "outside of all blocks",
    rows: &[
        (Read, "global_defs vrrp_instance vrrp_sync_group vrrp_script vrrp_track_process"),
        (BALANCE, "virtual_server virtual_server_group"),
        (BALANCING, "SSL"),
        (STATIC, "static_ipaddress static_routes static_rules"),
        (Note("goes with static addresses, routes and rules, which are the host's"), "track_group"),
        (TRACK_FILE, "track_file vrrp_track_file"),
        (BFD, "bfd_instance"),
        (ANNOUNCED, "garp_group"),
        (LINK, "linkbeat_interfaces linkbeat_use_polling"),
        (
            Note("a network that comes and goes counts as gone, and as good again after [judging] rise"),
            "interface_up_down_delays",
        ),
        (UNIT, "net_namespace net_namespace_ipvs"),
        (OWN, "namespace_with_ipsets instance use_pid_dir child_wait_time"),
    ],
};

/// In `global_defs`.
pub(super) const GLOBAL: Table = Table {
    place: "in global_defs",
    rows: &[
        (Read, "script_user default_interface vrrp_garp_master_refresh vrrp_down_timer_adverts"),
        (Note("a controller is known by its host's name: [controller.a] and [controller.b]"), "router_id lvs_id"),
        (MAIL, "notification_email smtp_alert smtp_alert_vrrp"),
        (
            MAILING,
            "notification_email_from smtp_server smtp_helo_name smtp_connect_timeout no_email_faults smtp_alert_checker no_checker_emails",
        ),
        (FIFO, "notify_fifo vrrp_notify_fifo"),
        (
            Note("goes with the FIFO, which is not carried over"),
            "notify_fifo_script vrrp_notify_fifo_script vrrp_notify_priority_changes fifo_write_vrrp_states_on_reload",
        ),
        (
            SNMP,
            "enable_snmp_vrrp enable_snmp_keepalived enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 enable_traps",
        ),
        (
            Note("goes with SNMP, which is not carried over"),
            "snmp_socket enable_snmp_checker snmp_vs_stats_update_interval snmp_rs_stats_update_interval",
        ),
        (DBUS, "enable_dbus"),
        (Note("goes with D-Bus, which is not carried over"), "dbus_service_name dbus_no_interface_name"),
        (UNIT, "startup_script shutdown_script"),
        (Note("goes with the script before it"), "startup_script_timeout shutdown_script_timeout"),
        (START, "vrrp_startup_delay vrrp_delay_after_boot"),
        (Note("`heartbeat check` warns where somebody but root may write a command"), "enable_script_security"),
        (
            ANNOUNCED,
            "vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_master_refresh_repeat vrrp_garp_lower_prio_delay \
         vrrp_garp_lower_prio_repeat vrrp_garp_interval vrrp_gna_interval vrrp_min_garp vrrp_garp_extra_if vrrp_vmac_garp_intvl",
        ),
        (
            BALANCING,
            "lvs_sync_daemon lvs_timeouts lvs_flush lvs_flush_on_stop lvs_flush_onstop lvs_notify_fifo lvs_notify_fifo_script \
         lvs_netlink_cmd_rcv_bufs lvs_netlink_cmd_rcv_bufs_force lvs_netlink_monitor_rcv_bufs lvs_netlink_monitor_rcv_bufs_force \
         rs_init_notifies checker_log_all_failures nftables_ipvs nftables_ipvs_priority nftables_ipvs_start_fwmark",
        ),
        (
            PROTOCOL,
            "vrrp_mcast_group4 vrrp_mcast_group6 vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert vrrp_version v3_checksum_as_v2 \
         vrrp_check_unicast_src vrrp_skip_check_adv_addr vrrp_strict log_unknown_vrids vrrp_owner_ignore_adverts disable_local_igmp \
         vmac_prefix vmac_addr_prefix vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier",
        ),
        (FILTER, "vrrp_iptables vrrp_ipsets nftables nftables_priority nftables_counters nftables_ifindex"),
        (LINK, "linkbeat_use_polling dynamic_interfaces"),
        (
            REAL_TIME,
            "max_auto_priority min_auto_priority_delay vrrp_priority checker_priority bfd_priority vrrp_no_swap checker_no_swap \
         bfd_no_swap vrrp_rt_priority checker_rt_priority bfd_rt_priority vrrp_cpu_affinity checker_cpu_affinity bfd_cpu_affinity \
         vrrp_rlimit_rttime checker_rlimit_rttime bfd_rlimit_rttime vrrp_rlimit_rtime checker_rlimit_rtime bfd_rlimit_rtime",
        ),
        (
            OWN,
            "process_names process_name vrrp_process_name checker_process_name lvs_process_name bfd_process_name use_symlink_paths \
         set_supplementary_groups vrrp_netlink_cmd_rcv_bufs vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs \
         vrrp_netlink_monitor_rcv_bufs_force process_monitor_rcv_bufs process_monitor_rcv_bufs_force umask random_seed \
         reload_check_config reload_time_file reload_repeat reload_file include_check config_save_dir tmp_config_directory \
         data_use_instance json_version iproute_usr_dir iproute_etc_dir state_dump_file stats_dump_file json_dump_file \
         state_file_location stats_file_location json_file_location use_pid_dir child_wait_time",
        ),
    ],
};

/// In `vrrp_instance`.
pub(super) const INSTANCE: Table = Table {
    place: "in vrrp_instance",
    rows: &[
        (
            Read,
            "state interface virtual_router_id priority advert_int nopreempt preempt preempt_delay unicast_src_ip mcast_src_ip unicast_peer \
         virtual_ipaddress virtual_ipaddress_excluded virtual_routes virtual_rules track_interface track_script track_process \
         notify_master notify_backup notify_fault notify_stop notify garp_master_refresh down_timer_adverts authentication auth_hmac \
         use_vmac dont_track_primary",
        ),
        (VMAC, "use_vmac_addr use_ipvlan"),
        (TRACK_FILE, "track_file"),
        (BFD, "track_bfd"),
        (MAIL, "smtp_alert"),
        (Note("not needed: an address that is gone is a fault of its channel"), "track_src_ip"),
        (Note("not needed: hosts have their own configuration of the kernel"), "promote_secondaries"),
        (
            Lost("both holding a group is the event dual_ownership, or rival: [events] on_event runs a command for it"),
            "notify_master_rx_lower_pri",
        ),
        (Note("a group that the file no longer has is let go of, on_release included"), "notify_deleted"),
        (Note("goes with the FIFO, which is not carried over"), "notify_priority_changes"),
        (
            Lost("addresses of a group are the host's own: what is for forwarding alone, have a firewall rule drop"),
            "no_accept",
        ),
        (Note("a group without addresses is not carried over"), "no_virtual_ipaddress"),
        (Lost("channels are in the agent's network namespace: bind the interface to its VRF as before"), "vrf"),
        (
            ANNOUNCED,
            "garp_master_delay garp_master_repeat garp_master_refresh_repeat garp_lower_prio_delay garp_lower_prio_repeat garp_extra_if \
         vmac_garp_intvl",
        ),
        (
            PROTOCOL,
            "vmac_xmit_base native_ipv6 mcast_dst_ip version check_unicast_src unicast_fault_no_peer unicast_ttl old_unicast_checksum \
         v3_checksum_as_v2 accept skip_check_adv_addr strict_mode lower_prio_no_advert higher_prio_send_advert owner_ignore_adverts \
         timer_expired_backup thread_timer_expired",
        ),
        (LINK, "linkbeat_use_polling"),
        (BALANCING, "lvs_sync_daemon_interface"),
        (OWN, "debug kernel_rx_buf_size"),
    ],
};

/// In `vrrp_sync_group`.
pub(super) const SYNC_GROUP: Table = Table {
    place: "in vrrp_sync_group",
    rows: &[
        (
            Read,
            "group track_interface track_script track_process notify_master notify_backup notify_fault notify_stop notify",
        ),
        (TRACK_FILE, "track_file"),
        (BFD, "track_bfd"),
        (MAIL, "smtp_alert"),
        (Note("goes with the FIFO, which is not carried over"), "notify_priority_changes"),
        (Note("a group that the file no longer has is let go of, on_release included"), "notify_deleted"),
        (
            Note("a check or network counts for all groups of its controller"),
            "global_tracking sync_group_tracking_weight",
        ),
    ],
};

/// In `vrrp_script`.
pub(super) const SCRIPT: Table =
    Table { place: "in vrrp_script", rows: &[(Read, "script interval timeout weight rise fall user init_fail")] };

/// In `vrrp_track_process`.
pub(super) const PROCESS: Table = Table {
    place: "in vrrp_track_process",
    rows: &[
        (Read, "process param_match weight quorum quorum_max full_command"),
        (
            Note("a check waits for `fall` failures and `rise` successes on end instead"),
            "fork_delay terminate_delay delay",
        ),
    ],
};

/// All tables.
pub(super) const ALL: [Table; 6] = [TOP, GLOBAL, INSTANCE, SYNC_GROUP, SCRIPT, PROCESS];

/// The keywords of a table.
pub(super) fn words(table: Table) -> impl Iterator<Item = &'static str> {
    table.rows.iter().flat_map(|(_, words)| words.split_whitespace())
}

/// What becomes of `word` there; nothing where keepalived does not know it there.
pub(super) fn fate(table: Table, word: &str) -> Option<Fate> {
    table.rows.iter().find(|(_, words)| words.split_whitespace().any(|known| known == word)).map(|(fate, _)| *fate)
}

/// Whether a block of that name stands outside of all others.
pub(super) fn is_outermost(word: &str) -> bool {
    let blocks = "global_defs vrrp_instance vrrp_sync_group vrrp_script vrrp_track_process virtual_server virtual_server_group \
                  static_ipaddress static_routes static_rules vrrp_track_file bfd_instance garp_group";
    blocks.split_whitespace().any(|block| block == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_keyword_has_two_fates_in_one_place() {
        for table in ALL {
            let mut seen = BTreeSet::new();
            let twice = words(table).find(|word| !seen.insert(*word));
            assert_eq!(twice, None, "{}", table.place);
        }
    }
}
