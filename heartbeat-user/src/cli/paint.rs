//! Colours, where somebody sees them: never the only bearer of what they say.

use anstyle::{AnsiColor, Style};
use std::io::{IsTerminal as _, stdout};

/// `--color`, for commands that have colours.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ColorArgs {
    /// Colours: on a terminal, unless NO_COLOR is set or TERM is dumb; always; never
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: When,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[expect(missing_docs, reason = "the argument says it")]
pub enum When {
    #[default]
    Auto,
    Always,
    Never,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As all else.
    Plain,
    /// Works.
    Good,
    /// Is to be looked at.
    Warn,
    /// Does not work.
    Bad,
    /// A heading, or what matters.
    Strong,
    /// What matters less.
    Faint,
}

/// Paints, or leaves all as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl ColorArgs {
    /// For standard output.
    #[must_use]
    pub fn stdout(self) -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint::new(self.color, stdout().is_terminal(), set("NO_COLOR"), dumb)
    }
}

impl Paint {
    /// Leaves all as it is.
    pub const OFF: Self = Self { on: false };

    /// Whether NO_COLOR is set and not empty is as <https://no-color.org> has it; whoever says `--color always` means it.
    #[must_use]
    pub const fn new(when: When, terminal: bool, no_color: bool, dumb: bool) -> Self {
        let on = match when {
            When::Auto => terminal && !no_color && !dumb,
            When::Always => true,
            When::Never => false,
        };
        Self { on }
    }

    /// Whether it paints.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.on
    }

    /// The text in this tone.
    #[must_use]
    pub fn text(self, tone: Tone, text: &str) -> String {
        self.styled(style(tone), text)
    }

    /// The text as a plate: black on the tone's colour.
    #[must_use]
    pub fn plate(self, tone: Tone, text: &str) -> String {
        let Some(color) = style(tone).get_fg_color() else { return self.text(tone, text) };
        self.styled(Style::new().bold().fg_color(Some(AnsiColor::Black.into())).bg_color(Some(color)), text)
    }

    fn styled(self, style: Style, text: &str) -> String {
        if self.on && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn style(tone: Tone) -> Style {
    let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => color(AnsiColor::Green),
        Tone::Warn => color(AnsiColor::Yellow),
        Tone::Bad => color(AnsiColor::Red).bold(),
        Tone::Strong => Style::new().bold(),
        Tone::Faint => Style::new().dimmed(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Paint, Tone, When};

    #[test]
    fn colours_are_for_terminals_unless_no_color_or_somebody_says_otherwise() {
        let on = |when, terminal, no_color, dumb| Paint::new(when, terminal, no_color, dumb).is_on();
        assert!(on(When::Auto, true, false, false));
        assert!(!on(When::Auto, false, false, false), "a pipe");
        assert!(!on(When::Auto, true, true, false), "NO_COLOR");
        assert!(!on(When::Auto, true, false, true), "TERM=dumb");
        assert!(on(When::Always, false, true, true));
        assert!(!on(When::Never, true, false, false));
    }

    #[test]
    fn what_is_not_painted_is_the_text_alone() {
        assert_eq!(Paint::OFF.plate(Tone::Bad, " BAD "), " BAD ");
        let paint = Paint::new(When::Always, false, false, false);
        assert_eq!(paint.text(Tone::Good, "GOOD"), "\u{1b}[32mGOOD\u{1b}[0m");
        assert_eq!(paint.text(Tone::Plain, "x"), "x");
    }
}
