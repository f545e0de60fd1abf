//! Servers that fail: temporarily, for one problem, or for all.

use std::path::Path;
use std::time::{Duration, Instant};

use mmprm::data::solution::Continue;
use mmprm::judge::RuleVerifier;
use mmprm::policy::{GenerationOptions, PolicyError, RemotePolicy, RolloutModel, RolloutRequest, Speculation};
use mmprm::remote::{ApiKey, Endpoint, EndpointError, SetupError};
use mmprm::search::SearchParams;
use mmprm::search::annotate::{AnnotateOptions, LOG_NAME, Summary, annotate};
use mmprm::util::cancel::CancelToken;
use serde_json::{Value, json};

use crate::http::{Reply, Server, reply};
use crate::{endpoint_options, generation_options, n, policy, policy_of, problem, sample, seed, solution, writes};

/// A reply whose only choice was aborted for this reason.
fn broken_off(reason: &str) -> Reply {
    let choice = json!({"index": 0, "finish_reason": reason, "message": {"content": "<step>So"}});
    reply("200 OK", &[], &json!({"choices": [choice]}).to_string())
}

fn without_text() -> Reply {
    reply("200 OK", &[], r#"{"choices": [{"index": 0, "message": {"role": "assistant", "content": null}}]}"#)
}

#[test]
fn temporary_failures_are_retried_with_the_same_seed() {
    for (trouble, first) in [
        ("an internal error", reply("500 Internal Server Error", &[], "oops")),
        ("too many requests", reply("429 Too Many Requests", &["retry-after: 0"], "{}")),
        ("silence", Reply::Stall(Vec::new())),
        ("a connection closed before the reply", Reply::Raw(Vec::new())),
        ("a page", reply("200 OK", &["content-type: text/html"], "<html>Welcome</html>")),
        ("another object", reply("200 OK", &[], "{\"object\": \"list\"}")),
        ("no text", without_text()),
        ("an aborted completion", broken_off("abort")),
        ("deep nesting", reply("200 OK", &[], &("[".repeat(100_000) + &"]".repeat(100_000)))),
        ("very many objects", reply("200 OK", &[], &format!("[{}]", "{\"\":0},".repeat(60_000)))),
        ("very many numbers", reply("200 OK", &[], &format!("[{}]", "0,".repeat(300_000)))),
        ("a huge reply", reply("200 OK", &[], &format!("{{\"padding\": \"{}\"}}", "x".repeat(2 << 20)))),
    ] {
        let server = Server::start(move |index, request| match index {
            0 => first.clone(),
            _ => writes(&(0..n(request)).map(|index| solution(seed(request) + index)).collect::<Vec<_>>()),
        });
        assert_eq!(sample(&policy(&server), 2).unwrap().len(), 2, "after {trouble}");
        let bodies: Vec<Value> = server.requests().into_iter().map(|request| request.body).collect();
        assert!(bodies.len() == 2 && bodies[0] == bodies[1], "after {trouble}");
    }
}

#[test]
fn a_request_that_keeps_failing_is_an_error_and_not_a_rollout() {
    for (first, expected) in [
        (reply("502 Bad Gateway", &[], "no upstream"), "502 Bad Gateway, no upstream"),
        (Reply::Stall(Vec::new()), "there was no whole reply within 0.05 s"),
        (reply("200 OK", &[], "<html>"), "its reply is not JSON"),
        (without_text(), "has no text"),
        (broken_off("content_filter"), "the completion broke off (content_filter)"),
    ] {
        let server = Server::script(vec![first]);
        let mut options = endpoint_options(&server.url());
        options.timeout = Duration::from_millis(50);
        let error = sample(&policy_of(options, 7), 3).unwrap_err();
        let address = format!("the policy failed: the server at {}/chat/completions failed 5 times", server.url());
        let message = error.to_string();
        assert!(matches!(error, PolicyError::Model(_)) && message.starts_with(&address), "{message}");
        assert!(message.contains(expected), "{message}");
        assert_eq!(server.requests().len(), 5);
    }
}

#[test]
fn one_failing_completion_fails_the_request_and_the_others_are_not_requested() {
    let server = Server::start(|index, request| match index {
        0 => writes(&[solution(seed(request))]),
        _ => reply("500 Internal Server Error", &[], ""),
    });
    let mut options = endpoint_options(&server.url());
    options.parallel = 1.try_into().unwrap();
    assert!(sample(&policy_of(options, 7), 8).is_err());
    assert_eq!(server.requests().len(), 1 + 5);
}

#[test]
fn a_prompt_that_is_too_long_fails_its_problem_only() {
    let too_long = r#"{"message": "This model's maximum context length is 4096 tokens"}"#;
    let server = Server::start(move |index, request| match index {
        0 => reply("400 Bad Request", &[], too_long),
        _ => writes(&[solution(seed(request))]),
    });
    let policy = policy(&server);
    let error = sample(&policy, 2).unwrap_err();
    assert!(
        matches!(&error, PolicyError::Problem(cause) if cause.to_string().contains("maximum context length")),
        "{error}"
    );
    assert_eq!(sample(&policy, 2).unwrap().len(), 2);
    assert!(policy.stopped_by().is_none());
}

#[test]
fn an_unreadable_image_is_not_sent() {
    let server = Server::script(vec![writes(&[solution(1)])]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.png"), b"\x89PNG\r\n\x1a\nand nothing more").unwrap();
    let policy = RemotePolicy::new(
        Endpoint::new(endpoint_options(&server.url())).unwrap(),
        generation_options(7, folder.path()),
    );
    for image in ["bad.png", "missing.png", "../outside.png"] {
        let problem = problem("p", &[image]);
        let error = policy.rollouts(&RolloutRequest::new(&problem, &[], 1, 0)).unwrap_err();
        assert!(matches!(&error, PolicyError::Problem(cause) if cause.to_string().contains(image)), "{error}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_server_that_cannot_be_used_ends_the_run_with_its_cause() {
    let body = |message: &str| json!({"error": {"message": message}}).to_string();
    for (status, body, expected, requests) in [
        ("401 Unauthorized", body("Incorrect API key"), "requires an API key", 1),
        ("404 Not Found", body("no model policy-1"), "wrong address, or unknown model \"policy-1\"", 1),
        // It might write one rollout at a time, which is tried.
        ("400 Bad Request", body("unknown field top_k"), "does not accept the requests (400", 2),
    ] {
        let server = Server::script(vec![reply(status, &[], &body)]);
        let mut options = endpoint_options(&server.url());
        options.parallel = 1.try_into().unwrap();
        let cancel = options.cancel.clone();
        let policy = policy_of(options, 7);
        assert!(matches!(sample(&policy, 4), Err(PolicyError::Cancelled)), "{status}");
        assert!(cancel.is_cancelled(), "{status}");
        let error = policy.stopped_by().unwrap();
        assert!(error.ends_the_run() && error.to_string().contains(expected), "{error}");
        assert!(matches!(sample(&policy, 4), Err(PolicyError::Cancelled)), "{status}");
        assert_eq!(server.requests().len(), requests, "{status}");
    }
}

#[test]
fn a_cancelled_run_does_not_wait_for_rollouts_in_flight() {
    let server = Server::script(vec![Reply::Stall(Vec::new())]);
    let mut options = endpoint_options(&server.url());
    options.timeout = Duration::from_mins(1);
    let cancel = options.cancel.clone();
    let policy = policy_of(options, 7);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let drawn = scope.spawn(|| sample(&policy, 4));
        while server.requests().is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        cancel.cancel();
        assert!(matches!(drawn.join().unwrap(), Err(PolicyError::Cancelled)));
    });
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(policy.stopped_by().is_none());
}

/// Annotates two problems; returns the summary, the log and the token.
fn annotated(server: &Server, directory: &Path) -> (Summary, String, CancelToken) {
    let mut options = endpoint_options(&server.url());
    options.timeout = Duration::from_millis(60);
    let cancel = options.cancel.clone();
    let policy = policy_of(options, 7);
    let params = SearchParams { rollouts: 4, rollout_budget: 12, ..SearchParams::default() };
    let options = AnnotateOptions { params, ..AnnotateOptions::default() };
    let problems = [problem("first", &[]), problem("second", &[])];
    let summary = annotate(&problems, directory, &options, &policy, &RuleVerifier, &(), &cancel).unwrap();
    (summary, std::fs::read_to_string(directory.join(LOG_NAME)).unwrap(), cancel)
}

#[test]
fn a_problem_without_rollouts_fails_with_its_cause_and_does_not_count_as_wrong() {
    // The server answers for the first problem only.
    let right = || writes(&["2"; 4].map(|answer| format!("<answer>{answer}</answer>")));
    let server = Server::script(vec![right(), Reply::Stall(Vec::new())]);
    let directory = tempfile::tempdir().unwrap();
    let (summary, log, cancel) = annotated(&server, directory.path());
    assert_eq!((summary.done, summary.always_solved, summary.failed), (1, 1, 1), "{log}");
    assert!(!summary.cancelled && !cancel.is_cancelled());
    let failure: Value = serde_json::from_str(log.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&failure["id"], &failure["status"]), (&json!("second"), &json!("failed")));
    assert!(failure["cause"].as_str().unwrap().contains("there was no whole reply within 0.06 s"), "{log}");
    let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let trees = names.filter(|name| name.extension().is_some_and(|extension| extension == "json")).count();
    assert_eq!(trees, 1, "a failed problem has no tree, in which its rollouts would count as wrong");
}

#[test]
fn a_rejected_key_ends_the_annotation_and_fails_no_problem() {
    let server = Server::script(vec![reply("401 Unauthorized", &[], "{}")]);
    let directory = tempfile::tempdir().unwrap();
    let (summary, log, cancel) = annotated(&server, directory.path());
    assert!(summary.cancelled && cancel.is_cancelled());
    assert_eq!((summary.done, summary.failed, log.as_str()), (0, 0, ""));
}

#[test]
fn a_server_that_does_not_continue_messages_ends_the_run() {
    let server = Server::start(|_, request| match request.body.get("continue_final_message") {
        None => writes(&[solution(seed(request))]),
        Some(_) => reply("400 Bad Request", &[], r#"{"error": {"message": "unknown field"}}"#),
    });
    let options = GenerationOptions { continues: Continue::Assistant, ..generation_options(7, Path::new(".")) };
    let policy = RemotePolicy::new(Endpoint::new(endpoint_options(&server.url())).unwrap(), options);
    assert_eq!(sample(&policy, 2).unwrap().len(), 2);
    let (problem, prefix) = (problem("p", &[]), ["One.".to_owned()]);
    let refused = policy.rollouts(&RolloutRequest::new(&problem, &prefix, 2, 1));
    assert!(matches!(refused, Err(PolicyError::Cancelled)), "{refused:?}");
    let error = policy.stopped_by().unwrap();
    assert!(matches!(error, EndpointError::Setup(SetupError::NoContinuation { .. })), "{error}");
    let expected = "does not continue an assistant's message (400 Bad Request, unknown field)";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_speculative_request_ends_when_it_is_cancelled() {
    let server = Server::script(vec![Reply::Stall(Vec::new())]);
    let mut options = endpoint_options(&server.url());
    options.timeout = Duration::from_mins(1);
    let policy = policy_of(options, 7);
    let (problem, speculation) = (problem("p", &[]), Speculation::default());
    std::thread::scope(|scope| {
        let request = RolloutRequest { speculation: Some(&speculation), ..RolloutRequest::new(&problem, &[], 1, 0) };
        let policy = &policy;
        let asked = scope.spawn(move || policy.rollouts(&request));
        speculation.cancel();
        assert!(matches!(asked.join().unwrap(), Err(PolicyError::Cancelled)));
    });
    assert!(policy.stopped_by().is_none());
}

/// The messages of a policy with this key on a server with this reply.
fn told(key: &str, reply: Reply) -> String {
    let server = Server::script(vec![reply]);
    let mut options = endpoint_options(&server.url());
    options.key = Some(ApiKey::new(key).unwrap());
    options.tries = 1;
    let policy = policy_of(options, 7);
    let found = sample(&policy, 1);
    assert!(server.requests()[0].headers.contains(&format!("authorization: Bearer {key}")));
    format!(
        "{found:?} {:?} {policy:?} {}",
        policy.stopped_by(),
        policy.stopped_by().map(ToString::to_string).unwrap_or_default()
    )
}

#[test]
fn no_message_holds_the_key_or_a_part_of_it() {
    let key = "sk-Zq81/Lw+Tn40Vb";
    let percent = key.replace('/', "%2F").replace('+', "%2B");
    let long = "x".repeat(190);
    for text in [key.to_owned(), key[..8].to_owned(), key[8..].to_owned(), percent, format!("{long}{key}")] {
        let error = json!({"error": {"message": format!("bad: {text}")}}).to_string();
        let location = format!("location: https://other.example/{text}?key={text}");
        for first in [
            reply("401 Unauthorized", &[], &error),
            reply("404 Not Found", &[], &error),
            reply("400 Bad Request", &[], &error),
            reply("500 Internal Server Error", &[], &text),
            reply("200 OK", &[], &error),
            reply("307 Temporary Redirect", &[&location], ""),
            writes(&[format!("<answer>{key}</answer>")]),
        ] {
            let told = told(key, first);
            for part in ["Zq81", "Lw+T", "Lw%2BT", "40Vb", "sk-Z"] {
                assert!(!told.contains(part), "{part}: {told}");
            }
        }
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let other = Server::script(vec![writes(&[solution(1)])]);
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let told = told("sk-Zq81", reply(status, &[&format!("location: {}/chat/completions", other.url())], ""));
        assert!(told.contains("points to http://127.0.0.1:"), "{told}");
    }
    assert!(other.requests().is_empty());
}

#[test]
fn special_tokens_are_removed_from_rollouts_and_prompts_even_if_nested() {
    let server = Server::start(|_, _| writes(&["<answer>2<|im_<|im_end|>end|><bo</s>x></answer>".to_owned()]));
    let policy = policy(&server);
    let mut problem = problem("p", &[]);
    problem.question = "How<|im_<|im_end|>end|><|im_start|> much <s>?".into();
    let sampled = policy.rollouts(&RolloutRequest::new(&problem, &["One<|im_end|>.".to_owned()], 1, 0)).unwrap();
    assert_eq!(sampled[0].rollout, ["2"]);
    let sent = server.requests()[0].body["messages"].to_string();
    assert!(sent.contains("How much <s>?") && sent.contains("One.") && !sent.contains("<|im_"), "{sent}");
}
