//! One HTTP exchange, which a cancelled run does not wait for.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{StatusCode, Uri};
use ureq::{Agent, Body};

use super::wait::POLL_INTERVAL;
use super::{ApiKey, SetupError};

/// Maximum number of bytes read from an error reply.
const MAX_REFUSAL: u64 = 1 << 20;

/// What to post, and where.
pub(super) struct Post {
    pub(super) address: String,
    pub(super) key: Option<ApiKey>,
    pub(super) body: Vec<u8>,
    /// Maximum size of a successful reply in bytes.
    pub(super) max_reply: u64,
}

/// A whole reply.
pub(super) enum Response {
    /// The body of a reply of status 2xx.
    Success(Vec<u8>),
    /// A reply of another status.
    Refusal(Refusal),
}

/// A reply of another status than 2xx.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The `Retry-After` wait.
    pub(super) wait: Option<Duration>,
    /// The target of a redirect, neither masked nor shortened.
    pub(super) location: Option<String>,
    /// The error message in its body, neither masked nor shortened; empty where there is none.
    pub(super) explanation: String,
}

/// Why there is no whole reply.
pub(super) enum ExchangeError {
    /// The request was cancelled.
    Cancelled,
    /// The exchange failed.
    Http(ureq::Error),
    /// Its thread could not be started, or died.
    Thread(String),
}

/// Posts on a separate thread, which a cancelled run leaves behind: it ends at its deadline.
pub(super) fn post(agent: &Agent, post: Post, is_cancelled: &dyn Fn() -> bool) -> Result<Response, ExchangeError> {
    let (send, receive) = mpsc::channel();
    let agent = agent.clone();
    let work = move || {
        // There is no receiver where the run was cancelled.
        let _ = send.send(exchange(&agent, &post));
    };
    std::thread::Builder::new()
        .name("request".into())
        .spawn(work)
        .map_err(|error| ExchangeError::Thread(error.to_string()))?;
    loop {
        match receive.recv_timeout(POLL_INTERVAL) {
            Ok(response) => return response.map_err(ExchangeError::Http),
            Err(RecvTimeoutError::Timeout) if is_cancelled() => return Err(ExchangeError::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(ExchangeError::Thread("its thread ended".into())),
        }
    }
}

fn exchange(agent: &Agent, post: &Post) -> Result<Response, ureq::Error> {
    let mut request = agent.post(&post.address).header("content-type", "application/json");
    if let Some(ApiKey(key)) = &post.key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let mut response = request.send(&post.body)?;
    if response.status().is_success() {
        return Ok(Response::Success(response.body_mut().with_config().limit(post.max_reply).read_to_vec()?));
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let (status, wait, location) = (response.status(), retry_after(&response), header("location").map(str::to_owned));
    // The body only explains the status; an unreadable one is ignored.
    let body = response.body_mut().with_config().limit(MAX_REFUSAL).read_to_vec().unwrap_or_default();
    Ok(Response::Refusal(Refusal { status, wait, location, explanation: explanation(&body) }))
}

/// The seconds of a `Retry-After` header; one with a date is ignored.
fn retry_after(response: &ureq::http::Response<Body>) -> Option<Duration> {
    let seconds: f64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The error message in the body of a refusal.
fn explanation(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let message: Option<String> = serde_json::from_str(&text).ok().and_then(|value: Value| {
        let places = [&value["error"]["message"], &value["error"], &value["message"], &value["detail"]];
        places.into_iter().find_map(|place| place.as_str().map(str::to_owned))
    });
    message.unwrap_or_else(|| text.into_owned())
}

/// The URL of chat completions below the base `url`, and whether it is on this machine, which needs
/// no proxy.
pub(super) fn address(url: &str) -> Result<(String, bool), SetupError> {
    let url = url.trim().trim_end_matches('/');
    let parsed: Uri = url.parse().map_err(|_| SetupError::Address("is not a URL; expected one"))?;
    let (Some(scheme), Some(authority)) = (parsed.scheme_str(), parsed.authority()) else {
        return Err(SetupError::Address("lacks its scheme or host; expected both"));
    };
    if !["http", "https"].contains(&scheme) {
        return Err(SetupError::Address("must begin with http:// or https://"));
    }
    if authority.as_str().contains('@') || parsed.query().is_some() {
        return Err(SetupError::Address(
            "holds more than scheme, host and path (the key comes from the environment); expected those",
        ));
    }
    let host = authority.host();
    let local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    let path = "/chat/completions";
    Ok((if url.ends_with(path) { url.to_owned() } else { format!("{url}{path}") }, local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_chat_completions_below_the_base_url() {
        for (url, expected, local) in [
            ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions", true),
            ("http://127.0.0.1:1/v1/", "http://127.0.0.1:1/v1/chat/completions", true),
            ("https://judge.example/v1/chat/completions", "https://judge.example/v1/chat/completions", false),
        ] {
            assert_eq!(address(url).unwrap(), (expected.to_owned(), local));
        }
    }

    #[test]
    fn unusable_addresses_are_refused() {
        for url in
            ["", "localhost:8000", "/v1", "ftp://host/v1", "http://", "http://me:secret@host/v1", "http://h/v1?key=k"]
        {
            let error = address(url).unwrap_err();
            assert!(error.to_string().contains("http://localhost:8000/v1"), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn error_messages_are_found_where_servers_put_them() {
        for (body, expected) in [
            (r#"{"error": {"message": "no such model"}}"#, "no such model"),
            (r#"{"error": "no such model"}"#, "no such model"),
            (r#"{"detail": "Not Found"}"#, "Not Found"),
            ("<h1>Bad\nGateway</h1>", "<h1>Bad\nGateway</h1>"),
            ("", ""),
        ] {
            assert_eq!(explanation(body.as_bytes()), expected);
        }
    }
}
