//! Best-of-N: the table of `mmprm eval bon`, and accuracy against the number of candidates.

use std::collections::BTreeMap;

use super::{Section, count, figure, percent, table, tiles};
use crate::eval::bon::{BASELINES, BonOptions, MethodAccuracy, Report, report};
use crate::eval::curve::{Curves, SUBSETS, counted, curves};
use crate::eval::selection::{Contenders, Selection};
use crate::report::chart::{Axis, Chart, Series, interval};
use crate::report::escape::html;
use crate::report::problems::Run;

/// Lines that are drawn with a name even if they are not the best.
const NAMED: [(&str, &str); 3] = [("oracle", "c3"), ("majority", "c2"), ("logprob_mean", "c4")];

/// Returns the section of a run.
pub fn section(run: &Run<'_>, seed: u64) -> Section {
    let report = report(run.sets, BonOptions { seed, ..BonOptions::default() });
    let mut body = left_out(&report);
    if report.used > 0 {
        let best = MethodAccuracy::best(&report.methods);
        let curves = curves(run.sets, seed);
        body = format!(
            "{}{body}<div class=\"columns\">{}{}</div>{}{}",
            summary(run, &report),
            curve(run, &curves, best.map(|best| best.name.as_str())),
            groups(run),
            methods(&report, best),
            against_count(&curves),
        );
    }
    Section { id: String::new(), heading: "Best of N".to_owned(), short: "Best of N".to_owned(), body }
}

fn left_out(report: &Report) -> String {
    let counted: Vec<String> =
        report.left_out().into_iter().map(|(number, reason)| format!("{} {reason}", count(number))).collect();
    match (report.used, counted.is_empty()) {
        (0, true) => "<p>No problems.</p>".to_owned(),
        (0, false) => format!("<p class=\"note\">No problem counts: {}.</p>", counted.join(", ")),
        (_, true) => String::new(),
        (..) => {
            format!("<p class=\"note\">Left out of every figure, and not counted as wrong: {}.</p>", counted.join(", "))
        }
    }
}

fn summary(run: &Run<'_>, report: &Report) -> String {
    let find = |name: &str| report.methods.iter().find(|method| method.name == name);
    let max = counted(run.sets).iter().map(|set| set.solutions.len()).max().unwrap_or(0);
    let mut shown = vec![("problems".to_owned(), count(report.used), format!("up to {max} candidates each"))];
    let rule = run.rule.name();
    for (name, title) in [
        ("random", "a random candidate"),
        ("majority", "majority vote"),
        (rule.as_str(), rule.as_str()),
        ("oracle", "any right candidate"),
    ] {
        if let Some(method) = find(name).filter(|_| !shown.iter().any(|tile| tile.0 == title)) {
            let range = format!("{:.1} – {:.1}", 100.0 * method.ci[0], 100.0 * method.ci[1]);
            shown.push((title.to_owned(), percent(method.accuracy), range));
        }
    }
    shown.dedup_by(|a, b| a.0 == "majority" && b.0 == "majority vote");
    tiles(&shown)
}

