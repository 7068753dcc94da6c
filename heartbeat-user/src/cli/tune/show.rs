//! The report of `heartbeat tune`, for people and for programs.

use super::Report;
use crate::{
    config::show,
    tune::{Alarms, Basis, ChannelModel, Promise, YEAR_S, bounds::most_events, pair},
    types::Nanos,
};
use comfy_table::{Table, presets::NOTHING};
use serde_json::{Value, json};
use std::fmt::Write as _;

const HOW: &str = "\
How this is computed: the interval is the median gap; losses are what sequence numbers skipped; the variance of delays is half
that of gaps of about one interval. A gap longer than the detection time is a false alarm: where the recording had any, or is long
enough, the bound is the exact one of a Poisson rate (95 %; none in a time t give 3/t). Beyond the recording, `model`: losses
in sequence, no rarer than they followed each other, with late messages (Chen, Toueg, Aguilera, IEEE Trans. Computers 51(5), 2002);
plus long silences, which count per time, with a tail no steeper than x^-2. `transferred`: another interval than the recorded
one; there, silences count at their full length, oftener where messages are, and single losses come on top.
A channel's false alarm leads to an analysis and is reported; it moves nothing as long as another channel is heard.
";

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all text");
}

/// A rate a year, in few digits.
fn a_year(per_s: f64) -> String {
    match per_s * YEAR_S {
        0.0 => "0".to_owned(),
        n if n < 0.001 => format!("{n:.0e}"),
        n if n < 10.0 => format!("{n:.2}"),
        n if n < 10_000.0 => format!("{n:.0}"),
        n => format!("{n:.1e}"),
    }
}

fn span(seconds: f64) -> String {
    Nanos((seconds * 1e9) as u64).to_string()
}

/// A long time, in whole seconds or more.
fn lasting(seconds: f64) -> String {
    match seconds {
        s if s >= 2.0 * YEAR_S => format!("{:.1} years", s / YEAR_S),
        s if s >= 172_800.0 => format!("{:.1} days", s / 86_400.0),
        s if s >= 7_200.0 => format!("{:.1} hours", s / 3_600.0),
        s if s >= 120.0 => format!("{:.1} minutes", s / 60.0),
        s => format!("{s:.1} s"),
    }
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Observed => "observed",
        Basis::Model => "model",
        Basis::Transferred => "transferred",
    }
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

impl Report {
    /// Every timing that is shown, by its name.
    fn rows(&self) -> Vec<(String, &Promise)> {
        let present = self.present.iter().map(|promise| ("present".to_owned(), promise));
        let profiles = self.profiles.iter().map(|(profile, promise)| (profile.to_string(), promise));
        let recommended = ("recommended".to_owned(), &self.recommended.promise);
        present.chain(profiles).chain([recommended]).collect()
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n\nFalse alarms a year\n\n", self.seen().trim_fmt());
        write(&mut text, format_args!("{}\n\n{HOW}\n", self.alarms().trim_fmt()));
        for warning in self.all_warnings() {
            write(&mut text, format_args!("warning: {warning}\n"));
        }
        text + &self.conclusion()
    }

    /// How the channels have been.
    fn seen(&self) -> Table {
        let mut seen =
            new_table(["channel", "recorded", "gaps", "interval", "jitter", "longest", "lost", "lost again", "losses"]);
        for c in &self.channels {
            seen.add_row([
                c.name.clone(),
                lasting(c.lasted_s),
                c.gaps.to_string(),
                span(c.interval_s),
                span(c.delay_variance_s2.sqrt()),
                span(c.longest_s),
                format!("{:.3} % (at most {:.3})", c.loss.share * 1e2, c.loss.share_bound * 1e2),
                format!("{:.2} % (at most {:.2})", c.loss.repeated * 1e2, c.loss.repeated_bound * 1e2),
                match (c.loss.counted, c.loss.bursty) {
                    (true, false) => "counted, independent".to_owned(),
                    (true, true) => "counted, in bursts".to_owned(),
                    (false, false) => "guessed, independent".to_owned(),
                    (false, true) => "guessed, in bursts".to_owned(),
                },
            ]);
        }
        seen
    }

    /// What each timing would promise on each of them.
    fn alarms(&self) -> Table {
        let mut alarms =
            new_table(["timing", "interval", "detection", "channel", "seen", "expected", "promised at most", "by"]);
        for (name, promise) in self.rows() {
            for (i, (c, a)) in self.channels.iter().zip(&promise.channels).enumerate() {
                let first = [name.clone(), show(promise.timing.interval), span(promise.detection_s)];
                let first = if i == 0 { first } else { Default::default() };
                let rest = [
                    c.name.clone(),
                    a.seen.to_string(),
                    a_year(a.expected),
                    a_year(a.bound),
                    basis(a.basis).to_owned(),
                ];
                alarms.add_row(first.into_iter().chain(rest).collect::<Vec<_>>());
            }
            if promise.channels.len() > 1 {
                let [independent, worst] = pair(promise);
                let of = format!("{} if independent", a_year(independent));
                let row = ["", "", "", "all at once", "", &of, &a_year(worst), "if one fault silences all"];
                alarms.add_row(row.map(str::to_owned));
            }
        }
        alarms
    }

