//! Log records of this process, and of the kernel program, go where events go.

use super::{
    Output,
    item::{Item, Line},
    sinks::Sinks,
};
use crate::system::clock;
use log::{Level, LevelFilter, Log, Metadata};
use std::sync::Arc;

/// From now on they do.
pub fn take_log_records(output: Output, sinks: Sinks) {
    if log::set_boxed_logger(Box::new(Logger { output, sinks })).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Takes log records.
struct Logger {
    output: Output,
    sinks: Sinks,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, time_ns, message) = (record.level(), clock::realtime_ns(), record.args().to_string());
        let line = Item::Line(Arc::new(Line { level, time_ns, message }));
        if let Err(line) = self.sinks.tell(line) {
            self.output.write(&line);
        }
    }

    fn flush(&self) {}
}
