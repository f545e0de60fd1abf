//! Charts as inline SVG: lines with interval bands, and bars.
//!
//! Colours are classes that the page's style sheet defines, so that they follow the theme. Each chart has a title and a
//! description for those who cannot see it.
//!
//! ```
//! use mmprm::report::chart::{Axis, Chart, Series};
//! let chart = Chart {
//!     title: "Loss".into(),
//!     desc: "Training loss over steps.".into(),
//!     x: Axis::linear("step", 0.0, 10.0),
//!     y: Axis::linear("loss", 0.0, 1.0),
//!     series: vec![Series { name: "loss".into(), class: "c1", points: vec![(0.0, 1.0), (10.0, 0.2)], ..Series::default() }],
//!     ..Chart::default()
//! };
//! let svg = chart.svg();
//! assert!(svg.starts_with("<svg") && svg.contains("<title>Loss</title>"));
//! ```

use std::fmt::Write;

use super::escape::html;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Least distance between the labels of two lines.
const LINE_HEIGHT: f64 = 15.0;
/// Width of a letter of a label, about.
const LETTER: f64 = 6.9;

/// An axis with its ticks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// Value at its start.
    pub min: f64,
    /// Value at its end.
    pub max: f64,
    /// Values with their labels.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with about five ticks at round numbers, whose ends are extended to them.
    pub fn linear(label: &str, min: f64, max: f64) -> Self {
        let is_usable = min.is_finite() && max.is_finite() && max > min;
        let (min, max) = if is_usable { (min, max) } else { around(min) };
        let step = round_step((max - min) / 5.0);
        let first = (min / step + 1e-9).floor();
        let last = (max / step - 1e-9).ceil().max(first + 1.0);
        let ticks = (first as i64..=last as i64).map(|at| (at as f64 * step, number(at as f64 * step, step)));
        Self { label: label.to_owned(), min: first * step, max: last * step, ticks: ticks.collect() }
    }

    /// As [`linear`](Self::linear), but the axis ends at these values.
    pub fn exact(label: &str, min: f64, max: f64) -> Self {
        let axis = Self::linear(label, min, max);
        if !(min.is_finite() && max.is_finite() && max > min) {
            return axis;
        }
        let ticks = axis.ticks.into_iter().filter(|tick| (min..=max).contains(&tick.0)).collect();
        Self { min, max, ticks, ..axis }
    }

    /// An axis from 0 to 1 with labels in percent.
    pub fn percent(label: &str, min: f64, max: f64) -> Self {
        let mut axis = Self::linear(label, 100.0 * min, 100.0 * max);
        (axis.min, axis.max) = (axis.min / 100.0, axis.max / 100.0);
        for tick in &mut axis.ticks {
            *tick = (tick.0 / 100.0, format!("{} %", tick.1));
        }
        axis
    }

    /// An axis on which each of these counts, in order, is as far from the next.
    pub fn categories<T: ToString>(label: &str, values: &[T]) -> Self {
        let ticks = values.iter().enumerate().map(|(at, value)| (at as f64, value.to_string())).collect();
        Self { label: label.to_owned(), min: -0.15, max: (values.len().max(2) - 1) as f64 + 0.15, ticks }
    }

    fn share(&self, value: f64) -> f64 {
        ((value - self.min) / (self.max - self.min)).clamp(0.0, 1.0)
    }
}

/// A range around a value.
fn around(value: f64) -> (f64, f64) {
    if value.is_finite() && value.abs() < 1e12 { (value - 0.5, value + 0.5) } else { (0.0, 1.0) }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-12).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|round| *round >= step * 0.999).unwrap_or(step)
}

/// A tick's label with as many decimals as the distance of ticks needs.
fn number(value: f64, step: f64) -> String {
    if !(1e-4..1e6).contains(&step) {
        return if value == 0.0 { "0".to_owned() } else { format!("{value:.0e}") };
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".to_owned() } else { text }
}

/// A line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its name, shown beside its end.
    pub name: String,
    /// Its colour: a class of the style sheet.
    pub class: &'static str,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper end of the interval at each point; empty for none.
    pub band: Vec<(f64, f64)>,
    /// Whether it is in the background: thin and without a label.
    pub is_faint: bool,
    /// Whether its points are marked.
    pub has_marks: bool,
}

