//! A judge of answers behind an endpoint.

use serde_json::{Value, json};

use super::model::{MAX_REPLY, VERDICT_TOKENS};
use super::{JudgeError, JudgeModel, reply};
use crate::data::problem::Problem;
use crate::prompt::judge as wording;
use crate::remote::special::without_turns;
use crate::remote::{ChatRequest, Endpoint};

/// Asks a model behind an [`Endpoint`] MM-PRM's question (`check_correctness`) at temperature 0.
/// After a reply that is neither yes nor no, which temperature 0 would repeat, the next attempts
/// use MM-PRM's 0.5.
#[derive(Debug)]
pub struct EndpointJudge {
    endpoint: Endpoint,
}

impl EndpointJudge {
    /// The [identity](JudgeModel::identity) of a judge of this name on its server.
    pub fn identity_of(model: &str) -> String {
        format!("{model} {}", wording::ANSWER_WORDING)
    }

    /// A judge behind `endpoint`; sends nothing yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }
}

impl JudgeModel for EndpointJudge {
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let prompt = wording::answer(&problem.question, &problem.answer, answer);
        let messages = messages(&without_turns(&prompt));
        let fields = [("max_tokens", json!(VERDICT_TOKENS)), ("temperature", json!(0.0))];
        let fields = fields.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        let request = ChatRequest { messages: &messages, fields, max_reply: MAX_REPLY, is_cancelled: &|| false };
        Ok(self.endpoint.chat(request, reply::verdict)?)
    }

    fn identity(&self) -> String {
        Self::identity_of(self.endpoint.model())
    }

    fn parallel(&self) -> usize {
        self.endpoint.parallel()
    }
}

fn messages(prompt: &str) -> Value {
    json!([{"role": "user", "content": [{"type": "text", "text": prompt}]}])
}
