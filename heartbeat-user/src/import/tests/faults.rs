//! Every fault is found by some file, and says where, what, and what would be right.

use super::*;

/// What is said of the first thing that is wrong with a's instance with these lines, and these before it.
fn wrong(before: &str, lines: &str) -> String {
    let text = format!("{before}\n{}", A.replace('%', lines));
    alone(&text).map(|imported| imported.toml).expect_err(&text)
}

/// Lines of an instance, and what is said of the first thing in them.
static VALUES: &[(&str, &str)] = &[
    ("priority 300", "a.conf:11: priority 300: not usable; right would be a number, 1 to 255"),
    ("priority", "a.conf:11: priority: missing; right would be a number, 1 to 255"),
    ("priority { 3 }", "a.conf:11: priority: a block has no place here; right would be the value alone"),
    ("virtual_router_id x", "a.conf:11: virtual_router_id x: not usable; right would be a number, 1 to 255"),
    ("advert_int 0", "a.conf:11: advert_int 0: not usable; right would be seconds, 0.01 to 255"),
    ("preempt_delay 2000", "a.conf:11: preempt_delay 2000: not usable; right would be seconds, 0 to 1000"),
    (
        "down_timer_adverts 0",
        "a.conf:11: down_timer_adverts 0: not usable; right would be a number of intervals, 1 to 100",
    ),
    ("garp_master_refresh x", "a.conf:11: garp_master_refresh x: not usable; right would be seconds, 0 to 86400"),
    (
        "interface eth0/1",
        "a.conf:11: interface eth0/1: not usable; right would be the name of a network interface: 1 to 15 characters, no space, / or :",
    ),
    (
        "unicast_src_ip 224.0.0.1",
        "a.conf:11: unicast_src_ip 224.0.0.1: not usable; right would be an IPv4 or IPv6 address of one host, such as 192.0.2.1",
    ),
    (
        "unicast_src_ip",
        "a.conf:11: unicast_src_ip: missing; right would be an IPv4 or IPv6 address of one host, such as 192.0.2.1",
    ),
    (
        "virtual_ipaddress { 192.0.2.256 }",
        "a.conf:11: 192.0.2.256: not usable; right would be an address that a single host can have, and the length of its network's prefix, such as 192.0.2.10/24",
    ),
    (
        "virtual_ipaddress { 192.0.2.12 dev }",
        "a.conf:11: 192.0.2.12 dev: not usable; right would be dev and the name of a network interface",
    ),
    (
        "virtual_ipaddress { 192.0.2.12 label }",
        "a.conf:11: 192.0.2.12 label: not usable; right would be a value after each option",
    ),
    (
        "virtual_ipaddress { 192.0.2.12 192.0.2.13 }",
        "a.conf:11: 192.0.2.12 192.0.2.13: not usable; right would be an address with options of `ip address add`, such as dev eth0, on a line of its own",
    ),
    ("virtual_ipaddress", "a.conf:11: virtual_ipaddress: no block; right would be { .. } after it"),
    (
        "track_interface { eth0 weight }",
        "a.conf:11: eth0 weight: not usable; right would be a name, and nothing or `weight` with a number of -254 to 254",
    ),
    (
        "track_interface { eth0 wait 3 }",
        "a.conf:11: eth0 wait 3: not usable; right would be a name, and nothing or `weight` with a number of -254 to 254",
    ),
    (
        "notify_master \"\"",
        "a.conf:11: notify_master : missing; right would be a command: its path, and its arguments with it in quotation marks",
    ),
    (
        "notify_master \"'' x\"",
        "a.conf:11: notify_master '' x: not usable; right would be a command of 1 to 48 words, of which the first is a program",
    ),
    (
        "notify_master bin/x",
        "a.conf:11: notify_master bin/x: not usable; right would be the absolute path of a program, or the name of one in PATH",
    ),
    (
        "authentication { auth_pas x }",
        "a.conf:11: auth_pas: keepalived has no such keyword in authentication; did you mean auth_pass?",
    ),
    ("prioritiy 3", "a.conf:11: prioritiy 3: keepalived has no such keyword in vrrp_instance; did you mean priority?"),
    ("frobnicate", "a.conf:11: frobnicate: keepalived has no such keyword in vrrp_instance"),
    ("track_script { webb }", "a.conf:11: webb: the file has no vrrp_script or vrrp_track_process of that name"),
    (
        "notify_master \"x",
        "a.conf:11: notify_master \"x: a quotation mark without a second one; right would be both on one line",
    ),
    (
        "interface {{ interface }}",
        "a.conf:11: interface {{ interface }}: a template's placeholder; right would be the file that the template makes, as it is on a host",
    ),
    (
        "priority @PRIORITY@",
        "a.conf:11: priority @PRIORITY@: a template's placeholder; right would be the file that the template makes, as it is on a host",
    ),
    (
        "@PRIORITY@ x",
        "a.conf:11: @PRIORITY@ x: a template's placeholder; right would be the file that the template makes, as it is on a host",
    ),
    (
        "~SEQ(N, 1, 3) 192.0.2.${N}",
        "a.conf:11: ~SEQ(N, 1, 3) 192.0.2.${N}: not read by heartbeat; right would be its lines written out, as keepalived would repeat them",
    ),
    (
        "~LST(N, 1, 3) 192.0.2.${N}",
        "a.conf:11: ~LST(N, 1, 3) 192.0.2.${N}: not read by heartbeat; right would be its lines written out, as keepalived would repeat them",
    ),
    (
        "priority ${_RANDOM 1 200}",
        "a.conf:11: priority ${_RANDOM 1 200}: not read by heartbeat; right would be the value itself, the same on both controllers",
    ),
    (
        "vrrp_script x {\n script /bin/x\n }",
        "a.conf:11: vrrp_script x: has no place within vrrp_instance VI_1 (a.conf:2); is a } missing before it?",
    ),
    (
        "unicast_peer { 192.0.2.3 }",
        "a.conf:11: unicast_peer of VI_1: 2 peers are more than two nodes; right would be one: Heartbeat is for a pair, not for more",
    ),
];

