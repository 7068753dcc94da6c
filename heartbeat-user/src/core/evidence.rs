//! What this controller knows of its own networks (FIG. 8): its own facts, who answered, and who was heard.
//!
//! | seen | operational | that is |
//! |---|---|---|
//! | interface gone or down, own address gone, no carrier | no | certain: our own port or cable |
//! | somebody answered, or somebody else than the peer was heard | yes | certain |
//! | nobody answers; somebody who is configured was asked, or somebody found did answer before | no | silence |
//! | nobody answers, and nobody but the peer was ever seen there | yes | by own facts only |
//!
//! Silence weighs only against a peer to which the same network proves itself: whom one side knows and the other does not, and
//! whoever has gone home, is no fault of a controller. While the peer lives, it tells the one from the other: heartbeats pass. When
//! it is dead, whoever was found, has not answered for [`LEARNING`], and leaves others to be heard there, has gone home.

use crate::types::{ChannelIndex, Link, MAX_CHANNELS, Nanos, bits};

/// What a local analysis saw, a bit each network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Our interface is gone or down, or our address on it is.
    pub port: u64,
    /// Our interface has no carrier.
    pub cable: u64,
    /// As many of those who were asked answered as must.
    pub answered: u64,
    /// Nobody was to be asked: none is configured, or nobody was found.
    pub nobody: u64,
}

impl Probed {
    /// The networks whose fault is our own, for certain.
    #[must_use]
    pub const fn broken(&self) -> u64 {
        self.port | self.cable
    }
}

/// What this controller says of its networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Local {
    /// Those that work for it, as far as it knows.
    pub operational: u64,
    /// Of which it knows that: see the table above.
    pub certain: u64,
}

/// When a local analysis took place, and what else is known of its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// The networks in question.
    pub networks: u64,
    /// Those of them whose targets are found, not configured.
    pub found: u64,
    /// Somebody else was heard on them.
    pub overheard: u64,
    /// What we said there came back there since the analysis began: they pass heartbeats both ways.
    pub passing: u64,
    /// The peer lives, and does not hear us on them.
    pub unheard: u64,
}

/// What is remembered from one local analysis to the next.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// The networks on which somebody who was found answered, and might be expected to.
    answering: u64,
    /// The networks on which somebody answered, found or configured.
    near: u64,
    /// Those that were silent when everybody was asked last.
    silent: u64,
    certain: u64,
    /// When somebody else than the peer was heard last, by channel.
    overheard: [Option<Nanos>; MAX_CHANNELS],
    /// When what came back on it last was sent: until then it passed heartbeats both ways.
    came_back: [Option<Nanos>; MAX_CHANNELS],
    /// When its interface got its carrier, where that was seen, or cannot be long ago.
    carrier_since: [Option<Nanos>; MAX_CHANNELS],
    /// Since when nobody has answered who was asked there.
    unanswered_since: [Option<Nanos>; MAX_CHANNELS],
}

/// A port may learn for so long before it forwards (IEEE 802.1D: twice the forward delay, and some): what happens on a network
/// on which nobody was seen yet since the carrier came says nothing.
const LEARNING: Nanos = Nanos::from_millis(35_000);
/// A host that was booted less than this ago (CLOCK_MONOTONIC begins there) got its carriers just now.
const JUST_BOOTED: Nanos = Nanos::from_millis(120_000);

impl Memory {
    /// That of an agent which starts at `now`, with its channels' interfaces as they are.
    pub fn new(now: Nanos, links: &[Link]) -> Self {
        let mut carrier_since = [None; MAX_CHANNELS];
        for (since, link) in carrier_since.iter_mut().zip(links) {
            *since = (now < JUST_BOOTED && link.carrier()).then_some(now);
        }
        Self {
            answering: 0,
            near: 0,
            silent: 0,
            certain: 0,
            overheard: [None; MAX_CHANNELS],
            came_back: [None; MAX_CHANNELS],
            carrier_since,
            unanswered_since: [None; MAX_CHANNELS],
        }
    }

