//! The requests of the remote policy, and its reading of replies.

use std::path::Path;
use std::time::Duration;

use mmprm::data::solution::{Continue, Rollout};
use mmprm::policy::{Detail, GenerationOptions, RemotePolicy, RolloutModel, RolloutRequest, StepLogprob, Traffic};
use mmprm::prompt::{ChatTemplate, Images, render, rollout};
use mmprm::remote::Endpoint;
use serde_json::{Value, json};

use crate::http::{Server, reply};
use crate::{
    endpoint_options, generation_options, n, one_only, policy, policy_of, problem, sample, seed, several, solution,
    writes,
};

/// A folder with the images `a.png` and `b.png`.
fn images() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    image::RgbImage::new(2, 2).save(folder.path().join("a.png")).unwrap();
    image::RgbImage::new(3, 1).save(folder.path().join("b.png")).unwrap();
    folder
}

#[test]
fn the_conversation_is_that_of_mm_prm_with_inline_images() {
    let (server, folder) = (several(16), images());
    let policy = RemotePolicy::new(
        Endpoint::new(endpoint_options(&server.url())).unwrap(),
        generation_options(7, folder.path()),
    );
    let mut problem = problem("p", &["a.png", "b.png"]);
    problem.question = "Is it as in <image>?".into();
    let prefix = [" One.\n".to_owned(), "Two.".to_owned()];
    policy.rollouts(&RolloutRequest::new(&problem, &prefix, 2, 5)).unwrap();

    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert_eq!(request.target, "POST /v1/chat/completions");
    let mut body = request.body.clone();
    let messages = body["messages"].take();
    let seed = body["seed"].take();
    assert!(seed.as_u64().unwrap() < 1 << 31);
    assert_eq!(
        body,
        json!({
            "model": "policy-1", "messages": null, "n": 2, "max_tokens": 64, "temperature": 0.7, "top_p": 0.9,
            "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.05, "repeat_penalty": 1.05, "repeat_last_n": 65536,
            "seed": null, "stop": ["<|im_end|>"], "skip_special_tokens": false,
        })
    );

    // Rendered by the model's own template, the messages are MM-PRM's prompt.
    let mut shown = Vec::new();
    let mut text = String::new();
    for message in messages.as_array().unwrap() {
        text.extend(["<|im_start|>", message["role"].as_str().unwrap(), "\n"]);
        for part in parts(&message["content"]) {
            if let Some(url) = part["image_url"]["url"].as_str() {
                shown.push(url.to_owned());
                text += "<img></img>";
            } else {
                text += part["text"].as_str().unwrap();
            }
        }
        text += "<|im_end|>\n";
    }
    text += "<|im_start|>assistant\n";
    assert_eq!(text, render(&rollout(&problem.question, &prefix, 2, Images::All), &[]));
    assert!(shown.iter().all(|url| url.starts_with("data:image/png;base64,iVBOR")));
    assert!(shown.len() == 2 && shown[0] != shown[1]);
}

/// The parts of a message, whose content may be one text.
fn parts(content: &Value) -> Vec<Value> {
    match content {
        Value::Array(parts) => parts.clone(),
        text => vec![json!({"type": "text", "text": text})],
    }
}

#[test]
fn a_question_without_images_is_plain_text_and_a_template_may_have_no_system_message() {
    let server = several(1);
    let mut options = generation_options(7, Path::new("."));
    options.template = Some(ChatTemplate::chatml());
    let policy = RemotePolicy::new(Endpoint::new(endpoint_options(&server.url())).unwrap(), options);
    sample(&policy, 1).unwrap();
    let messages = server.requests()[0].body["messages"].clone();
    assert_eq!(messages.as_array().unwrap().len(), 1);
    assert!(messages[0]["content"].as_str().unwrap().starts_with(" Your task is"));
    assert!(!server.requests()[0].body.as_object().unwrap().contains_key("n"));
}

