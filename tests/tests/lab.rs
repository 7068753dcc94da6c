//! The lab itself, without any agent: what the other tests stand on.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use heartbeat_tests::client::ProbeOptions;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::inject::{Injector, Tap};
use heartbeat_tests::lab::control::{self, Server, VERBS};
use heartbeat_tests::lab::topology::{ipv4, ipv6, link_local, mac, owner_of};
use heartbeat_tests::lab::{Host, Lab, Node, Options, realtime_ns, remains};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

const SOON: Duration = Duration::from_secs(5);

fn lab() -> Lab {
    Lab::new(Options::default()).unwrap()
}

fn address_of_a() -> IpAddr {
    ipv4(1, 1).into()
}

fn namespaces_of(id: &str) -> Vec<String> {
    let names = fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&format!("{id}-"))).collect()
}

#[test]
fn a_client_reaches_both_controllers_over_ipv4_and_ipv6() {
    undisturbed(|| {
        let lab = lab();
        for number in [1, 2] {
            for host in [1, 2] {
                for target in [IpAddr::from(ipv4(number, host)), ipv6(number, host.into()).into()] {
                    let probe = lab.probe(number, target, ProbeOptions::default()).unwrap();
                    let reply = probe.wait_reply_after(0, SOON).unwrap();
                    assert!(reply.received_ns >= reply.sent_ns && reply.received_ns <= realtime_ns());
                }
            }
        }
        let known = lab.client(1).unwrap().netlink().neighbour(address_of_a()).unwrap();
        assert_eq!(known, Some(mac(Host::Controller(Node::A), 1)));
        assert_eq!(owner_of(known.unwrap()), Some(Node::A));
    });
}

#[test]
fn a_cut_cable_takes_the_carrier_and_a_mended_one_brings_it_back() {
    undisturbed(|| {
        let lab = lab();
        let a = lab.controller(Node::A).unwrap();
        let probe = lab.probe(1, address_of_a(), ProbeOptions::default()).unwrap();
        probe.wait_reply_after(0, SOON).unwrap();

        let cut = lab.cut("a-net1").unwrap();
        let link = a.netlink().link("eth0").unwrap();
        assert!(link.up && !link.carrier, "{link:?}");
        assert!(a.netlink().link("eth1").unwrap().carrier);
        let done = realtime_ns();
        assert!(probe.wait_reply_after(done + 1_000_000, Duration::from_millis(100)).is_err());

        let mended = lab.mend("a-net1").unwrap();
        assert!(a.netlink().link("eth0").unwrap().carrier);
        let back = probe.wait_reply_after(mended, SOON).unwrap();
        let gap = probe.largest_gap(cut, back.received_ns);
        assert!(gap.length() >= Duration::from_millis(99), "{gap:?}");
        assert!(probe.last_before(done).unwrap().received_ns >= cut - 1_000_000_000);
        assert_eq!(probe.first_after(gap.to_ns).unwrap().received_ns, gap.to_ns);
        assert_eq!(probe.view().last_gap.unwrap(), probe.view().largest_gap);
        assert!(probe.view().answering(Duration::from_secs(1)));
    });
}

#[test]
fn the_dedicated_cable_loses_its_carrier_at_both_ends_and_keeps_its_addresses() {
    undisturbed(|| {
        let lab = lab();
        let link = |node| lab.controller(node).unwrap().netlink().link("eth9").unwrap();
        let addresses = || lab.controller(Node::A).unwrap().netlink().addresses().unwrap();
        let before = addresses();
        assert!(before.contains(&(link(Node::A).index, "fe80::1".parse().unwrap())), "{before:?}");
        let on_link: Vec<_> = before.iter().filter(|(index, _)| *index == link(Node::A).index).collect();
        assert!(on_link.iter().any(|(_, ip)| *ip == link_local(link(Node::A).mac)), "as any host has one: {on_link:?}");
        assert_eq!(on_link.len(), 2, "{on_link:?}");
        lab.cut("xlink").unwrap();
        for node in Node::BOTH {
            assert!(link(node).up && !link(node).carrier);
        }
        lab.mend("xlink").unwrap();
        for node in Node::BOTH {
            assert!(link(node).carrier);
        }
        assert_eq!(addresses(), before);
    });
}

