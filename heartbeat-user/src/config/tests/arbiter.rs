//! `[arbiter]`, and what is said of a wrong one.

use super::{edited, loaded, parsed};
use crate::{
    config::{ArbiterEngine, Config, read_secret},
    types::Nanos,
};
use std::{fs, os::unix::fs::PermissionsExt};

const MS: fn(u64) -> Nanos = Nanos::from_millis;

fn with(arbiter: &str) -> String {
    edited("[dataplane]\n", &format!("[arbiter]\n{arbiter}\n[dataplane]\n"))
}

fn read(arbiter: &str) -> Config {
    Config::parse(&with(arbiter), "hb.toml").unwrap()
}

#[test]
fn each_engine_has_its_defaults() {
    assert!(parsed("", "").arbiter.is_none());
    let etcd = read(
        "etcd = [\"http://192.0.2.7\", \"http://[2001:db8::7]:1\", \"https://etcd.example:2380/\"]\nca_file = \"ca\"",
    );
    let etcd = etcd.arbiter.unwrap();
    assert_eq!(etcd.described(), "etcd http://192.0.2.7:2379, http://[2001:db8::7]:1, https://etcd.example:2380");
    assert_eq!((etcd.ttl, etcd.timeout, etcd.within()), (MS(30_000), MS(1_000), MS(3_000)));
    let disk = read("disk = \"/dev/disk/by-id/wwn-1\"\nio_timeout = \"5s\"").arbiter.unwrap();
    assert_eq!((disk.ttl, disk.timeout, disk.within()), (MS(40_000), MS(5_000), MS(35_000)));
    assert_eq!(read("disk = \"/dev/sdb\"").arbiter.unwrap().ttl, MS(16_000));
    let config = read("command = [\"/bin/grant\", \"x\"]\nttl = \"10s\"");
    assert!(config.commands().any(|(key, words, _)| key == "arbiter.command" && words[1] == "x"));
    let command = config.arbiter.unwrap();
    assert_eq!((command.ttl, command.timeout, command.within()), (MS(10_000), MS(5_000), MS(6_000)));
}

#[test]
fn files_are_taken_from_the_folder_of_the_configuration() {
    let arbiter = "etcd = [\"https://h\"]\nca_file = \"ca.pem\"\nuser = \"u\"\npassword_file = \"/etc/p\"\ncert_file = \"c\"\nkey_file = \"k\"";
    let arbiter = loaded(with(arbiter).as_bytes()).unwrap().arbiter.unwrap();
    let files: Vec<_> = arbiter.files().map(|(key, path, _)| (key, path.is_absolute(), path.ends_with("p"))).collect();
    assert_eq!(files.len(), 4);
    assert!(files.iter().all(|(_, absolute, _)| *absolute) && files[0] == ("arbiter.password_file", true, true));
    let ArbiterEngine::Etcd(etcd) = arbiter.engine else { panic!() };
    assert_eq!(etcd.user.unwrap().0, "u");
}

