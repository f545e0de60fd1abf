//! Reading records of each form.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::form::StepForm;
use super::{LabelledSolution, MARK, NO_TASK, NUM_MC};
use crate::data::images::{image_paths, shown};
use crate::data::samples::{PROCESS, STEP_TOKEN};

/// What is wrong with a record, or how much of it has no place in a solution.
type Read = Result<(Vec<LabelledSolution>, Vec<&'static str>), String>;

/// Reads the solutions of a record, and names what of it they do not carry.
pub(super) fn read(form: StepForm, record: &Map<String, Value>) -> Read {
    let mut fields = record.clone();
    let images = image_paths(record).map_err(|error| error.to_string())?;
    for name in ["image", "images", "image_path", "image_paths"] {
        fields.shift_remove(name);
    }
    let mut reader = Reader { fields, images, lost: Vec::new() };
    let solutions = match form {
        StepForm::Samples => reader.samples(),
        StepForm::Solutions => reader.solutions(),
        StepForm::Prm800k => reader.prm800k(),
        StepForm::MathShepherd => reader.math_shepherd(),
        StepForm::Trl => reader.trl(),
        StepForm::ProcessBench => reader.processbench(),
        StepForm::VisualPrm => reader.visualprm(),
        StepForm::OmegaPrm => reader.omegaprm(),
    }?;
    Ok((solutions, reader.lost))
}

struct Reader {
    fields: Map<String, Value>,
    images: Vec<String>,
    lost: Vec<&'static str>,
}

type Steps = Vec<String>;
type Labels = Vec<Option<f64>>;

impl Reader {
    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.shift_remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &'static str) -> Result<String, String> {
        match self.take(field) {
            Some(Value::String(text)) => Ok(text),
            other => Err(format!("expected a text in `{field}`, found {}", shown(&other.unwrap_or_default()))),
        }
    }

    fn optional(&mut self, fields: &[&str]) -> Option<String> {
        let field = fields
            .iter()
            .find(|field| self.fields.get(**field).is_some_and(|value| value.is_string() || value.is_number()))?;
        match self.take(field)? {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    fn list(&mut self, field: &'static str) -> Result<Vec<Value>, String> {
        match self.take(field) {
            Some(Value::Array(list)) => Ok(list),
            other => Err(format!("expected a list in `{field}`, found {}", shown(&other.unwrap_or_default()))),
        }
    }

    /// A solution with what is left of the record.
    fn solution(
        &mut self,
        question: String,
        answer: Option<String>,
        steps: Steps,
        labels: Labels,
    ) -> Result<Vec<LabelledSolution>, String> {
        if steps.is_empty() || labels.len() > steps.len() {
            return Err(format!(
                "expected steps with a label for each or fewer, found {} and {}",
                steps.len(),
                labels.len()
            ));
        }
        let mut labels = labels;
        labels.resize(steps.len(), None);
        let id = self.take("id");
        let (images, rest) = (std::mem::take(&mut self.images), std::mem::take(&mut self.fields));
        Ok(vec![LabelledSolution { id, question, answer, images, steps, labels, rest }])
    }

    fn samples(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let turns = self.list("conversations")?;
        let text = turns.first().and_then(|turn| turn["value"].as_str()).ok_or("expected a text in the first turn")?;
        let labels = turns
            .last()
            .and_then(|turn| turn["value"].as_array())
            .ok_or("expected a list of labels in the last turn")?;
        let weights = self.take("weights");
        let weight = |index: usize| weights.as_ref().map_or(Some(1.0), |weights| weights[index].as_f64());
        let mut read = Vec::with_capacity(labels.len());
        for (index, label) in labels.iter().enumerate() {
            match weight(index).ok_or("expected a weight for each label")? {
                // A label without weight counts for nothing.
                0.0 => read.push(None),
                1.0 => read.push(Some(probability(label)?)),
                _ => return Err("expected weights 0 or 1; other weights have no place in other forms".into()),
            }
        }
        let own = (self.take("question"), self.take("steps"));
        let (question, steps) = if let (Some(Value::String(question)), Some(steps)) = own {
            (question, texts(steps.as_array().ok_or("expected a list in `steps`")?)?)
        } else {
            let (question, process) = text
                .strip_prefix("Question: ")
                .and_then(|text| text.split_once(PROCESS))
                .ok_or("expected `Question: …` and `Process: …`")?;
            let process = process.strip_suffix(STEP_TOKEN).ok_or("expected a step token at the end")?;
            let parts = process.split(STEP_TOKEN).enumerate();
            let step = |(index, part): (usize, &str)| {
                if index == 0 { part } else { part.strip_prefix("\n\n").unwrap_or(part) }.to_owned()
            };
            (question.to_owned(), parts.map(step).collect())
        };
        if steps.len() != read.len() {
            return Err(format!("expected a label for each of {} steps, found {}", steps.len(), read.len()));
        }
        let answer = self.optional(&["correct_answer", "answer"]);
        self.solution(question, answer, steps, read)
    }

    fn solutions(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let question = self.text("question")?;
        let answer = self.optional(&["correct_answer", "answer"]);
        let (splits, labels) = (self.list("solutions_splits")?, self.list("step_labels")?);
        if splits.len() != labels.len() {
            return Err(format!(
                "expected step labels for each of {} candidates, found {}",
                splits.len(),
                labels.len()
            ));
        }
        for (field, named) in [
            ("labels", "verdicts of candidates (`labels`)"),
            ("prm_scores", "`prm_scores`"),
            ("prm_critiques", "`prm_critiques`"),
            ("step_logprobs", "`step_logprobs`"),
            ("step_tokens", "`step_tokens`"),
            ("step_errors", "`step_errors`"),
            ("step_mc_values", "`step_mc_values`"),
        ] {
            if self.take(field).is_some() {
                self.lost.push(named);
            }
        }
        let mut solutions = Vec::new();
        for (steps, labels) in splits.iter().zip(&labels) {
            let steps = texts(steps.as_array().ok_or("expected lists in `solutions_splits`")?)?;
            let labels = labels.as_array().ok_or("expected lists in `step_labels`")?;
            let labels = labels.iter().map(|label| if label.is_null() { Ok(None) } else { hard(label).map(Some) });
            let labels = labels.collect::<Result<_, _>>()?;
            let mut one = Self { fields: self.fields.clone(), images: self.images.clone(), lost: Vec::new() };
            solutions.extend(one.solution(question.clone(), answer.clone(), steps, labels)?);
        }
        Ok(solutions)
    }

    /// The trajectory is that of the chosen completions, or the human ones (README.md of openai/prm800k).
    fn prm800k(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let mut question = self.take("question").unwrap_or_default();
        let mut label = self.take("label").unwrap_or_default();
        let problem = question["problem"].as_str().ok_or("expected a text in `question.problem`")?.to_owned();
        let answer = question["ground_truth_answer"].as_str().map(str::to_owned);
        let (mut steps, mut labels) = (Vec::new(), Vec::new());
        for step in label["steps"].as_array().ok_or("expected a list in `label.steps`")? {
            let completions = step["completions"].as_array().map_or(&[][..], Vec::as_slice);
            let chosen = step["chosen_completion"].as_u64().and_then(|index| completions.get(index as usize));
            let human = Some(&step["human_completion"]).filter(|human| human["text"].is_string());
            let one =
                chosen.or(human).or(completions.first()).ok_or("expected a completion in each of `label.steps`")?;
            if completions.len() > usize::from(chosen.is_some() || human.is_none()) {
                self.lost.push("alternative completions");
            }
            steps.push(one["text"].as_str().ok_or("expected a text in each completion")?.to_owned());
            let rating = if chosen.is_none() && human.is_some() { Some(1) } else { one["rating"].as_i64() };
            labels.push(match rating {
                Some(1) => Some(1.0),
                Some(-1) => Some(0.0),
                Some(0) | None => None,
                Some(other) => return Err(format!("expected ratings 1, 0 or -1, found {other}")),
            });
        }
        // Whatever else is known of question and labelling.
        for (value, own) in
            [(&mut question, &["problem", "ground_truth_answer"][..]), (&mut label, &["steps", "finish_reason"])]
        {
            for (name, value) in value.as_object_mut().into_iter().flat_map(std::mem::take) {
                if !own.contains(&name.as_str()) && !value.is_null() {
                    self.fields.entry(name).or_insert(value);
                }
            }
        }
        self.solution(problem, answer, steps, labels)
    }

    fn math_shepherd(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let (input, label) = (self.text("input")?, self.text("label")?);
        let start = input.find("Step 1:").ok_or("expected `Step 1:` in `input`")?;
        let question = input[..start].trim().to_owned();
        // The label is the input with a sign in place of each mark, so the texts between the marks find the signs.
        let (mut rest, mut labels, mut steps) = (label.as_str(), Vec::new(), Vec::new());
        let mut parts: Vec<&str> = input.split(MARK).collect();
        if !parts.pop().is_some_and(|last| last.trim().is_empty()) {
            return Err(format!("expected {MARK} at the end of `input`"));
        }
        for (index, part) in parts.iter().enumerate() {
            let after = rest.strip_prefix(part);
            labels.push(match after.and_then(|after| after.chars().next()) {
                Some('+') => Some(1.0),
                Some('-') => Some(0.0),
                _ => return Err(format!("expected + or - for step {} in `label`", index + 1)),
            });
            rest = &rest[part.len() + 1..];
            let step = if index == 0 { &part[start..] } else { part }.trim();
            // The form's own numbers.
            let number = format!("Step {}:", index + 1);
            let step = step.strip_prefix(&number).map_or(step, |step| step.strip_prefix(' ').unwrap_or(step));
            steps.push(step.to_owned());
        }
        let answer = self.optional(&["answer"]);
        if self.fields.get("task").and_then(Value::as_str) == Some(NO_TASK) {
            self.fields.shift_remove("task");
        }
        self.solution(question, answer, steps, labels)
    }

    fn trl(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let question = self.text("prompt")?;
        let steps = texts(&self.list("completions")?)?;
        let labels: Labels =
            self.list("labels")?.iter().map(|label| hard(label).map(Some)).collect::<Result<_, _>>()?;
        if labels.len() != steps.len() {
            return Err(format!("expected a label for each of {} completions, found {}", steps.len(), labels.len()));
        }
        let answer = self.optional(&["answer"]);
        self.solution(question, answer, steps, labels)
    }

    fn processbench(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let question = self.text("problem")?;
        let steps = texts(&self.list("steps")?)?;
        let label = self.take("label").and_then(|label| label.as_i64());
        let labels = match label {
            Some(-1) => vec![Some(1.0); steps.len()],
            Some(first) if (0..steps.len() as i64).contains(&first) => {
                (0..=first).map(|index| Some(f64::from(u8::from(index < first)))).collect()
            }
            _ => return Err(format!("expected the index of a step, or -1, in `label` for {} steps", steps.len())),
        };
        let answer = self.optional(&["answer"]);
        self.solution(question, answer, steps, labels)
    }

    fn visualprm(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let question = self.text("question")?;
        let (mut steps, mut labels, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for step in self.list("steps_with_score")? {
            steps.push(step["step"].as_str().ok_or("expected a text in `step`")?.to_owned());
            labels.push(Some(probability(&step["score"])?));
            counts.push(json!([step["num_mc_correct"], step["num_mc_total"]]));
        }
        if counts.iter().any(|count| count[0].is_number()) {
            self.fields.insert(NUM_MC.into(), counts.into());
        }
        let answer = self.optional(&["answer"]);
        self.solution(question, answer, steps, labels)
    }

    /// The longest prefixes are the solutions; equal ones were searched apart, and the mean of their values counts.
    fn omegaprm(&mut self) -> Result<Vec<LabelledSolution>, String> {
        let question = self.text("question")?;
        let answer = self.optional(&["final_answer"]);
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for state in self.list("reasoning_steps")? {
            let text = state["solution_prefix"].as_str().and_then(|text| text.strip_prefix(question.as_str()));
            let text = text.ok_or("expected the question before each `solution_prefix`")?;
            if text.trim().is_empty() {
                self.lost.push("MC values of questions");
            } else {
                values.entry(text.to_owned()).or_default().push(probability(&state["mc_value"])?);
            }
        }
        let texts: Vec<&String> = values.keys().collect();
        let (mut open, mut solutions): (Vec<&str>, _) = (Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            while open.last().is_some_and(|last| !text.starts_with(last)) {
                open.pop();
            }
            open.push(text);
            if texts.get(index + 1).is_some_and(|next| next.starts_with(text.as_str())) {
                continue;
            }
            let starts = std::iter::once(0).chain(open.iter().map(|prefix| prefix.len()));
            let steps = open.iter().zip(starts).map(|(prefix, start)| prefix[start..].trim().to_owned()).collect();
            let mean = |prefix: &&str| values[*prefix].iter().sum::<f64>() / values[*prefix].len() as f64;
            let mut one = Self { fields: self.fields.clone(), images: Vec::new(), lost: Vec::new() };
            solutions.extend(one.solution(
                question.clone(),
                answer.clone(),
                steps,
                open.iter().map(|prefix| Some(mean(prefix))).collect(),
            )?);
        }
        if solutions.is_empty() {
            Err("expected a prefix beyond the question in `reasoning_steps`".into())
        } else {
            Ok(solutions)
        }
    }
}

fn texts(values: &[Value]) -> Result<Steps, String> {
    let texts: Option<Steps> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    texts.ok_or_else(|| "expected steps as texts".to_owned())
}

fn probability(value: &Value) -> Result<f64, String> {
    let number = value.as_f64().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| format!("expected labels from 0 to 1, found {}", shown(value)))
}

fn hard(value: &Value) -> Result<f64, String> {
    match (value.as_bool(), value.as_f64()) {
        (Some(label), _) => Ok(f64::from(u8::from(label))),
        (None, Some(label)) if [0.0, 1.0].contains(&label) => Ok(label),
        _ => Err(format!("expected labels true, false, 0 or 1, found {}", shown(value))),
    }
}
