//! Repeated measurements: alternating runs, their statistics, and the report as a table or a JSON
//! object.

use anyhow::Context;
use mmprm::engine::EngineError;
use serde_json::{Map, Value, json};

use super::subject::Subject;
use crate::table::Table;
use crate::ui::Ui;

/// Repeated measurements of one quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Series(Vec<f64>);

impl Series {
    /// Wraps at least one value.
    pub fn new(values: Vec<f64>) -> Self {
        debug_assert!(!values.is_empty());
        Self(values)
    }

    /// Rates from seconds: `work` divided by each value.
    pub fn rate(&self, work: f64) -> Self {
        Self(self.0.iter().map(|seconds| work / seconds.max(1e-9)).collect())
    }

    /// The ratio to `other`, run by run.
    pub fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b.max(1e-9)).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// Sample standard deviation; 0 for a single value.
    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (self.0.len().max(2) - 1) as f64).sqrt()
    }

    /// The deviation as text; a single run has none.
    fn spread(&self) -> String {
        if self.0.len() > 1 { number(self.deviation()) } else { "n/a".to_owned() }
    }

    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) }
    }

    /// A distribution-free confidence interval for the median and its coverage: the narrowest pair
    /// of order statistics with a coverage of at least 0.9, or the extremes where no pair has that.
    pub fn interval(&self) -> ([f64; 2], f64) {
        let sorted = self.sorted();
        let n = sorted.len();
        // Without the `k` smallest and `k` largest values, the interval misses the median if at
        // most `k` values lie on one side of it.
        let coverage = |k: usize| 1.0 - 2.0 * (0..=k).map(|below| binomial(n, below)).sum::<f64>();
        let left_out = (0..n.div_ceil(2)).take_while(|&k| coverage(k) >= 0.9).last().unwrap_or(0);
        ([sorted[left_out], sorted[n - 1 - left_out]], coverage(left_out).max(0.0))
    }

    fn to_json(&self) -> Value {
        json!({"mean": self.mean(), "sd": self.deviation(), "min": self.min(), "max": self.max(),
            "median": self.median(), "values": self.0})
    }
}

/// The probability of `k` heads among `n` fair coins.
fn binomial(n: usize, k: usize) -> f64 {
    (0..k).fold(0.5_f64.powi(n as i32), |value, i| value * (n - i) as f64 / (i + 1) as f64)
}

/// Work to measure: takes the number of the run, 0 for the warm-up, and returns the seconds it
/// took.
pub type Arm<'a> = Box<dyn FnMut(usize) -> anyhow::Result<f64> + 'a>;

