//! Clients find the holder again by being told, not by giving up on where they believe it.

use std::thread;
use std::time::Duration;

use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::{Config, Lab, realtime_ns};
use heartbeat_tests::scenario::{
    Client, Run, SOON, lose_heartbeats, service, show, stays, story, until, wait_holders, wait_said,
};

use crate::{TOLD_WITHIN, pair};

/// The client is served again within a second of `cause_ns`.
fn told_in_time(lab: &Lab, client: &Client, what: &str, cause_ns: u64) {
    let after = client.gap(lab, cause_ns).unwrap();
    show(&format!("{what}: client not served for {:.1} ms of the time after", after.as_secs_f64() * 1e3));
    assert!(after < TOLD_WITHIN + Run::or(1).slack, "{what}: {after:?}\n{}", story(lab));
}

#[test]
fn whoever_keeps_a_group_that_both_held_tells_its_clients() {
    undisturbed(|| {
        let (lab, [client, _]) = pair(&Config::usual());
        let before = lab.marks();
        lose_heartbeats(&lab, true).unwrap();
        wait_holders(&lab, service(1), &[A, B]).unwrap();
        until("the client believes b", || Ok((client.server(&lab).unwrap() == Some(B)).then_some(()))).unwrap();
        lose_heartbeats(&lab, false).unwrap();
        let settled = wait_said(&lab, A, before[0], "dual_ownership").unwrap();
        let kept_by: heartbeat_tests::lab::Node = settled.raw["kept_by"].as_str().unwrap().parse().unwrap();
        wait_holders(&lab, service(1), &[kept_by]).unwrap();
        until("the client knows who keeps it", || Ok((client.server(&lab).unwrap() == Some(kept_by)).then_some(())))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        told_in_time(&lab, &client, "a dual that is settled", settled.time_ns);
    });
}

#[test]
fn an_address_taken_over_without_a_carrier_is_announced_once_there_is_one() {
    undisturbed(|| {
        let (lab, [client, _]) = pair(&Config::usual());
        lab.cut("b-net1").unwrap();
        wait_holders(&lab, service(2), &[A]).unwrap();
        lab.power_off(A).unwrap();
        wait_holders(&lab, service(1), &[B]).unwrap();
        // What is told within 5 s of the takeover, into a port that does not forward, is over.
        thread::sleep(Duration::from_millis(5_200));
        assert_eq!(client.server(&lab).unwrap(), Some(A), "nobody has told it anything else");
        let mended = lab.mend("b-net1").unwrap();
        told_in_time(&lab, &client, "a port that forwards again", mended);
        assert_eq!(client.server(&lab).unwrap(), Some(B));
    });
}

#[test]
fn another_ethernet_address_of_the_interface_is_announced() {
    undisturbed(|| {
        const NEW: [u8; 6] = [0x02, 0x48, 0x42, 0x0a, 0x99, 0x99];
        let (lab, [client, _]) = pair(&Config::usual());
        let before = lab.marks();
        let changed = realtime_ns();
        lab.controller(A).unwrap().netlink().set_mac("eth0", NEW).unwrap();
        told_in_time(&lab, &client, "another MAC", changed);
        let known = lab.client(1).unwrap().netlink().neighbour(service(1)).unwrap();
        assert_eq!(known, Some(NEW), "{}", story(&lab));
        stays(&lab, &[(service(1), A), (service(2), B)], Duration::from_millis(500), before).unwrap();
    });
}

#[test]
fn a_rival_that_is_gone_leaves_clients_with_the_holder() {
    undisturbed(|| {
        let (lab, [client, _]) = pair(&Config::usual());
        let before = lab.marks();
        // A third host has the address for a while and says so, then it is gone.
        let gratuitous = gratuitous_arp();
        heartbeat_tests::inject::Injector::open(lab.switch(1).unwrap(), "client1").unwrap().send(&gratuitous).unwrap();
        let injector = heartbeat_tests::inject::Injector::open(lab.switch(1).unwrap(), "a").unwrap();
        injector.send(&gratuitous).unwrap();
        let rival = lab.wait_event_since(A, before[0], |line| line.is_of("rival", "storage-a"), SOON).unwrap();
        let gone = lab.wait_event_since(A, before[0], |line| line.is_of("rival_gone", "storage-a"), SOON);
        let gone = gone.unwrap_or_else(|error| panic!("{error:#}\n{}", story(&lab)));
        show(&format!("the rival was there for {:?}", Duration::from_nanos(gone.time_ns - rival.time_ns)));
        told_in_time(&lab, &client, "a rival that is gone", gone.time_ns);
        assert_eq!(client.server(&lab).unwrap(), Some(A));
    });
}

/// 192.0.2.10 is at 02:00:00:00:00:77, says somebody to everybody (RFC 5944, 4.6: an ARP request for one's own address).
fn gratuitous_arp() -> Vec<u8> {
    let mac = [0x02, 0, 0, 0, 0, 0x77];
    let address = [192, 0, 2, 10];
    let header = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
    [&[0xff; 6][..], &mac, &header, &mac, &address, &[0; 6], &address].concat()
}
