//! The policy behind a server, against servers that behave and servers that do not.

#[path = "../support/http.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod http;

mod rollouts;
mod trouble;

use std::path::Path;
use std::time::Duration;

use mmprm::data::problem::Problem;
use mmprm::data::solution::{Continue, Rollout};
use mmprm::engine::Sampling;
use mmprm::policy::{PolicyError, RemoteOptions, RemotePolicy, RolloutModel, RolloutRequest};
use mmprm::prompt::ChatTemplate;
use mmprm::remote::{Endpoint, EndpointOptions};
use serde_json::{Value, json};

use http::{Reply, Request, Server, reply};

/// Options for a test: little patience.
fn patience(url: &str) -> EndpointOptions {
    let mut options = EndpointOptions::new(url, "policy-1");
    options.timeout = Duration::from_secs(1);
    options.first_wait = Duration::from_millis(4);
    options
}

fn drawing(seed: u64, root: &Path) -> RemoteOptions {
    RemoteOptions {
        sampling: Sampling { temperature: 0.7, top_k: 0, top_p: 0.9, repetition_penalty: 1.05 },
        max_tokens: 64,
        seed,
        data_root: root.to_owned(),
        template: ChatTemplate::default(),
        continues: Continue::User,
    }
}

/// A policy with seed 7 and no images.
fn policy(server: &Server) -> RemotePolicy {
    policy_of(patience(&server.url()), 7)
}

fn policy_of(options: EndpointOptions, seed: u64) -> RemotePolicy {
    RemotePolicy::new(Endpoint::new(options).unwrap(), drawing(seed, Path::new(".")))
}

fn problem(id: &str, images: &[&str]) -> Problem {
    let record = json!({"id": id, "question": "How much?", "correct_answer": "2"});
    let Value::Object(record) = record else { unreachable!("the record is an object") };
    Problem {
        record,
        id: id.into(),
        question: "How much?".into(),
        answer: "2".into(),
        images: images.iter().map(|&image| image.to_owned()).collect(),
    }
}

/// Draws `count` rollouts of a problem without images at its root.
fn draw(policy: &RemotePolicy, count: usize) -> Result<Vec<Rollout>, PolicyError> {
    policy.rollouts(&RolloutRequest::new(&problem("p", &[]), &[], count, 0))
}

/// A solution whose text tells the seed.
fn solution(seed: u64) -> String {
    format!("<step>Seed {seed}.</step><answer>Answer: The final answer is {}</answer><|im_end|>", seed % 3)
}

/// A chat completion with these texts as its choices, and 10 tokens of prompt and of each of them.
fn writes(texts: &[String]) -> Reply {
    let choice = |(index, text): (usize, &String)| {
        let message = json!({"role": "assistant", "content": text});
        json!({"index": index, "finish_reason": "stop", "message": message})
    };
    let choices: Vec<Value> = texts.iter().enumerate().map(choice).collect();
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 10 * texts.len()});
    reply("200 OK", &["content-type: application/json"], &json!({"choices": choices, "usage": usage}).to_string())
}

fn seed(request: &Request) -> u64 {
    request.body["seed"].as_u64().expect("a seed")
}

fn n(request: &Request) -> u64 {
    request.body.get("n").map_or(1, |n| n.as_u64().expect("a number"))
}

/// Writes as many solutions as it is asked for, `most` at most, each of the seed after the one before.
fn several(most: u64) -> Server {
    Server::start(move |_, request| {
        let count = n(request).min(most);
        writes(&(0..count).map(|index| solution(seed(request) + index)).collect::<Vec<_>>())
    })
}

/// Refuses to write more than one solution, in these words.
fn one_only(status: &'static str, words: &'static str) -> Server {
    Server::start(move |_, request| match n(request) {
        1 => writes(&[solution(seed(request))]),
        _ => reply(status, &[], &json!({"error": {"message": words}}).to_string()),
    })
}