#[test]
fn each_value_has_a_range_that_is_said() {
    for (lines, expected) in VALUES {
        let error = wrong("", lines);
        assert_eq!(error.lines().next().unwrap(), *expected, "{lines}: {error}");
    }
}

#[test]
fn each_block_is_what_it_must_be() {
    for (before, expected) in [
        ("}", "a.conf:1: }: a } that closes nothing; right would be one } for each {"),
        ("{ }", "a.conf:1: { }: a { without a word before it; right would be a keyword, such as vrrp_instance VI_1 {"),
        ("vrrp_instance {\n}", "a.conf:1: vrrp_instance: missing; right would be a name after it, such as VI_1"),
        ("vrrp_script", "a.conf:1: vrrp_script: missing; right would be a name after it, such as VI_1"),
        (
            "vrrp_script s { interval 3 }",
            "a.conf:1: vrrp_script s: missing; right would be a line script \"COMMAND\" in it",
        ),
        (
            "vrrp_script s { script /bin/x\n interval 0 }",
            "a.conf:2: interval 0: not usable; right would be seconds, 0.001 to 3600",
        ),
        (
            "vrrp_script s { script /bin/x\n rise 0 }",
            "a.conf:2: rise 0: not usable; right would be a number of results on end, 1 to 100",
        ),
        (
            "vrrp_script s { script /bin/x\n weight 300 }",
            "a.conf:2: weight 300: not usable; right would be a number of -254 to 254",
        ),
        (
            "vrrp_script s { script /bin/x }\nvrrp_script s { script /bin/y }",
            "a.conf:2: vrrp_script s: already at a.conf:1; right would be one of them",
        ),
        (
            "vrrp_track_process p { weight 3 }",
            "a.conf:1: vrrp_track_process p: missing; right would be a line process NAME in it",
        ),
        (
            "vrrp_sync_group G { group { VI_2 } }",
            "a.conf:1: VI_2: the file has no vrrp_instance of that name; did you mean VI_1?",
        ),
        (
            "vrrp_sync_group G { group { VI_1 } }\nvrrp_sync_group H { group { VI_1 } }",
            "a.conf:2: VI_1: already at a.conf:1; right would be one of them",
        ),
        (
            "virtual_sever x {\n}",
            "a.conf:1: virtual_sever x: keepalived has no such keyword outside of all blocks; did you mean virtual_server?",
        ),
        ("global_defs {\n", "a.conf:1: global_defs: its { is never closed; right would be a } after its last line"),
        ("include [x", "a.conf:1: include [x: not a pattern for files: invalid range pattern"),
    ] {
        let error = wrong(before, "");
        assert!(error.lines().next().unwrap().starts_with(expected), "{before}: {error}");
    }
    let nothing = alone("global_defs { router_id x }").unwrap_err();
    assert_eq!(
        nothing,
        "a.conf:1: vrrp_instance: missing; right would be at least one vrrp_instance: what has none moves nothing, and there is nothing to import"
    );
    let no_id = alone(&A.replace("virtual_router_id 51", "").replace('%', "")).unwrap_err();
    assert!(
        no_id.starts_with(
            "a.conf:1: vrrp_instance VI_1: missing; right would be a line virtual_router_id 51 in it, or --pair-id"
        ),
        "{no_id}"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let error = wrong("vrrp_sync_group G { group { X } }", "priority 0\n advert_int x\n frob");
    let places: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["a.conf:11", "a.conf:12", "a.conf:13", "a.conf:1"], "{error}");
    let many = wrong("", &"frob\n".repeat(300));
    assert!(many.lines().count() == 101 && many.ends_with("and 200 more"), "{many}");
}

