//! Histograms as a plot (SVG): the value at each percentile, with the percentiles spread out towards 100 %, where it matters.
//!
//! The picture is legible by itself, on light and on dark ground, and asks nothing of anybody: no font, no script, no host.

use super::Snapshot;
use crate::types::Nanos;
use anyhow::{Result, anyhow, ensure};
use plotters::{
    coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    prelude::{
        ChartBuilder, Color as _, IntoDrawingArea as _, IntoFont as _, LineSeries, PathElement, RGBColor, SVGBackend,
        Text, TextStyle,
    },
};
use std::{fmt::Write as _, ops::Range};

/// Lines that can be told apart in one picture.
pub const MOST: usize = 8;
/// Width and height in px.
const SIZE: (u32, u32) = (760, 380);
/// Fewer values than this have no tail to look at: the axis goes to 99 % all the same.
const LEAST: f64 = 100.0;
/// From this ratio of the longest to the shortest on, durations are drawn by their logarithm.
const WIDE: f64 = 8.0;

/// A colour on light ground and on dark ground; drawn as `mark`, which stands for it until [`dress`].
struct Ink {
    name: &'static str,
    mark: RGBColor,
    light: &'static str,
    dark: &'static str,
}

const TEXT: Ink = Ink { name: "text", mark: RGBColor(1, 2, 1), light: "#1f2933", dark: "#e4e7eb" };
const GRID: Ink = Ink { name: "grid", mark: RGBColor(1, 2, 2), light: "#d9dee5", dark: "#38434f" };
/// Apart also for those who see few colours (after Okabe and Ito's palette).
const LINES: [Ink; MOST] = [
    Ink { name: "l0", mark: RGBColor(1, 3, 0), light: "#0072b2", dark: "#56b4e9" },
    Ink { name: "l1", mark: RGBColor(1, 3, 1), light: "#d55e00", dark: "#ff8c42" },
    Ink { name: "l2", mark: RGBColor(1, 3, 2), light: "#00815c", dark: "#2fd6a5" },
    Ink { name: "l3", mark: RGBColor(1, 3, 3), light: "#a0527e", dark: "#e39cc4" },
    Ink { name: "l4", mark: RGBColor(1, 3, 4), light: "#8a6d00", dark: "#f0e442" },
    Ink { name: "l5", mark: RGBColor(1, 3, 5), light: "#3b3b98", dark: "#a5a5ff" },
    Ink { name: "l6", mark: RGBColor(1, 3, 6), light: "#5f6b76", dark: "#aab4be" },
    Ink { name: "l7", mark: RGBColor(1, 3, 7), light: "#7a1f1f", dark: "#ff9b9b" },
];

/// The picture.
///
/// # Errors
/// There are none, or more than [`MOST`].
pub(super) fn plot(snapshots: &[Snapshot]) -> Result<String> {
    ensure!(
        (1..=MOST).contains(&snapshots.len()),
        "svg is of 1 to {MOST} histograms, these are {}; right would be the name of one, or of a kind",
        snapshots.len()
    );
    let mut svg = String::new();
    draw(snapshots, &mut svg).map_err(|why| anyhow!("svg: {why}"))?;
    Ok(dress(svg))
}