#[test]
fn wrong_ones_are_refused_with_what_would_be_right() {
    for (arbiter, expected) in [
        ("", "arbiter.etcd, disk or command: missing; right would be one of etcd = ["),
        ("ttl = \"30s\"", "arbiter.etcd, disk or command: missing"),
        (
            "etcd = [\"http://h\", \"http://h:2379\"]",
            "arbiter.etcd[2] = \"http://h:2379\": not usable; right would be each",
        ),
        (
            "disk = \"/dev/sdb\"\ncommand = [\"/x\"]",
            "arbiter.command = [\"/x\"]: not beside arbiter.disk; right would be one of",
        ),
        (
            "disk = \"/dev/sdb\"\nttl = \"30s\"",
            "arbiter.ttl = \"30s\": not beside arbiter.disk; right would be to leave it out",
        ),
        ("command = [\"/x\"]\nio_timeout = \"1s\"", "arbiter.io_timeout = \"1s\": not beside arbiter.command"),
        ("disk = \"sdb\"", "arbiter.disk = \"sdb\": not usable; right would be the absolute path of a disk"),
        ("disk = \"/dev/sdb\"\nio_timeout = \"1ms\"", "arbiter.io_timeout = \"1ms\": out of range"),
        ("command = [\"x\"]", "arbiter.command[1] = \"x\": not usable"),
        ("etcd = []", "arbiter.etcd = []: missing"),
        ("etcd = \"http://h\"", "arbiter.etcd = \"http://h\": is a text"),
        (
            "etcd = [\"http://h\"]\nttl = \"1s\"",
            "arbiter.ttl = \"1s\": out of range; right would be \"2s\" to \"600s\"",
        ),
        ("etcd = [\"http://h\"]\ntimeout = 3", "arbiter.timeout = 3: a duration needs a unit"),
        ("etcd = [\"https://h\"]", "arbiter.ca_file: missing; right would be the path of a file"),
        (
            "etcd = [\"http://h\"]\nuser = \"u\"",
            "arbiter.password_file: missing; right would be user with password_file",
        ),
        ("etcd = [\"http://h\"]\nkey_file = \"k\"", "arbiter.cert_file: missing"),
        ("etcd = [\"http://h\"]\nendpoint = \"x\"", "arbiter.endpoint: unknown key"),
    ] {
        let said = Config::parse(&with(arbiter), "hb.toml").unwrap_err().to_string();
        assert!(said.contains(expected), "{arbiter}: {said}");
    }
    let many = format!("etcd = [{}]", vec!["\"http://h\""; 17].join(", "));
    let said = Config::parse(&with(&many), "hb.toml").unwrap_err().to_string();
    assert!(said.contains("arbiter.etcd[17] = \"http://h\": too many: at most 16 endpoints"), "{said}");
}

#[test]
fn an_endpoint_is_a_scheme_a_host_and_a_port_and_nothing_else() {
    for wrong in [
        "192.0.2.7:2379",
        "ftp://h",
        "http://",
        "http://:2379",
        "http://h:0",
        "http://h:65536",
        "http://h:x",
        "http://h:",
        "http://u@h",
        "http://u:p@h:1",
        "http://h/v3",
        "http://h/?x",
        "http://[::1",
        "unix:///run/etcd",
        "",
    ] {
        let said = Config::parse(&with(&format!("etcd = [\"{wrong}\"]")), "hb.toml").unwrap_err().to_string();
        let right =
            if wrong.contains('@') { "right would be an endpoint without a user" } else { "right would be a list" };
        assert!(said.contains("arbiter.etcd[1]") && said.contains(right), "{wrong}: {said}");
        assert!(!wrong.contains('@') || !said.contains(wrong), "a password is not shown: {said}");
    }
}

#[test]
fn two_files_with_different_arbiters_differ() {
    let digests = [
        parsed("", "").groups_digest(),
        read("etcd = [\"http://h\"]").groups_digest(),
        read("etcd = [\"http://h:1\"]").groups_digest(),
        read("etcd = [\"http://h\"]\nttl = \"31s\"").groups_digest(),
        read("disk = \"/dev/sdb\"").groups_digest(),
        read("command = [\"/h\"]").groups_digest(),
    ];
    for (i, one) in digests.iter().enumerate() {
        assert!(!digests[i + 1..].contains(one), "{i}");
    }
    // How long each waits is its own.
    assert_eq!(digests[1], read("etcd = [\"http://h\"]\ntimeout = \"2s\"").groups_digest());
}

#[test]
fn a_password_is_read_where_nobody_else_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let write = |text: &[u8], mode: u32| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        read_secret(&file)
    };
    assert_eq!(write(b"p w\n", 0o600), Ok("p w".to_owned()));
    let exposed = write(b"p", 0o640).unwrap_err();
    assert!(exposed.contains("mode 0640") && exposed.contains("chmod 600"), "{exposed}");
    for (text, words) in
        [(&b"\n"[..], "nothing in it; "), (b"", "nothing in it; "), (b"\xff", "not text; right would be")]
    {
        assert!(write(text, 0o600).unwrap_err().starts_with(words), "{text:?}");
    }
    assert!(write(&[b'x'; 5_000], 0o600).unwrap_err().contains("larger than 4096 bytes"));
    assert!(read_secret(folder.path()).unwrap_err().starts_with("not a file; right would be the path of a file"));
    assert!(read_secret(&folder.path().join("none")).unwrap_err().contains("No such file"));
}
