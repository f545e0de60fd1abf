//! Records of training files, and the texts they become.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::SampleError;
use crate::data::images::{check_markers, image_paths};
use crate::prompt::{
    ChatTemplate, Images, Layout, Piece, PrmForm, PrmTemplate, STEP_TOKEN, prm_continuation, prm_of, prm_text,
    prm_with, split_prm_text,
};

/// The kind of samples in a training file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// Process supervision: a soft label at every `<prm>`.
    Prm,
    /// Text to predict; solutions are written in these forms.
    Policy(SolutionForms),
    /// Candidates of a problem to rank by their log-probability, in the policy's form.
    Ranking,
    /// The same candidates, each with its outcome as the label of the whole.
    Outcome,
    /// The records of `Prm`, in the policy's form, with a label for the text up to each step.
    Steps,
}

/// The forms a policy's solutions are written in; conversations are used unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SolutionForms {
    /// The rollout prompt, and `<step>…</step>…<answer>…</answer>` to predict.
    pub rollout: bool,
    /// The text that a PRM reads, with the steps to predict.
    pub prm: bool,
}

/// A line of a training file.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    #[serde(default)]
    pub id: Value,
    conversations: Option<Vec<Turn>>,
    weights: Option<Vec<Value>>,
    question: Option<String>,
    #[serde(default)]
    previous: Vec<String>,
    solution: Option<Vec<String>>,
    steps: Option<Vec<String>>,
    candidates: Option<Vec<Vec<String>>>,
    labels: Option<Vec<Value>>,
    /// For each image token, in order, the pieces of the vocabulary that are printed where it looks.
    image_tokens: Option<Vec<Vec<String>>>,
    /// The other fields, among them those of images.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    from: String,
    value: Value,
}

/// A text to tokenize: the pieces of the context, and the reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    /// The input; for process supervision all of the text.
    pub context: Vec<Piece>,
    /// Where a PRM's form other than MM-PRM's reads, cuts and begins the text.
    pub places: Option<Places>,
    /// The text to predict.
    pub reply: Option<Vec<Piece>>,
    /// Whether the reply ends as a whole solution does.
    pub is_finished: bool,
    /// The number of pieces of the reply up to the end of each labelled step.
    pub step_ends: Vec<usize>,
    /// A label for each step.
    pub labels: Vec<f32>,
    /// The weight of each label.
    pub weights: Vec<f32>,
    /// Identifies the problem together with its images.
    pub question: String,
    /// Whether its answer is right, for a candidate to rank.
    pub right: Option<bool>,
    /// What each image token learns, if anything (see [`Record`]).
    pub image_tokens: Option<Vec<Vec<String>>>,
}

/// Numbers of pieces before the places of a form.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Places {
    /// Where scores are read.
    pub reads: Vec<usize>,
    /// Where the text is cut to be tokenised.
    pub cuts: Vec<usize>,
    /// Whether the vocabulary's beginning-of-sequence token comes first.
    pub bos: bool,
}

impl Text {
    /// A text with a reply to predict.
    fn with_reply(context: Vec<Piece>, reply: Vec<Piece>, question: &str) -> Self {
        let question = question.to_owned();
        Self {
            context,
            places: None,
            reply: Some(reply),
            is_finished: true,
            step_ends: Vec::new(),
            labels: Vec::new(),
            weights: Vec::new(),
            question,
            right: None,
            image_tokens: None,
        }
    }
}

impl Record {
    /// Paths of its images as written in the file.
    pub fn images(&self) -> Result<Vec<String>, SampleError> {
        Ok(image_paths(&self.rest)?)
    }

    /// The record's texts: one, or for a solution one in each form, or for a PRM that reads at the end one for each step. `form`
    /// is that of a PRM, if it is not MM-PRM's.
    pub fn texts(&self, kind: SampleKind, images: usize, form: Option<&PrmForm>) -> Result<Vec<Text>, SampleError> {
        if self.image_tokens.is_some() && !matches!(kind, SampleKind::Policy(_)) {
            return Err(SampleError::ImageTokensKind);
        }
        let mut texts = match (kind, &self.conversations) {
            (SampleKind::Prm, Some(turns)) => self.process(turns, images, form),
            (SampleKind::Prm | SampleKind::Steps, None) => Err(SampleError::NoConversations),
            (SampleKind::Policy(_), Some(turns)) => conversation(turns, images).map(|text| vec![text]),
            (SampleKind::Policy(forms), None) => self.solutions(forms, images),
            (SampleKind::Ranking, _) => self.candidates(images),
            (SampleKind::Outcome, _) => {
                self.candidates(images).map(|texts| texts.into_iter().map(with_outcome).collect())
            }
            (SampleKind::Steps, Some(turns)) => self.labelled_rollout(turns, images).map(|text| vec![text]),
        }?;
        for text in &mut texts {
            text.image_tokens.clone_from(&self.image_tokens);
        }
        Ok(texts)
    }

