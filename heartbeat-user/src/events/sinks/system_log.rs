//! The host's own log: systemd's journal by its native protocol, or whatever listens on /dev/log.

use crate::{
    events::{
        Record,
        item::{Item, Line},
    },
    types::Severity,
};
use anyhow::{Result, anyhow};
use libsystemd::logging::{JournalStream, Priority, journal_send};
use serde_json::Value;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::{hash::Hasher, time::Duration};
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

const IDENTIFIER: &str = "heartbeat";
/// So long a message may wait for /dev/log.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether standard output leads to the journal.
#[must_use]
pub fn stdout_is_the_journal() -> bool {
    JournalStream::from_env().is_ok_and(|named| JournalStream::from_fd(std::io::stdout()).is_ok_and(|out| out == named))
}

/// Sends to the journal, with every field. Waits where it does not read.
///
/// # Errors
/// There is none, or what the system says.
pub fn to_journal(item: &Item) -> Result<()> {
    let (priority, message, fields) = match item {
        Item::Event(entry) => (priority(entry.record.severity), entry.record.text.as_str(), fields(&entry.record)),
        Item::Line(line) => {
            let Line { level, message, .. } = &**line;
            let priority = match level {
                log::Level::Error => Priority::Error,
                log::Level::Warn => Priority::Warning,
                _ => Priority::Info,
            };
            (priority, message.as_str(), Vec::new())
        }
    };
    let identifier = ("SYSLOG_IDENTIFIER".to_owned(), IDENTIFIER.to_owned());
    journal_send(priority, message, fields.into_iter().chain([identifier])).map_err(|error| anyhow!("{error}"))
}

const fn priority(severity: Severity) -> Priority {
    match severity {
        Severity::Info => Priority::Info,
        Severity::Notice => Priority::Notice,
        Severity::Warning => Priority::Warning,
        Severity::Critical => Priority::Critical,
    }
}

fn fields(record: &Record) -> Vec<(String, String)> {
    let Record { event, time_ns, id, controller, channel, group, evidence, .. } = record;
    let own = [
        ("event", Some(event.clone())),
        ("controller", Some(controller.to_string())),
        ("channel", channel.clone()),
        ("group", group.clone()),
        ("id", Some(id.to_string())),
        ("time_ns", Some(time_ns.to_string())),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let evidence = evidence.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| match value {
        Value::String(text) => (name.clone(), text.clone()),
        other => (name.clone(), other.to_string()),
    });
    let named = own.chain(evidence).map(|(name, value)| (format!("HEARTBEAT_{}", name.to_ascii_uppercase()), value));
    named.chain([("MESSAGE_ID".to_owned(), message_id(event))]).collect()
}

/// The same for events of a kind, on every host and in every version.
fn message_id(event: &str) -> String {
    let mut hasher = SipHasher24::new_with_key(b"heartbeat events");
    hasher.write(event.as_bytes());
    let hash = hasher.finish128();
    let hash = u128::from(hash.h1) << 64 | u128::from(hash.h2);
    // A UUID of version 8 (RFC 9562), whose other bits are ours.
    let (version, variant) = (8_u128 << 76, 2_u128 << 62);
    format!("{:032x}", hash & !(0xf << 76) & !(3 << 62) | version | variant)
}

/// A connection to /dev/log.
#[derive(Default)]
pub struct Syslog(Option<Logger<LoggerBackend, Formatter3164>>);

impl Syslog {
    /// Sends it, on a new connection where the old one is broken: whoever listened there may be another one by now.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, item: &Item) -> Result<()> {
        let (severity, text) = written(item);
        let old = self.0.is_some();
        match self.try_send(severity, &text) {
            Err(_) if old => self.try_send(severity, &text),
            sent => sent,
        }
    }

    fn try_send(&mut self, severity: Severity, text: &str) -> Result<()> {
        let mut logger = match self.0.take() {
            Some(logger) => logger,
            None => connect()?,
        };
        match severity {
            Severity::Info => logger.info(text),
            Severity::Notice => logger.notice(text),
            Severity::Warning => logger.warning(text),
            Severity::Critical => logger.crit(text),
        }
        .map_err(reason)?;
        self.0 = Some(logger);
        Ok(())
    }
}

fn connect() -> Result<Logger<LoggerBackend, Formatter3164>> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: IDENTIFIER.to_owned(),
        pid: std::process::id(),
    };
    let logger = syslog::unix(formatter).map_err(reason)?;
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(PATIENCE))?,
        LoggerBackend::UnixStream(stream) => stream.get_ref().set_write_timeout(Some(PATIENCE))?,
        _ => {}
    }
    Ok(logger)
}

fn reason(error: syslog::Error) -> anyhow::Error {
    anyhow!("/dev/log: {error}")
}

/// On one line: name, sentence, and what is beside it as JSON.
fn written(item: &Item) -> (Severity, String) {
    let (severity, text) = match item {
        Item::Event(entry) => {
            let Record { severity, event, text, evidence, .. } = &entry.record;
            let evidence = match evidence.is_empty() {
                true => String::new(),
                false => format!(" {}", Value::Object(evidence.clone())),
            };
            (*severity, format!("{event}: {text}{evidence}"))
        }
        Item::Line(line) => {
            let Line { level, message, .. } = &**line;
            let severity = match level {
                log::Level::Error => Severity::Critical,
                log::Level::Warn => Severity::Warning,
                _ => Severity::Info,
            };
            (severity, message.clone())
        }
    };
    (severity, text.replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_event_has_one_message_id_and_it_is_a_uuid() {
        assert_eq!(message_id("channel_bad"), message_id("channel_bad"));
        assert_ne!(message_id("channel_bad"), message_id("channel_good"));
        let id = message_id("channel_bad");
        assert_eq!((id.len(), id.as_bytes()[12], "89ab".contains(&id[16..17])), (32, b'8', true), "{id}");
    }

    #[test]
    fn every_piece_of_evidence_is_a_field_of_the_journal() {
        let record: Record = serde_json::from_value(serde_json::json!({
            "event": "channel_bad", "time_ns": 7, "monotonic_ns": 0, "id": 9, "severity": "warning", "controller": "a",
            "channel": "net1", "text": "net1 is BAD", "silent_ns": 300, "answered": ["net2"], "why": null, "how": "so",
        }))
        .unwrap();
        let mut fields = fields(&record);
        fields.retain(|(name, _)| name != "MESSAGE_ID");
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            fields,
            [
                "HEARTBEAT_EVENT=channel_bad",
                "HEARTBEAT_CONTROLLER=a",
                "HEARTBEAT_CHANNEL=net1",
                "HEARTBEAT_ID=9",
                "HEARTBEAT_TIME_NS=7",
                "HEARTBEAT_SILENT_NS=300",
                "HEARTBEAT_ANSWERED=[\"net2\"]",
                "HEARTBEAT_HOW=so",
            ]
        );
    }
}
