//! A judge of steps behind an endpoint.

use serde_json::{Value, json};

use super::reply::{self, StepScore};
use super::{JudgeError, MOST_REPLY};
use crate::prompt::judge as wording;
use crate::remote::{Endpoint, Question};

/// Asks a vision model behind an [`Endpoint`] whether steps are valid, as the reference's `mllm_as_a_judge.py` does: one
/// token at temperature 0, whose probabilities of Yes and No are read.
#[derive(Debug)]
pub struct StepJudge {
    endpoint: Endpoint,
}

/// Steps to be judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepQuestion<'a> {
    pub(super) problem: &'a str,
    pub(super) answer: &'a str,
    /// Data URLs of the problem's images.
    pub(super) images: &'a [String],
    pub(super) previous: &'a [String],
    pub(super) following: &'a [String],
}

impl StepJudge {
    /// A judge behind `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Most questions at once.
    pub fn parallel(&self) -> usize {
        self.endpoint.parallel()
    }

    pub(super) fn score(&self, question: &StepQuestion<'_>) -> Result<StepScore, JudgeError> {
        let messages = messages(question);
        let settings = [
            ("temperature", json!(0.0)),
            ("max_tokens", json!(1)),
            ("top_p", json!(0.95)),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(5)),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        let question = Question { messages: &messages, settings, most_reply: MOST_REPLY, is_dropped: &|| false };
        Ok(self.endpoint.ask(question, reply::step_score)?)
    }
}

fn messages(question: &StepQuestion<'_>) -> Value {
    let StepQuestion { problem, answer, images, previous, following } = *question;
    let mut content = vec![json!({"type": "text", "text": wording::steps(problem, answer, previous, following)})];
    content.extend(images.iter().map(|image| json!({"type": "image_url", "image_url": {"url": image}})));
    json!([{"role": "user", "content": content}])
}
