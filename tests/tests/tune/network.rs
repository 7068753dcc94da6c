//! A network in virtual time: what it does to heartbeats is known, and the same for a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use heartbeat::core::Nanos;

/// What happens to heartbeats on their way.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) name: &'static str,
    /// Each is lost by itself with this probability.
    loss: f64,
    /// Times in which all are lost: how many a second begin, and how long they last on average, in s.
    bursts: (f64, f64),
    /// Delay beyond the least one: mean in s; exponential, or with a heavy tail (Pareto with this index).
    delay: (f64, Option<f64>),
    /// Times in which the sender stands still: how many a second begin, and how long they last on average, in s.
    stalls: (f64, f64),
}

impl Network {
    const GOOD: Self = Self { name: "", loss: 0.0, bursts: (0.0, 0.0), delay: (0.000_1, None), stalls: (0.0, 0.0) };

    pub(crate) fn independent(name: &'static str, loss: f64) -> Self {
        Self { name, loss, ..Self::GOOD }
    }

    /// All that are tried.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::independent("0.1 % lost", 0.001),
            Self::independent("1 % lost", 0.01),
            Self::independent("5 % lost", 0.05),
            // After Gilbert and Elliott: good for 10 s, then bad for 30 ms.
            Self { name: "bursts of 30 ms, 1 a 10 s", bursts: (0.1, 0.030), ..Self::independent("", 0.001) },
            Self { name: "heavy tail of delays", delay: (0.000_5, Some(2.5)), ..Self::GOOD },
            Self { name: "stalls of 80 ms, 1 in 30 s", stalls: (1.0 / 30.0, 0.080), ..Self::GOOD },
            Self {
                name: "all of that at once",
                bursts: (0.05, 0.020),
                delay: (0.000_3, Some(2.5)),
                stalls: (0.01, 0.050),
                ..Self::independent("", 0.01)
            },
        ]
    }
}

/// Xorshift: the same for a seed everywhere.
struct Random(u64);

impl Random {
    /// Within (0, 1).
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }
}

/// Times that begin at random and last at random.
struct Spells {
    rate: f64,
    mean_s: f64,
    from_s: f64,
    to_s: f64,
}

impl Spells {
    fn new((rate, mean_s): (f64, f64), random: &mut Random) -> Self {
        let mut spells = Self { rate, mean_s, from_s: 0.0, to_s: 0.0 };
        spells.next(random);
        spells
    }

    fn next(&mut self, random: &mut Random) {
        let pause = if self.rate > 0.0 { random.exponential(1.0 / self.rate) } else { f64::INFINITY };
        self.from_s = self.to_s + pause;
        self.to_s = self.from_s + random.exponential(self.mean_s);
    }

    /// The end of the spell in which this moment lies. Moments rise.
    fn at(&mut self, now_s: f64, random: &mut Random) -> Option<f64> {
        while self.to_s <= now_s {
            self.next(random);
        }
        (self.from_s <= now_s).then_some(self.to_s)
    }
}

/// Sends a heartbeat every `interval` for `lasting_s`, and gives the sequence number and the arrival of each that arrives, in
/// the order of arrival. A late sender goes on with the next one that is due, as the agent does.
pub(crate) fn arrivals(
    network: &Network,
    interval: Nanos,
    lasting_s: u64,
    seed: u64,
    mut arrived: impl FnMut(u64, Nanos),
) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let random = &mut random;
    let (mut bursts, mut stalls) = (Spells::new(network.bursts, random), Spells::new(network.stalls, random));
    let interval_s = interval.0 as f64 / 1e9;
    let mut on_the_way: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let (mut sequence, mut due_s) = (0, interval_s);
    while due_s < lasting_s as f64 {
        let sent_s = stalls.at(due_s, random).unwrap_or(due_s);
        sequence += 1;
        let lost = random.unit() < network.loss || bursts.at(sent_s, random).is_some();
        let (mean_s, tail) = network.delay;
        let delay_s = match tail {
            None => random.exponential(mean_s),
            // Its mean is scale * index / (index - 1).
            Some(index) => mean_s * (index - 1.0) / index * random.unit().powf(-1.0 / index),
        };
        if !lost {
            on_the_way.push(Reverse((((sent_s + delay_s) * 1e9) as u64, sequence)));
        }
        due_s += interval_s * ((sent_s - due_s) / interval_s).floor().max(0.0) + interval_s;
        // Whatever is sent from now on arrives later than this.
        while let Some(Reverse((at, sequence))) =
            on_the_way.peek().copied().filter(|first| first.0.0 <= (due_s * 1e9) as u64)
        {
            on_the_way.pop();
            arrived(sequence, Nanos(at));
        }
    }
}