/// A chart of lines or bars.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The same in a sentence.
    pub desc: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Lines.
    pub series: Vec<Series>,
    /// Bars: left and right end, height, class.
    pub bars: Vec<(f64, f64, f64, &'static str)>,
    /// Whether a line from corner to corner is drawn, where x and y are equal.
    pub has_diagonal: bool,
}

impl Chart {
    /// The chart as an SVG element.
    pub fn svg(&self) -> String {
        let longest = self.named().map(|series| series.name.chars().count()).max();
        let right = longest.map_or(14.0, |letters| 14.0 + LETTER * letters.min(24) as f64);
        let x = |value: f64| LEFT + self.x.share(value) * (WIDTH - LEFT - right);
        let y = |value: f64| HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            r#"<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{}</title><desc>{}</desc>"#,
            html(&self.title),
            html(&self.desc)
        );
        // Writing to a string does not fail.
        let _ = self.axes(&mut svg, right, &x, &y);
        for &(from, to, height, class) in &self.bars {
            let (left, top) = (x(from), y(height));
            let (width, tall) = ((x(to) - left).max(0.5), (y(self.y.min.max(0.0)) - top).max(0.0));
            let _ = write!(
                svg,
                r#"<rect class="bar {class}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{tall:.1}"/>"#
            );
        }
        if self.has_diagonal {
            let (low, high) = (self.x.min.max(self.y.min), self.x.max.min(self.y.max));
            let (a, b, c, d) = (x(low), y(low), x(high), y(high));
            let _ = write!(svg, r#"<line class="diagonal" x1="{a:.1}" y1="{b:.1}" x2="{c:.1}" y2="{d:.1}"/>"#);
        }
        for series in self.series.iter().filter(|series| series.is_faint).chain(self.named()) {
            let _ = draw(series, &mut svg, &x, &y);
        }
        let _ = self.labels(&mut svg, WIDTH - right + 8.0, &y);
        svg.push_str("</svg>");
        svg
    }