/// Runs each of `arms` once as a warm-up, then all of them alternately `repetitions` times, every
/// other time in reverse order, so that a drift of the machine's speed affects all alike. Returns
/// the seconds of each.
pub fn in_turns(label: &str, repetitions: usize, arms: &mut [Arm<'_>], ui: &Ui) -> anyhow::Result<Vec<Series>> {
    let bar = ui.bar(label, ((repetitions + 1) * arms.len()) as u64, "");
    let mut times = vec![Vec::with_capacity(repetitions); arms.len()];
    for repetition in 0..=repetitions {
        let mut order: Vec<usize> = (0..arms.len()).collect();
        if repetition % 2 == 1 {
            order.reverse();
        }
        for arm in order {
            if ui.is_interrupted() {
                return Err(EngineError::Cancelled).context("interrupted before the measurement was complete");
            }
            let seconds = arms[arm](repetition)?;
            if repetition > 0 {
                times[arm].push(seconds);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(times.into_iter().map(Series::new).collect())
}

/// One line of a report.
#[derive(Debug)]
struct Row {
    subject: Subject,
    work: String,
    unit: &'static str,
    series: Series,
}

/// The results of one benchmark.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    rows: Vec<Row>,
    lines: Vec<String>,
    object: Map<String, Value>,
}

impl Report {
    pub fn new(bench: &'static str) -> Self {
        Self { bench, rows: Vec::new(), lines: Vec::new(), object: Map::new() }
    }

    /// Adds a row to the table.
    pub fn row(&mut self, subject: &Subject, work: impl Into<String>, unit: &'static str, series: Series) {
        self.rows.push(Row { subject: subject.clone(), work: work.into(), unit, series });
    }

    /// Adds a fact: `value` to the object under `key`, and `line` below the table.
    pub fn fact(&mut self, key: &str, value: impl Into<Value>, line: impl Into<String>) {
        self.object.insert(key.into(), value.into());
        self.lines.push(line.into());
    }

    /// Adds the speedup of the first of two series of seconds.
    pub fn speedup(&mut self, fast: &Series, slow: &Series) {
        let ratios = slow.over(fast);
        let ([from, to], coverage) = ratios.interval();
        self.object.insert(
            "speedup".into(),
            json!({"median": ratios.median(), "interval": [from, to], "coverage": coverage, "values": ratios.0}),
        );
        // The coverage of fewer than four runs is too low to state.
        let range = match 100.0 * coverage {
            percent if percent >= 90.0 => format!("{percent:.0} % confidence interval of the median"),
            _ => "all runs".to_owned(),
        };
        self.lines.push(format!("speedup over naive: {:.2} ({from:.2}…{to:.2}, {range})", ratios.median()));
    }

    /// Prints the table and the lines, or the object.
    pub fn print(self, ui: &Ui) -> anyhow::Result<()> {
        let mut table =
            Table::new(["model", "quantisation", "backend", "threads", "work", "unit", "mean ± sd", "min…max"]);
        for Row { subject, work, unit, series } in &self.rows {
            table.row([
                subject.name.clone(),
                subject.quantisation.clone(),
                subject.backend.clone(),
                subject.threads.to_string(),
                work.clone(),
                (*unit).to_owned(),
                format!("{} ± {}", number(series.mean()), series.spread()),
                format!("{}…{}", number(series.min()), number(series.max())),
            ]);
        }
        ui.say_lines(&table)?;
        for line in &self.lines {
            ui.say(line)?;
        }
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        let mut object = json!({"bench": self.bench, "rows": rows});
        object.as_object_mut().expect("json! made an object").extend(self.object);
        ui.result(&object)
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let mut value = self.series.to_json();
        let Subject { name, quantisation, backend, threads, file } = &self.subject;
        let subject = json!({"model": name, "file": file, "quantisation": quantisation, "backend": backend,
            "threads": threads, "work": self.work, "unit": self.unit});
        if let (Some(value), Value::Object(subject)) = (value.as_object_mut(), subject) {
            value.extend(subject);
        }
        value
    }
}

/// About three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        large if large >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_series() {
        let series = Series::new(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!((series.mean(), series.median(), series.min(), series.max()), (2.5, 2.5, 1.0, 4.0));
        assert!((series.deviation() - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(Series::new(vec![3.0]).deviation().to_bits(), 0.0_f64.to_bits());
        assert_eq!(Series::new(vec![8.0, 6.0]).over(&Series::new(vec![2.0, 3.0])), Series::new(vec![4.0, 2.0]));
    }

    #[test]
    fn the_interval_is_the_range_for_five_values_and_narrower_for_many() {
        let (range, coverage) = Series::new(vec![5.0, 1.0, 3.0, 2.0, 4.0]).interval();
        assert_eq!((range, coverage), ([1.0, 5.0], 0.9375));
        let (range, coverage) = Series::new((1..=20).map(f64::from).collect()).interval();
        assert_eq!(range.map(f64::to_bits), [6.0_f64, 15.0].map(f64::to_bits));
        assert!((coverage - 0.9586).abs() < 1e-4, "{coverage}");
        let (range, coverage) = Series::new(vec![7.0]).interval();
        assert_eq!((range, coverage), ([7.0, 7.0], 0.0));
    }
}
