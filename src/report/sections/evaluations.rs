//! Results of `mmprm eval` and `mmprm ablate`, drawn from their JSON.
//!
//! Only the files are read: what a figure means is said by the command that made it, [`eval`](crate::eval). A field that a file lacks
//! is left out of the page.

use serde_json::{Map, Value};

use super::{Section, count, figure, percent, table, tiles};
use crate::eval::selection::Selection;
use crate::report::chart::{Axis, Chart, Series, interval};
use crate::report::escape::html;

/// The kinds of results, as the page names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `mmprm eval bon`.
    Selection,
    /// `mmprm eval bench`.
    Benchmark,
    /// `mmprm eval steps`.
    Steps,
    /// `mmprm eval judge`.
    Rules,
    /// `mmprm ablate`.
    Ablation,
}

impl Kind {
    /// The kind of a result, by its fields.
    pub fn of(result: &Map<String, Value>) -> Option<Self> {
        let has = |key: &str, is: fn(&Value) -> bool| result.get(key).is_some_and(is);
        if has("ablation", Value::is_string) && has("result", Value::is_object) {
            Some(Self::Ablation)
        } else if has("bench", Value::is_string) && has("rules", Value::is_object) {
            Some(Self::Benchmark)
        } else if has("judged", Value::is_u64) && has("rules", Value::is_object) {
            Some(Self::Rules)
        } else if has("aggregators", Value::is_object) && has("problems", Value::is_u64) {
            Some(Self::Selection)
        } else if has("report", |report| report.get("calibration").is_some()) {
            Some(Self::Steps)
        } else {
            None
        }
    }
}

/// Colours of lines.
const CLASSES: [&str; 5] = ["c1", "c2", "c3", "c4", "c5"];

/// Returns the section of a result.
pub fn section(kind: Kind, result: &Value) -> Section {
    let (heading, body) = match kind {
        Kind::Selection => ("Best of N: results".to_owned(), selection(result)),
        Kind::Benchmark => (format!("Benchmark {}", text(&result["bench"])), benchmark(result)),
        Kind::Steps => ("Step scores: results".to_owned(), steps(&result["report"])),
        Kind::Rules => ("Answer rules".to_owned(), rules(result)),
        Kind::Ablation => ("Ablation".to_owned(), ablation(&result["result"])),
    };
    Section { id: String::new(), short: heading.clone(), heading, body }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A number of a table; a dash where there is none.
fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

fn ends(value: &Value) -> Option<[f64; 2]> {
    Some([value.get(0)?.as_f64()?, value.get(1)?.as_f64()?])
}

/// A number with its interval.
fn with_interval(value: &Value, ci: &Value) -> String {
    let range = ends(ci).map(|[low, high]| format!(" <small>({low:.3} – {high:.3})</small>")).unwrap_or_default();
    format!("{}{range}", number(value))
}

/// A difference with its interval, bold where that excludes 0.
fn difference(mean: &Value, ci: &Value) -> String {
    let (Some(mean), Some([low, high])) = (mean.as_f64(), ends(ci)) else { return String::new() };
    let text = format!("{mean:+.3} <small>({low:+.3} to {high:+.3})</small>");
    if low > 0.0 || high < 0.0 { format!("<b>{text}</b>") } else { text }
}

fn selection(result: &Value) -> String {
    let mut body = tiles(&[("problems".to_owned(), count_of(&result["problems"]), left_out(&result["counts"]))]);
    body += &methods("Accuracy of each selection rule", &result["aggregators"]);
    body += &curves("Accuracy against the number of candidates", &result["curves"], &[]);
    body += &groups("group", result["groups"].as_object());
    body
}

fn count_of(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), |value| count(value as usize))
}