#[test]
fn rollouts_of_a_prompt_are_one_request_where_the_server_supports_it() {
    let server = several(16);
    let policy = policy(&server);
    let rollouts = sample(&policy, 16).unwrap();
    let first = seed(&server.requests()[0]);
    assert_eq!(rollouts.len(), 16);
    for (index, rollout) in (first..).zip(&rollouts) {
        assert_eq!(rollout, &[format!("Seed {index}."), format!("Answer: The final answer is {}", index % 3)]);
    }
    assert_eq!(server.requests().len(), 1);
    assert_eq!(policy.traffic(), Traffic { requests: 1, rollouts: 16, prompt_tokens: 10, generated: 160 });
    assert_eq!(sample(&policy, 0).unwrap(), Vec::<Rollout>::new());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_writes_one_completion_gets_one_request_per_rollout_with_its_seed() {
    for server in [
        several(1),
        one_only("500 Internal Server Error", "Only one completion choice is allowed"),
        one_only("500 Internal Server Error", "n_cmpl cannot be greater than the number of slots"),
        one_only("400 Bad Request", "Field 'n': Value must be between 1 <= value <= 4, but got 5"),
        one_only("400 Bad Request", "n must be 1 when using greedy sampling"),
    ] {
        let policy = policy(&server);
        let rollouts = sample(&policy, 5).unwrap();
        let asked = server.requests().len();
        assert!((5..=6).contains(&asked), "{asked} requests");
        // Several are not requested again, and the rollouts do not depend on that.
        assert_eq!(sample(&policy, 5).unwrap(), rollouts);
        assert_eq!(server.requests().len(), asked + 5);
        assert!(server.requests()[asked..].iter().all(|request| n(request) == 1));
        let mut seeds: Vec<u64> = server.requests()[asked..].iter().map(seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 5, "every rollout has its own seed");
    }
}

#[test]
fn missing_rollouts_are_requested_again() {
    let server = several(3);
    let rollouts = sample(&policy(&server), 8).unwrap();
    assert_eq!(rollouts.len(), 8);
    let asked: Vec<u64> = server.requests().iter().map(n).collect();
    assert_eq!(asked, [8, 5, 2]);
}

#[test]
fn surplus_completions_are_ignored() {
    let server = Server::start(|_, _| writes(&[solution(1), solution(2), solution(3)]));
    assert_eq!(sample(&policy(&server), 2).unwrap().len(), 2);
    assert_eq!(sample(&policy(&server), 1).unwrap().len(), 1);
}

#[test]
fn seeds_depend_only_on_run_problem_node_and_index() {
    let server = several(1);
    let seeds = |run: u64, id: &str, node: u64, index: usize| -> u64 {
        let policy = policy_of(endpoint_options(&server.url()), run);
        let before = server.requests().len();
        let problem = problem(id, &[]);
        let request = RolloutRequest::new(&problem, &[], index + 1, node);
        policy.rollouts(&request).unwrap();
        let mut seeds: Vec<u64> = server.requests()[before..].iter().map(seed).collect();
        let first = seeds.remove(0);
        if index == 0 { first } else { seeds[index - 1] }
    };
    let reference = seeds(7, "p", 3, 0);
    assert_eq!(seeds(7, "p", 3, 0), reference);
    for (run, id, node, index) in [(8, "p", 3, 0), (7, "q", 3, 0), (7, "p", 4, 0), (7, "p", 3, 1)] {
        assert_ne!(seeds(run, id, node, index), reference, "{run} {id} {node} {index}");
    }
}

#[test]
fn requests_run_in_parallel_up_to_the_limit() {
    let server = Server::start(|_, request| {
        std::thread::sleep(Duration::from_millis(15));
        writes(&[solution(seed(request))])
    });
    let mut options = endpoint_options(&server.url());
    options.parallel = 3.try_into().unwrap();
    let policy = policy_of(options, 7);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(sample(&policy, 4).unwrap().len(), 4));
        }
    });
    assert!((2..=3).contains(&server.max_at_once()), "{}", server.max_at_once());
}

#[test]
fn logprobs_are_returned_where_the_server_reports_them() {
    let server = Server::start(|index, request| {
        let asked = request.body.get("logprobs") == Some(&json!(true));
        let pieces = ["<step>", "So", " 2.", "</step>", "<answer>", "2", "</answer>", "<|im_end|>"];
        let tokens: Vec<Value> = pieces.iter().map(|piece| json!({"token": piece, "logprob": -0.5})).collect();
        let text = pieces.concat();
        let mut choice = json!({"index": 0, "message": {"role": "assistant", "content": text}});
        if asked && index != 1 {
            choice["logprobs"] = json!({"content": tokens});
        }
        reply("200 OK", &[], &json!({"choices": [choice]}).to_string())
    });
    let policy = policy(&server);
    let problem = problem("p", &[]);
    let request = RolloutRequest { detail: Detail::Logprobs, ..RolloutRequest::new(&problem, &[], 1, 0) };
    let sampled = || policy.rollouts(&request).unwrap().remove(0);
    let with_logprobs = sampled();
    assert_eq!(with_logprobs.rollout, ["So 2.", "2"]);
    let logprob = |log_probability, tokens| StepLogprob { log_probability, tokens };
    assert_eq!(with_logprobs.logprobs, Some(vec![logprob(-1.0, 2), logprob(-0.5, 1)]));
    assert_eq!(sampled().logprobs, None);
    sample(&policy, 1).unwrap();
    assert!(!server.requests()[2].body.as_object().unwrap().contains_key("logprobs"));
}

#[test]
fn steps_in_the_assistants_message_are_those_that_the_server_sent() {
    let sent = "<step> One. </step>\n<step>Two.</step>\n<answer>It is 2</answer><|im_end|>";
    let server = Server::start(move |_, _| writes(&[sent.to_owned()]));
    let options = GenerationOptions { continues: Continue::Assistant, ..generation_options(7, Path::new(".")) };
    let policy = RemotePolicy::new(Endpoint::new(endpoint_options(&server.url())).unwrap(), options);
    let problem = problem("p", &[]);
    let request = RolloutRequest { detail: Detail::Tokens, ..RolloutRequest::new(&problem, &[], 1, 0) };
    let root = policy.rollouts(&request).unwrap().remove(0);
    assert_eq!(root.rollout, ["One.", "Two.", "It is 2"]);
    let prefix = &root.rollout[..2];
    let sent_steps = root.step_tokens.as_deref().unwrap();
    for step_tokens in [&sent_steps[..2], &[]] {
        policy.rollouts(&RolloutRequest { step_tokens, ..RolloutRequest::new(&problem, prefix, 1, 1) }).unwrap();
    }
    let requests = server.requests();
    let [first, known, unknown] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert!(first.body.get("continue_final_message").is_none());
    for (request, steps) in
        [(known, "<step> One. </step>\n<step>Two.</step>"), (unknown, "<step>One.</step><step>Two.</step>")]
    {
        let messages = request.body["messages"].as_array().unwrap();
        assert_eq!(messages[..2], first.body["messages"].as_array().unwrap()[..]);
        assert_eq!(messages[2..], [json!({"role": "assistant", "content": steps})]);
        assert_eq!(request.body["continue_final_message"], true);
        assert_eq!(request.body["add_generation_prompt"], false);
    }
}
