//! What either controller found when a fault was placed, side by side; and what of that is otherwise by now.

use super::history::{History, field};
use crate::{
    api::Status,
    events::{Kind, Record},
};
use comfy_table::{Table, presets::NOTHING};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The moment as of which it is explained, and what no event says of it.
#[derive(Default)]
pub(super) struct Now {
    /// In ns since 1970.
    pub time_ns: u64,
    /// Whether the peer says that it hears us, by channel; nothing where that is not known.
    pub heard_there: BTreeMap<String, bool>,
}

impl Now {
    /// Of a status.
    pub(super) fn of(status: &Status) -> Self {
        let heard = status.channels.iter().filter_map(|channel| Some((channel.name.clone(), channel.heard_there?)));
        Self { time_ns: status.time_ns, heard_there: heard.collect() }
    }
}

/// What a fault was placed by (`PathFacts`), as far as this version understands it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Facts {
    carrier: Option<bool>,
    heard: Option<bool>,
    peer_hears: Option<bool>,
    operational: Option<bool>,
    peer_operational: Option<bool>,
}

/// The table; `placed`: the faults that stand.
pub(super) fn evidence(history: &History<'_>, placed: &[&Record], now: &Now) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["", "this side", "that side"]);
    for event in placed {
        let name = event.channel.clone().unwrap_or_default();
        let facts: Facts = field(event, "facts").unwrap_or_default();
        let side = |hears, answers| format!("{}, network {}", hearing(hears), said(answers, "answers", "silent"));
        let carrier = said(facts.carrier, CARRIER[1], CARRIER[0]);
        let this = format!("{carrier}, {}", side(facts.heard, facts.operational));
        let that = side(facts.peer_hears, facts.peer_operational);
        let [this_now, that_now] = otherwise(history, &name, &facts, now);
        if this_now.is_empty() && that_now.is_empty() {
            table.add_row([name, this, that]);
        } else {
            let or_same = |now: String| if now.is_empty() { "as judged".to_owned() } else { now };
            table.add_row([format!("{name}, as judged"), this, that]);
            table.add_row([format!("{name}, now"), or_same(this_now), or_same(that_now)]);
        }
    }
    if let Some(evidence) = history.last(Kind::Judged).and_then(|judged| judged.evidence.get("evidence")) {
        for (name, key) in [("quality of service", "qos"), ("duties", "duties")] {
            let of =
                |side: &str| evidence.get(side).and_then(|side| side.get(key)).map_or("-".into(), Value::to_string);
            table.add_row([name.to_owned(), of("local"), of("remote")]);
        }
    }
    table.trim_fmt().lines().map(|line| format!("  {line}\n")).collect::<String>().trim_end().to_owned()
}

/// What is not as it was when the fault was placed, which may be before the channel was found silent: here, there. (What the networks
/// answer belongs to where the fault lies: where that changes, it is placed anew.)
fn otherwise(history: &History<'_>, channel: &str, facts: &Facts, now: &Now) -> [String; 2] {
    let last = |kinds: &[Kind]| {
        let is_of = |(kind, event): &(Kind, &Record)| kinds.contains(kind) && event.channel.as_deref() == Some(channel);
        history.iter().rfind(is_of)
    };
    let mut here = Vec::new();
    if let Some((kind, _)) = last(&[Kind::CarrierLost, Kind::CarrierFound]) {
        let carrier = kind == Kind::CarrierFound;
        here.extend((facts.carrier == Some(!carrier)).then(|| CARRIER[usize::from(carrier)].to_owned()));
    }
    match last(&[Kind::ChannelBad, Kind::ChannelGood, Kind::ChannelFlapping]) {
        Some((Kind::ChannelFlapping, _)) => here.push("comes and goes".to_owned()),
        Some((Kind::ChannelGood, _)) if facts.heard == Some(false) => here.push(hearing(Some(true)).to_owned()),
        Some((Kind::ChannelBad, event)) if facts.heard == Some(true) => {
            let silent = field::<u64>(event, "silent_ns").map(|ns| now.time_ns.saturating_sub(event.time_ns) + ns);
            let deaf = hearing(Some(false));
            here.push(silent.map_or(deaf.to_owned(), |ns| format!("{deaf} for {:.1} s", ns as f64 / 1e9)));
        }
        _ => {}
    }
    let hears = now.heard_there.get(channel).copied();
    let there = hears.filter(|hears| facts.peer_hears == Some(!hears)).map(|hears| hearing(Some(hears)).to_owned());
    [here.join(", "), there.unwrap_or_default()]
}

const CARRIER: [&str; 2] = ["no carrier", "carrier"];

fn hearing(hears: Option<bool>) -> &'static str {
    said(hears, "hears", "hears nothing")
}

const fn said(value: Option<bool>, yes: &'static str, no: &'static str) -> &'static str {
    match value {
        Some(true) => yes,
        Some(false) => no,
        None => "-",
    }
}