    fn named(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| !series.is_faint)
    }

    fn axes(&self, svg: &mut String, right: f64, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> std::fmt::Result {
        let (end, base) = (WIDTH - right, HEIGHT - BOTTOM);
        for (value, label) in &self.y.ticks {
            let at = y(*value);
            write!(svg, r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{end:.1}" y2="{at:.1}"/>"#)?;
            let (left, low) = (LEFT - 8.0, at + 4.0);
            write!(svg, r#"<text class="tick" x="{left}" y="{low:.1}" text-anchor="end">{}</text>"#, html(label))?;
        }
        for (value, label) in &self.x.ticks {
            let (at, low) = (x(*value), base + 18.0);
            write!(svg, r#"<text class="tick" x="{at:.1}" y="{low}" text-anchor="middle">{}</text>"#, html(label))?;
        }
        write!(svg, r#"<line class="axis" x1="{LEFT}" y1="{base}" x2="{end:.1}" y2="{base}"/>"#)?;
        let (middle, low) = (f64::midpoint(LEFT, end), HEIGHT - 6.0);
        write!(
            svg,
            r#"<text class="label" x="{middle:.1}" y="{low}" text-anchor="middle">{}</text>"#,
            html(&self.x.label)
        )
    }

    /// The names of the lines beside their ends, moved apart where they would overlap.
    fn labels(&self, svg: &mut String, left: f64, y: &dyn Fn(f64) -> f64) -> std::fmt::Result {
        let end = |series: &Series| series.points.last().map(|point| y(point.1));
        let mut ends: Vec<(f64, &Series)> = self.named().filter_map(|series| Some((end(series)?, series))).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut above = f64::NEG_INFINITY;
        for (at, _) in &mut ends {
            *at = at.max(above + LINE_HEIGHT);
            above = *at;
        }
        let excess = (above - (HEIGHT - BOTTOM)).max(0.0);
        for (at, series) in ends {
            let (class, name, at) = (series.class, html(&series.name), at + 4.0 - excess);
            write!(svg, r#"<text class="name {class}" x="{left:.1}" y="{at:.1}">{name}</text>"#)?;
        }
        Ok(())
    }
}

fn draw(series: &Series, svg: &mut String, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> std::fmt::Result {
    let class = series.class;
    if series.band.len() == series.points.len() && !series.band.is_empty() {
        let upper = series.points.iter().zip(&series.band).map(|(point, band)| (point.0, band.1));
        let lower = series.points.iter().zip(&series.band).rev().map(|(point, band)| (point.0, band.0));
        let points: Vec<String> = upper.chain(lower).map(|(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
        write!(svg, r#"<polygon class="band {class}" points="{}"/>"#, points.join(" "))?;
    }
    let points: Vec<String> = series.points.iter().map(|&(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
    let faint = if series.is_faint { " faint" } else { "" };
    let name = html(&series.name);
    write!(
        svg,
        r#"<g data-line="{name}"><polyline class="line {class}{faint}" points="{}"><title>{name}</title></polyline>"#,
        points.join(" ")
    )?;
    if series.has_marks {
        for &(a, b) in &series.points {
            write!(svg, r#"<circle class="mark {class}" cx="{:.1}" cy="{:.1}" r="3"/>"#, x(a), y(b))?;
        }
    }
    svg.push_str("</g>");
    Ok(())
}

/// A small interval for a cell of a table: the range `from..to` on an axis of `min..max`, with a dot at `value`.
pub fn interval(value: f64, [from, to]: [f64; 2], min: f64, max: f64) -> String {
    let at = |value: f64| 2.0 + 96.0 * ((value - min) / (max - min).max(1e-9)).clamp(0.0, 1.0);
    format!(
        r#"<svg class="interval" viewBox="0 0 100 12" aria-hidden="true"><line x1="{:.1}" y1="6" x2="{:.1}" y2="6"/><circle cx="{:.1}" cy="6" r="3"/></svg>"#,
        at(from),
        at(to),
        at(value)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let labels = |axis: &Axis| axis.ticks.iter().map(|tick| tick.1.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&Axis::linear("", 0.0, 1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::percent("", 0.43, 0.88)), ["40 %", "50 %", "60 %", "70 %", "80 %", "90 %"]);
        assert_eq!(labels(&Axis::linear("", 0.0, 633.0)), ["0", "200", "400", "600", "800"]);
        assert_eq!(labels(&Axis::exact("", 0.0, 633.0)), ["0", "200", "400", "600"]);
        for (min, max) in [
            (0.0, 0.0),
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
            (0.0, 1e-5),
            (-1e9, 1e9),
            (0.0, 1e-300),
            (-1e300, 1e300),
        ] {
            let axis = Axis::linear("", min, max);
            assert!(axis.ticks.iter().all(|tick| tick.1.len() < 9), "{axis:?}");
            assert!(axis.max > axis.min && (2..=12).contains(&axis.ticks.len()), "{axis:?}");
        }
    }

    #[test]
    fn names_are_escaped_and_lie_apart() {
        let series = |name: &str, value| Series {
            name: name.into(),
            class: "c1",
            points: vec![(0.0, 0.5), (1.0, value)],
            band: vec![(0.4, 0.6), (0.4, 0.6)],
            has_marks: true,
            ..Series::default()
        };
        let chart = Chart {
            title: "</title><script>".into(),
            x: Axis::categories("N", &[1, 2]),
            y: Axis::percent("", 0.0, 1.0),
            series: vec![series("<a>", 0.5), series("b", 0.501), Series { is_faint: true, ..series("c", 0.1) }],
            has_diagonal: true,
            bars: vec![(0.0, 0.5, 0.3, "c2")],
            ..Chart::default()
        };
        let svg = chart.svg();
        assert!(!svg.contains("<script") && !svg.contains("<a>") && svg.contains("&lt;a&gt;"));
        let names = svg.matches("class=\"name").count();
        assert_eq!((names, svg.matches("<polyline").count(), svg.matches("<rect").count()), (2, 3, 1));
    }
}
