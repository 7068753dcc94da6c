//! How screens write it: words and their colours, figures in a few characters, text that fits.

use super::paint::Tone;
use crate::{
    api::{Answer, Channel, Group, Health},
    types::{Nanos, Node, Severity},
};

/// The answer's colour.
#[must_use]
pub const fn tone(answer: Answer) -> Tone {
    match answer {
        Answer::Good => Tone::Good,
        Answer::Degraded | Answer::Unknown => Tone::Warn,
        Answer::Bad => Tone::Bad,
    }
}

/// A peer's or a channel's state.
#[must_use]
pub const fn health(health: Health) -> (&'static str, Tone) {
    match health {
        Health::Good => ("GOOD", Tone::Good),
        Health::Bad => ("BAD", Tone::Bad),
        Health::Unknown => ("unknown", Tone::Warn),
    }
}

/// An event's severity.
#[must_use]
pub const fn gravity(severity: Severity) -> Tone {
    match severity {
        Severity::Info => Tone::Faint,
        Severity::Notice => Tone::Plain,
        Severity::Warning => Tone::Warn,
        Severity::Critical => Tone::Bad,
    }
}

/// Who serves a group, and whether that is as it should be.
#[must_use]
pub fn server(group: &Group, here: Node) -> (String, Tone) {
    match group.owner {
        None => ("NOBODY".into(), Tone::Bad),
        // What is ours without its addresses in place is on its way.
        Some(owner) if owner == here && !group.held => (format!("{owner} (not yet)"), Tone::Warn),
        Some(owner) => {
            let place = if owner == here { "here" } else { "peer" };
            (format!("{owner} ({place})"), if owner == group.home { Tone::Good } else { Tone::Warn })
        }
    }
}

/// What was not life, whatever the reason.
#[must_use]
pub fn rejected(channel: &Channel) -> u64 {
    channel.rejected.values().sum()
}

/// `wrong_tag 3, replayed 1`
#[must_use]
pub fn rejections(channel: &Channel) -> String {
    let some = channel.rejected.iter().filter(|(_, n)| **n > 0);
    some.map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join(", ")
}

/// A duration in a few characters: `61 us`, `1.23 ms`, `12.3 s`, `5 min`, `3 h`, `2 d`.
#[must_use]
pub fn span(span: Nanos) -> String {
    let s = span.0 as f64 / 1e9;
    match span.0 {
        ns if ns < 999_500 => format!("{:.0} us", s * 1e6),
        ns if ns < 9_995_000 => format!("{:.2} ms", s * 1e3),
        ns if ns < 999_500_000 => format!("{:.0} ms", s * 1e3),
        ns if ns < 100_000_000_000 => format!("{s:.1} s"),
        ns if ns < 6_000_000_000_000 => format!("{:.0} min", s / 60.0),
        ns if ns < 172_800_000_000_000 => format!("{:.0} h", s / 3600.0),
        _ => format!("{:.0} d", s / 86_400.0),
    }
}

/// A figure of the status in us, as [`span`].
#[must_use]
pub fn us(us: f64) -> String {
    span(Nanos((us * 1e3) as u64))
}

/// A figure of the status in ms, as [`span`].
#[must_use]
pub fn ms(ms: f64) -> String {
    span(Nanos((ms * 1e6) as u64))
}

/// At most so many characters; what is cut off is shown as `…`.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…'].into_iter().take(width)).collect()
}

/// Lines of at most so many characters, broken between words; a longer word is broken itself.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let last = lines.last_mut().expect("there is always one");
            let used = last.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width || used == 0 {
                let taken: String = word.drain(..word.len().min(width)).collect();
                last.push_str(&" ".repeat(gap));
                last.push_str(&taken);
            } else {
                lines.push(String::new());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{fit, span, wrap};
    use crate::types::Nanos;

    #[test]
    fn durations_take_few_characters() {
        let shown: Vec<_> = [0, 61_400, 1_234_000, 9_996_000, 12_340_000, 999_600_000, 12_340_000_000, 360_000_000_000]
            .map(|ns| span(Nanos(ns)))
            .into();
        assert_eq!(shown, ["0 us", "61 us", "1.23 ms", "10 ms", "12 ms", "1.0 s", "12.3 s", "6 min"]);
    }

    #[test]
    fn long_text_is_cut_or_wrapped_at_the_width() {
        assert_eq!([fit("net1", 4), fit("storage", 5), fit("storage", 0)], ["net1", "stor…", ""]);
        assert_eq!(wrap("the other port or cable", 9), ["the other", "port or", "cable"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
