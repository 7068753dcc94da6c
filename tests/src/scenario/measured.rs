//! What trials measured, as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::show;

/// Measured durations by what they are of, in the order of their first appearance.
#[derive(Debug, Default)]
pub struct Measured {
    order: Vec<String>,
    values: BTreeMap<String, Vec<Duration>>,
}

impl Measured {
    /// One more.
    pub fn add(&mut self, what: &str, value: Duration) {
        if !self.values.contains_key(what) {
            self.order.push(what.to_owned());
        }
        self.values.entry(what.to_owned()).or_default().push(value);
    }

    /// All of another one's.
    pub fn append(&mut self, other: Self) {
        for what in &other.order {
            other.values[what].iter().for_each(|value| self.add(what, *value));
        }
    }

    /// Shows all of them, in ms.
    pub fn print(&self, title: &str) {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["ms", "n", "min", "median", "p99", "max"]);
        for what in &self.order {
            let mut sorted = self.values.get(what).cloned().unwrap_or_default();
            sorted.sort_unstable();
            let show = |value: Duration| format!("{:.3}", value.as_secs_f64() * 1e3);
            let quantiles = [0, 50, 99, 100].map(|percent| show(quantile(&sorted, percent)));
            let mut row = vec![what.clone(), sorted.len().to_string()];
            row.extend(quantiles);
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        show(&format!("\n{title}\n{table}"));
    }
}

/// The nearest rank; the smallest one at 0 percent.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        let quantiles = [0, 50, 99, 100].map(|percent| quantile(&sorted, percent).as_millis());
        assert_eq!(quantiles, [1, 10, 20, 20]);
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }
}
