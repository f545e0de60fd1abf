//! One HTTP exchange, which a run that is being stopped does not wait for.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::reply::short;
use super::wait::LOOK;
use super::{ApiKey, EndpointError};

/// The most that is read of a refusal, in bytes.
const MOST_REFUSAL: u64 = 1 << 20;

/// What is posted, and where.
pub(super) struct Post {
    pub(super) address: String,
    pub(super) key: Option<ApiKey>,
    pub(super) body: Vec<u8>,
    /// The largest reply that is read, in bytes.
    pub(super) most_reply: u64,
}

/// A whole reply.
pub(super) enum Replied {
    /// Of status 2xx: its body.
    Well(Vec<u8>),
    /// Of another status.
    Otherwise(Refusal),
}

/// A reply of another status than 2xx.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// How long to stay away.
    pub(super) wait: Option<Duration>,
    /// Where to go instead.
    pub(super) location: Option<String>,
    /// What its body says, in short; empty where it says nothing.
    pub(super) told: String,
}

/// Why there is no whole reply.
pub(super) enum Broken {
    /// The run is being stopped.
    Cancelled,
    /// The exchange failed.
    Http(ureq::Error),
    /// No thread could be started for it, or the thread died.
    Thread(String),
}

/// Posts on a thread of its own, so that a run that is being stopped can leave it behind: it ends with its deadline.
pub(super) fn post(agent: &Agent, post: Post, is_cancelled: &dyn Fn() -> bool) -> Result<Replied, Broken> {
    let (send, receive) = mpsc::channel();
    let agent = agent.clone();
    let work = move || {
        // Nobody listens any more where the run was stopped.
        let _ = send.send(exchange(&agent, &post));
    };
    std::thread::Builder::new()
        .name("request".into())
        .spawn(work)
        .map_err(|error| Broken::Thread(error.to_string()))?;
    loop {
        match receive.recv_timeout(LOOK) {
            Ok(replied) => return replied.map_err(Broken::Http),
            Err(RecvTimeoutError::Timeout) if is_cancelled() => return Err(Broken::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Broken::Thread("its thread ended".into())),
        }
    }
}

fn exchange(agent: &Agent, post: &Post) -> Result<Replied, ureq::Error> {
    let mut request = agent.post(&post.address).header("content-type", "application/json");
    if let Some(ApiKey(key)) = &post.key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let mut response = request.send(&post.body)?;
    if response.status().is_success() {
        return Ok(Replied::Well(response.body_mut().with_config().limit(post.most_reply).read_to_vec()?));
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let (status, wait, location) = (response.status(), retry_after(&response), header("location").map(short));
    // The text only explains; where it cannot be read the status has to do.
    let body = response.body_mut().with_config().limit(MOST_REFUSAL).read_to_vec().unwrap_or_default();
    Ok(Replied::Otherwise(Refusal { status, wait, location, told: explanation(&body) }))
}

/// The seconds of a `Retry-After`; one with a date is passed over.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds: f64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// What the body of a refusal says.
fn explanation(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let told: Option<String> = serde_json::from_str(&text).ok().and_then(|value: Value| {
        let places = [&value["error"]["message"], &value["error"], &value["message"], &value["detail"]];
        places.into_iter().find_map(|place| place.as_str().map(str::to_owned))
    });
    short(&told.unwrap_or_else(|| text.into_owned()))
}

/// Where to post below `url`, and whether that is this machine, to which no proxy leads.
pub(super) fn address(url: &str) -> Result<(String, bool), EndpointError> {
    let refuse = |cause: &str| EndpointError::Setup(format!("the address {cause}, as in http://localhost:8000/v1"));
    let url = url.trim().trim_end_matches('/');
    let parsed: Uri = url.parse().map_err(|_| refuse("is not a URL; expected one"))?;
    let (Some(scheme), Some(authority)) = (parsed.scheme_str(), parsed.authority()) else {
        return Err(refuse("lacks its scheme or host; expected both"));
    };
    if !["http", "https"].contains(&scheme) {
        return Err(refuse("must begin with http:// or https://"));
    }
    if authority.as_str().contains('@') || parsed.query().is_some() {
        return Err(refuse(
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
    fn questions_go_to_chat_completions_below_the_address() {
        for (url, expected, local) in [
            ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions", true),
            ("http://127.0.0.1:1/v1/", "http://127.0.0.1:1/v1/chat/completions", true),
            ("https://judge.example/v1/chat/completions", "https://judge.example/v1/chat/completions", false),
        ] {
            assert_eq!(address(url).unwrap(), (expected.to_owned(), local));
        }
    }

    #[test]
    fn addresses_that_cannot_be_one_are_refused() {
        for url in
            ["", "localhost:8000", "/v1", "ftp://host/v1", "http://", "http://me:secret@host/v1", "http://h/v1?key=k"]
        {
            let error = address(url).unwrap_err();
            assert!(error.ends_the_run() && error.to_string().contains("http://localhost:8000/v1"), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn explanations_are_found_where_servers_put_them() {
        for (body, expected) in [
            (r#"{"error": {"message": "no such model"}}"#, "no such model"),
            (r#"{"error": "no such model"}"#, "no such model"),
            (r#"{"detail": "Not Found"}"#, "Not Found"),
            ("<h1>Bad\nGateway</h1>", "<h1>Bad Gateway</h1>"),
            ("", ""),
        ] {
            assert_eq!(explanation(body.as_bytes()), expected);
        }
        assert!(explanation("long ".repeat(1000).as_bytes()).len() < 250);
    }
}
