//! A judge of answers behind an endpoint.

use serde_json::{Value, json};

use super::{JudgeError, JudgeModel, MOST_REPLY, VERDICT_TOKENS, reply};
use crate::data::problem::Problem;
use crate::prompt::judge as wording;
use crate::remote::{Endpoint, Question};

/// Asks a model behind an [`Endpoint`] the reference's question (`check_correctness`), but at temperature 0. A reply that
/// is neither yes nor no would come again, so that the next tries are at the reference's 0.5.
#[derive(Debug)]
pub struct EndpointJudge {
    endpoint: Endpoint,
}

impl EndpointJudge {
    /// A judge behind `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }
}

impl JudgeModel for EndpointJudge {
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let prompt = wording::answer(&problem.question, &problem.answer, answer);
        let messages = messages(&prompt);
        let settings = [("max_tokens", json!(VERDICT_TOKENS)), ("temperature", json!(0.0))];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        let question = Question { messages: &messages, settings, most_reply: MOST_REPLY, is_dropped: &|| false };
        Ok(self.endpoint.ask(question, reply::verdict)?)
    }

    fn identity(&self) -> String {
        format!("{} {}", self.endpoint.model(), wording::ANSWER_WORDING)
    }

    fn parallel(&self) -> usize {
        self.endpoint.parallel()
    }
}

fn messages(prompt: &str) -> Value {
    json!([{"role": "user", "content": [{"type": "text", "text": prompt}]}])
}
