//! The sinks, one type each, where records go: standard output, journal, syslog, a file. Each may block: whoever
//! calls them has a thread for it.

use super::{
    health::{SinkHealth, SinkKind},
    rotated_file::RotatedFile,
    system_log::{self, to_journal},
};
use crate::{
    config::Rotated,
    events::{Output, item::Item},
    types::Severity,
};
use anyhow::Result;
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
};

/// Takes records, one after the other.
pub trait Sink: Send {
    /// One that has come; blocks.
    fn take(&mut self, item: &Item) -> Result<()>;

    /// These were taken, and there are no more for now.
    fn taken(&mut self, _items: &[Item]) -> Result<()> {
        Ok(())
    }

    /// The file that holds what earlier lives told.
    fn memory(&self) -> Option<PathBuf> {
        None
    }
}

/// A sink, and how it fares.
pub struct MonitoredSink {
    pub health: Arc<SinkHealth>,
    pub sink: Box<dyn Sink>,
}

impl MonitoredSink {
    pub fn new(what: SinkKind, target: impl Into<String>, sink: impl Sink + 'static) -> Self {
        Self { health: SinkHealth::new(what, target), sink: Box::new(sink) }
    }
}

/// Standard output, without the lock that the rest of the process takes for it.
pub struct Stdout {
    file: File,
    output: Output,
}

impl Stdout {
    pub fn new(output: Output) -> io::Result<Self> {
        Ok(Self { file: io::stdout().as_fd().try_clone_to_owned()?.into(), output })
    }

    pub fn target(&self) -> String {
        if self.file.is_terminal() { "terminal" } else { "stdout" }.to_owned()
    }
}

impl Sink for Stdout {
    fn take(&mut self, item: &Item) -> Result<()> {
        let line = self.output.written(item) + "\n";
        Ok(self.file.write_all(line.as_bytes())?)
    }
}

/// The journal, by its own protocol; else as a line of standard output, where that leads there, too.
pub struct Journald(pub Option<Stdout>);

impl Sink for Journald {
    fn take(&mut self, item: &Item) -> Result<()> {
        match (to_journal(item), &mut self.0) {
            (Err(_), Some(stdout)) => stdout.take(item),
            (sent, _) => sent,
        }
    }
}

/// /dev/log.
#[derive(Default)]
pub struct Syslog(system_log::Syslog);

impl Sink for Syslog {
    fn take(&mut self, item: &Item) -> Result<()> {
        self.0.send(item)
    }
}

/// A file of JSON lines.
pub struct EventFile {
    path: PathBuf,
    file: RotatedFile,
}

impl EventFile {
    pub fn new(to: Rotated) -> Self {
        Self { path: to.path.clone(), file: RotatedFile::new(to, None) }
    }
}

impl Sink for EventFile {
    fn take(&mut self, item: &Item) -> Result<()> {
        match item {
            Item::Event(entry) => self.file.append(&format!("{}\n", entry.json)),
            Item::Line(_) => Ok(()),
        }
    }

    /// What is told of a fault is to outlive the host that has it.
    fn taken(&mut self, items: &[Item]) -> Result<()> {
        let grave = |item: &Item| matches!(item, Item::Event(entry) if entry.record.severity >= Severity::Warning);
        if items.iter().any(grave) { self.file.sync() } else { Ok(()) }
    }

    fn memory(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }
}