#[test]
fn a_silent_cable_or_switch_loses_packets_and_keeps_the_carrier() {
    undisturbed(|| {
        let lab = lab();
        let a = lab.controller(Node::A).unwrap();
        let probe = lab.probe(1, address_of_a(), ProbeOptions::default()).unwrap();
        for name in ["a-net1", "net1"] {
            probe.wait_reply_after(realtime_ns(), SOON).unwrap();
            lab.silence(name).unwrap();
            let done = realtime_ns();
            assert!(a.netlink().link("eth0").unwrap().carrier);
            assert!(probe.wait_reply_after(done + 1_000_000, Duration::from_millis(50)).is_err(), "{name}");
            lab.mend(name).unwrap();
        }
        probe.wait_reply_after(realtime_ns(), SOON).unwrap();
    });
}

#[test]
fn a_switch_that_is_off_takes_every_carrier_and_leaves_cut_cables_cut_when_it_is_back() {
    undisturbed(|| {
        let lab = lab();
        let carrier = |node| lab.controller(node).unwrap().netlink().link("eth0").unwrap().carrier;
        lab.cut("b-net1").unwrap();
        lab.switch_off("net1").unwrap();
        assert!(!carrier(Node::A) && !carrier(Node::B));
        assert!(!lab.client(1).unwrap().netlink().link("eth0").unwrap().carrier);
        lab.switch_on("net1").unwrap();
        assert!(carrier(Node::A) && !carrier(Node::B));
        lab.mend("b-net1").unwrap();
        assert!(carrier(Node::B));
    });
}

#[test]
fn a_powered_off_controller_is_gone_at_once_and_boots_afresh() {
    undisturbed(|| {
        let lab = lab();
        let probe = lab.probe(1, ipv4(1, 2).into(), ProbeOptions::default()).unwrap();
        probe.wait_reply_after(0, SOON).unwrap();
        lab.power_off(Node::B).unwrap();
        let done = realtime_ns();
        assert!(lab.namespace_path("b").is_err());
        let carrier = |name| lab.controller(Node::A).unwrap().netlink().link(name).unwrap().carrier;
        assert!(!carrier("eth9") && carrier("eth0"));
        assert!(lab.power_off(Node::B).is_err());
        assert!(probe.wait_reply_after(done + 1_000_000, Duration::from_millis(50)).is_err());
        let error = lab.cut("b-net1").unwrap_err().to_string();
        assert!(error.contains("powered off"), "{error}");
        lab.power_on(Node::B).unwrap();
        assert!(carrier("eth9"));
        probe.wait_reply_after(realtime_ns(), SOON).unwrap();
    });
}

/// An agent that dies with its host cannot end what it had started.
#[test]
fn whatever_was_started_on_a_host_ends_with_it() {
    let lab = lab();
    let host = lab.controller(Node::B).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP TERM; sleep 1000 >/dev/null & echo $!"]).stdout(Stdio::piped());
    let started = host.spawn(shell).unwrap().wait_with_output().unwrap();
    let process = Path::new("/proc").join(String::from_utf8(started.stdout).unwrap().trim());
    let runs = || fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(runs());
    drop(host);
    lab.power_off(Node::B).unwrap();
    // It was killed; whoever it was left to may not have looked yet.
    heartbeat_tests::scenario::until("it is gone", || Ok((!runs()).then_some(()))).unwrap();
}

#[test]
fn interfaces_that_were_down_get_their_addresses_back() {
    undisturbed(|| {
        let lab = lab();
        let b = lab.controller(Node::B).unwrap();
        let sorted = || {
            let mut addresses = b.netlink().addresses().unwrap();
            addresses.sort();
            addresses
        };
        let before = sorted();
        lab.interfaces_down(Node::B).unwrap();
        for name in ["eth0", "eth1", "eth9"] {
            assert!(!b.netlink().link(name).unwrap().up);
        }
        lab.interfaces_up(Node::B).unwrap();
        assert_eq!(sorted(), before);
    });
}

