//! What the live view shows: a picture of the pair taken at one moment, and how it is laid out.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, Color, Table};
use serde_json::Value;

use super::clients::Service;
use super::event::Event;
use crate::client::View;
use crate::lab::{Config, Lab, Node, Status, realtime_ns};

/// A paused agent must not stop the view for longer.
const STATUS_LIMIT: Duration = Duration::from_millis(900);
/// A service address that was not heard for so long does not answer.
const ANSWERING: Duration = Duration::from_millis(100);
/// Events on the screen, if there is room.
const SHOWN: usize = 12;

struct Side {
    node: Node,
    /// `running (pid 7)`, `ended: signal 9`, `powered off`.
    process: String,
    /// `None` where the agent does not say.
    status: Option<Status>,
}

struct Seen {
    group: String,
    home: Node,
    client: String,
    cidr: String,
    view: View,
    answering: bool,
    by: Option<Node>,
}

/// The pair at one moment.
pub(super) struct Picture {
    id: String,
    up: Duration,
    sides: [Side; 2],
    seen: Vec<Seen>,
    /// Names and kinds, as configured.
    channels: Vec<(String, String)>,
}

impl Picture {
    /// Asks both agents and the clients.
    pub(super) fn take(lab: &Lab, config: &Config, services: &[Service], up: Duration) -> Self {
        let side = |node| Side { node, process: process(lab, node), status: ask(lab, node) };
        let sides = thread::scope(|scope| {
            let b = scope.spawn(|| side(Node::B));
            let a = side(Node::A);
            [a, b.join().unwrap_or(Side { node: Node::B, process: "unknown".to_owned(), status: None })]
        });
        let seen = services.iter().map(|service| {
            let view = service.probe.view();
            Seen {
                group: service.group.clone(),
                home: service.home,
                client: format!("client{}", service.network),
                cidr: service.cidr.clone(),
                answering: view.answering(ANSWERING),
                view,
                by: service.server(lab),
            }
        });
        Self {
            id: lab.id().to_owned(),
            up,
            seen: seen.collect(),
            sides,
            channels: config.channels.iter().map(|channel| (channel.name.clone(), channel.kind.clone())).collect(),
        }
    }

    /// Everything, cut to a terminal of this width and height.
    pub(super) fn screen(&self, events: &VecDeque<Event>, footer: &str, (width, height): (u16, u16)) -> String {
        let mut text = self.plain();
        let used = text.lines().count() + footer.lines().count() + 3;
        let room = usize::from(height).saturating_sub(used).min(SHOWN);
        text.push_str("\nevents (UTC)\n");
        for event in events.iter().skip(events.len().saturating_sub(room)) {
            let _never_fails = writeln!(text, "  {}", event.line());
        }
        text.push_str(footer);
        // Colours take no room: only lines without them are cut.
        let fit = |line: &str| -> String {
            if line.contains('\x1b') { line.to_owned() } else { line.chars().take(width.into()).collect() }
        };
        let lines: Vec<String> = text.lines().take(height.into()).map(fit).collect();
        lines.join("\n")
    }

