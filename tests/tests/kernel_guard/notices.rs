//! Death notices that somebody recorded, or made up.

use super::*;
use heartbeat_tests::frame::{PORT, payload};
use heartbeat_tests::inject::{Injector, Tap};
use heartbeat_tests::scenario::{changes, increase, rejected};
use std::collections::BTreeMap;

/// `kind` of a notice, and where it stands in a message: see wire.rs of the agent.
const NOTICE: u8 = 4;
const KIND: usize = 3;

#[test]
fn recorded_and_forged_death_notices_change_nothing() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "[takeover]\nrestart_grace = \"30s\"\n");
        let began = realtime_ns();
        let tap = Tap::open(lab.switch(1).unwrap(), "a").unwrap();
        lab.kill(A).unwrap();
        let is_notice = |frame: &[u8]| payload(frame, PORT).is_some_and(|message| message.get(KIND) == Some(&NOTICE));
        let recorded: Vec<_> = (0..5).map(|_| tap.next(is_notice, SOON).unwrap()).collect();
        lab.start(A).unwrap();
        lab.wait_event(A, |line| line.is("ready"), SOON).unwrap();
        wait_well(&lab).unwrap();

        let counts = || rejected(&lab.status(B).unwrap().json, "net1");
        let (before, mark) = (counts(), lab.mark(B));
        let injector = Injector::open(lab.switch(1).unwrap(), "b").unwrap();
        // In each word of the message another bit: who died, when, who is told, of which groups, by which tag.
        let length = recorded[0].len();
        let forged: Vec<_> = (8..160)
            .step_by(8)
            .map(|at| {
                let mut frame = recorded[0].clone();
                frame[length - 160 + at] ^= 0x10;
                frame
            })
            .collect();
        for frame in recorded.iter().chain(&forged) {
            injector.send(frame).unwrap();
        }
        let told = until("all were counted", || {
            let told = increase(&before, &counts());
            Ok((told.values().sum::<u64>() >= (recorded.len() + forged.len()) as u64).then_some(told))
        });
        let expected = [("malformed", 1), ("notice_ignored", 5), ("wrong_channel", 1), ("wrong_tag", 17)];
        let expected = expected.map(|(reason, count)| (reason.to_owned(), count));
        assert_eq!(told.unwrap(), BTreeMap::from(expected));
        look_on(Duration::from_millis(500));
        assert_eq!(changes(&lab, B, mark), []);
        assert_eq!(client.of(B, began, u64::MAX), Vec::<u64>::new());
        let answers = client.of(A, began, u64::MAX);
        let longest = answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX);
        assert!(longest < 100_000_000, "a served all the time, but for {longest} ns");
    });
}
