//! Search trees, training samples, training runs and benchmarks.

use serde_json::{Map, Value};

use super::{Section, count, figure, table, tiles};
use crate::data::tree::{Node, Tree};
use crate::report::chart::{Axis, Chart, Series};
use crate::report::escape::html;
use crate::report::input::{Training, TrainingSamples};
use crate::report::trees::searches;

/// Bars of a distribution of labels or MC values.
const BARS: usize = 20;

/// Maximum number of points of a drawn line.
const MAX_POINTS: usize = 400;

fn section(heading: &str, body: String) -> Section {
    Section { id: String::new(), heading: heading.to_owned(), short: heading.to_owned(), body }
}

/// Returns the section of search trees.
pub fn trees(trees: &[Tree]) -> Section {
    fn collect(node: &Node, values: &mut Vec<f64>) {
        for child in &node.children {
            values.push(child.mc_value);
            collect(child, values);
        }
    }
    let (mut values, mut found, mut with_wrong) = (Vec::new(), 0, 0);
    for tree in trees {
        collect(&tree.root, &mut values);
        let searches = searches(&tree.root);
        found += searches.len();
        with_wrong += searches.iter().filter(|search| search.first_wrong.is_some()).count();
    }
    let always = trees.iter().filter(|tree| tree.root.mc_value >= 1.0).count();
    let never = trees.iter().filter(|tree| tree.root.mc_value <= 0.0).count();
    let shown = [
        ("trees".to_owned(), count(trees.len()), format!("{always} always solved, {never} never")),
        ("states".to_owned(), count(values.len()), "each with an MC value".to_owned()),
        ("binary searches".to_owned(), count(found), format!("{with_wrong} found a first wrong step")),
    ];
    let chart = fractions("MC values of the states below the roots", "MC value", &values);
    let caption = "Monte Carlo values of the states: the fraction of rollouts from a state that end in the right answer. At 0 a \
                   state has a wrong step. The trees themselves are among the problems.";
    section("Search trees", format!("{}<div class=\"columns\">{}</div>", tiles(&shown), figure(&chart, caption)))
}

/// Returns the section of training samples.
pub fn samples(samples: &TrainingSamples) -> Section {
    let what = if samples.is_ranking { "candidates" } else { "steps" };
    let mean = samples.labels.iter().sum::<f64>() / samples.labels.len().max(1) as f64;
    let mut shown = vec![("samples".to_owned(), count(samples.count), String::new())];
    let mut body = String::new();
    if !samples.labels.is_empty() {
        shown.push((format!("labelled {what}"), count(samples.labels.len()), format!("mean label {mean:.3}")));
        let chart = fractions(&format!("Labels of the {what}"), "label", &samples.labels);
        body = format!("<div class=\"columns\">{}</div>", figure(&chart, &format!("Labels of the {what}.")));
    }
    section("Training samples", format!("{}{body}", tiles(&shown)))
}

/// A histogram of values between 0 and 1.
fn fractions(title: &str, label: &str, values: &[f64]) -> String {
    let mut bars = [0_usize; BARS];
    for value in values {
        bars[((value * BARS as f64) as usize).min(BARS - 1)] += 1;
    }
    let highest = bars.iter().copied().max().unwrap_or(0) as f64 / values.len().max(1) as f64;
    let width = 1.0 / BARS as f64;
    let bar = |(at, number): (usize, &usize)| {
        let left = at as f64 * width;
        (left + 0.1 * width, left + 0.9 * width, *number as f64 / values.len().max(1) as f64, "c1")
    };
    let chart = Chart {
        title: title.to_owned(),
        desc: format!("Distribution of {} values.", count(values.len())),
        x: Axis::linear(label, 0.0, 1.0),
        y: Axis::percent("", 0.0, highest.max(0.01)),
        bars: bars.iter().enumerate().map(bar).collect(),
        ..Chart::default()
    };
    chart.svg()
}

