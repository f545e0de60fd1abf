//! One question to a failing server.

use std::time::{Duration, Instant};

use mmprm::judge::{EndpointJudge, JudgeError, JudgeModel};
use mmprm::remote::{ApiKey, Endpoint, EndpointOptions};
use serde_json::json;

use crate::http::{Reply, Server, completion, reply, says};
use crate::{ask, judge, options, problem};

#[test]
fn the_question_is_that_of_mm_prm_at_temperature_0() {
    let server = Server::script(vec![says("Yes")]);
    assert!(ask(&server).unwrap());
    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert_eq!(request.target, "POST /v1/chat/completions");
    assert!(request.headers.contains(&"content-type: application/json".to_owned()), "{:?}", request.headers);
    assert!(!request.headers.iter().any(|header| header.starts_with("authorization")));
    let prompt =
        mmprm::prompt::judge::answer("Which side is longest?", "the hypotenuse", "the one opposite the right angle");
    assert_eq!(
        request.body,
        json!({
            "model": "judge-1", "max_tokens": 8, "temperature": 0.0,
            "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
        })
    );
}

#[test]
fn verdicts_are_read_through_punctuation() {
    for (words, verdict) in [("Yes.", true), (" no\n", false), ("**No**", false), ("Yes, both name it", true)] {
        assert_eq!(ask(&Server::script(vec![says(words)])).unwrap(), verdict, "{words}");
    }
}

#[test]
fn temporary_failures_are_retried() {
    let whole = completion("Yes");
    let cut = &whole[..whole.len() / 2];
    let close_in_the_middle = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{cut}", whole.len());
    let huge = format!("{{\"padding\": \"{}\"}}", "x".repeat(2 << 20));
    for (trouble, first) in [
        ("an internal error", reply("500 Internal Server Error", &[], "oops")),
        ("a bad gateway", reply("502 Bad Gateway", &["content-type: text/html"], "<h1>Bad Gateway</h1>")),
        ("too many requests", reply("429 Too Many Requests", &["retry-after: 0"], "{}")),
        ("a timeout of the server", reply("408 Request Timeout", &[], "")),
        ("silence", Reply::Stall(Vec::new())),
        ("a connection closed before the reply", Reply::Raw(Vec::new())),
        ("a connection closed within the reply", Reply::Raw(close_in_the_middle.into_bytes())),
        ("JSON cut short", reply("200 OK", &["content-type: application/json"], cut)),
        ("a page", reply("200 OK", &["content-type: text/html"], "<html>Welcome</html>")),
        ("not HTTP", Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())),
        ("another object", reply("200 OK", &[], "{\"object\": \"list\"}")),
        ("a huge reply", reply("200 OK", &[], &huge)),
        ("endless headers", Reply::Raw([b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(50_000)].concat())),
        ("bytes that are not text", Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec())),
    ] {
        let server = Server::script(vec![first, says("No")]);
        assert!(!ask(&server).unwrap(), "after {trouble}");
        let temperatures: Vec<_> =
            server.requests().iter().map(|request| request.body["temperature"].clone()).collect();
        assert_eq!(temperatures, [0.0, 0.0], "after {trouble}");
    }
}

