//! What others do to the programs in the kernel: take them away, detach them, put theirs beside them.

use super::*;
use heartbeat_tests::inject::Injector;
use heartbeat_tests::lab::topology::{Host, mac};
use heartbeat_tests::scenario::{channel, is_change};
use std::fs;
use std::path::{Path, PathBuf};

/// Where an agent has its pins.
fn pins(lab: &Lab, node: Node) -> PathBuf {
    let name = lab.runtime_dir(node).display().to_string().trim_start_matches('/').replace('/', "%2f");
    PathBuf::from("/sys/fs/bpf/heartbeat").join(name).join(format!("v{}", heartbeat_ebpf::layout::VERSION))
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// In a controller's namespace; `program` is split at blanks.
fn run(lab: &Lab, node: Node, program: &str) -> String {
    let words: Vec<String> = program.split(' ').map(str::to_owned).collect();
    let shown = program.to_owned();
    let run = move || Command::new(&words[0]).args(&words[1..]).output().expect("iproute2 and python3");
    let output = lab.controller(node).unwrap().run(run).unwrap();
    assert!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// As `bpftool link detach` does.
fn detach(lab: &Lab, node: Node, pin: &str) {
    let script = lab.folder().join("detach.py");
    fs::write(&script, include_str!("detach.py")).unwrap();
    run(lab, node, &format!("python3 {} {}", script.display(), pins(lab, node).join(pin).display()));
}

/// The client was served by a all the time, and nothing changed for b.
fn expect_unnoticed(lab: &Lab, client: &Both, began: u64, on_b: heartbeat_tests::lab::Mark) {
    let answers = client.of(A, began, u64::MAX);
    let longest = answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX);
    assert!(longest < 100_000_000, "a did not answer for {longest} ns");
    assert_eq!(client.of(B, began, u64::MAX), Vec::<u64>::new());
    assert_eq!(lab.events_since(B, on_b).into_iter().filter(is_change).collect::<Vec<_>>(), []);
}

#[test]
fn what_somebody_takes_out_of_the_kernel_is_told_put_back_and_does_its_work_when_the_agent_dies() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "[takeover]\nrestart_grace = \"0s\"\n");
        let (folder, began) = (pins(&lab, A), realtime_ns());
        let before = names(&folder);
        assert!(before.iter().any(|name| name == "out-eth0") && before.len() > 10, "{before:?}");
        let (on_a, on_b) = (lab.mark(A), lab.mark(B));
        fs::remove_dir_all(&folder).unwrap();
        let told = lab.wait_event_since(A, on_a, |line| line.is("kernel_restored"), SOON).unwrap();
        let what = told.raw["what"].as_str().unwrap();
        for part in ["KERNEL", "link-eth0", "what leaves at eth0", "notes when this agent dies"] {
            assert!(what.contains(part), "{part}: {what}");
        }
        assert_eq!(names(&folder), before);
        // One by one, each is there again.
        for name in &before {
            fs::remove_file(folder.join(name)).unwrap();
            until(name, || Ok(folder.join(name).exists().then_some(()))).unwrap();
        }
        // By another tool.
        let on_a = lab.mark(A);
        detach(&lab, A, "out-eth0");
        detach(&lab, A, "link-eth0");
        let detached =
            |line: &LogLine| line.is("host_problem") && line.raw["what"].as_str().unwrap().contains("detached");
        lab.wait_event_since(A, on_a, detached, SOON).unwrap();
        until("eth0 has its program again", || {
            Ok((channel(&lab.status(A)?.json, "net1")["xdp_mode"] == "native").then_some(()))
        })
        .unwrap();
        look_on(Duration::from_secs(2));
        expect_unnoticed(&lab, &client, began, on_b);
        // And now it dies.
        let (on_b, killed) = (lab.mark(B), lab.kill(A).unwrap());
        lab.wait_event_since(B, on_b, |line| line.is("peer_died"), SOON).unwrap();
        wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
        look_on(Duration::from_millis(300));
        expect_handed_over(&client, killed, "killed after all of it was taken away and put back");
    });
}

#[test]
fn what_others_have_at_the_same_hook_goes_on_and_stays() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "[takeover]\nrestart_grace = \"0s\"\n");
        // Somebody else's filters, which let all pass.
        run(&lab, A, "tc qdisc add dev eth0 clsact");
        run(&lab, A, "tc filter add dev eth0 egress prio 1 protocol ip u32 match ip dst 192.0.2.77 flowid 1:1");
        run(&lab, A, "tc filter add dev eth0 egress prio 2 protocol all u32 match u32 0 0 flowid 1:2");
        let filters = || run(&lab, A, "tc filter show dev eth0 egress");
        let theirs = filters();
        assert!(theirs.contains("flowid 1:1") && theirs.contains("flowid 1:2"), "{theirs}");
        let (on_b, killed) = (lab.mark(B), lab.kill(A).unwrap());
        wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
        look_on(Duration::from_millis(300));
        expect_handed_over(&client, killed, "killed beside filters of others");
        lab.start(A).unwrap();
        lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
        assert!(lab.stop(A).unwrap().success());
        assert_eq!(filters(), theirs);
        assert!(!pins(&lab, A).exists());
    });
}

#[test]
fn an_address_that_somebody_adds_again_to_a_host_whose_kernel_keeps_silent_is_not_heard_of() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "[takeover]\nrestart_grace = \"0s\"\n");
        let (on_b, killed) = (lab.mark(B), lab.kill(A).unwrap());
        wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
        look_on(Duration::from_millis(300));
        expect_handed_over(&client, killed, "killed");
        let (service, since) = (ipv4(1, 10), realtime_ns());
        for order in ["del", "add"] {
            run(&lab, A, &format!("ip addr {order} {service}/24 dev eth0"));
        }
        // And says that it has it, as keepalived or arping would.
        let us = mac(Host::Controller(A), 1);
        let arp =
            [&[0xff; 6][..], &us, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &us, &service.octets(), &[0; 6], &service.octets()];
        let sent = Injector::open(&lab.controller(A).unwrap(), "eth0").unwrap().send(&arp.concat());
        assert!(sent.is_err(), "it left");
        look_on(Duration::from_millis(500));
        let known = lab.client(1).unwrap().netlink().neighbour(service.into()).unwrap();
        assert_ne!(known, Some(us));
        assert_eq!(client.of(A, since, u64::MAX), Vec::<u64>::new());
        // Whoever comes back removes what is not his.
        lab.start(A).unwrap();
        lab.wait_event(A, |line| line.is("address_swept"), SOON).unwrap();
        look_on(Duration::from_millis(300));
        assert_eq!(client.of(A, since, u64::MAX), Vec::<u64>::new());
        assert!(!client.of(B, since, u64::MAX).is_empty());
    });
}
