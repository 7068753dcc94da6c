//! What all of the picture of `heartbeat top` is drawn with: colours or shapes, and bars over the seconds.

use super::series::Series;
use crate::cli::paint::Tone;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::Span,
    widgets::{RenderDirection, Sparkline, Widget},
};
use std::time::Duration;

/// Colours, or shapes alone.
#[derive(Clone, Copy)]
pub(super) struct Look {
    colored: bool,
    /// Whether the facts are old.
    dim: bool,
}

impl Look {
    pub(super) const fn new(colored: bool, dim: bool) -> Self {
        Self { colored, dim }
    }

    pub(super) fn tone(self, tone: Tone) -> Style {
        let color = |color| if self.colored { Style::new().fg(color) } else { Style::new() };
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Good => color(Color::Green),
            Tone::Warn => color(Color::Yellow),
            Tone::Bad => color(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
        };
        if self.dim { style.add_modifier(Modifier::DIM) } else { style }
    }

    pub(super) fn plate(self, tone: Tone) -> Style {
        Self { dim: false, ..self }.tone(tone).add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }

    pub(super) fn span(self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.tone(tone))
    }
}

/// Each second's longest, the newest at the right; a gap is a dot.
pub(super) fn spark(series: &Series, now: Duration, look: Look, area: Rect, buffer: &mut Buffer) {
    let data: Vec<_> = series.newest_first(now.as_secs()).map(|second| second.map(|second| second.max_ns)).collect();
    bars(data, look, area, buffer);
}

/// One bar each, the newest first; what is not there is a dot.
pub(super) fn bars(data: Vec<Option<u64>>, look: Look, area: Rect, buffer: &mut Buffer) {
    // Small ones are still something.
    let max = data.iter().flatten().max().copied().unwrap_or(1).max(1);
    let least = max / (8 * u64::from(area.height.max(1))) + 1;
    let data: Vec<_> = data.into_iter().map(|value| value.map(|value| value.max(least))).collect();
    Sparkline::default()
        .data(data)
        .max(max)
        .direction(RenderDirection::RightToLeft)
        .style(if look.colored { look.tone(Tone::Plain).fg(Color::Cyan) } else { look.tone(Tone::Plain) })
        .absent_value_symbol("·")
        .absent_value_style(look.tone(Tone::Faint))
        .render(area, buffer);
}
