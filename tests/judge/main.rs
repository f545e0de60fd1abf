//! Judges on working and failing servers, and the treatment of rollouts that could not be judged.

#[path = "../support/http.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod http;

mod endpoint;
mod trees;
mod unjudged;
mod verifier;

use std::time::Duration;

use mmprm::data::problem::Problem;
use mmprm::judge::{EndpointJudge, JudgeError, JudgeModel};
use mmprm::remote::{Endpoint, EndpointOptions};
use serde_json::{Value, json};

use http::Server;

/// Options with short waits.
fn options(url: &str) -> EndpointOptions {
    let mut options = EndpointOptions::new(url, "judge-1");
    options.timeout = Duration::from_secs(1);
    options.initial_backoff = Duration::from_millis(4);
    options
}

fn judge(server: &Server) -> EndpointJudge {
    EndpointJudge::new(Endpoint::new(options(&server.url())).unwrap())
}

fn problem(id: &str) -> Problem {
    let record = json!({"id": id, "question": "Which side is longest?", "correct_answer": "the hypotenuse"});
    let Value::Object(record) = record else { unreachable!("the record is an object") };
    Problem {
        record,
        id: id.into(),
        question: "Which side is longest?".into(),
        answer: "the hypotenuse".into(),
        images: vec![],
    }
}

/// The verdict on one answer.
fn ask(server: &Server) -> Result<bool, JudgeError> {
    judge(server).judge(&problem("p"), "the one opposite the right angle")
}
