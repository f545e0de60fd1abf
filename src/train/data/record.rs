use serde::Deserialize;
use serde_json::Value;

use crate::prompt::{ChatTemplate, Images, Piece, PrmTemplate, STEP_TOKEN, prm, prm_text};

/// What a training file holds, and so what the model learns from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Process supervision: a soft label at every `<prm>`.
    Prm,
    /// Text to predict, in these forms.
    Policy(Forms),
}

/// In which forms the policy's solutions are written; conversations are as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    /// The rollout prompt and `<step>…</step>…<answer>…</answer>`.
    pub rollout: bool,
    /// The text that a PRM reads, its process to be predicted.
    pub prm: bool,
}

/// A line of a training file.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    #[serde(default)]
    pub id: Value,
    #[serde(default, alias = "image_path")]
    image: Value,
    conversations: Option<Vec<Turn>>,
    weights: Option<Vec<Value>>,
    question: Option<String>,
    #[serde(default)]
    previous: Vec<String>,
    solution: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    from: String,
    value: Value,
}

/// A text to be tokenised: the pieces of the context, and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    /// What the model is given. For process supervision it is everything.
    pub context: Vec<Piece>,
    /// What it is to write.
    pub reply: Option<String>,
    /// One for each step.
    pub labels: Vec<f32>,
    /// How much each label counts.
    pub weights: Vec<f32>,
    /// What names the problem, apart from its images.
    pub question: String,
}

impl Text {
    /// One whose reply is to be predicted, and nothing judged.
    fn taught(context: Vec<Piece>, reply: String, question: &str) -> Self {
        Self { context, reply: Some(reply), labels: Vec::new(), weights: Vec::new(), question: question.to_owned() }
    }
}

impl Record {
    /// Paths of its images as the file has them.
    pub fn images(&self) -> Result<Vec<&str>, String> {
        match &self.image {
            Value::Null => Ok(Vec::new()),
            Value::Array(several) => several.iter().map(path).collect(),
            one => Ok(vec![path(one)?]),
        }
    }

    /// The texts that it stands for: one, or for solutions one in each form.
    pub fn texts(&self, task: Task, images: usize) -> Result<Vec<Text>, String> {
        match (task, &self.conversations) {
            (Task::Prm, Some(turns)) => Ok(vec![process(turns, self.weights.as_deref(), images)?]),
            (Task::Prm, None) => Err("there are no `conversations`, expected one of a human and a gpt turn".into()),
            (Task::Policy(_), Some(turns)) => Ok(vec![conversation(turns, images)?]),
            (Task::Policy(forms), None) => self.solutions(forms, images),
        }
    }

    fn solutions(&self, forms: Forms, images: usize) -> Result<Vec<Text>, String> {
        let (Some(question), Some(solution)) = (&self.question, &self.solution) else {
            return Err("expected `conversations`, or `question` and `solution`".into());
        };
        let Some((answer, steps)) = solution.split_last() else {
            return Err("its `solution` is empty, expected steps and an answer".into());
        };
        let mut texts = Vec::new();
        if forms.rollout {
            let mut reply = String::new();
            for step in steps {
                reply.extend(["<step>", step, "</step>"]);
            }
            reply.extend(["<answer>", answer, "</answer>"]);
            let context = ChatTemplate::default().rollout(question, &self.previous, images, Images::All);
            texts.push(Text::taught(context, reply, question));
        }
        if forms.prm {
            let all: Vec<&String> = self.previous.iter().chain(solution).collect();
            let whole = prm_text(question, &all, PrmTemplate::Training);
            // What the previous steps and the blank line after them take is given, the rest is to be predicted.
            let mut given = prm_text(question, &self.previous, PrmTemplate::Training);
            if !self.previous.is_empty() {
                given.push_str("\n\n");
            }
            let reply = whole.strip_prefix(&given).expect("the steps so far begin the process").to_owned();
            let mut context = prm(&given, images, PrmTemplate::Training, Images::All);
            if let Some(Piece::Text(last)) = context.last_mut() {
                last.truncate(last.len() - TURN_END.len());
            }
            texts.push(Text::taught(context, reply, question));
        }
        Ok(texts)
    }
}

fn path(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("`image` is {value}, expected a path, a list of paths, or nothing"))
}

/// What [`prm`] ends with.
const TURN_END: &str = "<|im_end|>\n";

/// The human and the gpt turn.
fn turns(turns: &[Turn]) -> Result<(&str, &Value), String> {
    let [human, gpt] = turns else {
        return Err(format!("{} turns, expected a human and a gpt turn", turns.len()));
    };
    match (&human.value, human.from.as_str(), gpt.from.as_str()) {
        (Value::String(text), "human", "gpt") => Ok((text, &gpt.value)),
        (Value::String(_), first, second) => {
            Err(format!("turns of `{first}` and `{second}`, expected `human` and `gpt`"))
        }
        _ => Err("the human turn is no text".into()),
    }
}

fn conversation(conversation: &[Turn], images: usize) -> Result<Text, String> {
    let (user, reply) = turns(conversation)?;
    let Value::String(reply) = reply else {
        return Err("the gpt turn is no text, expected what the policy is to write".into());
    };
    Ok(Text::taught(ChatTemplate::default().chat(user, images, Images::All), reply.clone(), user))
}