/// The problems that no figure is of.
fn left_out(counts: &Value) -> String {
    let reasons = [("failed", "failed"), ("unlabelled", "without labels"), ("unscored", "not scored")];
    let named = reasons.into_iter().filter_map(|(key, name)| {
        let number = counts[key].as_u64().filter(|number| *number > 0)?;
        Some(format!("{} {name}", count(number as usize)))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() { "none left out".to_owned() } else { format!("left out: {}", named.join(", ")) }
}

/// The table of methods by name.
fn methods(caption: &str, methods: &Value) -> String {
    let Some(methods) = methods.as_object() else { return String::new() };
    let bounds = || methods.values().filter_map(|method| ends(&method["ci"])).flatten();
    let (low, high) = (bounds().fold(1.0, f64::min), bounds().fold(0.0, f64::max));
    let mut baselines: Vec<&str> = Vec::new();
    for comparison in methods.values().filter_map(|method| method["against"].as_array()).flatten() {
        if let Some(name) = comparison["baseline"].as_str().filter(|name| !baselines.contains(name)) {
            baselines.push(name);
        }
    }
    let row = |(name, method): (&String, &Value)| {
        let ci = &method["ci"];
        let drawn = method["accuracy"].as_f64().zip(ends(ci)).map(|(value, ci)| interval(value, ci, low, high));
        let mut cells = vec![html(name), with_interval(&method["accuracy"], ci), drawn.unwrap_or_default()];
        for baseline in &baselines {
            let found = method["against"].as_array().into_iter().flatten().find(|it| it["baseline"] == **baseline);
            cells.push(found.map(|it| difference(&it["difference"], &it["ci"])).unwrap_or_default());
        }
        (if name.parse::<Selection>().is_ok() { "" } else { "bound" }, cells)
    };
    let rows: Vec<(&str, Vec<String>)> = methods.iter().map(row).collect();
    let heads: Vec<String> = ["method", "accuracy", ""]
        .map(str::to_owned)
        .into_iter()
        .chain(baselines.iter().map(|name| format!("minus {name}")))
        .collect();
    table(caption, &heads.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

/// A chart of accuracy against the number of candidates. Lines that are not `named` are thin; none named, all are.
fn curves(title: &str, curves: &Value, named: &[(&str, &'static str)]) -> String {
    let counts: Vec<u64> = curves["counts"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let usual = [("oracle", "c3"), ("majority", "c2"), ("logprob_mean", "c4"), ("product", "c1")];
    let named = if named.is_empty() { &usual[..] } else { named };
    let lines = curves["lines"].as_array().into_iter().flatten().map(|line| {
        let name = text(&line["name"]);
        let class = named.iter().find(|(known, _)| *known == name).map(|(_, class)| *class);
        series(name, class, &line["points"])
    });
    chart(title, &counts, lines.collect())
}

fn series(name: String, class: Option<&'static str>, points: &Value) -> Series {
    let all = || points.as_array().into_iter().flatten();
    Series {
        name,
        class: class.unwrap_or("c0"),
        points: all().enumerate().filter_map(|(at, point)| Some((at as f64, point["accuracy"].as_f64()?))).collect(),
        band: match class {
            Some(_) => all().filter_map(|point| ends(&point["ci"]).map(|[low, high]| (low, high))).collect(),
            None => Vec::new(),
        },
        is_faint: class.is_none(),
        has_marks: class.is_some(),
    }
}

fn chart(title: &str, counts: &[u64], mut lines: Vec<Series>) -> String {
    lines.retain(|line| !line.points.is_empty());
    if lines.is_empty() || counts.is_empty() {
        return String::new();
    }
    let values = || {
        lines.iter().flat_map(|line| {
            line.points.iter().map(|point| point.1).chain(line.band.iter().flat_map(|band| [band.0, band.1]))
        })
    };
    let chart = Chart {
        title: title.to_owned(),
        desc: "A line each; the numbers are in the file.".into(),
        x: Axis::categories("candidates", counts),
        y: Axis::percent("accuracy", values().fold(1.0, f64::min), values().fold(0.0, f64::max)),
        series: lines,
        ..Chart::default()
    };
    figure(&chart.svg(), &format!("{}. Bands: 95 % intervals over resamples of the problems.", html(title)))
}

/// The accuracy of a few rules in each group.
fn groups(field: &str, groups: Option<&Map<String, Value>>) -> String {
    const SHOWN: [&str; 5] = ["random", "majority", "logprob_mean", "product", "oracle"];
    let Some(groups) = groups.filter(|groups| !groups.is_empty()) else { return String::new() };
    let row = |(name, group): (&String, &Value)| {
        let cells = SHOWN.iter().map(|method| number(&group["aggregators"][*method]["accuracy"]));
        ("", [html(name), count_of(&group["problems"])].into_iter().chain(cells).collect())
    };
    let rows: Vec<(&str, Vec<String>)> = groups.iter().map(row).collect();
    let heads: Vec<&str> = [field, "problems"].into_iter().chain(SHOWN).collect();
    table(&format!("Accuracy by {field}"), &heads, &rows)
}

fn benchmark(result: &Value) -> String {
    let rules = || result["rules"].as_object().into_iter().flatten();
    let mut body =
        result["rule"].as_str().map(|rule| format!("<p class=\"note\">{}</p>", html(rule))).unwrap_or_default();
    body += &tiles(
        &rules()
            .map(|(name, rule)| (name.clone(), count_of(&rule["problems"]), left_out(&rule["counts"])))
            .collect::<Vec<_>>(),
    );
    for (name, rule) in rules() {
        body += &methods(&format!("Accuracy by the {name}"), &rule["aggregators"]);
    }
    let columns = result["reference"].as_object().into_iter().flatten();
    for (column, figures) in columns {
        let rows: Vec<(&str, Vec<String>)> = figures
            .as_object()
            .into_iter()
            .flatten()
            .map(|(method, value)| {
                ("", vec![html(method), value.as_f64().map_or_else(String::new, |value| format!("{value:.1} %"))])
            })
            .collect();
        body += &table(&format!("From elsewhere: {column}"), &["method", "accuracy"], &rows);
    }
    for (field, values) in result["groups"].as_object().into_iter().flatten() {
        body += &groups(field, values.as_object());
    }
    body
}

fn steps(report: &Value) -> String {
    let all = &report["all"];
    let mut body = tiles(&[
        ("steps".to_owned(), count_of(&all["steps"]), format!("{} of them wrong", count_of(&all["wrong"]))),
        ("ROC AUC".to_owned(), number(&all["auc"]), "over all steps".to_owned()),
        ("ROC AUC".to_owned(), number(&report["within_problem"]), "within a problem".to_owned()),
        ("ECE".to_owned(), number(&report["calibration_error"]), "calibration error".to_owned()),
    ]);
    let detection = |name: &str, one: &Value| {
        let figures =
            ["threshold", "accuracy_wrong", "accuracy_right", "f1", "f1_right_steps", "f1_wrong_steps", "macro_f1"];
        ("", std::iter::once(html(name)).chain(figures.map(|figure| number(&one[figure]))).collect::<Vec<_>>())
    };
    let mut rows = vec![detection("all", &report["detection"])];
    rows.extend(report["detection_groups"].as_object().into_iter().flatten().map(|(name, one)| detection(name, one)));
    if report["tuned"].is_object() {
        rows.push(detection("chosen threshold", &report["tuned"]));
    }
    let heads = ["wrong steps found", "threshold", "on wrong", "on right", "F1", "F1 right", "F1 wrong", "macro F1"];
    body += &table("Detection of wrong steps", &heads, &rows);
    let scores = &report["prmbench"];
    if scores.is_object() {
        let mut rows = vec![("best", vec!["overall".to_owned(), number(&scores["overall"])])];
        for dimension in scores["dimensions"].as_array().into_iter().flatten() {
            rows.push(("best", vec![html(&text(&dimension["name"])), number(&dimension["score"])]));
            let classes = dimension["classes"].as_object().into_iter().flatten();
            rows.extend(classes.map(|(class, score)| ("", vec![html(class), number(score)])));
        }
        body += &table("PRMBench: PRMScore", &["dimension, class", "PRMScore"], &rows);
    }
    let bins: Vec<(f64, f64)> = report["calibration"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|bin| bin["steps"].as_u64().is_some_and(|steps| steps > 0))
        .filter_map(|bin| Some((bin["score"].as_f64()?, bin["right"].as_f64()?)))
        .collect();
    let curve = Chart {
        title: "Calibration".into(),
        desc: "Fraction of right steps against their mean score, in ten bins.".into(),
        x: Axis::exact("mean score", 0.0, 1.0),
        y: Axis::exact("right", 0.0, 1.0),
        series: vec![Series { name: "steps".into(), class: "c1", points: bins, has_marks: true, ..Series::default() }],
        has_diagonal: true,
        ..Chart::default()
    };
    let places = report["places"].as_array().into_iter().flatten().map(|place| {
        let cells = ["steps", "wrong"]
            .map(|key| count_of(&place[key]))
            .into_iter()
            .chain(["auc", "score_right", "score_wrong"].map(|key| number(&place[key])));
        ("", std::iter::once(count_of(&place["step"])).chain(cells).collect())
    });
    let heads = ["step", "steps", "wrong", "AUC", "mean score, right", "mean score, wrong"];
    let places = table("By place in the solution", &heads, &places.collect::<Vec<_>>());
    format!(
        "{body}<div class=\"columns\">{}{places}</div>",
        figure(&curve.svg(), "Fraction of right steps against their mean score.")
    )
}

fn rules(result: &Value) -> String {
    let judged = count_of(&result["judged"]);
    let mut body = tiles(&[("answers".to_owned(), count_of(&result["answers"]), format!("{judged} with a verdict"))]);
    for (rule, rows) in result["rules"].as_object().into_iter().flatten() {
        let row = |row: &Value| {
            let share = row["agreed"].as_f64().zip(row["judged"].as_f64()).filter(|(_, judged)| *judged > 0.0);
            let share = share.map_or_else(|| "–".to_owned(), |(agreed, judged)| percent(agreed / judged));
            let counts = ["judged", "agreed"]
                .map(|key| count_of(&row[key]))
                .into_iter()
                .chain([share])
                .chain(["false_equal", "false_different", "undecided"].map(|key| count_of(&row[key])));
            ("", std::iter::once(html(&text(&row["source"]))).chain(counts).collect())
        };
        let rows: Vec<(&str, Vec<String>)> = rows.as_array().into_iter().flatten().map(row).collect();
        let heads = ["source", "judged", "agreed", "", "wrongly equal", "wrongly different", "undecided"];
        body += &table(&format!("The {rule} rule"), &heads, &rows);
    }
    body
}

fn ablation(result: &Value) -> String {
    let arms: Vec<&Value> = result["arms"].as_array().into_iter().flatten().collect();
    let mut shown = vec![(
        "problems".to_owned(),
        count_of(&result["problems"]),
        format!("{} left out", count_of(&result["left_out"])),
    )];
    for baseline in result["baselines"].as_array().into_iter().flatten() {
        let range = ends(&baseline["ci"]).map(|[low, high]| format!("{:.1} – {:.1}", 100.0 * low, 100.0 * high));
        let value = baseline["accuracy"].as_f64().map_or_else(|| "–".to_owned(), percent);
        shown.push((text(&baseline["name"]), value, range.unwrap_or_default()));
    }
    let names: Vec<String> = arms.iter().map(|arm| text(&arm["name"])).collect();
    let methods = |arm: &'_ Value| arm["methods"].as_array().cloned().unwrap_or_default();
    let first = arms.first().map(|arm| methods(arm)).unwrap_or_default();
    let row = |(at, method): (usize, &Value)| {
        let cell = |arm: &&Value| {
            let own = &arm["methods"][at];
            let plain = with_interval(&own["accuracy"], &own["ci"]);
            let change = difference(&own["difference"]["mean"], &own["difference"]["ci"]);
            if change.is_empty() { plain } else { format!("{}<br>{change}", number(&own["accuracy"])) }
        };
        ("", std::iter::once(html(&text(&method["name"]))).chain(arms.iter().map(cell)).collect())
    };
    let rows: Vec<(&str, Vec<String>)> = first.iter().enumerate().map(row).collect();
    let heads: Vec<&str> = std::iter::once("rule").chain(names.iter().map(String::as_str)).collect();
    let product = |arm: &'_ Value| {
        let mut lines = arm["curves"]["lines"].as_array().into_iter().flatten();
        lines.find(|line| line["name"] == "product").map(|line| line["points"].clone()).unwrap_or_default()
    };
    let lines = arms.iter().enumerate().map(|(at, arm)| {
        // Bands of more arms would hide each other.
        let mut line = series(text(&arm["name"]), Some(CLASSES[at % CLASSES.len()]), &product(arm));
        if at > 1 {
            line.band.clear();
        }
        line
    });
    let counts: Vec<u64> = arms
        .first()
        .into_iter()
        .flat_map(|arm| arm["curves"]["counts"].as_array().into_iter().flatten())
        .filter_map(Value::as_u64)
        .collect();
    let drawn = chart("Accuracy of the product against the number of candidates", &counts, lines.collect());
    let steps: Vec<(&str, Vec<String>)> = arms
        .iter()
        .map(|arm| {
            ("", vec![html(&text(&arm["name"])), number(&arm["step_auc"]), number(&arm["step_auc_within"]), seeds(arm)])
        })
        .collect();
    let steps = table("Steps, and seeds", &["arm", "step AUC", "within a problem", "product, each seed"], &steps);
    format!(
        "{}{}<p class=\"note\">Below the accuracy the difference from the first arm on the same problems, with its 95 % interval; bold \
         where that excludes 0. Figures are means over the seeds.</p><div class=\"columns\">{drawn}{steps}</div>",
        tiles(&shown),
        table("Accuracy of each rule in each arm", &heads, &rows),
    )
}

/// The accuracy of the product with each seed.
fn seeds(arm: &Value) -> String {
    let mut methods = arm["methods"].as_array().into_iter().flatten();
    let product = methods.find(|method| method["name"] == "product");
    let seeds = product.and_then(|method| method["seeds"].as_array()).into_iter().flatten();
    seeds.map(number).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn drawn(result: &Value) -> String {
        let kind = Kind::of(result.as_object().unwrap()).unwrap();
        section(kind, result).body
    }

    fn method(accuracy: f64) -> Value {
        json!({"accuracy": accuracy, "ci": [0.25, 0.75], "against": [{"baseline": "random", "difference": 0.125, "ci": [0.0625, 0.1875]}]})
    }

    #[test]
    fn every_result_is_recognised_and_its_figures_are_drawn_and_escaped() {
        let bon = json!({"input": "s.json", "problems": 1234, "counts": {"failed": 2}, "aggregators": {"<b>": method(0.5)},
            "curves": {"counts": [1, 2], "lines": [{"name": "product", "points": [{"accuracy": 0.4, "ci": [0.3, 0.5]}, {"accuracy": 0.6, "ci": [0.5, 0.7]}]}]},
            "groups": {"easy": {"problems": 3, "aggregators": {"random": method(0.625)}}}});
        let body = drawn(&bon);
        for part in ["1,234", "left out: 2 failed", "&lt;b&gt;", "<b>+0.125", "minus random", "<svg", "easy", "0.625"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let bench = json!({"bench": "mathvista", "rule": "r<x>", "rules": {"own rule": bon}, "groups": {"task": {"vqa": bon}},
            "reference": {"paper": {"random": 33.9}}});
        let body = drawn(&bench);
        for part in ["r&lt;x&gt;", "Accuracy by the own rule", "Accuracy by task", "From elsewhere: paper", "33.9 %"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        let steps = json!({"report": {"all": {"steps": 9, "wrong": 3, "auc": 0.875}, "within_problem": null, "calibration_error": 0.1,
            "detection": {"threshold": 0.5, "f1": 0.75}, "detection_groups": {"<g>": {"macro_f1": 0.5}}, "tuned": {"threshold": 0.3},
            "calibration": [{"steps": 4, "score": 0.1, "right": 0.2}, {"steps": 0, "score": 0, "right": 0}],
            "places": [{"step": 1, "steps": 4, "wrong": 1, "auc": 0.625}]}});
        let body = drawn(&steps);
        for part in ["0.875", "0.750", "&lt;g&gt;", "chosen threshold", "diagonal", "0.625", "<b>–</b>"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        assert_eq!(body.matches("<circle").count(), 1);
        let judge = json!({"answers": 10, "judged": 8, "rules": {"general": [{"source": "<s>", "judged": 8, "agreed": 6, "undecided": 1}]}});
        assert!(drawn(&judge).contains("75.0 %") && drawn(&judge).contains("&lt;s&gt;"));
        let arm = |name: &str, difference: Value| {
            json!({"name": name, "step_auc": 0.9, "methods": [{"name": "product", "accuracy": 0.5, "ci": [0.4, 0.6], "seeds": [0.25, 0.75],
                "difference": difference}], "curves": bon["curves"]})
        };
        let ablation = json!({"ablation": "a.toml", "result": {"problems": 5, "left_out": 1, "baselines": [{"name": "majority", "accuracy": 0.5, "ci": [0.4, 0.6]}],
            "arms": [arm("soft", Value::Null), arm("<hard>", json!({"mean": -0.25, "ci": [-0.375, -0.125]}))]}});
        let body = drawn(&ablation);
        for part in ["soft", "&lt;hard&gt;", "<b>-0.250", "0.250, 0.750", "50.0 %", "1 left out"] {
            assert!(body.contains(part), "{part}: {body}");
        }
        assert!(!body.contains("<hard>"));
    }

    #[test]
    fn fields_of_other_types_draw_nothing() {
        for result in [
            json!({"problems": 1, "aggregators": {"a": 3, "b": {"accuracy": "x", "ci": [1], "against": 4}}, "curves": 5, "groups": []}),
            json!({"bench": "x", "rules": {"a": 1}, "groups": 3, "reference": [1]}),
            json!({"report": {"calibration": 3, "places": 7, "detection_groups": [], "tuned": 1}}),
            json!({"judged": 1, "rules": {"a": 1, "b": [2]}}),
            json!({"ablation": "a", "result": {"arms": [1, {"methods": 2, "curves": {"lines": 3}}], "baselines": {}}}),
        ] {
            drawn(&result);
        }
        assert_eq!(Kind::of(json!({"bench": "infer", "rows": []}).as_object().unwrap()), None);
    }
}