/// Returns the section of a training run.
pub fn training(training: &Training) -> Section {
    let log = &training.log;
    let last = |key: &str| points(log, key).last().map(|point| point.1);
    let steps = log.iter().filter_map(|line| line.get("step")?.as_u64()).max().unwrap_or(0);
    let tokens: f64 = points(log, "tokens").iter().map(|point| point.1).sum();
    let mut shown = vec![("steps".to_owned(), count(steps as usize), String::new())];
    let losses = points(log, "loss");
    if let Some(last) = smoothed(&losses).last() {
        shown.push(("loss".to_owned(), format!("{:.4}", last.1), "smoothed, at the end".to_owned()));
    }
    for (key, name) in VALIDATION {
        if let Some(value) = last(key) {
            shown.push((name.to_owned(), format!("{value:.4}"), "at the end".to_owned()));
        }
    }
    if tokens > 0.0 {
        let speed = points(log, "tokens_per_second");
        let mean = speed.iter().map(|point| point.1).sum::<f64>() / speed.len().max(1) as f64;
        shown.push(("tokens".to_owned(), count(tokens as usize), format!("{} a second", count(mean as usize))));
    }
    let mut figures = String::new();
    let mut lines =
        vec![Series { is_faint: true, ..line("each step", "c0", &losses) }, line("loss", "c1", &smoothed(&losses))];
    lines.push(line("validation", "c2", &points(log, "validation_loss")));
    figures +=
        &lines_figure("Loss", "loss", lines, "Training loss, smoothed over about 20 steps, and validation loss.");
    let lr = vec![line("lr", "c1", &points(log, "lr"))];
    figures += &lines_figure("Learning rate", "learning rate", lr, "Learning rate.");
    let fractions = VALIDATION.iter().skip(1).zip(["c1", "c2", "c4"]);
    let fractions = fractions.map(|((key, name), class)| line(name, class, &points(log, key))).collect();
    figures += &lines_figure("Validation", "fraction", fractions, "Validation on held-out samples.");
    section("Training", format!("{}<div class=\"columns\">{figures}</div>", tiles(&shown)))
}

/// The fields of a validation, and their names.
const VALIDATION: [(&str, &str); 4] = [
    ("validation_loss", "validation loss"),
    ("validation_auc", "validation AUC"),
    ("validation_accuracy", "validation accuracy"),
    ("validation_best_of_n", "best of N"),
];

fn points(log: &[Map<String, Value>], key: &str) -> Vec<(f64, f64)> {
    let point = |line: &Map<String, Value>| Some((line.get("step")?.as_f64()?, line.get(key)?.as_f64()?));
    log.iter().filter_map(point).filter(|(_, value)| value.is_finite()).collect()
}

/// The exponential moving average over about 20 points, without the weight of its start.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const DECAY: f64 = 0.9;
    let (mut mean, mut weight) = (0.0, 0.0);
    let smooth = |&(x, value): &(f64, f64)| {
        mean = DECAY * mean + (1.0 - DECAY) * value;
        weight = DECAY * weight + 1.0 - DECAY;
        (x, mean / weight)
    };
    points.iter().map(smooth).collect()
}

fn line(name: &str, class: &'static str, points: &[(f64, f64)]) -> Series {
    let stride = points.len().div_ceil(MAX_POINTS).max(1);
    let is_kept = |at: usize| at.is_multiple_of(stride) || at + 1 == points.len();
    let kept = points.iter().enumerate().filter(|(at, _)| is_kept(*at)).map(|(_, point)| *point).collect();
    Series { name: name.to_owned(), class, points: kept, has_marks: points.len() < 30, ..Series::default() }
}

/// A chart of the lines that have points; nothing without any.
fn lines_figure(title: &str, label: &str, mut series: Vec<Series>, caption: &str) -> String {
    series.retain(|series| !series.points.is_empty());
    if series.is_empty() {
        return String::new();
    }
    let all = || series.iter().flat_map(|series| &series.points);
    let end = |value: fn(&(f64, f64)) -> f64, fold: fn(f64, f64) -> f64, start: f64| all().map(value).fold(start, fold);
    let chart = Chart {
        title: title.to_owned(),
        desc: caption.to_owned(),
        x: Axis::exact("step", 0.0, end(|point| point.0, f64::max, 1.0)),
        y: Axis::linear(label, end(|point| point.1, f64::min, 0.0), end(|point| point.1, f64::max, f64::NEG_INFINITY)),
        series: series.clone(),
        ..Chart::default()
    };
    figure(&chart.svg(), caption)
}

