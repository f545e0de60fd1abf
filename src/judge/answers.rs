//! A judge of answers behind an endpoint.

use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::{Judge, JudgeError, VERDICT_TOKENS, reply};
use crate::problem::Problem;
use crate::prompt::judge as wording;

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

impl Judge for EndpointJudge {
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError> {
        let prompt = wording::answer(&problem.question, &problem.answer, answer);
        self.endpoint.ask(request(self.endpoint.model(), &prompt), reply::verdict)
    }

    fn identity(&self) -> String {
        format!("{} {}", self.endpoint.model(), wording::ANSWER_WORDING)
    }

    fn parallel(&self) -> usize {
        self.endpoint.parallel()
    }
}

fn request(model: &str, prompt: &str) -> Map<String, Value> {
    let content = json!([{"type": "text", "text": prompt}]);
    let fields = [
        ("model", json!(model)),
        ("messages", json!([{"role": "user", "content": content}])),
        ("max_tokens", json!(VERDICT_TOKENS)),
        ("temperature", json!(0.0)),
    ];
    fields.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}
