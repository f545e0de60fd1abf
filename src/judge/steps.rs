//! A judge of steps behind an endpoint.

use serde_json::{Value, json};

use super::JudgeError;
use super::model::MAX_REPLY;
use super::reply::{self, StepScore};
use crate::prompt::judge as wording;
use crate::remote::special::without_turns;
use crate::remote::{ChatRequest, Endpoint};

/// Asks a vision model behind an [`Endpoint`] whether steps are valid, as MM-PRM's
/// `mllm_as_a_judge.py` does: one token at temperature 0, of which the probabilities of Yes and No
/// are read.
#[derive(Debug)]
pub struct StepJudge {
    endpoint: Endpoint,
}

/// Steps to judge.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepQuestion<'a> {
    pub(super) problem: &'a str,
    pub(super) answer: &'a str,
    /// The problem's images as data URLs.
    pub(super) images: &'a [String],
    pub(super) previous: &'a [String],
    pub(super) following: &'a [String],
}

impl StepJudge {
    /// A judge behind `endpoint`; sends nothing yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Maximum number of questions at once.
    pub fn parallel(&self) -> usize {
        self.endpoint.parallel()
    }

    pub(super) fn score(&self, question: &StepQuestion<'_>) -> Result<StepScore, JudgeError> {
        let messages = messages(question);
        let fields = [
            ("temperature", json!(0.0)),
            ("max_tokens", json!(1)),
            ("top_p", json!(0.95)),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(5)),
        ];
        let fields = fields.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        let request = ChatRequest { messages: &messages, fields, max_reply: MAX_REPLY, is_cancelled: &|| false };
        Ok(self.endpoint.chat(request, reply::step_score)?)
    }
}

fn messages(question: &StepQuestion<'_>) -> Value {
    let StepQuestion { problem, answer, images, previous, following } = *question;
    let text = without_turns(&wording::steps(problem, answer, previous, following));
    let mut content = vec![json!({"type": "text", "text": text})];
    content.extend(images.iter().map(|image| json!({"type": "image_url", "image_url": {"url": image}})));
    json!([{"role": "user", "content": content}])
}