    fn solutions(&self, forms: SolutionForms, images: usize) -> Result<Vec<Text>, SampleError> {
        let (Some(question), Some(solution)) = (&self.question, &self.solution) else {
            return Err(SampleError::NoSolution);
        };
        check_markers(question, images)?;
        if solution.is_empty() {
            return Err(SampleError::EmptySolution);
        }
        let mut texts = Vec::new();
        if forms.rollout {
            texts.push(rollout(question, &self.previous, solution, images));
        }
        if forms.prm {
            let (context, reply) = prm_continuation(question, &self.previous, solution, images, PrmTemplate::Training);
            texts.push(Text::with_reply(context, reply, question));
        }
        Ok(texts)
    }

    /// The candidates of a problem, in the policy's form.
    fn candidates(&self, images: usize) -> Result<Vec<Text>, SampleError> {
        let (Some(question), Some(candidates), Some(labels)) = (&self.question, &self.candidates, &self.labels) else {
            return Err(SampleError::NoCandidates);
        };
        check_markers(question, images)?;
        if candidates.len() != labels.len() {
            return Err(SampleError::CandidateCount { found: labels.len(), expected: candidates.len() });
        }
        let text = |((index, steps), label): ((usize, &Vec<String>), &Value)| {
            let right = match label {
                Value::Bool(right) => *right,
                label if label.as_u64() == Some(1) => true,
                label if label.as_u64() == Some(0) => false,
                label => return Err(SampleError::Verdict { number: index + 1, found: label.clone() }),
            };
            if steps.is_empty() {
                return Err(SampleError::EmptySolution);
            }
            Ok(Text { right: Some(right), ..rollout(question, &self.previous, steps, images) })
        };
        candidates.iter().enumerate().zip(labels).map(text).collect()
    }

    /// A solution with a label for each step.
    fn process(&self, conversation: &[Turn], images: usize, form: Option<&PrmForm>) -> Result<Vec<Text>, SampleError> {
        let (text, count) = self.labelled_text(conversation)?;
        let template = PrmTemplate::Training;
        let (question, steps, context) = if let (Some(question), Some(steps)) = (&self.question, &self.steps) {
            (format!("Question: {question}"), steps.len(), prm_of(question, steps, images, template, Images::All))
        } else {
            let (question, process) = split_prm_text(text, Some(count));
            let steps = process.matches(STEP_TOKEN).count();
            let question = question.map_or_else(|| text.to_owned(), |question| format!("Question: {question}"));
            (question, steps, prm_with(text, count, images, template, Images::All))
        };
        check_markers(&question, images)?;
        let (labels, weights) = self.labels(conversation, steps)?;
        let (places, reply, right, image_tokens) = (None, None, None, None);
        let (step_ends, is_finished) = (Vec::new(), false);
        let text =
            Text { context, places, reply, is_finished, step_ends, labels, weights, question, right, image_tokens };
        form.map_or_else(|| Ok(vec![text.clone()]), |form| self.in_form(form, conversation, &text, images))
    }

