//! Sets of solutions whose steps are labelled: records of a Best-of-N file with one candidate and `step_labels`: 1 right, 0
//! wrong, null not counted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::builder::{Builder, Dropped, Imported, Mapping};
use super::row::Row;
use crate::data::images::shown;

/// No columns.
const NONE: &[&str] = &[];

/// Adds one candidate with its labels.
fn solution(builder: &mut Builder, steps: &[String], labels: &[Option<bool>]) -> Result<(), Dropped> {
    if steps.is_empty() {
        return Err(Dropped::Row("no steps", String::new()));
    }
    if labels.len() > steps.len() {
        return Err(Dropped::Row("labels and steps differ", format!("{} and {}", labels.len(), steps.len())));
    }
    let number = |label: &Option<bool>| label.map_or(Value::Null, |label| json!(u8::from(label)));
    builder.set("solutions_splits", json!([steps]));
    builder.set("step_labels", json!([labels.iter().map(number).collect::<Value>()]));
    Ok(())
}

fn texts(value: Option<Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// `label` is the index of the first wrong step; later ones are not labelled.
pub(super) fn processbench(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.id(&["id"]);
    builder.question(&["problem"])?;
    let steps = texts(builder.take("steps")).ok_or_else(|| Dropped::Row("no steps", String::new()))?;
    let label = builder.take("label").and_then(|label| label.as_i64());
    let labels = match label {
        Some(-1) => vec![Some(true); steps.len()],
        Some(first) if (0..steps.len() as i64).contains(&first) => {
            (0..=first).map(|index| Some(index < first)).collect()
        }
        other => return Err(Dropped::Row("label outside the steps", format!("{other:?} of {}", steps.len()))),
    };
    solution(&mut builder, &steps, &labels)?;
    match builder.take("final_answer_correct") {
        Some(Value::Bool(right)) => builder.set("labels", json!([u8::from(right)])),
        Some(other) => return Err(Dropped::Row("unknown verdict", shown(&other))),
        None => {}
    }
    builder.done(&["problem"])
}

/// The modified process; all of its steps are labelled, those in `error_steps` (from 1) as wrong.
pub(super) fn prmbench(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    // The same problem is modified in several ways, under one index.
    match (builder.text(&["classification"]), builder.text(&["idx", "id"])) {
        (Some(class), Some(index)) => builder.set("id", format!("{class}_{index}")),
        (_, index) => index.into_iter().for_each(|index| builder.set("id", index)),
    }
    builder.question(&["modified_question", "question"])?;
    let steps = texts(builder.take("modified_process")).ok_or_else(|| Dropped::Row("no steps", String::new()))?;
    let errors = builder.take("error_steps").ok_or_else(|| Dropped::Row("no error steps", String::new()))?;
    let numbers: Option<Vec<u64>> = errors.as_array().and_then(|errors| errors.iter().map(number).collect());
    let errors = numbers.ok_or_else(|| Dropped::Row("unknown step label", shown(&errors)))?;
    if let Some(outside) = errors.iter().find(|step| !(1..=steps.len() as u64).contains(step)) {
        return Err(Dropped::Row("label outside the steps", format!("{outside} of {}", steps.len())));
    }
    let labels: Vec<_> = (1..=steps.len() as u64).map(|step| Some(!errors.contains(&step))).collect();
    solution(&mut builder, &steps, &labels)?;
    builder.done(&["idx", "modified_question", "question"])
}

/// A whole number, possibly as text or as a float.
fn number(value: &Value) -> Option<u64> {
    let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e9).contains(number));
    whole.map(|number| number as u64).or_else(|| value.as_str()?.trim().parse().ok())
}

/// `response` holds the steps, and 1, 0 (neutral) or -1 for each.
pub(super) fn visualprocessbench(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    builder.id(&["id"]);
    builder.question(&["question"])?;
    let Some(Value::Object(mut response)) = builder.take("response") else {
        return Err(Dropped::Row("no steps", String::new()));
    };
    let steps = texts(response.shift_remove("steps")).ok_or_else(|| Dropped::Row("no steps", String::new()))?;
    let labels = ratings(response.shift_remove("process_correctness").as_ref())?;
    if labels.len() != steps.len() {
        return Err(Dropped::Row("labels and steps differ", format!("{} and {}", labels.len(), steps.len())));
    }
    solution(&mut builder, &steps, &labels)?;
    for (name, value) in response {
        builder.set(&format!("response_{name}"), value);
    }
    builder.images(&["image", "images"])?;
    builder.done(NONE)
}

/// 1 right, -1 wrong, 0 neutral.
fn ratings(value: Option<&Value>) -> Result<Vec<Option<bool>>, Dropped> {
    let values = value.and_then(Value::as_array).ok_or_else(|| Dropped::Row("no step labels", String::new()))?;
    let rating = |value: &Value| match value.as_i64() {
        Some(1) => Ok(Some(true)),
        Some(0) => Ok(None),
        Some(-1) => Ok(Some(false)),
        _ => Err(Dropped::Row("unknown step label", value.to_string())),
    };
    values.iter().map(rating).collect()
}