#[test]
fn two_labs_live_side_by_side_and_a_dropped_one_leaves_nothing_behind() {
    undisturbed(|| {
        let (one, two) = (lab(), lab());
        assert_ne!(one.id(), two.id());
        let probe = two.probe(1, address_of_a(), ProbeOptions::default()).unwrap();
        let (id, folder) = (one.id().to_owned(), one.folder().to_owned());
        assert_eq!(namespaces_of(&id).len(), 7, "a, b, net1, net2, xlink, client1, client2");
        one.cut("a-net1").unwrap();
        drop(one);
        assert_eq!(namespaces_of(&id), [""; 0]);
        assert!(!folder.exists());
        probe.wait_reply_after(realtime_ns(), SOON).unwrap();
        assert!(remains::living().unwrap().contains(&two.id().to_owned()));
    });
}

/// Only when started by the next test: dies without any clean-up.
#[test]
fn helper_that_dies_with_a_lab() {
    undisturbed(|| {
        if let Some(report) = std::env::var_os("LAB_TEST_DIE") {
            let lab = lab();
            fs::write(report, lab.id()).unwrap();
            std::process::abort();
        }
    });
}

#[test]
fn the_remains_of_a_dead_lab_are_removed_by_the_next_one() {
    undisturbed(|| {
        let report = std::env::temp_dir().join(format!("lab-test-{}", std::process::id()));
        let program = std::env::current_exe().unwrap();
        let ended = Command::new(program)
            .args(["--exact", "helper_that_dies_with_a_lab"])
            .env("LAB_TEST_DIE", &report)
            .output()
            .unwrap();
        assert!(!ended.status.success());
        let id = fs::read_to_string(&report).unwrap();
        fs::remove_file(&report).unwrap();
        // Another test's lab may have cleaned up meanwhile; afterwards nothing may be left in any case.
        let _lab = lab();
        assert_eq!(namespaces_of(&id), [""; 0]);
        assert!(!Path::new(remains::LABS).join(&id).exists());
    });
}

/// The folder of a lab whose process is dead: pid 1 lives, but did not start at tick 99999999999. It appears all at once,
/// for other tests' labs sweep as well.
fn dead_folder(id: &str, agent: u32) -> PathBuf {
    let making = Path::new(remains::LABS).join(format!("making-{id}"));
    fs::create_dir_all(&making).unwrap();
    fs::write(making.join("lab.pid"), "1 99999999999\n").unwrap();
    fs::write(making.join("agent-a.pid"), format!("{agent}\n")).unwrap();
    let folder = Path::new(remains::LABS).join(id);
    fs::rename(making, &folder).unwrap();
    folder
}

#[test]
fn a_lab_whose_pid_was_given_to_another_process_counts_as_dead() {
    undisturbed(|| {
        // The agent noted there is a process that has nothing to do with that lab, and must survive: ourselves.
        let folder = dead_folder("hb1-4242", std::process::id());
        remains::sweep().unwrap();
        assert!(!folder.exists());
    });
}