    /// The same solution as a policy writes it. Parts that are several steps, separated by blank lines, become several; a last one
    /// that begins as the rollout prompt asks of an answer becomes the answer.
    fn labelled_rollout(&self, conversation: &[Turn], images: usize) -> Result<Text, SampleError> {
        let (text, count) = self.labelled_text(conversation)?;
        let (question, parts) = if let (Some(question), Some(steps)) = (&self.question, &self.steps) {
            (question.clone(), steps.clone())
        } else {
            let (Some(question), process) = split_prm_text(text, Some(count)) else {
                return Err(SampleError::NoProcess);
            };
            let mut parts: Vec<&str> = process.split(STEP_TOKEN).collect();
            // What follows the last mark belongs to no step.
            parts.pop();
            (question.to_owned(), parts.into_iter().map(|part| part.trim_start_matches("\n\n").to_owned()).collect())
        };
        check_markers(&question, images)?;
        let (labels, weights) = self.labels(conversation, parts.len())?;
        let answer =
            parts.last().and_then(|part| part.rsplit("\n\n").next()).is_some_and(|step| step.starts_with(ANSWER));
        let (template, plain) = (|text: &str| Piece::Text(text.to_owned()), |text: &str| Piece::Plain(text.to_owned()));
        let (mut reply, mut step_ends) = (Vec::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            let mut steps: Vec<&str> = part.split("\n\n").filter(|step| !step.trim().is_empty()).collect();
            let last = if answer && index + 1 == parts.len() { steps.pop() } else { None };
            for step in steps {
                reply.extend([template("<step>"), plain(step), template("</step>")]);
            }
            reply.extend(last.into_iter().flat_map(|step| [template("<answer>"), plain(step), template("</answer>")]));
            step_ends.push(reply.len());
        }
        let context = ChatTemplate::default().rollout(&question, &self.previous, images, Images::All);
        let text = Text::with_reply(context, reply, &question);
        Ok(Text { is_finished: answer, step_ends, labels, weights, ..text })
    }

    /// The human turn, which has `question` and `steps` if these are given, and the number of labels.
    fn labelled_text<'a>(&self, conversation: &'a [Turn]) -> Result<(&'a str, usize), SampleError> {
        let (text, labels) = turns(conversation)?;
        let Value::Array(labels) = labels else {
            return Err(SampleError::Labels);
        };
        if let (Some(question), Some(steps)) = (&self.question, &self.steps)
            && prm_text(question, steps, PrmTemplate::Training) != text
        {
            return Err(SampleError::OtherSteps);
        }
        Ok((text, labels.len()))
    }

    /// The label and the weight of each of some steps.
    fn labels(&self, conversation: &[Turn], steps: usize) -> Result<(Vec<f32>, Vec<f32>), SampleError> {
        let (_, Value::Array(labels)) = turns(conversation)? else {
            return Err(SampleError::Labels);
        };
        let count = labels.len();
        if steps != count {
            return Err(SampleError::LabelCount { found: count, expected: steps });
        }
        if steps == 0 {
            return Err(SampleError::NoStep);
        }
        let label = |(index, label): (usize, &Value)| match label.as_f64() {
            Some(value) if (0.0..=1.0).contains(&value) => Ok(value as f32),
            _ => Err(SampleError::Label { number: index + 1, found: label.clone() }),
        };
        let weight = |(index, weight): (usize, &Value)| match weight.as_f64() {
            Some(value) if value >= 0.0 && value <= f64::from(f32::MAX) => Ok(value as f32),
            _ => Err(SampleError::Weight { number: index + 1, found: weight.clone() }),
        };
        let weights = match self.weights.as_deref() {
            None => vec![1.0; count],
            Some(weights) if weights.len() != count => {
                return Err(SampleError::WeightCount { found: weights.len(), expected: count });
            }
            Some(weights) => weights.iter().enumerate().map(weight).collect::<Result<_, _>>()?,
        };
        Ok((labels.iter().enumerate().map(label).collect::<Result<_, _>>()?, weights))
    }

    /// A solution with labels in another form than MM-PRM's.
    fn in_form(
        &self,
        form: &PrmForm,
        conversation: &[Turn],
        text: &Text,
        images: usize,
    ) -> Result<Vec<Text>, SampleError> {
        let count = text.labels.len();
        let parsed;
        let (question, steps) = if let (Some(question), Some(steps)) = (&self.question, &self.steps) {
            (question.as_str(), steps)
        } else {
            let (question, process) = split_prm_text(turns(conversation)?.0, Some(count));
            let own = |(index, step): (usize, &str)| {
                let step = if index > 0 { step.strip_prefix(STEP_SEPARATOR).unwrap_or(step) } else { step };
                step.to_owned()
            };
            parsed = process.split(STEP_TOKEN).take(count).enumerate().map(own).collect();
            (question.ok_or(SampleError::NoQuestion)?, &parsed)
        };
        let one = |shown: usize| -> Result<Text, SampleError> {
            // Forms with critiques are not trained.
            let Layout { pieces, reads, cuts, bos, critiques: _ } =
                form.layout(question, &steps[..shown], images, false)?;
            let own = if form.reads_at_end() { shown - 1..shown } else { 0..shown };
            let (labels, weights) = (text.labels[own.clone()].to_vec(), text.weights[own].to_vec());
            Ok(Text { context: pieces, places: Some(Places { reads, cuts, bos }), labels, weights, ..text.clone() })
        };
        form.shown(count).map(one).collect()
    }
}

