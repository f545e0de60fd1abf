//! Lists of what a file holds, a line a record.

use std::path::Path;

use mmprm::data::candidates::CandidateSet;
use mmprm::data::tree::Tree;
use mmprm::eval::selection::{Contenders, Selection};
use mmprm::prompt::STEP_TOKEN;
use mmprm::util::io;
use mmprm::util::printable::printable;
use serde_json::{Value, json};

use super::{Shown, find, kind::MAX_BYTES};
use crate::draw::candidates::expected;
use crate::draw::pen::{Grade, Pen};
use crate::draw::steps::{self, Scale, number};
use crate::exit::BadInput;
use crate::table::Table;

/// Samples in a list; the rest is counted.
const LISTED: usize = 200;

fn text_of(value: Option<&Value>, index: usize) -> String {
    match value {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Null) | None => index.to_string(),
        Some(id) => id.to_string(),
    }
}

/// A problem in the list.
struct Line {
    id: String,
    answer: String,
    agreement: String,
    right: Option<bool>,
    question: String,
}

/// A line a problem: what is selected, whether it is right, and how many candidates agree.
pub fn candidates(sets: &[CandidateSet], rule: Selection, pen: Pen) -> Shown {
    let short = |text: &str, length: usize| printable(text).chars().take(length).collect::<String>();
    let line = |(index, set): (usize, &CandidateSet)| {
        let contenders = Contenders::new(set);
        let selected = contenders.select(rule);
        let right = selected.and_then(|one| set.labels.as_ref()?.get(one.index).copied());
        let answer = selected
            .map_or("nothing to select", |one| contenders.answers()[one.index].as_deref().unwrap_or("no answer"));
        let expected = expected(set).filter(|_| right == Some(false));
        let expected = expected.map_or_else(String::new, |answer| format!(" (expected {})", short(&answer, 20)));
        Line {
            id: short(&text_of(set.record.get("id"), index), 24),
            answer: short(answer, 20) + &expected,
            agreement: selected.map_or_else(String::new, |one| format!("{} of {}", one.agreement, set.solutions.len())),
            right,
            question: set.question.clone().unwrap_or_default(),
        }
    };
    let lines: Vec<Line> = sets.iter().enumerate().map(line).collect();
    let width = |part: fn(&Line) -> &str| lines.iter().map(|line| part(line).chars().count()).max().unwrap_or(0);
    let (id, answer, agreement) = (width(|line| &line.id), width(|line| &line.answer), width(|line| &line.agreement));
    let mut text = String::new();
    for line in &lines {
        let mark = match line.right {
            Some(true) => pen.graded(Grade::Good, "✓"),
            Some(false) => pen.graded(Grade::Poor, "✗"),
            None if line.agreement.is_empty() => pen.graded(Grade::Poor, "!"),
            None => " ".to_owned(),
        };
        let Line { id: own, answer: chosen, agreement: agree, question, .. } = line;
        let head = format!("{mark}  {own:<id$}  {chosen:<answer$}  {agree:>agreement$}  ");
        text += &format!("{head}{}\n", pen.dim(&pen.cut(question, console::measure_text_width(&head))));
    }
    let right = lines.iter().filter(|line| line.right == Some(true)).count();
    let labelled = lines.iter().filter(|line| line.right.is_some()).count();
    let failed = lines.iter().filter(|line| line.agreement.is_empty()).count();
    text += &format!("\n{} problems, chosen by {rule}", sets.len());
    if labelled > 0 {
        text += &format!(": {right} of {labelled} right ({:.1} %)", 100.0 * right as f64 / labelled as f64);
    }
    if failed > 0 {
        text += &format!(", {failed} without a candidate");
    }
    text += "\n";
    (
        text,
        json!({"kind": "candidates", "problems": sets.len(), "right": right, "labelled": labelled, "failed": failed}),
    )
}

/// A line a tree.
pub fn trees(trees: &[Tree], pen: Pen) -> Shown {
    let mut text = String::new();
    for (index, tree) in trees.iter().enumerate() {
        let root = &tree.root;
        let value = pen.graded(Scale::Linear.grade(root.mc_value), &format!("MC {:.2}", root.mc_value));
        let (id, states) = (text_of(Some(&tree.id), index), root.count());
        let id: String = printable(id).chars().take(24).collect();
        let line = format!("{id:<24}  {value}  {states:>3} states  ");
        text += &format!("{line}{}\n", pen.dim(&pen.cut(&tree.question, console::measure_text_width(&line))));
    }
    text += &format!("\n{} trees; show one by its id\n", trees.len());
    (text, json!({"kind": "trees", "trees": trees.len()}))
}

