//! Repeated measurements: run in turns, summed up, shown as a table for people or an object for machines.

use anyhow::Context;
use mmprm::engine::EngineError;
use serde_json::{Map, Value, json};

use super::subject::Subject;
use crate::table::Table;
use crate::ui::Ui;

/// One quantity measured several times.
#[derive(Debug, Clone, PartialEq)]
pub struct Series(Vec<f64>);

impl Series {
    /// Of at least one value.
    pub fn new(values: Vec<f64>) -> Self {
        debug_assert!(!values.is_empty());
        Self(values)
    }

    /// `work` divided by each value: a rate from times.
    pub fn rate(&self, work: f64) -> Self {
        Self(self.0.iter().map(|seconds| work / seconds.max(1e-9)).collect())
    }

    /// This over `other`, run by run.
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

    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) }
    }

    /// An interval for the median that assumes nothing of the distribution: the narrowest pair of order statistics that hold
    /// it with a probability of at least 0.9, or the extremes where no pair does; and that probability.
    pub fn interval(&self) -> ([f64; 2], f64) {
        let sorted = self.sorted();
        let n = sorted.len();
        // The `k` smallest and `k` largest values left out: the median is outside if at most `k` values are on one side of it.
        let coverage = |k: usize| 1.0 - 2.0 * (0..=k).map(|below| binomial(n, below)).sum::<f64>();
        let left_out = (0..n.div_ceil(2)).take_while(|&k| coverage(k) >= 0.9).last().unwrap_or(0);
        ([sorted[left_out], sorted[n - 1 - left_out]], coverage(left_out).max(0.0))
    }

    fn to_json(&self) -> Value {
        json!({"mean": self.mean(), "sd": self.deviation(), "min": self.min(), "max": self.max(),
            "median": self.median(), "values": self.0})
    }
}

/// The probability that of `n` fair coins `k` show heads.
fn binomial(n: usize, k: usize) -> f64 {
    (0..k).fold(0.5_f64.powi(n as i32), |value, i| value * (n - i) as f64 / (i + 1) as f64)
}

/// Something to run: given the number of the run it does its work and tells how many seconds it took.
pub type Arm<'a> = Box<dyn FnMut(usize) -> anyhow::Result<f64> + 'a>;

/// Runs each of `arms` once without looking at the clock, then all of them in turns `repetitions` times, every other time in
/// the opposite order, so that a machine that gets slower or faster does so for all of them. Seconds of each.
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
                return Err(EngineError::Cancelled).context("interrupted; nothing was measured");
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

/// What a bench found.
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

    /// Adds a row of the table.
    pub fn row(&mut self, subject: &Subject, work: impl Into<String>, unit: &'static str, series: Series) {
        self.rows.push(Row { subject: subject.clone(), work: work.into(), unit, series });
    }

    /// Adds a fact: to the object under `key`, and as a line below the table.
    pub fn fact(&mut self, key: &str, value: impl Into<Value>, line: impl Into<String>) {
        self.object.insert(key.into(), value.into());
        self.lines.push(line.into());
    }

    /// Adds how much faster the first of two series of seconds is.
    pub fn speedup(&mut self, fast: &Series, slow: &Series) {
        let ratios = slow.over(fast);
        let ([from, to], coverage) = ratios.interval();
        self.object.insert(
            "speedup".into(),
            json!({"median": ratios.median(), "interval": [from, to], "coverage": coverage, "values": ratios.0}),
        );
        // Fewer than four runs hold the median with no probability worth a word.
        let range = match 100.0 * coverage {
            percent if percent >= 90.0 => format!("a {percent:.0} % interval for the median"),
            _ => "all runs".to_owned(),
        };
        self.lines.push(format!("speedup over naive: {:.2} ({from:.2}…{to:.2}, {range})", ratios.median()));
    }

    /// Prints it.
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
                format!("{} ± {}", number(series.mean()), number(series.deviation())),
                format!("{}…{}", number(series.min()), number(series.max())),
            ]);
        }
        ui.say(&table)?;
        for line in &self.lines {
            ui.say(line)?;
        }
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        let mut object = json!({"bench": self.bench, "rows": rows});
        object.as_object_mut().expect("it was made as one").extend(self.object);
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

/// Three significant digits or so.
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
    fn a_series_is_summed_up() {
        let series = Series::new(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!((series.mean(), series.median(), series.min(), series.max()), (2.5, 2.5, 1.0, 4.0));
        assert!((series.deviation() - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(Series::new(vec![3.0]).deviation().to_bits(), 0.0_f64.to_bits());
        assert_eq!(Series::new(vec![8.0, 6.0]).over(&Series::new(vec![2.0, 3.0])), Series::new(vec![4.0, 2.0]));
    }

    #[test]
    fn the_interval_of_five_is_their_range_and_of_many_is_narrower() {
        let (range, coverage) = Series::new(vec![5.0, 1.0, 3.0, 2.0, 4.0]).interval();
        assert_eq!((range, coverage), ([1.0, 5.0], 0.9375));
        let (range, coverage) = Series::new((1..=20).map(f64::from).collect()).interval();
        assert_eq!(range.map(f64::to_bits), [6.0_f64, 15.0].map(f64::to_bits));
        assert!((coverage - 0.9586).abs() < 1e-4, "{coverage}");
        let (range, coverage) = Series::new(vec![7.0]).interval();
        assert_eq!((range, coverage), ([7.0, 7.0], 0.0));
    }
}