/// What is between steps in the text of a training sample.
const STEP_SEPARATOR: &str = "\n\n";

/// How an answer begins, by the rollout prompt.
const ANSWER: &str = "Answer:";

/// A candidate with its outcome as the label of all of it.
fn with_outcome(candidate: Text) -> Text {
    let step_ends = vec![candidate.reply.as_ref().map_or(0, Vec::len)];
    let labels = vec![f32::from(u8::from(candidate.right == Some(true)))];
    Text { step_ends, labels, weights: vec![1.0], ..candidate }
}

/// A solution, whose last entry is the answer, as a policy writes it.
fn rollout(question: &str, previous: &[String], solution: &[String], images: usize) -> Text {
    let (text, plain) = (|text: &str| Piece::Text(text.to_owned()), |text: &str| Piece::Plain(text.to_owned()));
    let (answer, steps) = solution.split_last().expect("a solution has an answer");
    let mut reply = Vec::new();
    for step in steps {
        reply.extend([text("<step>"), plain(step), text("</step>")]);
    }
    reply.extend([text("<answer>"), plain(answer), text("</answer>")]);
    Text::with_reply(ChatTemplate::default().rollout(question, previous, images, Images::All), reply, question)
}

/// The human and the gpt turn.
fn turns(turns: &[Turn]) -> Result<(&str, &Value), SampleError> {
    let [human, gpt] = turns else {
        return Err(SampleError::TurnCount { found: turns.len() });
    };
    match (&human.value, human.from.as_str(), gpt.from.as_str()) {
        (Value::String(text), "human", "gpt") => Ok((text, &gpt.value)),
        (Value::String(_), first, second) => {
            Err(SampleError::Speakers { first: first.to_owned(), second: second.to_owned() })
        }
        _ => Err(SampleError::HumanTurn),
    }
}