    /// Somebody else than the peer was heard on the channel.
    pub fn overhear(&mut self, now: Nanos, channel: ChannelIndex) {
        if let Some(at) = self.overheard.get_mut(channel.usize()) {
            *at = Some(now);
        }
    }

    /// The peer had heard on the channel what we sent then.
    pub fn came_back(&mut self, sent: Nanos, channel: ChannelIndex) {
        if let Some(at) = self.came_back.get_mut(channel.usize()) {
            *at = (*at).max(Some(sent));
        }
    }

    /// The channels that have passed heartbeats both ways since then.
    pub fn passing(&self, since: Nanos) -> u64 {
        where_so(&self.came_back, |at| at >= since)
    }

    /// The channel's interface has a carrier from now on, or has not.
    pub fn carrier(&mut self, now: Nanos, channel: ChannelIndex, found: bool) {
        if let Some(since) = self.carrier_since.get_mut(channel.usize()) {
            *since = found.then_some(now);
        }
    }

    /// The channels on which somebody else was heard at `since` or later.
    pub fn overheard(&self, since: Nanos) -> u64 {
        where_so(&self.overheard, |at| at >= since)
    }

    /// Everybody was asked in these networks, where anybody can be.
    pub fn asked(&mut self, now: Nanos, networks: u64, probed: &Probed) {
        for (i, since) in self.unanswered_since.iter_mut().enumerate() {
            if (probed.answered | probed.broken()) >> i & 1 == 1 {
                *since = None;
            } else if networks >> i & 1 == 1 {
                since.get_or_insert(now);
            }
        }
    }

    /// The networks of which those who used to answer have gone: they have been asked for long, and others are heard there.
    fn deserted(&self, now: Nanos) -> u64 {
        let long_asked = where_so(&self.unanswered_since, |since| now.since(since) >= LEARNING);
        self.answering & long_asked & self.overheard(now.since(LEARNING))
    }

    /// Who answers is remembered; who does not, although heartbeats pass, has gone.
    pub fn learn(&mut self, now: Nanos, probed: &Probed, circumstances: &Circumstances) {
        let Circumstances { networks, found, passing, .. } = *circumstances;
        self.asked(now, networks, probed);
        self.answering |= probed.answered & found;
        let gone = passing & !probed.answered & !probed.broken();
        self.answering &= !gone;
        self.near = (self.near | probed.answered) & !gone;
    }

    /// What a full analysis comes to.
    pub fn full(&mut self, now: Nanos, probed: &Probed, circumstances: &Circumstances) -> Local {
        self.learn(now, probed, circumstances);
        let Circumstances { networks, found, overheard, unheard, .. } = *circumstances;
        let broken = probed.broken() & networks;
        let answered = probed.answered & networks & !broken;
        let expected = (networks & !found & !probed.nobody) | self.answering;
        // Of a network whose targets are configured, these decide. Who used to answer and does not, while the peer does not hear
        // us there, does not get what we send, whatever we hear.
        let mute = self.answering & !answered & unheard;
        let overheard = overheard & networks & found & !broken & !mute;
        self.silent = expected & networks & !broken & !answered & !overheard;
        self.certain = answered | overheard;
        Local { operational: networks & !broken & !self.silent, certain: broken | answered | overheard }
    }

    /// What own facts make of what the last full analysis found; and the networks on which whoever used to answer did not
    /// at once: the carriers of a switch that dies need not go at one time, so these are not offered in place of others.
    pub const fn quick(&self, probed: &Probed, networks: u64) -> (Local, u64) {
        let broken = probed.broken() & networks;
        let unsure = self.near & !probed.answered & networks & !broken;
        let operational = networks & !broken & !self.silent & !unsure;
        (Local { operational, certain: broken | self.certain & operational }, unsure)
    }

