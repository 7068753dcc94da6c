//! An agent is killed in every phase of its life, and started again: what it holds then is open, what the peer holds is not, and at
//! no time did both answer.

use super::*;
use heartbeat_tests::scenario::{Scripts, bring_up, owners, story};

/// Both agree about who has `storage-a`; that one answers, and the other does not.
fn expect_one(lab: &Lab, client: &Both, what: &str) {
    let holder = until("both agree", || {
        let seen = [lab.status(A)?.json, lab.status(B)?.json];
        let of = seen.each_ref().map(|json| owners(json).first().cloned().unwrap_or_default());
        let has = seen.each_ref().map(|json| held(json).first().copied().unwrap_or_default());
        Ok(match (of[0].as_str(), of[1].as_str(), has) {
            ("a", "a", [true, false]) => Some(A),
            ("b", "b", [false, true]) => Some(B),
            _ => None,
        })
    });
    let holder = holder.unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", story(lab)));
    let since = realtime_ns();
    until("it answers", || Ok((client.of(holder, since, u64::MAX).len() > 50).then_some(())))
        .unwrap_or_else(|error| panic!("{what}: {holder}: {error:#}\n{}", story(lab)));
    let other = if holder == A { B } else { A };
    let other = client.of(other, since, u64::MAX);
    assert_eq!(other, Vec::<u64>::new(), "{what}: {holder} has it\n{}", story(lab));
    assert_eq!(client.both_answered(0), Duration::ZERO, "{what}: both answered\n{}", story(lab));
}

fn kill_and_start_again(lab: &Lab) {
    // It may have ended by itself.
    let _gone = lab.kill(A);
    lab.start(A).unwrap();
    lab.wait_event(A, |line| line.is("ready"), SOON).unwrap_or_else(|error| panic!("{error:#}\n{}", story(lab)));
}

/// Instants within a start, and within a reload with its exec.
const AFTER_MS: [u64; 8] = [0, 2, 5, 10, 20, 40, 80, 150];

#[test]
fn an_agent_killed_while_it_starts_or_reloads_comes_back_beside_nobody() {
    undisturbed(|| {
        let (lab, client) = pair(profiles()[0], "");
        for phase in ["starting", "reloading"] {
            for after in AFTER_MS {
                match phase {
                    "starting" => {
                        lab.kill(A).unwrap();
                        lab.start(A).unwrap();
                    }
                    _ => drop(lab.reload(A).unwrap()),
                }
                look_on(Duration::from_millis(after));
                kill_and_start_again(&lab);
                expect_one(&lab, &client, &format!("killed {after} ms after {phase}"));
            }
        }
    });
}

#[test]
fn an_agent_killed_while_its_hooks_run_comes_back_beside_nobody() {
    undisturbed(|| {
        let lab = Lab::new(heartbeat_tests::lab::Options::default()).unwrap();
        let scripts = Scripts::of(&lab).unwrap();
        let mut config = profiles()[0].config();
        config.groups[0].exclusive = Some(false);
        for hook in ["on_acquire", "on_acquired", "on_releasing", "on_release"] {
            let text = format!("echo {hook} >> $HEARTBEAT_NODE.ran; test -e $HEARTBEAT_NODE.{hook} && sleep 1; exit 0");
            let command = scripts.write(hook, &text).unwrap();
            config.groups[0].extra += &format!("{hook} = {command}\n");
        }
        bring_up(&lab, &config).unwrap();
        let client = Both::start(&lab, 1, ipv4(1, 10), EVERY).unwrap();
        for hook in ["on_releasing", "on_release", "on_acquire", "on_acquired"] {
            // Where it is before a gives it away, or takes it.
            let (from, order) = if hook.starts_with("on_rel") { (A, "release") } else { (B, "takeover") };
            until("it is where it begins", || {
                if owners(&lab.status(A)?.json).first().map(String::as_str) == Some(from.name()) {
                    return Ok(Some(()));
                }
                let _not_yet = lab.order(from, &["takeover", "storage-a"])?;
                Ok(None)
            })
            .unwrap_or_else(|error| panic!("{hook}: {error:#}\n{}", story(&lab)));
            scripts.touch(&format!("a.{hook}")).unwrap();
            let ran = scripts.read("a.ran").matches(&format!("{hook}\n")).count();
            std::thread::scope(|scope| {
                let ordered = scope.spawn(|| lab.order(A, &[order, "storage-a"]));
                until("the hook runs", || {
                    Ok((scripts.read("a.ran").matches(&format!("{hook}\n")).count() > ran).then_some(()))
                })
                .unwrap_or_else(|error| panic!("{hook}: {error:#}\n{}", story(&lab)));
                std::fs::remove_file(scripts.path(&format!("a.{hook}"))).unwrap();
                kill_and_start_again(&lab);
                // What became of the order is whatever it is.
                let _refused = ordered.join();
            });
            expect_one(&lab, &client, &format!("killed in {hook}"));
        }
    });
}