fn conversation(conversation: &[Turn], images: usize) -> Result<Text, SampleError> {
    let (user, reply) = turns(conversation)?;
    let Value::String(reply) = reply else {
        return Err(SampleError::Reply);
    };
    check_markers(user, images)?;
    let context = ChatTemplate::default().chat(user, images, Images::All);
    Ok(Text::with_reply(context, vec![Piece::Plain(reply.clone())], user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::render;

    const BOTH: SampleKind = SampleKind::Policy(SolutionForms { rollout: true, prm: true });

    fn record(json: &str) -> Record {
        serde_json::from_str(json).unwrap()
    }

    fn problem(kind: SampleKind, json: &str) -> String {
        record(json).texts(kind, 0, None).unwrap_err().to_string()
    }

    #[test]
    fn labels_and_steps_are_counted_and_checked() {
        let sample = |process: &str, labels: &str| {
            format!(
                r#"{{"conversations": [{{"from": "human", "value": "Question: q\nProcess: {process}"}},
                {{"from": "gpt", "value": {labels}}}]}}"#
            )
        };
        let refused = |process, labels| problem(SampleKind::Prm, &sample(process, labels));
        assert_eq!(refused("a<prm>", "[1, 0.5]"), "2 labels, expected 1, one for each `<prm>`");
        assert_eq!(refused("a<prm>", "[1.5]"), "label 1 is 1.5, expected a number from 0 to 1");
        assert_eq!(refused("a<prm>b<prm>", "[1, null]"), "label 2 is null, expected a number from 0 to 1");
        assert_eq!(refused("a<prm>", "[\"NaN\"]"), "label 1 is \"NaN\", expected a number from 0 to 1");
        assert_eq!(refused("a", "[]"), "no `<prm>`, expected at least one");
        assert_eq!(refused("a<prm>", "1"), "the gpt turn is not a list, expected a label for each `<prm>`");
        let weighted = |weights: &str| sample("a<prm>", "[1]").replacen('{', &format!("{{\"weights\": {weights}, "), 1);
        assert_eq!(problem(SampleKind::Prm, &weighted("[]")), "0 weights, expected 1, one for each label");
        assert_eq!(problem(SampleKind::Prm, &weighted("[-1]")), "weight 1 is -1, expected 0 or more");
        assert_eq!(record(&weighted("[0.5]")).texts(SampleKind::Prm, 0, None).unwrap()[0].weights, [0.5]);
        let text = record(&sample("a<prm>", "[0.25]")).texts(SampleKind::Prm, 0, None).unwrap().remove(0);
        assert_eq!((text.labels.as_slice(), text.question.as_str()), ([0.25].as_slice(), "Question: q"));
    }

    #[test]
    fn other_records_are_refused_with_what_is_expected() {
        assert_eq!(
            problem(SampleKind::Prm, r#"{"question": "q"}"#),
            "no `conversations`, expected one of a human and a gpt turn"
        );
        assert_eq!(problem(BOTH, "{}"), "expected `conversations`, or `question` and `solution`");
        assert_eq!(problem(BOTH, r#"{"conversations": []}"#), "0 turns, expected a human and a gpt turn");
        assert_eq!(
            problem(BOTH, r#"{"conversations": [{"from": "gpt", "value": ""}, {"from": "human", "value": ""}]}"#),
            "turns of `gpt` and `human`, expected `human` and `gpt`"
        );
        assert!(
            record(r#"{"image": 3}"#).images().unwrap_err().to_string().starts_with("the field `image` is 3, expected")
        );
        assert!(record(r#"{"photo": "a.png"}"#).images().is_err());
    }

    #[test]
    fn candidates_have_a_verdict_each() {
        let with = |fields: &str| problem(SampleKind::Ranking, &format!("{{{fields}}}"));
        assert!(with(r#""question": "q", "candidates": [["a"]]"#).starts_with("expected `question`, `candidates`"));
        let of = |candidates: &str, labels: &str| {
            with(&format!(r#""question": "q", "candidates": {candidates}, "labels": {labels}"#))
        };
        assert_eq!(of(r#"[["a"]]"#, "[1, 0]"), "2 labels, expected 1, one for each candidate");
        assert_eq!(of(r#"[["a"]]"#, "[0.5]"), "label 1 is 0.5, expected 0 or 1");
        assert_eq!(of(r#"[["a"], []]"#, "[1, 0]"), "`solution` is empty, expected steps and an answer");
        let text = r#"{"question": "q", "candidates": [["a", "b"], ["c"]], "labels": [true, 0]}"#;
        let texts = record(text).texts(SampleKind::Ranking, 0, None).unwrap();
        assert_eq!(texts.iter().map(|text| text.right).collect::<Vec<_>>(), [Some(true), Some(false)]);
        assert_eq!(render(texts[0].reply.as_deref().unwrap(), &[]), "<step>a</step><answer>b</answer>");
    }

    #[test]
    fn a_solution_is_written_in_each_form() {
        let record = record(r#"{"question": "1 + 2?", "previous": ["First."], "solution": ["Add.", "Answer: 3"]}"#);
        let texts = record.texts(BOTH, 0, None).unwrap();
        let [rollout, prm] = texts.as_slice() else { panic!("two forms") };
        let reply = |text: &Text| render(text.reply.as_deref().unwrap(), &[]);
        assert_eq!(reply(rollout), "<step>Add.</step><answer>Answer: 3</answer>");
        assert!(render(&rollout.context, &[]).ends_with("<step>First.</step><|im_end|>\n<|im_start|>assistant\n"));
        assert_eq!(reply(prm), "Add.<prm>\n\nAnswer: 3<prm>");
        assert!(render(&prm.context, &[]).ends_with("assistant\nQuestion: 1 + 2?\nProcess: First.<prm>\n\n"));
    }

    #[test]
    fn images_may_be_one_or_several_or_none() {
        assert_eq!(record(r#"{"image": "a.png"}"#).images().unwrap(), ["a.png"]);
        assert_eq!(record(r#"{"image_path": ["a.png", "b.png"]}"#).images().unwrap(), ["a.png", "b.png"]);
        assert!(record("{}").images().unwrap().is_empty());
    }
}
