//! What the screen of `heartbeat top` knows, and what keys do to it: time comes as an argument, since the start.

use super::series::{Series, between};
use crate::{
    api::{Channel, Health, Status},
    cli::{format, paint::Paint},
    events::Record,
    latency::{Document, Histograms},
    types::Severity,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// So many events are kept, however long it is left open.
pub(super) const EVENTS: usize = 1000;
/// The agent tells its status each second: one that has not for so long does not answer.
pub(super) const SILENCE: Duration = Duration::from_millis(2500);
/// Rates are of at least so long.
const RATE_NS: u64 = 900_000_000;

/// What comes from the agent.
pub(super) enum News {
    Status(Box<Status>),
    Event(Box<Record>),
    Histograms(Histograms),
    /// Some events were not kept for us.
    Lost,
    /// Nobody answers, and why.
    Silent(String),
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Channels,
    Groups,
    Events,
}

/// Everything that the agent has said.
#[derive(Clone, Default)]
pub(super) struct Facts {
    pub(super) status: Option<Box<Status>>,
    /// When it came.
    pub(super) at: Duration,
    /// Why nothing comes.
    pub(super) silent: Option<String>,
    pub(super) events: VecDeque<Record>,
    pub(super) lost: bool,
    pub(super) documents: BTreeMap<String, Document>,
    pub(super) series: BTreeMap<String, Series>,
    pub(super) rates: BTreeMap<String, Rates>,
}

/// Of one channel, in a second.
#[derive(Clone, Copy, Default)]
pub(super) struct Rates {
    base: (u64, u64, u64),
    pub(super) missing: f64,
    pub(super) rejected: f64,
}

pub(super) struct Model {
    pub(super) paint: Paint,
    facts: Facts,
    /// What is shown while it pauses, and since when.
    frozen: Option<(Box<Facts>, Duration)>,
    now: Duration,
    pub(super) pane: Pane,
    pub(super) selected: usize,
    pub(super) group: usize,
    /// Events that are newer than the last one shown.
    pub(super) scroll: usize,
    pub(super) least: Severity,
    pub(super) detail: bool,
    pub(super) help: bool,
    ended: bool,
}

impl Model {
    pub(super) fn new(paint: Paint) -> Self {
        Self {
            paint,
            facts: Facts::default(),
            frozen: None,
            now: Duration::ZERO,
            pane: Pane::Channels,
            selected: 0,
            group: 0,
            scroll: 0,
            least: Severity::Info,
            detail: false,
            help: false,
            ended: false,
        }
    }

    /// What is shown.
    pub(super) fn shown(&self) -> &Facts {
        self.frozen.as_ref().map_or(&self.facts, |(facts, _)| facts)
    }

    /// The time that the shown facts are held against.
    pub(super) fn time(&self, now: Duration) -> Duration {
        self.frozen.as_ref().map_or(now, |(_, at)| *at)
    }

    pub(super) const fn paused(&self) -> bool {
        self.frozen.is_some()
    }

    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    /// The events that are grave enough, the newest first.
    pub(super) fn events(&self) -> impl Iterator<Item = &Record> {
        self.shown().events.iter().rev().filter(|event| event.severity >= self.least)
    }

    /// The channel that is selected.
    pub(super) fn channel(&self) -> Option<&Channel> {
        self.shown().status.as_ref()?.channels.get(self.selected)
    }

    /// Takes in what came.
    pub(super) fn learn(&mut self, news: News, now: Duration) {
        self.now = now;
        let facts = &mut self.facts;
        match news {
            News::Status(status) => {
                facts.count(&status);
                facts.status = Some(status);
                facts.at = now;
                facts.silent = None;
                let channels = facts.status.as_ref().map_or(0, |status| status.channels.len());
                self.selected = self.selected.min(channels.saturating_sub(1));
            }
            News::Event(event) => {
                // Who reads further up stays where he is.
                if self.scroll > 0 && self.frozen.is_none() && event.severity >= self.least {
                    self.scroll += 1;
                }
                facts.events.push_back(*event);
                facts.events.drain(..facts.events.len().saturating_sub(EVENTS));
                self.scroll = self.scroll.min(EVENTS);
            }
            News::Histograms(histograms) => facts.measure(histograms, now.as_secs()),
            News::Lost => facts.lost = true,
            News::Silent(why) => facts.silent = Some(why),
        }
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => self.ended = true,
            KeyCode::Char('q') => self.ended = true,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc if self.detail => self.detail = false,
            KeyCode::Esc => self.ended = true,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char('p' | ' ') => {
                self.frozen = match self.frozen {
                    Some(_) => None,
                    None => Some((Box::new(self.facts.clone()), self.now)),
                };
            }
            KeyCode::Char('e') => {
                self.least = match self.least {
                    Severity::Info => Severity::Notice,
                    Severity::Notice => Severity::Warning,
                    Severity::Warning => Severity::Critical,
                    Severity::Critical => Severity::Info,
                };
                self.scroll = 0;
            }
            KeyCode::Char(digit @ '1'..='9') => self.open(digit as usize - '1' as usize),
            KeyCode::Enter if self.pane == Pane::Channels => self.detail = !self.detail,
            KeyCode::Tab | KeyCode::Right => self.turn([Pane::Groups, Pane::Events, Pane::Channels]),
            KeyCode::BackTab | KeyCode::Left => self.turn([Pane::Events, Pane::Channels, Pane::Groups]),
            KeyCode::Up | KeyCode::Char('k') => self.walk(-1),
            KeyCode::Down | KeyCode::Char('j') => self.walk(1),
            KeyCode::PageUp => self.walk(-10),
            KeyCode::PageDown => self.walk(10),
            KeyCode::Home => self.walk(-(EVENTS as isize)),
            KeyCode::End => self.walk(EVENTS as isize),
            _ => {}
        }
    }

    fn open(&mut self, channel: usize) {
        if self.shown().status.as_ref().is_some_and(|status| channel < status.channels.len()) {
            (self.selected, self.detail, self.pane) = (channel, true, Pane::Channels);
        }
    }

    fn turn(&mut self, next: [Pane; 3]) {
        self.pane = next[match self.pane {
            Pane::Channels => 0,
            Pane::Groups => 1,
            Pane::Events => 2,
        }];
        self.detail = false;
    }

    fn walk(&mut self, steps: isize) {
        let status = self.shown().status.as_ref();
        let (channels, groups) = status.map_or((0, 0), |status| (status.channels.len(), status.groups.len()));
        let step = |at: usize, of: usize, steps| at.saturating_add_signed(steps).min(of.saturating_sub(1));
        match self.pane {
            Pane::Channels => {
                let order = self.order();
                let at = order.iter().position(|i| *i == self.selected).unwrap_or(0);
                self.selected = order.get(step(at, channels, steps)).copied().unwrap_or(0);
            }
            Pane::Groups => self.group = step(self.group, groups, steps),
            // The newest one is at the bottom.
            Pane::Events => self.scroll = step(self.scroll, self.events().count(), -steps),
        }
    }

    /// The channels as they are shown: what is not GOOD first, or it would be out of sight.
    pub(super) fn order(&self) -> Vec<usize> {
        let Some(status) = &self.shown().status else { return Vec::new() };
        let mut order: Vec<_> = (0..status.channels.len()).collect();
        order.sort_by_key(|i| status.channels[*i].state == Health::Good);
        order
    }
}