fn draw(snapshots: &[Snapshot], svg: &mut String) -> std::result::Result<(), String> {
    fn told(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let style = |size: u32| TextStyle::from(("sans-serif", size).into_font()).color(&TEXT.mark);
    let (head, below) = root.split_vertically(30 + 17 * snapshots.len() as u32);
    let heading = match snapshots {
        [one] => format!("{}: {}", one.name, one.what),
        all => all[0].what.to_string(),
    };
    head.draw(&Text::new(heading, (14, 8), style(15))).map_err(told)?;
    for (i, (snapshot, ink)) in snapshots.iter().zip(&LINES).enumerate() {
        let y = 33 + 17 * i as i32;
        head.draw(&PathElement::new([(14, y + 7), (38, y + 7)], ink.mark.stroke_width(2))).map_err(told)?;
        head.draw(&Text::new(caption(snapshot), (46, y), style(12))).map_err(told)?;
    }
    let filled: Vec<_> = snapshots.iter().zip(&LINES).filter(|(snapshot, _)| !snapshot.counts.is_empty()).collect();
    let most = filled.iter().map(|(snapshot, _)| snapshot.counts.len() as f64).fold(LEAST, f64::max);
    let values = filled.iter().flat_map(|(snapshot, _)| [snapshot.counts.min(), snapshot.max_ns]);
    let scale = Scale::of(values);
    let mut chart = ChartBuilder::on(&below)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(76)
        .build_cartesian_2d(
            Axis { range: 0.0..most.log10(), marks: percentiles(most) },
            Axis { range: scale.range.clone(), marks: scale.marks.clone() },
        )
        .map_err(told)?;
    chart
        .configure_mesh()
        .light_line_style(GRID.mark.mix(0.0))
        .bold_line_style(GRID.mark)
        .axis_style(GRID.mark)
        .label_style(style(12))
        .x_desc("percentile")
        .x_label_formatter(&|x| percent(*x))
        .y_label_formatter(&|y| scale.label(*y))
        .draw()
        .map_err(told)?;
    for (snapshot, ink) in filled {
        let points = points(snapshot).into_iter().map(|(x, ns)| (x, scale.place(ns)));
        chart.draw_series(LineSeries::new(points, ink.mark.stroke_width(2))).map_err(told)?;
    }
    root.present().map_err(told)
}

/// `rtt/net1: n 12345, median 84.0 us, p99 120.0 us, max 1.200 ms`
fn caption(snapshot: &Snapshot) -> String {
    let Snapshot { name, counts, max_ns, .. } = snapshot;
    if counts.is_empty() {
        return format!("{name}: n 0");
    }
    let [median, p99] = [0.5, 0.99].map(|q| Nanos(counts.value_at_quantile(q).min(*max_ns)));
    format!("{name}: n {}, median {median}, p99 {p99}, max {}", counts.len(), Nanos(*max_ns))
}

/// Where a quantile lies on the axis: 0 at 0, 1 at 0.9, 2 at 0.99.
fn spread(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// What is written on the axis up to the last of so many values.
fn percentiles(most: f64) -> Vec<f64> {
    let nines = (1..).map(f64::from).take_while(|nines| *nines <= most.log10());
    [0.0, spread(0.5)].into_iter().chain(nines).collect()
}

/// `99.9 %`, of a place on the axis.
fn percent(x: f64) -> String {
    let beyond = 100.0 * 10_f64.powf(-x);
    let digits = if x < 1.5 { 0 } else { x.ceil() as usize - 2 };
    format!("{:.digits$} %", 100.0 - beyond)
}

/// The corners of the line: percentile and ns.
fn points(snapshot: &Snapshot) -> Vec<(f64, u64)> {
    let Snapshot { counts, max_ns, .. } = snapshot;
    let n = counts.len() as f64;
    let mut points = vec![(0.0, counts.min())];
    let mut below = 0;
    for bucket in counts.iter_recorded() {
        let value = bucket.value_iterated_to().min(*max_ns);
        below += bucket.count_at_value();
        // The longest one has no percentile below 100: it is drawn where the last but one ends.
        points.push((spread((below as f64 / n).min(1.0 - 1.0 / n)), value));
    }
    points.push((n.log10(), *max_ns));
    points
}

/// An axis with its own marks.
struct Axis {
    range: Range<f64>,
    marks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        from + ((value - start) / (end - start) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// How durations are placed: by themselves, or by their logarithm where they differ much.
struct Scale {
    logarithmic: bool,
    range: Range<f64>,
    marks: Vec<f64>,
}

impl Scale {
    /// One on which all these have a place.
    fn of(values: impl IntoIterator<Item = u64>) -> Self {
        /// No mark below this many ns: durations are not told apart there.
        const LOWEST: f64 = 100.0;
        let (low, high) = values
            .into_iter()
            .map(|ns| (ns as f64).max(LOWEST))
            .fold((f64::INFINITY, 0.0_f64), |(low, high), ns| (low.min(ns), high.max(ns)));
        let (low, high) = if low > high { (1e3, 1e6) } else { (low, high) };
        if high / low >= WIDE {
            let steps = if high / low > 1e4 { &[1.0][..] } else { &[1.0, 2.0, 5.0] };
            let first = low.log10().floor() as i32;
            let mut marks = Vec::new();
            for decade in first..=high.log10().ceil() as i32 {
                marks.extend(steps.iter().map(|step| step * 10_f64.powi(decade)));
            }
            let below = marks.iter().rposition(|mark| *mark <= low).unwrap_or(0);
            let above = marks.iter().position(|mark| *mark >= high).unwrap_or(marks.len() - 1);
            let marks: Vec<_> = marks[below..=above].iter().map(|mark| mark.log10()).collect();
            return Self { logarithmic: true, range: marks[0]..marks[marks.len() - 1], marks };
        }
        let step = step((high - low).max(high / 100.0) / 4.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let last = if last > first { last } else { first + 1.0 };
        let marks = (0..=(last - first) as u32).map(|i| (first + f64::from(i)) * step).collect();
        Self { logarithmic: false, range: first * step..last * step, marks }
    }

    fn place(&self, ns: u64) -> f64 {
        let ns = if self.logarithmic { (ns as f64).max(1.0).log10() } else { ns as f64 };
        ns.clamp(self.range.start, self.range.end)
    }

    /// `2.5 ms`, of a mark.
    fn label(&self, mark: f64) -> String {
        let ns = if self.logarithmic { 10_f64.powf(mark) } else { mark };
        let (unit, of) = match ns {
            0.0 => return "0".into(),
            ns if ns < 999.5 => ("ns", 1.0),
            ns if ns < 999.5e3 => ("us", 1e3),
            ns if ns < 999.5e6 => ("ms", 1e6),
            _ => ("s", 1e9),
        };
        // Four digits, and no zeros at the end.
        let text = format!("{:.3}", ns / of);
        format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The next of 1, 2, 5, 10, ... from `least` on.
fn step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|step| step * decade).find(|step| *step >= least).unwrap_or(10.0 * decade)
}

/// Gives the marks their colours.
fn dress(mut svg: String) -> String {
    let mut light = String::new();
    let mut dark = String::new();
    for Ink { name, mark: RGBColor(r, g, b), light: by_day, dark: by_night } in LINES.iter().chain([&TEXT, &GRID]) {
        let mark = format!("#{r:02X}{g:02X}{b:02X}");
        for (of, property) in [("f", "fill"), ("s", "stroke")] {
            svg = svg.replace(&format!("{property}=\"{mark}\""), &format!("class=\"{of}-{name}\""));
            for (rules, colour) in [(&mut light, by_day), (&mut dark, by_night)] {
                write!(rules, ".{of}-{name}{{{property}:{colour}}}").expect("a String takes all text");
            }
        }
    }
    let style = format!("<style>{light}@media(prefers-color-scheme:dark){{{dark}}}</style>\n");
    if let Some(end) = svg.find(">\n") {
        svg.insert_str(end + 2, &style);
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::empty;

    fn snapshot(name: &str, values: impl IntoIterator<Item = u64>) -> Snapshot {
        let mut counts = empty();
        let mut max_ns = 0;
        for value in values {
            counts.record(value).unwrap();
            max_ns = max_ns.max(value);
        }
        let (name, what) = (name.into(), "there & back".into());
        Snapshot { name, channel: None, what, since_ns: 0, until_ns: 0, counts, max_ns }
    }

    /// The longest line's corners, and all texts.
    fn seen(svg: &str) -> (Vec<(f64, f64)>, Vec<String>) {
        let lines = svg.lines().filter_map(|line| line.split_once("points=\"")?.1.split_once('"'));
        let corner = |corner: &str| {
            let (x, y) = corner.split_once(',')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        };
        let line = lines.map(|(points, _)| points.split_whitespace().filter_map(corner).collect::<Vec<_>>());
        let texts = svg.lines().filter(|line| !line.trim_start().starts_with('<')).map(|line| line.trim().to_owned());
        (line.max_by_key(Vec::len).unwrap_or_default(), texts.collect())
    }

    #[test]
    fn a_line_rises_with_the_percentile_and_its_figures_are_written_beside_it() {
        let svg = plot(&[snapshot("rtt/net1", (1..=10_000).map(|i| i * 1_000))]).unwrap();
        let (line, texts) = seen(&svg);
        assert!(line.len() > 100, "{}", line.len());
        assert!(line.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1), "{line:?}");
        for text in ["99.9 %", "50 %", "10 ms", "rtt/net1: there &amp; back"] {
            assert!(texts.iter().any(|seen| seen == text), "no {text:?} in {texts:?}");
        }
        assert!(texts.iter().any(|text| text.contains("n 10000") && text.contains("max 10.000 ms")), "{texts:?}");
        assert!(!svg.contains("#0102") && !svg.contains("#0103"), "every mark has its colour");
        assert!(svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn nothing_and_one_value_and_eight_histograms_make_a_picture_and_nine_do_not() {
        for values in [vec![], vec![0], vec![5_000_000], vec![1, u64::from(u32::MAX) * 30]] {
            let svg = plot(&[snapshot("lateness", values)]).unwrap();
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let many: Vec<_> = (0..9).map(|i| snapshot(&format!("rtt/net{i}"), [1_000 << i])).collect();
        assert!(plot(&many[..8]).unwrap().matches("class=\"s-l7\"").count() >= 2);
        assert!(plot(&many).unwrap_err().to_string().contains("these are 9"));
    }

    #[test]
    fn marks_enclose_what_is_drawn_and_are_round() {
        for (values, marks) in [
            ([100_100_000, 100_900_000], vec!["100 ms", "100.5 ms", "101 ms"]),
            ([80_000, 1_300_000], vec!["50 us", "100 us", "200 us", "500 us", "1 ms", "2 ms"]),
            ([50_000_000, 60_000_000], vec!["50 ms", "55 ms", "60 ms"]),
        ] {
            let scale = Scale::of(values);
            let labels: Vec<_> = scale.marks.iter().map(|mark| scale.label(*mark)).collect();
            assert_eq!(labels, marks);
            for ns in values {
                assert!(scale.range.contains(&scale.place(ns)) || scale.place(ns) == scale.range.end);
            }
        }
    }

    #[test]
    fn percentiles_are_written_with_the_digits_that_they_need() {
        let labels: Vec<_> = percentiles(1e5).into_iter().map(percent).collect();
        assert_eq!(labels, ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }
}
