//! How well scores separate right from wrong: distributions and calibration.

use super::{Section, count, figure, tiles};
use crate::eval::curve::counted;
use crate::eval::selection::{Contenders, Selection};
use crate::eval::steps::{StepsOptions, StepsReport, report, scored_steps};
use crate::report::chart::{Axis, Chart, Series};
use crate::report::escape::html;
use crate::report::problems::Run;
use crate::util::auc::auc;

/// Bars of a distribution.
const BARS: usize = 20;

/// Returns the section of a run with scores; `None` without scores, or without the truth of steps or solutions.
pub fn section(run: &Run<'_>) -> Option<Section> {
    if !run.sets.iter().any(|set| set.scores.is_some()) {
        return None;
    }
    let body = match report(run.sets, &StepsOptions { by: run.by.as_deref(), ..StepsOptions::default() }) {
        Ok(report) => of_steps(run, &report),
        Err(_) => of_solutions(run)?,
    };
    Some(Section { id: String::new(), heading: "Step scores".to_owned(), short: "Step scores".to_owned(), body })
}

fn of_steps(run: &Run<'_>, report: &StepsReport) -> String {
    // The report was made of the same labels.
    let steps = scored_steps(run.sets).unwrap_or_default();
    let is_probability = steps.iter().all(|(score, _)| (0.0..=1.0).contains(score));
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let mut shown = vec![
        ("steps".to_owned(), count(report.all.steps), format!("{} of them wrong", count(report.all.wrong))),
        ("ROC AUC".to_owned(), number(report.all.auc), "over all steps".to_owned()),
        ("ROC AUC".to_owned(), number(report.within_problem), "within a problem".to_owned()),
    ];
    let distribution = distribution("Scores of right and of wrong steps", "score of the step", "steps", &steps);
    if !is_probability {
        let note = "<p class=\"note\">Some scores are not between 0 and 1, so there is no calibration.</p>";
        return format!("{}<div class=\"columns\">{distribution}</div>{note}", tiles(&shown));
    }
    shown.push((
        "calibration error".to_owned(),
        format!("{:.3}", report.calibration_error),
        "ECE, ten bins".to_owned(),
    ));
    let points = report.calibration.iter().filter(|bin| bin.steps > 0).map(|bin| (bin.score, bin.right));
    let chart = Chart {
        title: "Calibration".into(),
        desc: format!(
            "Fraction of right steps against mean score in ten bins; the ECE is {:.3}.",
            report.calibration_error
        ),
        x: Axis::linear("mean score in the bin", 0.0, 1.0),
        y: Axis::percent("right", 0.0, 1.0),
        series: vec![Series {
            name: "right".into(),
            class: "c1",
            points: points.collect(),
            has_marks: true,
            ..Series::default()
        }],
        has_diagonal: true,
        ..Chart::default()
    };
    let caption = format!(
        "Fraction of right steps against their mean score, in ten bins; on the dashed line scores are probabilities. The mean \
         distance, weighted by steps, is the ECE: {:.3}.",
        report.calibration_error
    );
    let note = "<p class=\"note\">Solutions count up to and including their first wrong step (<code>mmprm eval steps</code>).</p>";
    format!("{}<div class=\"columns\">{distribution}{}</div>{note}", tiles(&shown), figure(&chart.svg(), &caption))
}

/// Where steps have no truth: the values of right and wrong solutions by the page's rule.
fn of_solutions(run: &Run<'_>) -> Option<String> {
    let rule = match run.rule {
        rule @ Selection::Score(_) => rule,
        _ => "product".parse().ok()?,
    };
    let mut values = Vec::new();
    for set in counted(run.sets).into_iter().filter(|set| set.scores.is_some()) {
        let labels = set.labels.as_deref().unwrap_or_default();
        values.extend(Contenders::new(set).values(rule).into_iter().zip(labels.iter().copied()));
    }
    values.retain(|(value, _)| value.is_finite());
    if values.is_empty() {
        return None;
    }
    let weighted: Vec<(f64, bool, f64)> = values.iter().map(|(value, label)| (*value, *label, 1.0)).collect();
    let area = auc(&weighted).map_or_else(|| "–".to_owned(), |area| format!("{area:.3}"));
    let right = values.iter().filter(|(_, label)| *label).count();
    let shown = [
        ("solutions".to_owned(), count(values.len()), format!("{} of them right", count(right))),
        ("ROC AUC".to_owned(), area, format!("of the value by {rule}")),
    ];
    let label = format!("value of the solution: {rule}");
    let chart = distribution("Values of right and of wrong solutions", &label, "solutions", &values);
    Some(format!("{}<div class=\"columns\">{chart}</div>", tiles(&shown)))
}