    /// What follows, and the lines for it.
    fn conclusion(&self) -> String {
        let promise = &self.recommended.promise;
        let (bound, most) = (a_year(promise.worst()), a_year(self.most));
        let (detection, toml) = (span(promise.detection_s), self.recommended.toml());
        if self.recommended.suffices {
            let how = if promise.is_observed() { "observed" } else { "extrapolated" };
            format!(
                "\nRecommended: a channel fails {detection} after its last heartbeat; at most {bound} false alarms a year on any \
                 channel ({how}), {most} were asked for.\n\n{toml}"
            )
        } else {
            format!(
                "\nNothing can be promised to have at most {most} false alarms a year on every channel. The best there is: \
                 {detection}, at most {bound}.\n\n{toml}"
            )
        }
    }

    pub(super) fn json(&self) -> String {
        let alarms = |promise: &Promise| -> Value {
            let channels = self.channels.iter().zip(&promise.channels);
            channels.map(|(channel, alarms)| alarms_json(channel, alarms)).collect()
        };
        let timings: Vec<_> = self
            .rows()
            .into_iter()
            .map(|(name, promise)| {
                let [independent, worst] = pair(promise);
                json!({
                    "name": name,
                    "interval_ms": promise.timing.interval.0 as f64 / 1e6,
                    "detection_ms": promise.detection_s * 1e3,
                    "channels": alarms(promise),
                    "pair": {
                        "independent_per_year": independent * YEAR_S,
                        "correlated_per_year": worst * YEAR_S,
                    },
                })
            })
            .collect();
        let recommended = &self.recommended;
        let document = json!({
            "asked_per_year": self.most * YEAR_S,
            "channels": self.channels.iter().map(channel_json).collect::<Vec<_>>(),
            "timings": timings,
            "recommended": {
                "suffices": recommended.suffices,
                "observed": recommended.promise.is_observed(),
                "promised_per_year": recommended.promise.worst() * YEAR_S,
                "detection_ms": recommended.promise.detection_s * 1e3,
                "toml": recommended.toml(),
            },
            "warnings": self.all_warnings(),
        });
        format!("{document:#}\n")
    }

    /// What was found on the way, and where the recording does not carry what is promised.
    fn all_warnings(&self) -> Vec<String> {
        let mut all = self.warnings.clone();
        let promise = &self.recommended.promise;
        let needed = most_events(0) / self.most;
        for (c, alarms) in self.channels.iter().zip(&promise.channels) {
            if alarms.basis == Basis::Observed {
                continue;
            }
            all.push(format!(
                "{}: {} without a longer gap support at most {} false alarms a year (95 %); the rest is extrapolated. To observe \
                 what was asked for takes a recording of {}",
                c.name,
                lasting(c.lasted_s),
                a_year(most_events(0) / c.lasted_s),
                lasting(needed)
            ));
        }
        if let Some(c) = self.channels.iter().find(|c| !c.loss.counted) {
            all.push(format!("{}: without counters, every long gap counts as heartbeats that were lost", c.name));
        }
        let other = promise.channels.iter().any(|alarms| alarms.basis == Basis::Transferred);
        if other {
            all.push(
                "the recommended interval is not the recorded one; once it is set, record and tune again".to_owned(),
            );
        }
        all
    }
}

fn channel_json(c: &ChannelModel) -> Value {
    json!({
        "name": c.name,
        "recorded_s": c.lasted_s,
        "gaps": c.gaps,
        "interval_ms": c.interval_s * 1e3,
        "longest_ms": c.longest_s * 1e3,
        "delay_deviation_us": c.delay_variance_s2.sqrt() * 1e6,
        "loss": c.loss.share,
        "loss_bound": c.loss.share_bound,
        "repeated_loss": c.loss.repeated,
        "repeated_loss_bound": c.loss.repeated_bound,
        "bursty": c.loss.bursty,
        "counted": c.loss.counted,
        "tail_index": c.index,
    })
}

fn alarms_json(channel: &ChannelModel, alarms: &Alarms) -> Value {
    json!({
        "name": channel.name,
        "seen": alarms.seen,
        "expected_per_year": alarms.expected * YEAR_S,
        "promised_per_year": alarms.bound * YEAR_S,
        "basis": basis(alarms.basis),
    })
}