fn process(conversation: &[Turn], weights: Option<&[Value]>, images: usize) -> Result<Text, String> {
    let (text, labels) = turns(conversation)?;
    let Value::Array(labels) = labels else {
        return Err("the gpt turn is no list, expected a label for each `<prm>`".into());
    };
    let (steps, count) = (text.matches(STEP_TOKEN).count(), labels.len());
    if steps != count {
        return Err(format!("{count} labels, expected {steps}, one for each `<prm>`"));
    }
    if steps == 0 {
        return Err("there is no `<prm>`, expected at least one".into());
    }
    let label = |(index, label): (usize, &Value)| match label.as_f64() {
        Some(value) if (0.0..=1.0).contains(&value) => Ok(value as f32),
        _ => Err(format!("label {} is {label}, expected a number from 0 to 1", index + 1)),
    };
    let weight = |(index, weight): (usize, &Value)| match weight.as_f64() {
        Some(value) if value >= 0.0 && value <= f64::from(f32::MAX) => Ok(value as f32),
        _ => Err(format!("weight {} is {weight}, expected a number from 0 on", index + 1)),
    };
    let weights = match weights {
        None => vec![1.0; count],
        Some(weights) if weights.len() != count => {
            return Err(format!("{} weights, expected {count}, one for each label", weights.len()));
        }
        Some(weights) => weights.iter().enumerate().map(weight).collect::<Result<_, _>>()?,
    };
    Ok(Text {
        context: prm(text, images, PrmTemplate::Training, Images::All),
        reply: None,
        labels: labels.iter().enumerate().map(label).collect::<Result<_, _>>()?,
        weights,
        question: text.split("\nProcess: ").next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::render;

    const BOTH: Task = Task::Policy(Forms { rollout: true, prm: true });

    fn record(json: &str) -> Record {
        serde_json::from_str(json).unwrap()
    }

    fn problem(task: Task, json: &str) -> String {
        record(json).texts(task, 0).unwrap_err()
    }

    #[test]
    fn labels_and_steps_are_counted_and_checked() {
        let sample = |process: &str, labels: &str| {
            format!(
                r#"{{"conversations": [{{"from": "human", "value": "Question: q\nProcess: {process}"}},
                {{"from": "gpt", "value": {labels}}}]}}"#
            )
        };
        let refused = |process, labels| problem(Task::Prm, &sample(process, labels));
        assert_eq!(refused("a<prm>", "[1, 0.5]"), "2 labels, expected 1, one for each `<prm>`");
        assert_eq!(refused("a<prm>", "[1.5]"), "label 1 is 1.5, expected a number from 0 to 1");
        assert_eq!(refused("a<prm>b<prm>", "[1, null]"), "label 2 is null, expected a number from 0 to 1");
        assert_eq!(refused("a<prm>", "[\"NaN\"]"), "label 1 is \"NaN\", expected a number from 0 to 1");
        assert_eq!(refused("a", "[]"), "there is no `<prm>`, expected at least one");
        assert_eq!(refused("a<prm>", "1"), "the gpt turn is no list, expected a label for each `<prm>`");
        let weighted = |weights: &str| sample("a<prm>", "[1]").replacen('{', &format!("{{\"weights\": {weights}, "), 1);
        assert_eq!(problem(Task::Prm, &weighted("[]")), "0 weights, expected 1, one for each label");
        assert_eq!(problem(Task::Prm, &weighted("[-1]")), "weight 1 is -1, expected a number from 0 on");
        assert_eq!(record(&weighted("[0.5]")).texts(Task::Prm, 0).unwrap()[0].weights, [0.5]);
        let text = record(&sample("a<prm>", "[0.25]")).texts(Task::Prm, 0).unwrap().remove(0);
        assert_eq!((text.labels.as_slice(), text.question.as_str()), ([0.25].as_slice(), "Question: q"));
    }

    #[test]
    fn other_records_are_told_what_is_expected() {
        assert_eq!(
            problem(Task::Prm, r#"{"question": "q"}"#),
            "there are no `conversations`, expected one of a human and a gpt turn"
        );
        assert_eq!(problem(BOTH, "{}"), "expected `conversations`, or `question` and `solution`");
        assert_eq!(problem(BOTH, r#"{"conversations": []}"#), "0 turns, expected a human and a gpt turn");
        assert_eq!(
            problem(BOTH, r#"{"conversations": [{"from": "gpt", "value": ""}, {"from": "human", "value": ""}]}"#),
            "turns of `gpt` and `human`, expected `human` and `gpt`"
        );
        assert!(record(r#"{"image": 3}"#).images().unwrap_err().starts_with("`image` is 3, expected a path"));
    }

    #[test]
    fn a_solution_is_written_in_each_form() {
        let record = record(r#"{"question": "1 + 2?", "previous": ["First."], "solution": ["Add.", "Answer: 3"]}"#);
        let texts = record.texts(BOTH, 0).unwrap();
        let [rollout, prm] = texts.as_slice() else { panic!("two forms") };
        assert_eq!(rollout.reply.as_deref(), Some("<step>Add.</step><answer>Answer: 3</answer>"));
        assert!(render(&rollout.context, &[]).ends_with("<step>First.</step><|im_end|>\n<|im_start|>assistant\n"));
        assert_eq!(prm.reply.as_deref(), Some("Add.<prm>\n\nAnswer: 3<prm>"));
        assert!(render(&prm.context, &[]).ends_with("assistant\nQuestion: 1 + 2?\nProcess: First.<prm>\n\n"));
    }

    #[test]
    fn images_may_be_one_or_several_or_none() {
        assert_eq!(record(r#"{"image": "a.png"}"#).images().unwrap(), ["a.png"]);
        assert_eq!(record(r#"{"image_path": ["a.png", "b.png"]}"#).images().unwrap(), ["a.png", "b.png"]);
        assert!(record("{}").images().unwrap().is_empty());
    }
}