/// The distribution of scores of right and wrong items, each as a fraction of its own number.
pub fn distribution(title: &str, label: &str, items: &str, values: &[(f64, bool)]) -> String {
    let ends = values.iter().map(|(value, _)| *value).filter(|value| value.is_finite());
    let (low, high) = ends.fold((0.0_f64, 1.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    let x = Axis::linear(label, low, high);
    let mut bars = [[0_usize; 2]; BARS];
    for (value, is_right) in values {
        let at = ((value - x.min) / (x.max - x.min) * BARS as f64) as usize;
        bars[at.min(BARS - 1)][usize::from(*is_right)] += 1;
    }
    let total = |side: usize| bars.iter().map(|bar| bar[side]).sum::<usize>();
    let share = |bar: &[usize; 2], side: usize| bar[side] as f64 / total(side).max(1) as f64;
    let highest = bars.iter().flat_map(|bar| [share(bar, 0), share(bar, 1)]).fold(0.0, f64::max);
    let width = (x.max - x.min) / BARS as f64;
    let drawn = bars.iter().enumerate().flat_map(|(at, bar)| {
        let left = x.min + at as f64 * width;
        let (middle, end) = (left + 0.5 * width, left + 0.92 * width);
        [(left + 0.08 * width, middle, share(bar, 0), "low"), (middle, end, share(bar, 1), "high")]
    });
    let chart = Chart {
        title: title.to_owned(),
        desc: format!("{} wrong and {} right {items} by {label}.", count(total(0)), count(total(1))),
        y: Axis::percent("", 0.0, highest.max(0.01)),
        bars: drawn.collect(),
        x,
        ..Chart::default()
    };
    let caption = format!(
        "<span class=\"key low\"></span> {} wrong and <span class=\"key high\"></span> {} right {}, each as a fraction of its own number.",
        count(total(0)),
        count(total(1)),
        html(items)
    );
    figure(&chart.svg(), &caption)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    fn body(records: &str) -> Option<String> {
        let sets = parse("c".as_ref(), records.as_bytes()).unwrap();
        section(&Run::new("c".into(), &sets, Vec::new(), None, None)).map(|section| section.body)
    }

    #[test]
    fn the_truth_of_steps_is_used_where_there_is_one_and_else_that_of_solutions() {
        let record = r#"{"question": "q", "solutions_splits": [["a", "b"], ["c"]], "prm_scores": [[0.9, 0.2], [0.7]], "labels": [0, 1], TRUTH}"#;
        let steps = body(&record.replace("TRUTH", r#""step_labels": [[1, 0], [1]]"#)).unwrap();
        assert!(steps.contains("1 wrong and <span class=\"key high\"></span> 2 right steps"), "{steps}");
        assert!(steps.contains("ECE: 0.200"), "{steps}");
        let solutions = body(&record.replace("TRUTH", r#""x": 1"#)).unwrap();
        assert!(solutions.contains("1 wrong and") && solutions.contains("1 right solutions"), "{solutions}");
        let odd = body(&record.replace("0.9", "-3").replace("TRUTH", r#""step_labels": [[1, 0], [1]]"#)).unwrap();
        assert!(odd.contains("no calibration"));
        assert_eq!(body(r#"{"question": "q", "solutions_splits": [["a"]]}"#), None);
        assert_eq!(body(r#"{"question": "q", "solutions_splits": [["a"]], "prm_scores": [[1]]}"#), None);
    }
}