#[test]
fn chunked_replies_and_a_wrong_content_type_are_read() {
    let body = completion("Yes");
    let (head, tail) = body.split_at(10);
    let chunks = format!("a\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n", tail.len());
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunks}");
    for first in [Reply::Raw(chunked.into_bytes()), reply("200 OK", &["content-type: text/plain"], &body)] {
        let server = Server::script(vec![first]);
        assert!(ask(&server).unwrap());
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn after_a_reply_that_is_not_a_verdict_the_temperature_is_that_of_mm_prm() {
    let server = Server::script(vec![says("Let me think"), says(""), says("yes")]);
    assert!(ask(&server).unwrap());
    let temperatures: Vec<_> = server.requests().iter().map(|request| request.body["temperature"].clone()).collect();
    assert_eq!(temperatures, [0.0, 0.5, 0.5]);

    let server = Server::script(vec![says("I cannot say")]);
    let error = ask(&server).unwrap_err();
    assert_eq!(server.requests().len(), 5);
    assert_eq!(
        error.to_string(),
        "the judge failed 5 times, the last time because it said \"I cannot say\" instead of Yes or No"
    );
    assert!(!error.ends_the_run());
}

#[test]
fn a_server_that_never_answers_in_time_fails_after_five_attempts() {
    let server = Server::script(vec![Reply::Stall(Vec::new())]);
    let mut short = options(&server.url());
    short.timeout = Duration::from_millis(60);
    let started = Instant::now();
    let error = EndpointJudge::new(Endpoint::new(short).unwrap()).judge(&problem("p"), "x").unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(matches!(error, JudgeError::Failed { tries: 5, .. }) && !error.ends_the_run(), "{error}");
    assert!(error.to_string().contains("no whole reply within 0.06 s"), "{error}");
}

#[test]
fn the_timeout_covers_the_whole_reply() {
    let begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n".to_vec();
    let server = Server::script(vec![Reply::Stall(begun), says("Yes")]);
    assert!(ask(&server).unwrap());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn retry_after_is_followed() {
    let server = Server::script(vec![reply("503 Service Unavailable", &["Retry-After: 0.25"], ""), says("Yes")]);
    assert!(ask(&server).unwrap());
    let requests = server.requests();
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_millis(240), "{waited:?}");
}

#[test]
fn setup_errors_are_reported_at_once_in_one_sentence() {
    let body = |message: &str| json!({"error": {"message": message}}).to_string();
    for (status, body, expected) in [
        ("401 Unauthorized", body("Incorrect API key"), "requires an API key"),
        ("403 Forbidden", String::new(), "requires an API key"),
        ("404 Not Found", body("no model judge-1"), "wrong address, or unknown model \"judge-1\""),
        ("400 Bad Request", body("unknown field"), "does not accept the requests (400 Bad Request, unknown field)"),
        ("307 Temporary Redirect", String::new(), "points to https://elsewhere.example/; give that address"),
    ] {
        let server = Server::script(vec![reply(status, &["location: https://elsewhere.example/"], &body)]);
        let error = ask(&server).unwrap_err();
        assert!(error.ends_the_run(), "{status}: {error}");
        assert!(error.to_string().starts_with("the judge cannot be used: http://127.0.0.1:"), "{status}: {error}");
        assert!(error.to_string().contains(expected) && !error.to_string().contains('\n'), "{status}: {error}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn an_unreachable_server_ends_the_run() {
    let gone = Server::script(vec![says("Yes")]);
    let options = options(&gone.url());
    drop(gone);
    let error = EndpointJudge::new(Endpoint::new(options).unwrap()).judge(&problem("p"), "x").unwrap_err();
    assert!(error.ends_the_run(), "{error}");
    assert!(error.to_string().contains("cannot reach the server at http://127.0.0.1:"), "{error}");
}

#[test]
fn a_server_without_tls_at_an_https_address_ends_the_run() {
    let server = Server::script(vec![says("Yes")]);
    let options = options(&server.url().replace("http:", "https:"));
    let error = EndpointJudge::new(Endpoint::new(options).unwrap()).judge(&problem("p"), "x").unwrap_err();
    assert!(error.ends_the_run() && error.to_string().contains("cannot reach the server at https:"), "{error}");
}

#[test]
fn a_question_that_is_too_long_fails_alone() {
    let too_long =
        reply("400 Bad Request", &[], r#"{"message": "This model's maximum context length is 4096 tokens"}"#);
    let odd = reply("422 Unprocessable Entity", &[], "{}");
    let server = Server::script(vec![too_long, says("No"), odd, says("Yes")]);
    let judge = judge(&server);
    let ask = || judge.judge(&problem("p"), "x");
    assert!(
        matches!(ask().unwrap_err(), JudgeError::Refused(cause) if cause.to_string().contains("maximum context length"))
    );
    assert!(!ask().unwrap());
    // A server that has answered is configured correctly.
    assert!(matches!(ask().unwrap_err(), JudgeError::Refused(_)));
    assert!(ask().unwrap());
}

#[test]
fn the_key_is_sent_to_the_server_and_shown_nowhere() {
    let told = r#"{"error": {"message": "bad key sk-secret-1 given"}}"#;
    let server = Server::script(vec![reply("401 Unauthorized", &[], told)]);
    let mut options = options(&server.url());
    options.key = Some(ApiKey::new("sk-secret-1").unwrap());
    let judge = EndpointJudge::new(Endpoint::new(options).unwrap());
    let error = judge.judge(&problem("p"), "x").unwrap_err();
    assert!(server.requests()[0].headers.contains(&"authorization: Bearer sk-secret-1".to_owned()));
    for text in [error.to_string(), format!("{error:?}"), format!("{judge:?}"), judge.identity()] {
        assert!(!text.contains("sk-secret-1"), "{text}");
    }
}

#[test]
fn the_number_of_requests_in_flight_is_bounded() {
    let server = Server::start(|_, _| {
        std::thread::sleep(Duration::from_millis(15));
        says("Yes")
    });
    let mut options = options(&server.url());
    options.parallel = 3.try_into().unwrap();
    let judge = EndpointJudge::new(Endpoint::new(options).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..9 {
            scope.spawn(|| assert!(judge.judge(&problem("p"), "x").unwrap()));
        }
    });
    assert!((2..=3).contains(&server.max_at_once()), "{}", server.max_at_once());
}

#[test]
fn a_cancelled_run_does_not_wait_for_the_next_attempt() {
    let server = Server::script(vec![reply("503 Service Unavailable", &["retry-after: 30"], "")]);
    ends_soon_when_cancelled(&server, options(&server.url()));
}

#[test]
fn a_cancelled_run_does_not_wait_for_a_slow_reply() {
    let server = Server::script(vec![Reply::Stall(Vec::new())]);
    let mut options = options(&server.url());
    options.timeout = Duration::from_secs(30);
    ends_soon_when_cancelled(&server, options);
}

/// Cancels a run once its question has reached the server.
fn ends_soon_when_cancelled(server: &Server, options: EndpointOptions) {
    let cancel = options.cancel.clone();
    let judge = EndpointJudge::new(Endpoint::new(options).unwrap());
    let started = Instant::now();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| judge.judge(&problem("p"), "x"));
        while server.requests().is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        cancel.cancel();
        assert!(matches!(asked.join().unwrap(), Err(JudgeError::Cancelled)));
    });
    assert!(started.elapsed() < Duration::from_secs(10));
}
