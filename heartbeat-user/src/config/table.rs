//! Reads one TOML table key by key, and reports what is wrong with each at its place in the file.

use super::error::{Fault, Report};
use crate::types::Nanos;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where in the text it stands, in bytes.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table whose keys are all known ones. Getters return `None` for a key that is absent, and for one that is wrong,
/// which is then in the report.
pub(super) struct Table<'t> {
    path: String,
    start: usize,
    entries: &'t DeTable<'t>,
}

impl<'t> Table<'t> {
    /// The table that begins at byte `start`; reports every key that is not in `known`. `path` precedes its keys' names
    /// in messages.
    pub(super) fn open(
        report: &mut Report<'_>,
        path: String,
        start: usize,
        entries: &'t DeTable<'t>,
        known: &[&str],
    ) -> Self {
        for (key, _) in entries {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let nearest = report.nearest(word, known.iter().copied());
                let known = known.iter().map(|&known| known.to_owned()).collect();
                let shown = word.escape_debug().take(60).collect::<String>();
                report.key(key.span().start, format!("{path}{shown}"), Fault::UnknownKey { nearest, known });
            }
        }
        Self { path, start, entries }
    }

    /// The element of an array of tables that `value` is; otherwise reports that `right` belongs there.
    pub(super) fn of(
        report: &mut Report<'_>,
        path: String,
        value: &'t Spanned<DeValue<'t>>,
        known: &[&str],
        right: &'static str,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(entries) => Some(Self::open(report, path, value.span().start, entries, known)),
            other => {
                let key = path.trim_end_matches([':', ' ', '.']);
                report.value(value.span(), key, Fault::WrongType { found: type_of(other), right });
                None
            }
        }
    }

    /// How messages name `key`.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// Reports `key` where it is absent: `right` belongs there.
    pub(super) fn require(&self, report: &mut Report<'_>, key: &str, right: &'static str) {
        if self.get(key).is_none() {
            report.key(self.start, self.name(key), Fault::Missing(right));
        }
    }

    /// `key` must be a text for which `accept` is true: `right` says what that is.
    pub(super) fn text(
        &self,
        report: &mut Report<'_>,
        key: &str,
        right: &'static str,
        accept: impl Fn(&str) -> bool,
    ) -> Option<At<&'t str>> {
        let value = self.get(key)?;
        let fault = match value.get_ref() {
            DeValue::String(text) if accept(text) => {
                return Some(At { value: text.as_ref(), span: value.span() });
            }
            DeValue::String(_) => Fault::BadText { right },
            other => Fault::WrongType { found: type_of(other), right },
        };
        report.value(value.span(), self.name(key), fault);
        None
    }

    /// `key` must be a whole number within `range`.
    pub(super) fn integer(&self, report: &mut Report<'_>, key: &str, range: RangeInclusive<u64>) -> Option<At<u64>> {
        let value = self.get(key)?;
        let fault = match value.get_ref() {
            DeValue::Integer(digits) => match u64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) if range.contains(&number) => {
                    return Some(At { value: number, span: value.span() });
                }
                _ => Fault::OutOfRange { min: *range.start(), max: *range.end() },
            },
            other => Fault::WrongType { found: type_of(other), right: "a whole number" },
        };
        report.value(value.span(), self.name(key), fault);
        None
    }

    /// `key` must be true or false.
    pub(super) fn flag(&self, report: &mut Report<'_>, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        let fault = Fault::WrongType { found: type_of(value.get_ref()), right: "true or false" };
        report.value(value.span(), self.name(key), fault);
        None
    }

    /// `key` must be a text such as `100ms`, within `range`.
    pub(super) fn duration(
        &self,
        report: &mut Report<'_>,
        key: &str,
        range: RangeInclusive<Nanos>,
    ) -> Option<At<Nanos>> {
        let value = self.get(key)?;
        let fault = match value.get_ref() {
            DeValue::String(text) => match parse_duration(text) {
                Ok(span) if range.contains(&span) => {
                    return Some(At { value: span, span: value.span() });
                }
                Ok(_) => Fault::DurationOutOfRange { min: *range.start(), max: *range.end() },
                Err(fault) => fault,
            },
            DeValue::Integer(digits) if digits.radix() == 10 => no_unit(digits.as_str()),
            DeValue::Float(digits) => no_unit(digits.as_str()),
            other => Fault::WrongType { found: type_of(other), right: "a duration such as \"100ms\" or \"1s\"" },
        };
        report.value(value.span(), self.name(key), fault);
        None
    }

    /// `key` must be that word (`Some(None)`), or a text such as `100ms`, within `range`.
    pub(super) fn duration_or(
        &self,
        report: &mut Report<'_>,
        key: &str,
        word: &'static str,
        range: RangeInclusive<Nanos>,
    ) -> Option<Option<Nanos>> {
        match self.peek(key) {
            Some(text) if text.value == word => return Some(None),
            Some(text) if matches!(parse_duration(text.value), Err(Fault::BadDuration { .. })) => {
                report.value(text.span, self.name(key), Fault::NeitherWordNorDuration { word });
                return None;
            }
            _ => {}
        }
        self.duration(report, key, range).map(|span| Some(span.value))
    }

    /// `key` must be one of the words in `choices`.
    pub(super) fn choice<T: Copy>(
        &self,
        report: &mut Report<'_>,
        key: &str,
        right: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(report, key, right, |_| true)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text.value) {
            return Some(*choice);
        }
        let nearest = report.nearest(text.value, choices.iter().map(|(word, _)| *word));
        let choices = choices.iter().map(|(word, _)| (*word).to_owned()).collect();
        report.value(text.span, self.name(key), Fault::UnknownChoice { nearest, choices });
        None
    }

    /// `key` must be a table with the keys `known`.
    pub(super) fn table(
        &self,
        report: &mut Report<'_>,
        key: &str,
        known: &[&str],
        right: &'static str,
    ) -> Option<Table<'t>> {
        Table::of(report, format!("{}.", self.name(key)), self.get(key)?, known, right)
    }

    /// What is in the table that `key` is, whatever its keys: none where it is absent, `None` where it is wrong. No message
    /// repeats its value, which may be a secret.
    pub(super) fn entries(
        &self,
        report: &mut Report<'_>,
        key: &str,
        right: &'static str,
    ) -> Option<Option<(usize, &'t DeTable<'t>)>> {
        match self.get(key).map(|value| (value.span().start, value.get_ref())) {
            None => Some(None),
            Some((start, DeValue::Table(entries))) => Some(Some((start, entries))),
            Some((start, other)) => {
                report.key(start, self.name(key), Fault::WrongType { found: type_of(other), right });
                None
            }
        }
    }

    /// `key` must be an array where it is there. Empty where it is absent or wrong.
    pub(super) fn array(&self, report: &mut Report<'_>, key: &str, right: &'static str) -> &'t [Spanned<DeValue<'t>>] {
        match self.get(key).map(|value| (value.span(), value.get_ref())) {
            None => &[],
            Some((_, DeValue::Array(array))) => array,
            Some((span, other)) => {
                report.value(span, self.name(key), Fault::WrongType { found: type_of(other), right });
                &[]
            }
        }
    }

    /// `key` must be there, an array with something in it.
    pub(super) fn filled_array(
        &self,
        report: &mut Report<'_>,
        key: &str,
        right: &'static str,
    ) -> &'t [Spanned<DeValue<'t>>] {
        match self.get(key) {
            Some(value) if value.get_ref().as_array().is_some_and(|array| array.is_empty()) => {
                report.value(value.span(), self.name(key), Fault::Missing(right));
            }
            _ => self.require(report, key, right),
        }
        self.array(report, key, right)
    }

    /// The text of `key`, if it is one; nothing is reported.
    pub(super) fn peek(&self, key: &str) -> Option<At<&'t str>> {
        let value = self.get(key)?;
        Some(At { value: value.get_ref().as_str()?, span: value.span() })
    }

    /// Where the value of `key` stands, right or wrong; nothing is reported.
    pub(super) fn peek_span(&self, key: &str) -> Option<Range<usize>> {
        self.get(key).map(|value| value.span())
    }

    /// Is `key` there, right or wrong?
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries.iter().find(|(known, _)| known.get_ref() == key).map(|(_, value)| value)
    }
}

fn parse_duration(text: &str) -> Result<Nanos, Fault> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(no_unit(text));
    }
    match humantime::parse_duration(text) {
        Ok(span) => Ok(Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))),
        Err(reason) => Err(Fault::BadDuration { reason: reason.to_string().escape_debug().take(80).collect() }),
    }
}

fn no_unit(number: &str) -> Fault {
    Fault::NoUnit { number: number.chars().take(20).collect() }
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// What the table is called in a message before its name is known: its `name` if that is text, else its number from 1.
pub(super) fn called(what: &str, number: usize, value: &DeValue<'_>) -> String {
    match value.get("name").and_then(|name| name.get_ref().as_str()) {
        Some(name) if name.chars().count() <= 32 => format!("{what} {name:?}: "),
        _ => format!("{what} {number}: "),
    }
}