#[test]
fn what_is_mounted_in_a_dead_labs_folder_goes_with_it_also_where_nobody_answers_there() {
    undisturbed(|| {
        let folder = dead_folder("hb1-4244", std::process::id());
        let [alive, dead, within] = ["alive", "dead", "alive/within"].map(|name| folder.join(name));
        fs::create_dir(&alive).unwrap();
        fs::create_dir(&dead).unwrap();
        mount(Some("none"), &alive, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        fs::create_dir(&within).unwrap();
        mount(Some("none"), &within, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        // Whoever would answer for it is gone.
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("FUSE");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("none"), &dead, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        drop(device);
        assert_eq!(fs::read_dir(&dead).unwrap_err().raw_os_error(), Some(Errno::ENOTCONN as i32));
        remains::sweep().unwrap();
        assert!(!folder.exists());
    });
}

#[test]
fn an_orphaned_agent_of_a_dead_lab_is_killed() {
    undisturbed(|| {
        let id = "hb1-4243";
        let file = Path::new(remains::LABS).join(id).join("a/anything");
        let mut orphan = Command::new("tail").arg("-F").arg(file).stderr(Stdio::null()).spawn().unwrap();
        // For an instant after exec a process has no command line yet.
        let command_line = format!("/proc/{}/cmdline", orphan.id());
        let begin = Instant::now();
        while !String::from_utf8_lossy(&fs::read(&command_line).unwrap()).contains(id) {
            assert!(begin.elapsed() < SOON, "tail does not start");
            std::thread::yield_now();
        }
        let folder = dead_folder(id, orphan.id());
        remains::sweep().unwrap();
        assert_eq!(orphan.wait().unwrap().signal(), Some(9));
        assert!(!folder.exists());
    });
}

#[test]
fn a_flood_arrives_frame_by_frame() {
    undisturbed(|| {
        const COUNT: u64 = 20_000;
        let lab = lab();
        let tap = Tap::open(&lab.controller(Node::A).unwrap(), "eth0").unwrap();
        let mut frame = [mac(Host::Controller(Node::A), 1), mac(Host::Client, 1)].concat();
        frame.extend([0x88, 0xb5]);
        frame.resize(60, 7);
        let injector = Injector::open(lab.switch(1).unwrap(), "a").unwrap();
        injector.send(&frame).unwrap();
        assert_eq!(tap.next(|heard| heard.get(12..14) == Some(&[0x88, 0xb5]), SOON).unwrap(), frame);
        let flood = injector.flood(&[frame.clone(), frame], COUNT).unwrap();
        assert_eq!(flood.sent, COUNT);
        tap.next(|heard| heard.get(12..14) == Some(&[0x88, 0xb5]), SOON).unwrap();
    });
}

#[test]
fn wrong_names_are_answered_with_the_right_ones() {
    undisturbed(|| {
        let lab = lab();
        let error = lab.cut("a-net3").unwrap_err().to_string();
        assert!(error.contains("a-net1, a-net2, b-net1, b-net2, client1-net1, client2-net2, xlink"), "{error}");
        let error = lab.switch_off("net3").unwrap_err().to_string();
        assert!(error.contains("xlink, net1, net2"), "{error}");
        assert!(Lab::new(Options { networks: 64, ..Options::default() }).is_err());
    });
}

#[test]
fn a_running_lab_does_what_it_is_told_over_its_control_socket() {
    undisturbed(|| {
        let lab = Arc::new(lab());
        let (note, notes) = channel();
        let server = Server::start(Arc::clone(&lab), move |line, answer| {
            note.send(format!("{line}: {answer}")).unwrap();
        })
        .unwrap();
        let say = |line: &str| control::send(Some(lab.id()), line);
        assert!(control::running().unwrap().contains(&lab.id().to_owned()));
        assert_eq!(say("cut a-net1").unwrap(), "a-net1 is cut");
        assert_eq!(notes.recv().unwrap(), "cut a-net1: ok a-net1 is cut");
        let a = lab.controller(Node::A).unwrap();
        assert!(!a.netlink().link("eth0").unwrap().carrier);
        say("mend a-net1").unwrap();
        let wrong = |line: &str| say(line).unwrap_err().to_string();
        assert!(wrong("cut a-net9").contains("there are a-net1,"));
        assert!(wrong("kill c").contains("there are a and b"));
        assert!(wrong("kill a").contains("was not started"));
        assert!(wrong("shake a").contains("no verb shake; there are cut,"));
        assert!(wrong("cut").contains("say a verb and a name"));
        let none = control::send(Some("hb0-0"), "cut a-net1").unwrap_err();
        assert!(none.to_string().contains(lab.id()), "{none}");
        for verb in VERBS {
            assert!(!wrong(&format!("{} nothing", verb.name)).contains("no verb"), "{}", verb.name);
        }
        drop(server);
    });
}

#[test]
fn a_lab_of_sixty_four_channels_is_up_in_a_few_seconds() {
    undisturbed(|| {
        let begin = Instant::now();
        let lab = Lab::new(Options { networks: 63, clients: 1, ..Options::default() }).unwrap();
        eprintln!("64 channels after {:?}", begin.elapsed());
        assert!(lab.controller(Node::B).unwrap().netlink().link("eth63").unwrap().carrier);
        let begin = Instant::now();
        drop(lab);
        eprintln!("dropped after {:?}", begin.elapsed());
    });
}