/// The completion that labellers chose at each step, or the human one; the steps end at the first wrong one.
pub(super) fn prm800k(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    let question = builder.take("question").unwrap_or_default();
    let problem = question["problem"].as_str().ok_or_else(|| Dropped::Row("no question", String::new()))?;
    builder.set("question", problem);
    if let Some(answer) = question["ground_truth_answer"].as_str() {
        builder.set("correct_answer", answer);
    }
    let label = builder.take("label").unwrap_or_default();
    let (mut steps, mut labels) = (Vec::new(), Vec::new());
    for step in label["steps"].as_array().into_iter().flatten() {
        let completions = step["completions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let chosen = step["chosen_completion"].as_u64().and_then(|index| completions.get(index as usize));
        // Where none was good enough, the labeller wrote one, or the solution ends here.
        let human = Some(&step["human_completion"]).filter(|human| human["text"].is_string());
        let Some(one) = chosen.or(human).or(completions.first()) else { break };
        let Some(text) = one["text"].as_str() else { break };
        let rating = if chosen.is_none() && human.is_some() { Some(1) } else { one["rating"].as_i64() };
        steps.push(text.to_owned());
        labels.push(match rating {
            Some(1) => Some(true),
            Some(-1) => Some(false),
            _ => None,
        });
        if rating == Some(-1) {
            break;
        }
    }
    solution(&mut builder, &steps, &labels)?;
    builder.done(NONE)
}

/// The longest prefixes in `reasoning_steps` are the solutions; the shorter ones that begin them end their steps. Equal prefixes were
/// searched apart, and the mean of their values counts. A step is right if a rollout from its end was (`mc_value` above 0); the values
/// themselves are kept as `step_mc_values`.
///
/// `OpenR` (openreasoner/openr, `data/`) writes each state of a search tree as its whole text, the question before it.
pub(super) fn omegaprm(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    let mut builder = Builder::new(row);
    // `question_id` stays a field: in OpenR's own files different questions have the same.
    let question = builder.needed("no question", &["question"])?;
    builder.set("question", question.as_str());
    builder.answer(&["final_answer"]);
    let states = builder.take("reasoning_steps").unwrap_or_default();
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for state in states.as_array().ok_or_else(|| Dropped::Row("no steps", shown(&states)))? {
        let text = state["solution_prefix"].as_str().and_then(|text| text.strip_prefix(question.as_str()));
        let text = text.ok_or_else(|| Dropped::Row("a prefix without the question", shown(state)))?;
        let value = state["mc_value"].as_f64().filter(|value| (0.0..=1.0).contains(value));
        let value = value.ok_or_else(|| Dropped::Row("unknown step label", shown(&state["mc_value"])))?;
        if !text.trim().is_empty() {
            values.entry(text).or_default().push(value);
        }
    }
    let (mut solutions, mut labels, mut all_values) = (Vec::new(), Vec::new(), Vec::new());
    // In order of their texts, a prefix comes directly before what it begins.
    let texts: Vec<&str> = values.keys().copied().collect();
    let mut open: Vec<&str> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        while open.last().is_some_and(|last| !text.starts_with(last)) {
            open.pop();
        }
        open.push(text);
        if texts.get(index + 1).is_some_and(|next| next.starts_with(text)) {
            continue;
        }
        let starts = std::iter::once(0).chain(open.iter().map(|prefix| prefix.len()));
        let steps: Vec<&str> = open.iter().zip(starts).map(|(prefix, start)| prefix[start..].trim()).collect();
        let mean = |prefix: &&str| values[prefix].iter().sum::<f64>() / values[prefix].len() as f64;
        let own: Vec<f64> = open.iter().map(mean).collect();
        solutions.push(json!(steps));
        labels.push(own.iter().map(|value| json!(u8::from(*value > 0.0))).collect::<Value>());
        all_values.push(json!(own));
    }
    if solutions.is_empty() {
        return Err(Dropped::Row("no steps", String::new()));
    }
    builder.set("solutions_splits", solutions);
    builder.set("step_labels", labels);
    builder.set("step_mc_values", all_values);
    builder.done(&["final_answer", "question"])
}

/// Steps of `input` end in `ки`; at the same places `label` has + or -.
pub(super) fn math_shepherd(row: Row, _: &Mapping) -> Result<Imported, Dropped> {
    const MARK: &str = "ки";
    let mut builder = Builder::new(row);
    let input = builder.needed("no question", &["input"])?;
    let label = builder.needed("no step labels", &["label"])?;
    let Some(start) = input.find("Step 1:") else {
        return Err(Dropped::Row("no steps", String::new()));
    };
    let (question, process) = input.split_at(start);
    let steps: Vec<String> =
        process.split(MARK).map(|step| step.trim().to_owned()).filter(|step| !step.is_empty()).collect();
    // The label is the input with a sign in place of each mark, so the texts between the marks find the signs.
    let (mut rest, mut labels) = (label.as_str(), Vec::new());
    for part in input.split(MARK).take(input.matches(MARK).count()) {
        let sign = rest.strip_prefix(part).and_then(|after| after.chars().next());
        labels.push(match sign {
            Some('+') => Some(true),
            Some('-') => Some(false),
            _ => return Err(Dropped::Row("labels and steps differ", String::new())),
        });
        rest = &rest[part.len() + 1..];
    }
    builder.set("question", question.trim());
    if labels.len() != steps.len() {
        return Err(Dropped::Row("labels and steps differ", format!("{} and {}", labels.len(), steps.len())));
    }
    solution(&mut builder, &steps, &labels)?;
    builder.done(&["input", "label"])
}
