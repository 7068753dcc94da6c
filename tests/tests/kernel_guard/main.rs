//! The kernel hands over: an agent dies or stands still while its host is well. The old kernel serves until the new one does, and
//! is silent before that answers; never do both.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod by_hand;
mod deaths;
mod notices;
mod phases;
mod removed;
mod unnoticed;

use std::process::Command;
use std::time::Duration;

use heartbeat_tests::client::both::Both;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::Node::{A, B};
use heartbeat_tests::lab::topology::ipv4;
use heartbeat_tests::lab::{Lab, LogLine, Node, realtime_ns};
use heartbeat_tests::scenario::{
    CALM, FAST, LAN, Profile, SOON, held, look_on, nft, profiles, running, show, story, until, wait_answer,
    wait_said_of, wait_well,
};

/// From one question to the next: what a client may miss is measured no finer.
const EVERY: Duration = Duration::from_micros(500);

/// A healthy pair, of which a holds `storage-a`, and a client that asks both for it.
fn pair(profile: Profile, extra: &str) -> (Lab, Both) {
    let mut config = profile.config();
    config.extra.push_str(extra);
    let lab = running(&config).unwrap();
    let client = Both::start(&lab, 1, ipv4(1, 10), EVERY).unwrap();
    wait_answer(&client, A, 0).unwrap();
    (lab, client)
}

/// From `since_ns` on, b has taken over from a, which has been silent from before that: never both, and the time in between.
fn expect_handed_over(client: &Both, since_ns: u64, what: &str) {
    let (both, nobody) = until("b answers", || Ok(client.hand_over(A, B, since_ns))).unwrap();
    show(&format!("{what}: nobody answered for {nobody:?}, both for {both:?}"));
    assert_eq!(both, Duration::ZERO, "{what}: both answered");
}

#[test]
fn the_kernel_of_a_killed_agent_serves_until_the_peer_takes_over_and_is_silent_then() {
    undisturbed(|| {
        for profile in profiles() {
            let (lab, client) = pair(*profile, "[takeover]\nrestart_grace = \"1s\"\n");
            let mark = lab.mark(B);
            let killed = lab.kill(A).unwrap();
            lab.wait_event_since(B, mark, |line| line.is("peer_died"), SOON).unwrap();
            let acquired = wait_said_of(&lab, B, mark, "group_acquired", "storage-a").unwrap();
            look_on(Duration::from_millis(300));
            expect_handed_over(&client, killed, &format!("{} killed", profile.name));
            let waited = Duration::from_nanos(acquired.time_ns - killed);
            assert!(waited > Duration::from_millis(900), "b waited for the agent to come back: {waited:?}");
            let served = client.of(A, killed + 500_000_000, u64::MAX);
            assert!(served.len() > 100, "meanwhile a's kernel served: {}", served.len());
        }
    });
}

/// Its programs go only once what they keep silent about has gone.
#[test]
fn what_a_dead_agents_kernel_is_silent_about_does_not_answer_when_the_next_one_begins_without_xdp() {
    undisturbed(|| {
        const AT_ONCE: &str = "[takeover]\nrestart_grace = \"0s\"\n";
        for _ in 0..3 {
            let (lab, client) = pair(LAN, AT_ONCE);
            let on_b = lab.mark(B);
            let killed = lab.kill(A).unwrap();
            wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
            wait_answer(&client, B, killed).unwrap();
            let mut config = LAN.config().xdp("socket");
            config.extra.push_str(AT_ONCE);
            lab.configure_one(A, &config).unwrap();
            lab.start(A).unwrap();
            lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
            look_on(Duration::from_millis(100));
            assert_eq!(client.both_answered(killed), Duration::ZERO, "{}", story(&lab));
        }
    });
}

