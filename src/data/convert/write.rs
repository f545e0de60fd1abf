//! Writing solutions in each form.

use serde_json::{Map, Value, json};

use super::form::StepForm;
use super::{LabelledSolution, MARK, NO_TASK, NUM_MC};
use crate::compat;
use crate::data::samples::{Sample, sample_line};

/// The record of a solution.
pub(super) fn write(form: StepForm, solution: &LabelledSolution) -> Result<Map<String, Value>, String> {
    let LabelledSolution { question, answer, steps, labels, .. } = solution;
    if !form.has_images() && !solution.images.is_empty() {
        return Err(format!("it has an image, and {form} has no place for images"));
    }
    if let Some(step) = labels.iter().position(Option::is_none)
        && matches!(form, StepForm::MathShepherd | StepForm::Trl | StepForm::VisualPrm | StepForm::OmegaPrm)
    {
        return Err(format!("step {} has no label, and {form} needs one for each step", step + 1));
    }
    if let Some(step) = labels.iter().flatten().position(|label| *label > 0.0 && *label < 1.0)
        && !form.is_soft()
    {
        return Err(format!("label {} is neither 0 nor 1, and {form} has hard labels; give a threshold", step + 1));
    }
    let is_right = |label: &Option<f64>| label.is_some_and(|label| label > 0.0);
    let mut record = match form {
        StepForm::Samples => samples(solution)?,
        StepForm::Solutions => {
            let label = |label: &Option<f64>| label.map_or(Value::Null, |label| json!(u8::from(label > 0.0)));
            let labels: Vec<Value> = labels.iter().map(label).collect();
            let mut record = object(json!({"question": question}));
            insert(&mut record, "correct_answer", answer.as_ref());
            images(&mut record, "image_path", "image_paths", solution);
            record.insert("solutions_splits".into(), json!([steps]));
            record.insert("step_labels".into(), json!([labels]));
            record
        }
        StepForm::Prm800k => {
            let rating = |label: &Option<f64>| label.map_or(0, |label| if label > 0.0 { 1 } else { -1 });
            let completion = |(step, label): (&String, &Option<f64>)| {
                json!({"completions": [{"text": step, "rating": rating(label), "flagged": null}], "human_completion": null,
                    "chosen_completion": 0})
            };
            let completions: Vec<Value> = steps.iter().zip(labels).map(completion).collect();
            let reason = if labels.contains(&Some(0.0)) { "found_error" } else { "solution" };
            object(
                json!({"question": {"problem": question, "ground_truth_answer": answer}, "label": {"steps": completions,
                "finish_reason": reason}}),
            )
        }
        StepForm::MathShepherd => {
            let text = |mark: &dyn Fn(usize) -> &'static str| {
                let step = |(index, step): (usize, &String)| format!("Step {}: {step} {}", index + 1, mark(index));
                format!("{question} {}", steps.iter().enumerate().map(step).collect::<Vec<_>>().join("\n"))
            };
            let sign = |index: usize| if is_right(&labels[index]) { "+" } else { "-" };
            let mut record = object(json!({"input": text(&|_| MARK), "label": text(&sign),
                "task": solution.rest.get("task").map_or_else(|| json!(NO_TASK), Clone::clone)}));
            insert(&mut record, "answer", answer.as_ref());
            record
        }
        StepForm::Trl => {
            let labels: Vec<bool> = labels.iter().map(is_right).collect();
            let mut record = object(json!({"prompt": question, "completions": steps, "labels": labels}));
            insert(&mut record, "answer", answer.as_ref());
            record
        }
        StepForm::ProcessBench => {
            let first = labels.iter().position(|label| *label == Some(0.0));
            let label = first.map_or(-1, |first| first as i64);
            let mut record = object(json!({"problem": question, "steps": steps, "label": label}));
            insert(&mut record, "answer", answer.as_ref());
            record
        }
        StepForm::VisualPrm => {
            let counts = solution.rest.get(NUM_MC);
            let step = |(index, (step, label)): (usize, (&String, &Option<f64>))| {
                let count = counts.map_or(&Value::Null, |counts| &counts[index]);
                json!({"step": step, "score": label, "num_mc_correct": count[0], "num_mc_total": count[1]})
            };
            let scored: Vec<Value> = steps.iter().zip(labels).enumerate().map(step).collect();
            let mut record = object(json!({}));
            images(&mut record, "image", "image", solution);
            record.insert("question".into(), json!(question));
            insert(&mut record, "answer", answer.as_ref());
            record.insert("steps_with_score".into(), scored.into());
            record
        }
        StepForm::OmegaPrm => {
            let prefix = |count: usize| {
                std::iter::once(question).chain(&steps[..count]).cloned().collect::<Vec<_>>().join("\n\n")
            };
            let state = |index: usize| json!({"solution_prefix": prefix(index + 1), "mc_value": labels[index]});
            let states: Vec<Value> = (0..steps.len()).map(state).collect();
            let mut record = object(json!({"question": question}));
            insert(&mut record, "final_answer", answer.as_ref());
            record.insert("reasoning_steps".into(), states.into());
            record
        }
    };
    if let Some(id) = &solution.id {
        record.insert("id".into(), id.clone());
    }
    for (name, value) in &solution.rest {
        // Fields that have their place in the form.
        let is_placed = match form {
            StepForm::VisualPrm => name == NUM_MC,
            StepForm::MathShepherd => name == "task",
            _ => false,
        };
        match record.get(name) {
            _ if is_placed => {}
            Some(_) => return Err(format!("its field `{name}` has another meaning in {form}; rename it")),
            None => drop(record.insert(name.clone(), value.clone())),
        }
    }
    Ok(record)
}

fn samples(solution: &LabelledSolution) -> Result<Map<String, Value>, String> {
    let labels: Vec<f64> = solution.labels.iter().map(|label| label.unwrap_or_default()).collect();
    let weigh = |label: &Option<f64>| f64::from(u8::from(label.is_some()));
    let is_whole = solution.labels.iter().all(Option::is_some);
    let weights = (!is_whole).then(|| solution.labels.iter().map(weigh).collect());
    let sample = Sample { parts: solution.steps.clone(), labels, weights };
    let image = match &solution.images[..] {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let line = sample_line(0, &solution.question, &image, &sample);
    let mut record: Map<String, Value> = serde_json::from_str(&line).map_err(|error| error.to_string())?;
    insert(&mut record, "answer", solution.answer.as_ref());
    Ok(record)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(record) => record,
        _ => Map::new(),
    }
}

fn insert(record: &mut Map<String, Value>, field: &str, value: Option<&String>) {
    if let Some(value) = value {
        record.insert(field.to_owned(), json!(value));
    }
}

fn images(record: &mut Map<String, Value>, one: &str, several: &str, solution: &LabelledSolution) {
    match &solution.images[..] {
        [] => {}
        [image] => drop(record.insert(one.to_owned(), json!(image))),
        images => drop(record.insert(several.to_owned(), json!(images))),
    }
}

/// The line of a record: numbers of training samples as Python writes them.
pub(super) fn line(record: &Map<String, Value>) -> String {
    compat::json::dumps(&Value::Object(record.clone()))
}
