//! From a file, or a text, to a configuration.

use super::error::{ConfigError, Report};
use super::table::Table;
use super::{Config, Contents, arbiter, commands, fence, read, records, sections, topology};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use toml::de::DeTable;

impl Config {
    /// Reads the file at `path`. A relative `key_file` is taken from the file's folder.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`NotRegular`](ConfigError::NotRegular), [`TooLarge`](ConfigError::TooLarge) (more than 1 MiB),
    /// [`Changing`](ConfigError::Changing), [`Exposed`](ConfigError::Exposed), [`NotUtf8`](ConfigError::NotUtf8), [`Invalid`](ConfigError::Invalid).
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with_contents(path).map(|(config, _)| config)
    }

    /// The same, with the file as it was.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_contents(path: &Path) -> Result<(Self, Contents), ConfigError> {
        let contents = read::read(path, read::MAX_FILE, 0).map_err(|fault| ConfigError::of_file(path, fault))?;
        let text = std::str::from_utf8(&contents.bytes).map_err(|error| {
            let before = &contents.bytes[..error.valid_up_to()];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
            ConfigError::NotUtf8 { path: path.to_owned(), line, column }
        })?;
        let mut config = Self::parse(text, &path.display().to_string())?;
        config.file_time = contents.modified();
        let mode = contents.metadata.mode() & 0o7777;
        if mode & 0o077 != 0
            && let Some(key) = config.secret()
        {
            return Err(ConfigError::Exposed { path: path.to_owned(), mode, key });
        }
        if let Some(folder) = path.parent() {
            config.pair.key_file = folder.join(&config.pair.key_file);
            config.api.token_file = config.api.token_file.map(|file| folder.join(file));
            config.arbiter = config.arbiter.map(|arbiter| arbiter.in_folder(folder));
        }
        Ok((config, contents))
    }

    /// Reads `text`, which messages call `name`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem found.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let mut report = Report::new(name, text);
        let config = match DeTable::parse(text) {
            Ok(root) => Self::read(root.get_ref(), &mut report),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                report.syntax(offset, error.message());
                None
            }
        };
        report.into_result()?;
        Ok(config.expect("where nothing was reported, every part was read"))
    }

    fn read(root: &DeTable<'_>, report: &mut Report<'_>) -> Option<Self> {
        let known = [
            "pair",
            "controller",
            "timing",
            "dataplane",
            "takeover",
            "judging",
            "api",
            "events",
            "histograms",
            "fence",
            "arbiter",
            "watchdog",
            "check",
            "channel",
            "group",
        ];
        let root = Table::open(report, String::new(), 0, root, &known);
        let pair = sections::pair(&root, report);
        let hostnames = sections::hostnames(&root, report);
        let (profile, timing) = sections::timing(&root, report);
        let dataplane = sections::dataplane(&root, report);
        let takeover = sections::takeover(&root, report);
        let judging = sections::judging(&root, report, &timing);
        let api = sections::api(&root, report);
        let events = records::events(&root, report);
        let histograms = records::histograms(&root, report);
        let arbiter = arbiter::arbiter(&root, report);
        let fence = fence::fence(&root, report);
        let watchdog = sections::watchdog(&root, report);
        let checks = commands::checks(&root, report);
        let (channels, groups) = topology::read(&root, report)?;
        Some(Self {
            pair: pair?,
            hostnames,
            timing,
            profile,
            dataplane,
            takeover,
            judging,
            api,
            events,
            histograms,
            fence,
            arbiter,
            watchdog,
            checks,
            channels,
            groups,
            file_time: 0,
        })
    }
}