/// Returns the section of a benchmark.
pub fn bench(result: &Value) -> Section {
    let text = |row: &Value, key: &str| match &row[key] {
        Value::String(text) => html(text),
        Value::Null => String::new(),
        other => html(&other.to_string()),
    };
    let rows = result["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let number = |row: &Value, key: &str| row[key].as_f64().map_or_else(|| "–".to_owned(), significant);
    let highest = |unit: &str| {
        let same = rows.iter().filter(|row| row["unit"].as_str() == Some(unit));
        same.filter_map(|row| row["max"].as_f64().or(row["mean"].as_f64())).fold(0.0, f64::max)
    };
    let row = |row: &Value| {
        let unit = row["unit"].as_str().unwrap_or_default();
        let share = row["mean"].as_f64().unwrap_or(0.0) / highest(unit).max(1e-12);
        let bar = format!(
            "<svg class=\"bar-cell\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"bar c1\" width=\"{:.1}\" height=\"10\"/></svg>",
            100.0 * share.clamp(0.0, 1.0)
        );
        let spread = format!("{} – {}", number(row, "min"), number(row, "max"));
        (
            "",
            vec![
                text(row, "work"),
                format!("{} ± {}", number(row, "mean"), number(row, "sd")),
                bar,
                html(unit),
                spread,
                text(row, "model"),
                text(row, "quantisation"),
                text(row, "backend"),
                text(row, "threads"),
            ],
        )
    };
    let rows: Vec<(&str, Vec<String>)> = rows.iter().map(row).collect();
    let heads = ["work", "mean ± sd", "", "unit", "min – max", "model", "quantisation", "backend", "threads"];
    let name = result["bench"].as_str().unwrap_or_default();
    let mut body = table(&format!("Benchmark {name}"), &heads, &rows);
    let facts = result.as_object().into_iter().flatten().filter(|(key, _)| *key != "bench" && *key != "rows");
    let fact = |(key, value): (&String, &Value)| {
        [html(key), value.as_f64().map_or_else(|| html(&value.to_string()), significant)]
    };
    let facts: Vec<[String; 2]> = facts.map(fact).collect();
    if !facts.is_empty() {
        body.push_str("<dl class=\"facts\">");
        for [key, value] in &facts {
            body.extend(["<div><dt>", key, "</dt><dd>", value, "</dd></div>"]);
        }
        body.push_str("</dl>");
    }
    section(&format!("Speed: bench {name}"), body)
}

/// A number with about three significant digits.
fn significant(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => count(value.abs().round() as usize),
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn curves_are_drawn_of_what_a_log_has() {
        let log = |lines: &[Value]| lines.iter().map(|line| line.as_object().unwrap().clone()).collect();
        let lines = [
            json!({"step": 1, "loss": 0.5, "lr": 0.1, "tokens": 10, "tokens_per_second": 5.0}),
            json!({"step": 2, "skipped": true, "loss_scale": 2.0}),
            json!({"step": 3, "loss": 0.3, "lr": 0.0}),
            json!({"step": 3, "validation_loss": 0.4, "validation_auc": 0.7}),
        ];
        let body = training(&Training { log: log(&lines), recipe: Vec::new() }).body;
        assert_eq!(body.matches("<figure>").count(), 3);
        assert!(body.contains("<b>0.7000</b>") && body.contains("validation AUC"), "{body}");
        let bare = training(&Training { log: log(&lines[1..2]), recipe: Vec::new() }).body;
        assert_eq!(bare.matches("<figure>").count(), 0);
    }

    #[test]
    fn smoothing_begins_without_a_bias_and_long_lines_are_thinned() {
        let flat: Vec<(f64, f64)> = (0..1000).map(|x| (f64::from(x), 2.0)).collect();
        assert!(smoothed(&flat).iter().all(|point| (point.1 - 2.0).abs() < 1e-9));
        let thin = line("x", "c1", &flat);
        assert!(thin.points.len() <= MAX_POINTS + 1 && thin.points.last().unwrap().0 as usize == 999);
    }

    #[test]
    fn rows_of_a_benchmark_are_escaped() {
        let body = bench(&json!({"bench": "infer", "rows": [{"work": "<b>", "mean": 1234.5, "unit": "t/s"}], "speedup": {"median": 2}})).body;
        assert!(
            body.contains("&lt;b&gt;") && body.contains("1,235 ± –") && body.contains("<dt>speedup</dt>"),
            "{body}"
        );
        assert!(bench(&json!({"bench": 3, "rows": 4})).body.contains("<table>"));
    }
}
