//! A table of distributions, with a budget and hit or miss beside each.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use hdrhistogram::Histogram;

/// In ns.
const MS: f64 = 1e6;

/// Durations of one sort, in ns.
pub(crate) struct Row {
    name: String,
    durations: Histogram<u64>,
    median_budget: Option<f64>,
    max_budget: Option<f64>,
}

impl Row {
    /// Without a budget.
    pub(crate) fn new(name: impl Into<String>) -> Result<Self> {
        Ok(Self { name: name.into(), durations: Histogram::new(3)?, median_budget: None, max_budget: None })
    }

    /// Budget of the median in ms.
    pub(crate) fn median(self, ms: f64) -> Self {
        Self { median_budget: Some(ms * MS), ..self }
    }

    /// Budget of the maximum in ms.
    pub(crate) fn max(self, ms: f64) -> Self {
        Self { max_budget: Some(ms * MS), ..self }
    }

    pub(crate) fn record(&mut self, ns: u64) -> Result<()> {
        Ok(self.durations.record(ns)?)
    }

    /// What the budget is, and whether it is kept.
    fn budget(&self) -> (String, String) {
        let (mut budget, mut missed) = (Vec::new(), Vec::new());
        let figures = [
            ("median", self.median_budget, self.durations.value_at_quantile(0.5)),
            ("max", self.max_budget, self.durations.max()),
        ];
        for (name, limit, figure) in figures {
            let Some(limit) = limit else { continue };
            budget.push(format!("{name} {}", limit / MS));
            if figure as f64 > limit {
                missed.push(format!("{name} x{:.1}", figure as f64 / limit));
            }
        }
        let kept = match (budget.is_empty(), missed.is_empty()) {
            (true, _) => "-".to_owned(),
            (_, true) => "hit".to_owned(),
            _ => format!("MISS {}", missed.join(", ")),
        };
        (budget.join(", "), kept)
    }
}

/// Prints them under a title, in ms.
pub(crate) fn print(title: &str, rows: &[Row]) {
    let mut lines = Vec::new();
    for row in rows {
        let figure = |ns: u64| {
            let digits = if ns as f64 >= 100.0 * MS { 2 } else { 3 };
            format!("{:.digits$}", ns as f64 / MS)
        };
        let durations = &row.durations;
        let (budget, kept) = row.budget();
        lines.push(vec![
            row.name.clone(),
            durations.len().to_string(),
            figure(durations.min()),
            figure(durations.value_at_quantile(0.5)),
            figure(durations.value_at_quantile(0.99)),
            figure(durations.max()),
            budget,
            kept,
        ]);
    }
    print_lines(title, &["ms", "n", "min", "median", "p99", "max", "budget", ""], lines);
}

/// Prints any table: names to the left, figures to the right.
pub(crate) fn print_lines(title: &str, header: &[&str], lines: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(lines);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 && index + 2 < header.len() {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{title}\n{table}");
}