/// A line a training sample, or one of them whole.
pub fn samples(path: &Path, id: Option<&str>, pen: Pen) -> anyhow::Result<Shown> {
    let bytes = io::read_text(path, MAX_BYTES)?;
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let read = |(index, line): (usize, &[u8])| {
        let broken = |cause: String| BadInput(format!("{}: line {}: {cause}", path.display(), index + 1));
        serde_json::from_slice::<Value>(line).map_err(|error| broken(error.to_string()))
    };
    let records = lines.map(read).collect::<Result<Vec<_>, _>>()?;
    if let Some(id) = id {
        let record = &records[find(id, records.iter().map(|record| record.get("id")), path)?];
        let mut text = String::new();
        for Sample { question, steps, labels, title } in parts(record) {
            text += &format!("{}{}\n\n", title, pen.wrapped(&question, 0));
            text += &steps::draw(&steps, Some(&labels), None, Scale::Linear, pen);
            text.push('\n');
        }
        return Ok((text, json!({"kind": "samples", "record": record})));
    }
    let mut text = String::new();
    for (index, record) in records.iter().enumerate().take(LISTED) {
        let parts = parts(record);
        let labels: Vec<String> = parts.iter().flat_map(|sample| &sample.labels).map(|label| number(*label)).collect();
        let head = format!("{:>6}  {}  ", text_of(record.get("id"), index), pen.cut(&labels.join(" "), 40));
        let question = parts.first().map(|sample| sample.question.clone()).unwrap_or_default();
        text += &format!("{head}{}\n", pen.dim(&pen.cut(&question, head.chars().count())));
    }
    let rest = records.len().saturating_sub(LISTED);
    let rest = if rest > 0 { format!(", {rest} of them not listed") } else { String::new() };
    text += &format!("\n{} samples{rest}; show one by its id or index\n", records.len());
    Ok((text, json!({"kind": "samples", "samples": records.len()})))
}

/// A solution in a sample, with the labels of its steps.
struct Sample {
    title: String,
    question: String,
    steps: Vec<String>,
    labels: Vec<f64>,
}

/// What a sample holds: a process, a solution, or candidates.
fn parts(record: &Value) -> Vec<Sample> {
    let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
    };
    if let Some(candidates) = record["candidates"].as_array() {
        let candidate = |(index, steps): (usize, &Value)| {
            let right = record["labels"][index] == json!(1) || record["labels"][index] == json!(true);
            let title = format!("candidate {index}, {}\n", if right { "right" } else { "wrong" });
            Sample { title, question: text("question"), steps: list(steps), labels: Vec::new() }
        };
        return candidates.iter().enumerate().map(candidate).collect();
    }
    let labels = record["conversations"][1]["value"].as_array();
    let labels: Vec<f64> = labels.into_iter().flatten().filter_map(Value::as_f64).collect();
    let title = String::new();
    if record.get("conversations").is_some() && record.get("steps").is_none() {
        let human = record["conversations"][0]["value"].as_str().unwrap_or_default();
        let (question, process) = human.split_once("\nProcess: ").unwrap_or((human, ""));
        let question = question.strip_prefix("Question: ").unwrap_or(question).to_owned();
        let steps =
            process.split(STEP_TOKEN).map(|step| step.trim().to_owned()).filter(|step| !step.is_empty()).collect();
        return vec![Sample { title, question, steps, labels }];
    }
    let steps = if record.get("steps").is_some() { list(&record["steps"]) } else { list(&record["solution"]) };
    vec![Sample { title, question: text("question"), steps, labels }]
}

/// The table of a benchmark's results.
pub fn bench(path: &Path) -> anyhow::Result<Shown> {
    let bytes = io::read_text(path, MAX_BYTES)?;
    let broken = |error: serde_json::Error| BadInput(format!("{}: {error}", path.display()));
    let result: Value = serde_json::from_slice(&bytes).map_err(broken)?;
    let mut table = Table::new(["model", "quantisation", "threads", "work", "unit", "mean", "min", "max"]);
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rounded = |value: &Value| value.as_f64().map_or_else(|| cell(value), |number| format!("{number:.3}"));
    for row in result["rows"].as_array().into_iter().flatten() {
        let texts = ["model", "quantisation", "threads", "work", "unit"].map(|field| cell(&row[field]));
        table.row(texts.into_iter().chain(["mean", "min", "max"].map(|field| rounded(&row[field]))));
    }
    Ok((format!("bench {}\n\n{table}", cell(&result["bench"])), json!({"kind": "bench", "result": result})))
}
