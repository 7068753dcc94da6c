//! Two agents whose arbiter is an etcd on one of their networks.

use super::cluster::ask;
use heartbeat_tests::lab::topology::{Host, host_number, ipv4};
use heartbeat_tests::lab::{Config, Lab, Namespace, Node};
use heartbeat_tests::scenario::{bring_up, until};
use std::process::{Child, Command};
use std::time::Duration;

/// How long anything may take that is not measured: a promise of 5 s among it.
const SOON: Duration = Duration::from_secs(20);

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn etcd(namespace: &Namespace, address: &str, folder: &str) -> Process {
    let mut command = Command::new("etcd");
    let url = format!("http://{address}:2379");
    command
        .arg(format!("--data-dir={folder}"))
        .arg(format!("--listen-client-urls={url},http://127.0.0.1:2379"))
        .arg(format!("--advertise-client-urls={url}"))
        .args(["--listen-peer-urls=http://127.0.0.1:2380", "--logger=zap", "--log-level=error"]);
    Process(namespace.spawn(command).unwrap())
}

/// Who has the key of storage-a of pair 7.
fn holder(namespace: &Namespace, pair: u32) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let key = STANDARD.encode(format!("heartbeat/{pair}/storage-a"));
    let question = format!(r#"{{"key":"{key}"}}"#);
    let said = namespace.run(move || ask("/v3/kv/range", &question)).unwrap().unwrap_or_default();
    let value = said.split("\"value\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
}

#[test]
fn the_survivor_takes_an_exclusive_group_once_it_is_granted_and_gives_the_grant_back_when_both_are_well() {
    let mut config = Config::usual().judged_by_clients();
    for group in &mut config.groups {
        group.extra = "exclusive = true\n".to_owned();
    }
    let address = ipv4(1, host_number(Host::Client)).to_string();
    config.extra = format!("[arbiter]\netcd = [\"http://{address}:2379\"]\nttl = \"3s\"\n");
    let lab = Lab::new(heartbeat_tests::lab::Options::default()).unwrap();
    let client = lab.client(1).unwrap();
    let folder = lab.folder().join("etcd").display().to_string();
    let arbiter = etcd(client, &address, &folder);
    until("etcd answers", || Ok(client.run(|| ask("/v3/maintenance/status", "{}"))?.ok())).unwrap();
    bring_up(&lab, &config).unwrap();
    let well =
        |well: bool| move |line: &heartbeat_tests::lab::LogLine| line.is("arbiter_checked") && line.raw["well"] == well;
    for node in Node::BOTH {
        lab.wait_event(node, well(true), SOON).unwrap();
    }
    assert_eq!(holder(client, config.pair_id), "");

    let mark = lab.mark(Node::B);
    lab.power_off(Node::A).unwrap();
    lab.wait_event_since(Node::B, mark, |line| line.is("arbiter_granted"), SOON).unwrap();
    assert!(holder(client, config.pair_id).starts_with('b'));
    lab.wait_event_since(Node::B, mark, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();

    lab.power_on(Node::A).unwrap();
    lab.start(Node::A).unwrap();
    until("the grant is given back", || Ok((holder(client, config.pair_id).is_empty()).then_some(()))).unwrap();

    // Out of reach while both are well, it is nobody's concern.
    drop(arbiter);
    let mark = lab.mark(Node::B);
    lab.reload(Node::B).unwrap();
    lab.wait_event_since(Node::B, mark, well(false), SOON).unwrap();
    let moved = |line: &heartbeat_tests::lab::LogLine| line.is("group_released");
    assert!(!lab.events_since(Node::B, mark).iter().any(moved));
}