impl Facts {
    /// Why the facts are not those of now, if so.
    pub(super) fn stale(&self, now: Duration) -> Option<String> {
        let silence = now.saturating_sub(self.at);
        let status = self.status.as_ref()?;
        if let Some(why) = &self.silent {
            Some(format!("STALE for {:.0} s: {why}", silence.as_secs_f64()))
        } else if silence > SILENCE {
            Some(format!("STALE for {:.0} s: the agent does not answer", silence.as_secs_f64()))
        } else if !status.is_fresh() {
            Some(format!("STALE: facts {} old: the pulse thread stands still", format::ms(status.age_ms)))
        } else {
            None
        }
    }

    fn count(&mut self, status: &Status) {
        self.rates.retain(|name, _| status.channels.iter().any(|channel| channel.name == *name));
        for channel in &status.channels {
            let now = (status.time_ns, channel.missing, format::rejected(channel));
            let rates = self.rates.entry(channel.name.clone()).or_insert(Rates { base: now, ..Rates::default() });
            let passed = now.0.saturating_sub(rates.base.0);
            // A new life of the agent counts anew.
            if now.1 < rates.base.1 || now.2 < rates.base.2 || now.0 < rates.base.0 {
                *rates = Rates { base: now, ..Rates::default() };
            } else if passed >= RATE_NS {
                let per_second = |more: u64| more as f64 * 1e9 / passed as f64;
                let (missing, rejected) = (per_second(now.1 - rates.base.1), per_second(now.2 - rates.base.2));
                *rates = Rates { base: now, missing, rejected };
            }
        }
    }

    fn measure(&mut self, histograms: Histograms, second: u64) {
        let documents: BTreeMap<_, _> = histograms.histograms.into_iter().map(|one| (one.name.clone(), one)).collect();
        self.series.retain(|name, _| documents.contains_key(name));
        for (name, document) in &documents {
            if name == "lateness" || name.starts_with("rtt/") {
                let measured = self.documents.get(name).and_then(|before| between(before, document));
                self.series.entry(name.clone()).or_default().note(second, measured);
            }
        }
        self.documents = documents;
    }
}