    /// The tables.
    fn plain(&self) -> String {
        let seconds = self.up.as_secs();
        let mut text = format!(
            "Heartbeat lab {}  up {:02}:{:02}:{:02}\n",
            self.id,
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        for side in &self.sides {
            let field = |pointer: &str| side.json(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
            let says = match side.status {
                Some(_) => format!(
                    "peer {}, verdict: {}",
                    field("/peer/state"),
                    side.json("/verdict").map_or("none".to_owned(), brief)
                ),
                None => "does not answer".to_owned(),
            };
            let _never_fails = writeln!(text, "  {}: {}, {says}", side.node, side.process);
        }
        let _never_fails = write!(text, "{}\n{}", self.channels(), self.groups());
        text
    }

    fn channels(&self) -> Table {
        let mut table =
            table(&["channel", "kind", "seen by", "state", "xdp", "sent", "received", "missing", "rejected"]);
        for (name, kind) in &self.channels {
            for side in &self.sides {
                let channel = side
                    .list("/channels")
                    .iter()
                    .find(|channel| channel.get("name").is_some_and(|known| known == name));
                let text = |key| channel.and_then(|channel| channel.get(key)).map_or("?".to_owned(), brief);
                let reasons = channel.and_then(|channel| channel.get("rejected")).and_then(Value::as_object);
                let rejected = reasons.map_or("?".to_owned(), |reasons| {
                    reasons.values().filter_map(Value::as_u64).sum::<u64>().to_string()
                });
                table.add_row(vec![
                    Cell::new(name),
                    Cell::new(kind),
                    Cell::new(side.node),
                    state(&text("state")),
                    Cell::new(text("xdp_mode")),
                    number(text("sent")),
                    number(text("received")),
                    number(text("missing")),
                    number(rejected),
                ]);
            }
        }
        table
    }

    fn groups(&self) -> Table {
        let mut table = table(&[
            "group",
            "home",
            "owner",
            "held by",
            "service address",
            "client",
            "answers",
            "from",
            "last gap",
            "longest",
        ]);
        for seen in &self.seen {
            let of = |side: &Side, key: &str| {
                let group = side
                    .list("/groups")
                    .iter()
                    .find(|group| group.get("name").and_then(Value::as_str) == Some(&seen.group));
                group.and_then(|group| group.get(key)).cloned()
            };
            let mut owners: Vec<String> =
                self.sides.iter().filter_map(|side| of(side, "owner")).map(|owner| brief(&owner)).collect();
            owners.dedup();
            let holders =
                self.sides.iter().filter(|side| of(side, "held").is_some_and(|held| held == Value::Bool(true)));
            let holders: Vec<&str> = holders.map(|side| side.node.name()).collect();
            let millis = |length: Option<Duration>| {
                length.map_or("-".to_owned(), |gap| format!("{:.1} ms", gap.as_secs_f64() * 1e3))
            };
            let last_gap = match seen.view.last.filter(|_| !seen.answering) {
                Some(last) => {
                    let silence = realtime_ns().saturating_sub(last.received_ns);
                    format!("{:.1} s so far", Duration::from_nanos(silence).as_secs_f64())
                }
                None => millis(seen.view.last_gap.map(|gap| gap.length())),
            };
            let longest = Some(seen.view.largest_gap.length()).filter(|_| seen.view.last_gap.is_some());
            table.add_row(vec![
                Cell::new(&seen.group),
                Cell::new(seen.home),
                Cell::new(if owners.is_empty() { "?".to_owned() } else { owners.join(" / ") }),
                Cell::new(if holders.is_empty() { "nobody".to_owned() } else { holders.join(" and ") }),
                Cell::new(&seen.cidr),
                Cell::new(&seen.client),
                state(if seen.answering { "yes" } else { "no" }),
                Cell::new(seen.by.filter(|_| seen.answering).map_or("-", Node::name)),
                number(last_gap),
                number(millis(longest)),
            ]);
        }
        table
    }
}

impl Side {
    fn json(&self, pointer: &str) -> Option<&Value> {
        self.status.as_ref()?.json.pointer(pointer)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.json(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

fn process(lab: &Lab, node: Node) -> String {
    match (lab.controller(node).is_ok(), lab.pid(node), lab.exit_status(node)) {
        (false, ..) => "powered off".to_owned(),
        (_, Some(pid), _) => format!("running (pid {pid})"),
        (_, None, Some(status)) => format!("ended ({status})"),
        (_, None, None) => "not started".to_owned(),
    }
}

fn ask(lab: &Lab, node: Node) -> Option<Status> {
    lab.pid(node)?;
    lab.status_within(node, STATUS_LIMIT).ok().filter(|status| status.json.is_object())
}

fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED.with_rounded_corners());
    table.set_header(titles.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table
}

fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(comfy_table::CellAlignment::Right)
}

fn state(text: &str) -> Cell {
    let cell = Cell::new(text);
    match text.to_ascii_lowercase().as_str() {
        "good" | "yes" => cell.fg(Color::Green),
        "bad" | "no" => cell.fg(Color::Red),
        _ => cell.fg(Color::Yellow),
    }
}

/// A JSON value as an operator would write it.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Object(fields) => match fields.get("text").or_else(|| fields.get("summary")).and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}