#[test]
fn without_a_grace_the_peer_takes_over_at_once() {
    undisturbed(|| {
        for profile in profiles() {
            let (lab, client) = pair(*profile, "[takeover]\nrestart_grace = \"0s\"\n");
            let mark = lab.mark(B);
            let killed = lab.kill(A).unwrap();
            let acquired = wait_said_of(&lab, B, mark, "group_acquired", "storage-a").unwrap();
            look_on(Duration::from_millis(300));
            expect_handed_over(&client, killed, &format!("{} killed, no grace", profile.name));
            let took = Duration::from_nanos(acquired.time_ns - killed);
            show(&format!("{}: b serves {took:?} after the kill", profile.name));
            assert!(took < profile.interval * 2 + Duration::from_millis(50), "{took:?}");
        }
    });
}

#[test]
fn the_kernel_of_an_agent_that_stands_still_obeys_and_what_it_closed_stays_closed_until_it_is_released() {
    undisturbed(|| {
        for profile in profiles() {
            let (lab, client) = pair(*profile, "");
            let (on_a, on_b) = (lab.mark(A), lab.mark(B));
            let paused = lab.pause(A).unwrap();
            wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
            look_on(Duration::from_millis(300));
            expect_handed_over(&client, paused, &format!("{} stood still", profile.name));
            lab.resume(A).unwrap();
            wait_said_of(&lab, A, on_a, "group_released", "storage-a").unwrap();
            look_on(Duration::from_millis(300));
            expect_handed_over(&client, paused, &format!("{} went on", profile.name));
        }
    });
}

#[test]
fn an_agent_that_is_started_again_in_time_goes_on_and_one_that_gets_its_group_back_opens_it() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "");
        let (began, on_b) = (realtime_ns(), lab.mark(B));
        lab.kill(A).unwrap();
        // Longer than it takes to find a silent peer dead.
        look_on(profiles()[0].detection() + Duration::from_millis(100));
        lab.start(A).unwrap();
        lab.wait_event(A, |line| line.is("ready"), SOON).unwrap();
        until("both agree", || Ok((held(&lab.status(A)?.json)[0] && lab.status(B)?.code == 0).then_some(()))).unwrap();
        look_on(Duration::from_millis(300));
        let moved = lab.events_since(B, on_b).into_iter().find(|line| line.is_of("group_acquiring", "storage-a"));
        assert_eq!(moved, None);
        assert_eq!(client.of(B, began, u64::MAX), Vec::<u64>::new());

        // Too late, and then handed back.
        let on_b = lab.mark(B);
        let killed = lab.kill(A).unwrap();
        wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
        expect_handed_over(&client, killed, "killed");
        lab.start(A).unwrap();
        lab.wait_event(A, |line| line.is("peer_good"), SOON).unwrap();
        let ordered = realtime_ns();
        assert_eq!(lab.order(A, &["takeover", "storage-a"]).unwrap().0, Some(0));
        lab.wait_event(A, |line| line.is_of("group_acquired", "storage-a"), SOON).unwrap();
        wait_answer(&client, A, ordered).unwrap();
    });
}

#[test]
fn a_dead_agents_kernel_that_hears_nothing_of_the_peer_is_silent_before_that_takes_over() {
    undisturbed(|| {
        for profile in profiles() {
            let (lab, client) = pair(*profile, "");
            let on_b = lab.mark(B);
            // What b says gets lost from now on; what it serves does not. Then a dies.
            let rules = "add table inet mute; add chain inet mute out { type filter hook output priority 0; }; \
                         add rule inet mute out udp dport 694 drop";
            nft(&lab.controller(B).unwrap(), rules).unwrap();
            let killed = lab.kill(A).unwrap();
            wait_said_of(&lab, B, on_b, "group_acquired", "storage-a").unwrap();
            look_on(Duration::from_millis(300));
            expect_handed_over(&client, killed, &format!("{} dead and deaf", profile.name));
        }
    });
}

#[test]
fn a_clean_stop_leaves_no_program_behind() {
    undisturbed(|| {
        let (lab, _client) = pair(profiles()[0], "");
        assert!(lab.stop(A).unwrap().success());
        let namespace = lab.controller(A).unwrap();
        let tc = || Command::new("tc").args(["qdisc", "show"]).output().expect("iproute2");
        let shown = String::from_utf8_lossy(&namespace.run(tc).unwrap().stdout).into_owned();
        assert!(!shown.contains("clsact"), "{shown}");
    });
}
