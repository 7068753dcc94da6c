//! Any two faults of the table at once: whatever comes of it, never do both controllers answer for an address.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use super::{faults::where_somebody_is_asked::FAULTS, *};

/// So many pairs are tried, others each time; `HEARTBEAT_PAIRS=820` tries all, `HEARTBEAT_PAIR=17` the one of that number.
const PAIRS: usize = 6;
/// How long an agent that died is waited for.
const GRACE: &str = "500ms";
/// A peer is found dead, or its agent's death waited out, its groups are taken, and all is judged; and as much again.
const LASTS: Duration = Duration::from_millis(2_000);

#[test]
fn of_any_two_faults_at_once_none_makes_both_answer() {
    let all: Vec<_> =
        (0..FAULTS.len()).flat_map(|one| (one + 1..FAULTS.len()).map(move |other| (one, other))).collect();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().expect("a number"));
    let wanted: Vec<_> = if let Some(pair) = number("HEARTBEAT_PAIR") {
        vec![pair]
    } else {
        let (count, first) =
            (number("HEARTBEAT_PAIRS").unwrap_or(PAIRS).min(all.len()), RandomState::new().hash_one(0));
        let first = usize::try_from(first).unwrap_or_default() % all.len();
        // Steps of this length come by all of them: it and their number have no divisor in common.
        (0..count).map(|i| (first + i * 301) % all.len()).collect()
    };
    for pair in &wanted {
        let (one, other) = all[*pair];
        undisturbed(|| both(*pair, FAULTS[one], FAULTS[other]));
    }
    show(&format!("{} of {} pairs of faults: never did both answer", wanted.len(), all.len()));
}

fn both(number: usize, one: Fault, other: Fault) {
    let lab = Lab::new(Options::default()).unwrap();
    let line = SerialCable::new().unwrap();
    let mut config = brisk(&lab);
    config.restart_grace = Some(GRACE.to_owned());
    if [one, other].iter().any(|fault| matches!(fault, Line)) {
        config.channels.push(ChannelConfig::serial("tty", line.devices(), 115_200));
    }
    bring_up(&lab, &config).unwrap();
    let asked = [1, 2].map(|number| client::Both::start(&lab, number, ipv4(number, 10), ASKED_EVERY).unwrap());
    for (client, node) in asked.iter().zip(Node::BOTH) {
        until("it is served", || Ok((!client.of(node, 0, u64::MAX).is_empty()).then_some(()))).unwrap();
    }
    let struck = realtime_ns();
    strike(&lab, &line, one).unwrap();
    if let Err(error) = strike(&lab, &line, other) {
        // What is off already cannot be switched off.
        eprintln!("pair {number}: {one:?} leaves nothing for {other:?}: {error:#}");
    }
    look_on(LASTS);
    let answered = asked.each_ref().map(|client| client.both_answered(struck));
    assert_eq!(answered, [Duration::ZERO; 2], "pair {number}, {one:?} and {other:?}: both answered\n{}", story(&lab));
}