fn curve(run: &Run<'_>, curves: &Curves, best: Option<&str>) -> String {
    let ends = |line: &crate::eval::curve::Line| line.points.iter().flat_map(|point| point.ci).collect::<Vec<_>>();
    let all: Vec<f64> = curves.lines.iter().flat_map(ends).collect();
    let (low, high) = all.iter().fold((1.0_f64, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
    let class = |name: &str| {
        let named = NAMED.iter().find(|(known, _)| *known == name).map(|(_, class)| *class);
        match name {
            name if Some(name) == best => Some("c1"),
            name if name == run.rule.name() => named.or(Some("c5")),
            _ => named,
        }
    };
    let series = curves.lines.iter().map(|line| {
        let class = class(&line.name);
        Series {
            name: line.name.clone(),
            class: class.unwrap_or("c0"),
            points: line.points.iter().enumerate().map(|(at, point)| (at as f64, point.accuracy)).collect(),
            // Bands of more lines would hide each other.
            band: match class {
                Some("c1" | "c2") => line.points.iter().map(|point| (point.ci[0], point.ci[1])).collect(),
                _ => Vec::new(),
            },
            is_faint: class.is_none(),
            has_marks: class.is_some(),
        }
    });
    let chart = Chart {
        title: "Accuracy against the number of candidates".into(),
        desc: "A line for each selection rule; the numbers are in the table below.".into(),
        x: Axis::categories("candidates", &curves.counts),
        y: Axis::percent("accuracy", low, high),
        series: series.collect(),
        ..Chart::default()
    };
    let caption = format!(
        "Accuracy when a rule selects among <i>n</i> of the candidates, drawn at random without replacement: the mean over all \
         subsets for rules that rank candidates and for the oracle, over {SUBSETS} random subsets with a fixed seed for votes. \
         Bands: 95 % intervals over resamples of the problems. Thin lines are the other rules."
    );
    figure(&chart.svg(), &caption)
}

fn methods(report: &Report, best: Option<&MethodAccuracy>) -> String {
    let methods = &report.methods;
    let ends = || methods.iter().flat_map(|method| method.ci);
    let (low, high) = (ends().fold(1.0, f64::min), ends().fold(0.0, f64::max));
    let baselines: Vec<&str> =
        BASELINES.into_iter().filter(|name| methods.iter().any(|method| method.name == *name)).collect();
    let mut heads = vec!["method".to_owned(), "accuracy".into(), "95 % interval".into(), String::new()];
    heads.extend(baselines.iter().map(|name| format!("minus {name}")));
    let row = |method: &MethodAccuracy| {
        let is_best = best.is_some_and(|best| best.name == method.name);
        let mark = if is_best { " <span class=\"tag good\">best</span>" } else { "" };
        let mut cells = vec![
            format!("{}{mark}", html(&method.name)),
            format!("{:.3}", method.accuracy),
            format!("{:.3} – {:.3}", method.ci[0], method.ci[1]),
            interval(method.accuracy, method.ci, low, high),
        ];
        for name in &baselines {
            let found = method.against.iter().find(|comparison| comparison.baseline == *name);
            cells.push(found.map_or_else(String::new, |it| {
                let is_clear = method.selects() && (it.ci[0] > 0.0 || it.ci[1] < 0.0);
                let text = format!("{:+.3} <small>({:+.3} to {:+.3})</small>", it.difference, it.ci[0], it.ci[1]);
                if is_clear { format!("<b>{text}</b>") } else { text }
            }));
        }
        let class = match (is_best, method.selects()) {
            (true, _) => "best",
            (false, true) => "",
            (false, false) => "bound",
        };
        (class, cells)
    };
    let rows: Vec<(&str, Vec<String>)> = methods.iter().map(row).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    format!(
        "<h3>Selection rules</h3>{}<p class=\"note\">The figures are those of <code>mmprm eval bon</code>. Differences are paired: on \
         the same problems; bold where the interval excludes 0. The first rows need to know which candidates are right.</p>",
        table("Accuracy of each selection rule", &heads, &rows)
    )
}

fn against_count(curves: &Curves) -> String {
    let heads: Vec<String> =
        std::iter::once("rule".to_owned()).chain(curves.counts.iter().map(|n| format!("n = {n}"))).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let row = |line: &crate::eval::curve::Line| {
        let cell = |point: &crate::eval::curve::Point| {
            format!("{:.3} <small>({:.3} – {:.3})</small>", point.accuracy, point.ci[0], point.ci[1])
        };
        ("", std::iter::once(html(&line.name)).chain(line.points.iter().map(cell)).collect())
    };
    let rows: Vec<(&str, Vec<String>)> = curves.lines.iter().map(row).collect();
    format!(
        "<details><summary>Accuracy against the number of candidates, in numbers</summary>{}</details>",
        table("Accuracy against the number of candidates", &heads, &rows)
    )
}

/// The accuracy of the page's rule and the majority in each group of problems.
fn groups(run: &Run<'_>) -> String {
    const SHOWN: usize = 24;
    let Some(by) = &run.by else { return String::new() };
    let mut groups: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for set in counted(run.sets) {
        let (contenders, labels) = (Contenders::new(set), set.labels.as_deref().unwrap_or_default());
        let is_right = |rule| contenders.select(rule).and_then(|it| labels.get(it.index)).is_some_and(|label| *label);
        let own = groups.entry(run.group(set).unwrap_or_else(|| "(none)".to_owned())).or_default();
        let found = [true, is_right(run.rule), is_right(Selection::Majority), labels.contains(&true)];
        own.iter_mut().zip(found).for_each(|(sum, found)| *sum += usize::from(found));
    }
    let row = |(name, [total, rule, majority, oracle]): (&String, &[usize; 4])| {
        let share = |right: &usize| format!("{:.1}", 100.0 * *right as f64 / (*total).max(1) as f64);
        ("", vec![html(name), count(*total), share(rule), share(majority), share(oracle)])
    };
    let rows: Vec<(&str, Vec<String>)> = groups.iter().take(SHOWN).map(row).collect();
    let more = groups.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("<p class=\"note\">And {more} more.</p>") } else { String::new() };
    let name = run.rule.name();
    let heads = [by.as_str(), "problems", &name, "majority", "oracle"];
    format!("<div>{}{more}</div>", table(&format!("Accuracy in percent by {by}"), &heads, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    #[test]
    fn the_table_has_the_figures_of_best_of_n_and_names_what_is_left_out() {
        let records = [
            r#"{"question": "q", "family": "<b>", "solutions_splits": [["Answer: 3"], ["Answer: 2"]], "labels": [0, 1], "prm_scores": [[0.1], [0.9]]}"#,
            r#"{"question": "q", "solutions_splits": [], "labels": [], "error": "x", "prm_scores": []}"#,
        ];
        let sets = parse("c".as_ref(), records.join("\n").as_bytes()).unwrap();
        let body = section(&Run::new("c".into(), &sets, Vec::new(), None, None), 0).body;
        for method in report(&sets, BonOptions::default()).methods {
            assert!(body.contains(&format!("<td>{:.3}</td>", method.accuracy)), "{}", method.name);
        }
        assert!(
            body.contains("not counted as wrong: 1 failed") && body.contains("tag good") && !body.contains("<b>\"")
        );
        assert!(body.contains("&lt;b&gt;</th>"), "{body}");
        let none = section(&Run::new("c".into(), &sets[1..], Vec::new(), None, None), 0).body;
        assert!(none.contains("No problem counts: 1 failed"), "{none}");
    }
}