    /// Whether some network of ours works: else it is us who are cut off. One on which nobody but the peer was ever seen works
    /// as far as own facts say; but not while a port that has just come up may not forward yet, unless others are heard. Where
    /// somebody is expected to answer, to hear others is not enough: they may not hear us. It is where that one has gone: the
    /// peer, silent to us who receive, is dead or cut off itself.
    pub fn is_connected(&self, now: Nanos, probed: &Probed, circumstances: &Circumstances) -> bool {
        let Circumstances { networks, found, overheard, .. } = *circumstances;
        let sound = networks & !probed.broken();
        let expected = (networks & !found & !probed.nobody) | self.answering;
        let learning = where_so(&self.carrier_since, |since| now.since(since) < LEARNING);
        let heard = overheard & found;
        sound & (probed.answered | !expected & (heard | !learning) | self.deserted(now) & heard) != 0
    }
}

/// The channels at whose time this is so, a bit each.
fn where_so(times: &[Option<Nanos>; MAX_CHANNELS], is_so: impl Fn(Nanos) -> bool) -> u64 {
    bits(times.iter().map(|at| at.is_some_and(&is_so)))
}

/// Both controllers' networks as they are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operational {
    pub(super) here: u64,
    pub(super) there: u64,
}

/// Where the one has nobody to ask, the other's silence says nothing. Both come to the same.
pub(super) const fn weigh_silence(local: Local, remote: Local) -> Operational {
    let excused_here = !local.operational & !local.certain & remote.operational & !remote.certain;
    let excused_there = !remote.operational & !remote.certain & local.operational & !local.certain;
    Operational { here: local.operational | excused_here, there: remote.operational | excused_there }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Network 0 has targets of its own, in network 1 they are found.
    const PLAIN: Circumstances = Circumstances { networks: 0b11, found: 0b10, overheard: 0, passing: 0, unheard: 0 };
    const ANSWERED: Probed = Probed { port: 0, cable: 0, answered: 0b11, nobody: 0 };
    const SILENT: Probed = Probed { answered: 0, ..ANSWERED };

    /// Of an agent that did not start just after its host's boot.
    fn grown() -> Memory {
        Memory::new(JUST_BOOTED, &[])
    }

    /// What a controller says whose networks answered before.
    fn after_answers(probed: Probed, circumstances: Circumstances) -> Local {
        let mut memory = grown();
        assert_eq!(memory.full(Nanos(0), &ANSWERED, &PLAIN), Local { operational: 0b11, certain: 0b11 });
        memory.full(Nanos(0), &probed, &circumstances)
    }

    #[test]
    fn own_facts_are_faults_for_certain_whatever_answers_or_is_heard() {
        for own in [Probed { port: 0b10, ..ANSWERED }, Probed { cable: 0b10, ..ANSWERED }] {
            let local = after_answers(own, Circumstances { overheard: 0b10, ..PLAIN });
            assert_eq!(local, Local { operational: 0b01, certain: 0b11 }, "{own:?}");
        }
    }

    #[test]
    fn silence_counts_only_of_those_who_are_configured_or_answered_before() {
        assert_eq!(
            grown().full(Nanos(0), &SILENT, &PLAIN),
            Local { operational: 0b10, certain: 0 },
            "nobody was ever seen"
        );
        assert_eq!(after_answers(SILENT, PLAIN), Local { operational: 0, certain: 0 });
        let no_gateway = Probed { nobody: 0b01, ..SILENT };
        assert_eq!(after_answers(no_gateway, PLAIN), Local { operational: 0b01, certain: 0 }, "nobody is to be asked");
    }

    #[test]
    fn whoever_went_home_while_heartbeats_pass_is_forgotten() {
        let mut memory = grown();
        memory.learn(Nanos(0), &ANSWERED, &PLAIN);
        memory.learn(Nanos(0), &SILENT, &Circumstances { passing: 0b10, ..PLAIN });
        assert_eq!(memory.full(Nanos(0), &SILENT, &PLAIN), Local { operational: 0b10, certain: 0 });
        assert!(memory.is_connected(Nanos(0), &SILENT, &PLAIN), "a target that vanished does not isolate");
        // Where they do not pass, it is the network that went.
        memory.learn(Nanos(0), &ANSWERED, &PLAIN);
        memory.learn(Nanos(0), &SILENT, &PLAIN);
        assert_eq!(memory.full(Nanos(0), &SILENT, &PLAIN), Local { operational: 0, certain: 0 });
        assert!(!memory.is_connected(Nanos(0), &SILENT, &PLAIN));
    }

    #[test]
    fn whoever_is_heard_proves_the_network_unless_nobody_gets_what_we_send() {
        let heard = Circumstances { overheard: 0b11, ..PLAIN };
        assert_eq!(
            after_answers(SILENT, heard),
            Local { operational: 0b10, certain: 0b10 },
            "not where targets decide"
        );
        let mute = Circumstances { unheard: 0b11, ..heard };
        assert_eq!(after_answers(SILENT, mute), Local { operational: 0, certain: 0 });
        let never = grown().full(Nanos(0), &SILENT, &mute);
        assert_eq!(never, Local { operational: 0b10, certain: 0b10 }, "nobody ever answered");
        let mut memory = grown();
        memory.overhear(Nanos(7), ChannelIndex(1));
        assert_eq!([memory.overheard(Nanos(7)), memory.overheard(Nanos(8))], [0b10, 0]);
    }

    #[test]
    fn a_quick_look_adds_own_facts_to_what_the_last_full_analysis_found() {
        let mut memory = grown();
        assert_eq!(
            memory.quick(&SILENT, 0b11).0,
            Local { operational: 0b11, certain: 0 },
            "nothing is known to be silent"
        );
        memory.full(Nanos(0), &Probed { answered: 0b10, ..ANSWERED }, &PLAIN);
        let quick = |own| memory.quick(&Probed { answered: 0b10, ..own }, 0b11);
        assert_eq!(quick(SILENT), (Local { operational: 0b10, certain: 0b10 }, 0));
        assert_eq!(quick(Probed { cable: 0b10, ..SILENT }), (Local { operational: 0, certain: 0b10 }, 0));
        assert_eq!(quick(Probed { port: 0b01, ..SILENT }), (Local { operational: 0b10, certain: 0b11 }, 0));
        // The switch may have died already, though the carrier is still there.
        assert_eq!(memory.quick(&SILENT, 0b11), (Local { operational: 0, certain: 0 }, 0b10));
    }

    #[test]
    fn a_port_that_just_came_up_is_no_sign_of_life_until_it_may_forward() {
        let mut memory = grown();
        let found = Circumstances { networks: 0b10, ..PLAIN };
        assert!(memory.is_connected(Nanos(0), &SILENT, &found), "at the start, a carrier must do");
        memory.carrier(Nanos(0), ChannelIndex(1), false);
        memory.carrier(Nanos(5), ChannelIndex(1), true);
        let at = |ms| Nanos(5).after(Nanos::from_millis(ms));
        assert!(!memory.is_connected(at(34_999), &SILENT, &found));
        assert!(memory.is_connected(at(10), &Probed { answered: 0b10, ..SILENT }, &found));
        assert!(memory.is_connected(at(10), &SILENT, &Circumstances { overheard: 0b10, ..found }));
        assert!(memory.is_connected(at(35_000), &SILENT, &found));
        assert!(!memory.is_connected(at(35_000), &Probed { cable: 0b10, ..SILENT }, &found));
    }

    #[test]
    fn after_a_fresh_boot_a_carrier_is_no_sign_of_life_until_its_port_may_forward() {
        let found = Circumstances { networks: 0b11, found: 0b11, ..PLAIN };
        let links = [true, false].map(|carrier| Link::Present { index: 1, carrier, address: true });
        for (booted_ms, doubted) in [(0, true), (119_999, true), (120_000, false)] {
            let start = Nanos::from_millis(booted_ms);
            let mut memory = Memory::new(start, &links);
            let at = |ms| start.after(Nanos::from_millis(ms));
            let no_carrier = Probed { cable: 0b10, ..SILENT };
            assert_eq!(!memory.is_connected(at(34_999), &no_carrier, &found), doubted, "{booted_ms} ms");
            assert!(memory.is_connected(at(35_000), &no_carrier, &found));
            assert!(memory.is_connected(at(1), &Probed { answered: 0b01, ..no_carrier }, &found));
            assert!(memory.is_connected(at(1), &no_carrier, &Circumstances { overheard: 0b01, ..found }));
            memory.carrier(at(0), ChannelIndex(0), false);
            assert!(!memory.is_connected(at(35_000), &Probed { cable: 0b11, ..SILENT }, &found));
        }
    }

    #[test]
    fn whoever_has_not_answered_for_long_while_others_are_heard_is_not_waited_for() {
        let ms = Nanos::from_millis;
        let heard = Circumstances { networks: 0b10, overheard: 0b10, ..PLAIN };
        let nobody_heard = Circumstances { overheard: 0, ..heard };
        let mut memory = grown();
        memory.learn(ms(1_000), &ANSWERED, &heard);
        memory.overhear(ms(2_000), ChannelIndex(1));
        // The question of 5 s was the first without an answer, 40 s is the first time that is long enough.
        for asked in [5_000, 15_000, 25_000, 35_000] {
            memory.learn(ms(asked), &SILENT, &heard);
        }
        assert!(!memory.is_connected(ms(40_000), &SILENT, &heard), "nobody was heard for as long");
        memory.overhear(ms(20_000), ChannelIndex(1));
        assert!(!memory.is_connected(ms(39_999), &SILENT, &heard));
        assert!(memory.is_connected(ms(40_000), &SILENT, &heard));
        assert!(!memory.is_connected(ms(40_000), &SILENT, &nobody_heard), "nobody since the peer died");
        assert!(!memory.is_connected(ms(40_000), &Probed { cable: 0b10, ..SILENT }, &heard));
        assert!(!memory.is_connected(ms(55_001), &SILENT, &heard), "nobody is heard any more");
        // Whoever is configured is waited for.
        memory.overhear(ms(50_000), ChannelIndex(0));
        memory.overhear(ms(50_000), ChannelIndex(1));
        let configured = Circumstances { found: 0, ..heard };
        assert!(!memory.is_connected(ms(60_000), &SILENT, &configured));
        assert!(memory.is_connected(ms(60_000), &SILENT, &heard));
        // An answer, or a carrier that goes, and the time begins anew.
        for anew in [ANSWERED, Probed { cable: 0b10, ..SILENT }] {
            memory.asked(ms(61_000), 0b10, &anew);
            assert!(!memory.is_connected(ms(61_000), &SILENT, &heard), "{anew:?}");
            memory.asked(ms(62_000), 0b10, &SILENT);
            memory.overhear(ms(96_000), ChannelIndex(1));
            assert!(!memory.is_connected(ms(96_999), &SILENT, &heard), "{anew:?}");
            assert!(memory.is_connected(ms(97_000), &SILENT, &heard), "{anew:?}");
        }
    }

    /// All that two controllers can say of one network: both come to the same, and silence counts only against proof.
    #[test]
    fn silence_says_nothing_where_the_other_has_nobody_to_ask() {
        let says = |bits: u64| Local { operational: bits & 1, certain: bits >> 1 };
        for (here, there) in (0..4).flat_map(|here| (0..4).map(move |there| (says(here), says(there)))) {
            let Operational { here: ours, there: theirs } = weigh_silence(here, there);
            let mirrored = Operational { here: theirs, there: ours };
            assert_eq!(weigh_silence(there, here), mirrored, "{here:?} {there:?}");
            let excused = here == says(0b00) && there == says(0b01);
            assert_eq!(ours == 1, here.operational == 1 || excused, "{here:?} {there:?}");
        }
    }
}
