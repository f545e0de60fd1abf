//! The remote policy on working and failing servers.

#[path = "../support/http.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod http;

mod rollouts;
mod trouble;

use std::path::Path;
use std::time::Duration;

use mmprm::data::problem::Problem;
use mmprm::data::solution::Rollout;
use mmprm::engine::Sampling;
use mmprm::policy::{GenerationOptions, PolicyError, RemotePolicy, RolloutModel, RolloutRequest};
use mmprm::remote::{Endpoint, EndpointOptions};
use serde_json::{Value, json};

use http::{Reply, Request, Server, reply};

/// Endpoint options with short waits.
fn endpoint_options(url: &str) -> EndpointOptions {
    let mut options = EndpointOptions::new(url, "policy-1");
    options.timeout = Duration::from_secs(1);
    options.initial_backoff = Duration::from_millis(4);
    options
}

fn generation_options(seed: u64, root: &Path) -> GenerationOptions {
    GenerationOptions {
        sampling: Sampling { temperature: 0.7, top_k: 0, top_p: 0.9, repetition_penalty: 1.05 },
        max_tokens: 64,
        seed,
        data_root: root.to_owned(),
        ..GenerationOptions::default()
    }
}

/// A policy with seed 7 and no images.
fn policy(server: &Server) -> RemotePolicy {
    policy_of(endpoint_options(&server.url()), 7)
}

fn policy_of(options: EndpointOptions, seed: u64) -> RemotePolicy {
    RemotePolicy::new(Endpoint::new(options).unwrap(), generation_options(seed, Path::new(".")))
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

/// Samples `count` rollouts of a problem without images from its root.
fn sample(policy: &RemotePolicy, count: usize) -> Result<Vec<Rollout>, PolicyError> {
    let sampled = policy.rollouts(&RolloutRequest::new(&problem("p", &[]), &[], count, 0))?;
    Ok(sampled.into_iter().map(|sampled| sampled.rollout).collect())
}

/// A solution whose text contains the seed.
fn solution(seed: u64) -> String {
    format!("<step>Seed {seed}.</step><answer>Answer: The final answer is {}</answer><|im_end|>", seed % 3)
}

/// A chat completion with these texts as choices, a prompt of 10 tokens and 10 tokens per choice.
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

/// Writes the requested number of solutions, at most `max`, with consecutive seeds.
fn several(max: u64) -> Server {
    Server::start(move |_, request| {
        let count = n(request).min(max);
        writes(&(0..count).map(|index| solution(seed(request) + index)).collect::<Vec<_>>())
    })
}

/// Refuses to write more than one solution, with these words.
fn one_only(status: &'static str, words: &'static str) -> Server {
    Server::start(move |_, request| match n(request) {
        1 => writes(&[solution(seed(request))]),
        _ => reply(status, &[], &json!({"error": {"message": words}}).to_string()),
    })
}