#[test]
fn what_is_no_text_is_refused_with_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.conf");
    for (bytes, expected) in [
        (
            &b"a\n\x7fELF\x02"[..],
            "a.conf:2: \u{fffd}ELF\u{fffd}: not text: the byte 0x7f; right would be a file of UTF-8, without control characters",
        ),
        (b"\xff\xfev\0", "a.conf:1: \u{fffd}\u{fffd}v\u{fffd}: not text: the byte 0x00"),
        (b"router_id \xe4\n", "a.conf:1: router_id \u{fffd}: not text: the byte 0xe4"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = keepalived(&file, None, &ImportOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = keepalived(folder.path(), None, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("not a file; right would be the path of a file"), "{error}");
}

#[test]
fn what_is_too_large_is_refused() {
    let long = format!("# {}\n", "x".repeat(10 << 20));
    let error = alone(&long).unwrap_err();
    assert!(
        error.starts_with("a.conf:1: # xxx")
            && error.ends_with("a line of 10485762 bytes; right would be at most 16384"),
        "{error}"
    );
    let many = "a\n".repeat(100_001);
    assert_eq!(alone(&many).unwrap_err(), "a.conf:100001: a: too much: at most 100000 lines in all");
    let error = alone(&"x".repeat(17 << 20)).unwrap_err();
    assert!(error.starts_with("a.conf: larger than"), "{error}");
    let laughs: String = (0..30).map(|n| format!("$L{}=${{L{n}}}${{L{n}}}${{L{n}}}\n", n + 1)).collect();
    let error = alone(&format!("$L0=ha\n{laughs}$L30\n")).unwrap_err();
    assert!(
        error.starts_with("a.conf:32: ") && error.contains("its definitions expand to more than there is room for"),
        "{error}"
    );
}

#[test]
fn what_no_agent_could_run_is_not_written() {
    let groups: String = (0..65)
        .map(|n| {
            A.replace("VI_1", &format!("VI_{n}")).replace("192.0.2.10/24", &format!("10.0.{n}.1/24")).replace('%', "")
        })
        .collect();
    let error = alone(&groups).unwrap_err();
    assert!(error.starts_with("what the files come to cannot run, so nothing was written:\n"), "{error}");
    assert!(error.ends_with("group: too many: at most 64 groups"), "{error}");
    let host = ImportOptions { hostnames: [Some("a b".into()), None], ..ImportOptions::default() };
    let error = import(&[("a.conf", &A.replace('%', ""))], None, &host).unwrap_err();
    assert!(error.contains("controller.a.hostname = \"a b\": not usable"), "{error}");
}
