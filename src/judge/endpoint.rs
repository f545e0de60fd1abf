//! A model behind an OpenAI-compatible address (vLLM, llama-server, Ollama and others), asked with patience.

use std::fmt;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::JudgeError;
use super::reply::{Unread, short};
use super::wait::{self, Places};

/// The largest reply that is read, in bytes. A verdict takes a thousand.
const MOST_REPLY: u64 = 1 << 20;
/// The reference's temperature, for tries after a reply that was no answer.
const WARMER: f64 = 0.5;

/// The key of an endpoint. Nothing prints it.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key as it stands in the environment.
    ///
    /// # Errors
    /// [`JudgeError::Setup`] for a text that cannot be a key: it is empty or holds white space or control characters.
    pub fn new(text: &str) -> Result<Self, JudgeError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(JudgeError::Setup("the judge's key is not one word of ASCII characters".into()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

/// How to ask an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// The address below which `chat/completions` lies: `http://host:port/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The key, where one is needed.
    pub key: Option<ApiKey>,
    /// The longest that one request may take, from looking up the host to the end of the reply.
    pub timeout: Duration,
    /// Most requests at once.
    pub parallel: NonZeroUsize,
    /// How often a question is asked before it has failed; the reference's number is 5.
    pub tries: u32,
    /// The wait after the first failure; it doubles each time.
    pub first_wait: Duration,
    /// When this turns true, questions end with [`JudgeError::Cancelled`].
    pub cancel: Arc<AtomicBool>,
}

impl EndpointOptions {
    /// Options without a key: 60 seconds a request, 8 at once, 5 tries, half a second after the first.
    pub fn new(url: &str, model: &str) -> Self {
        Self {
            url: url.to_owned(),
            model: model.to_owned(),
            key: None,
            timeout: Duration::from_mins(1),
            parallel: const { NonZeroUsize::new(8).unwrap() },
            tries: 5,
            first_wait: Duration::from_millis(500),
            cancel: Arc::default(),
        }
    }
}

/// An OpenAI-compatible endpoint; see the [module](super).
///
/// Requests that may succeed later are repeated, after a growing wait or the one that the server asks for: time-outs,
/// broken connections, replies that are no chat completion, and status 408, 425, 429 and 5xx. What would fail for every
/// question (a wrong address, key or model) is [`JudgeError::Setup`] at once.
#[derive(Debug)]
pub struct Endpoint {
    agent: Agent,
    address: String,
    options: EndpointOptions,
    places: Places,
    /// Whether it ever answered, so that the set-up is known to be right.
    answered: AtomicBool,
}

/// Why a try gave nothing.
enum Miss {
    /// Another would give nothing either.
    Last(JudgeError),
    /// Another may do better.
    Again(Again),
}

struct Again {
    cause: String,
    /// How long to stay away, where that is known.
    wait: Option<Duration>,
    /// The same temperature would give the same reply.
    warmer: bool,
    /// Nobody was there.
    unreachable: bool,
}

impl Again {
    fn because(cause: String) -> Miss {
        Miss::Again(Self { cause, wait: None, warmer: false, unreachable: false })
    }
}

impl Endpoint {
    /// An endpoint; nothing is asked yet.
    ///
    /// # Errors
    /// [`JudgeError::Setup`] for an address that cannot be one.
    pub fn new(options: EndpointOptions) -> Result<Self, JudgeError> {
        let (address, local) = address(&options.url)?;
        let mut config = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .http_status_as_error(false)
            // Followed, a redirect would turn the question into a GET, and might take the key elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(options.parallel.get())
            .user_agent(concat!("mmprm/", env!("CARGO_PKG_VERSION")));
        if local {
            config = config.proxy(None);
        }
        let places = Places::new(options.parallel.get());
        Ok(Self { agent: config.build().new_agent(), address, options, places, answered: AtomicBool::new(false) })
    }

    /// The name of the model that is asked.
    pub fn model(&self) -> &str {
        &self.options.model
    }

    /// Most requests at once.
    pub fn parallel(&self) -> usize {
        self.options.parallel.get()
    }

    /// Posts `body` until `read` can use the reply.
    pub(super) fn ask<T>(
        &self,
        mut body: Map<String, Value>,
        read: impl Fn(&Value) -> Result<T, Unread>,
    ) -> Result<T, JudgeError> {
        for index in 0.. {
            let again = match self.attempt(&body, &read) {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Miss::Last(error)) => return Err(error),
                Err(Miss::Again(again)) => again,
            };
            let tries = index + 1;
            tracing::debug!("the judge gave no answer, try {tries}: {}", again.cause);
            if tries >= self.options.tries {
                if again.unreachable && !self.has_answered() {
                    let cause = format!("cannot reach the judge at {}: {}; is it running?", self.address, again.cause);
                    return Err(JudgeError::Setup(cause));
                }
                return Err(JudgeError::Failed { tries, cause: again.cause });
            }
            if again.warmer {
                body.insert("temperature".into(), json!(WARMER));
            }
            if !wait::sleep(wait::pause(self.options.first_wait, index, again.wait), &self.options.cancel) {
                break;
            }
        }
        Err(JudgeError::Cancelled)
    }

    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    fn attempt<T>(&self, body: &Map<String, Value>, read: &impl Fn(&Value) -> Result<T, Unread>) -> Result<T, Miss> {
        let reply = {
            let _place = self.places.take();
            if self.options.cancel.load(Ordering::Relaxed) {
                return Err(Miss::Last(JudgeError::Cancelled));
            }
            self.post(body)?
        };
        let reply: Value = serde_json::from_slice(&reply)
            .map_err(|error| Again::because(format!("its reply is not JSON ({error})")))?;
        read(&reply).map_err(|unread| match unread {
            // The server is well: there is no reason to wait.
            Unread::Words(cause) => {
                Miss::Again(Again { cause, wait: Some(Duration::ZERO), warmer: true, unreachable: false })
            }
            Unread::Form(cause) => Again::because(cause),
            Unread::Missing(what) if self.has_answered() => Again::because(format!("its reply lacks {what}")),
            Unread::Missing(what) => Miss::Last(JudgeError::Setup(format!(
                "the model at {} gives no {what}, which are needed",
                self.address
            ))),
        })
    }

    /// One exchange: the body of a reply of status 2xx.
    fn post(&self, body: &Map<String, Value>) -> Result<Vec<u8>, Miss> {
        let body = serde_json::to_vec(body).expect("a JSON object has string keys only and memory takes every write");
        let mut request = self.agent.post(&self.address).header("content-type", "application/json");
        if let Some(ApiKey(key)) = &self.options.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(&body).map_err(|error| self.unsent(&error))?;
        if !response.status().is_success() {
            return Err(self.refused(response));
        }
        response.body_mut().with_config().limit(MOST_REPLY).read_to_vec().map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(limit) => Again::because(format!("its reply has more than {limit} bytes")),
            error => self.unsent(&error),
        })
    }

    /// An exchange that broke off.
    fn unsent(&self, error: &ureq::Error) -> Miss {
        let cause = match error {
            ureq::Error::Timeout(_) => {
                format!("there was no whole reply within {} s", self.options.timeout.as_secs_f64())
            }
            error => self.hide_key(&error.to_string()),
        };
        let unreachable = match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_) => true,
            // TLS that fails, over a certificate for instance, is invalid data.
            ureq::Error::Io(error) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::InvalidData),
            _ => false,
        };
        Miss::Again(Again { cause, wait: None, warmer: false, unreachable })
    }

    /// A reply of another status than 2xx.
    fn refused(&self, mut response: Response<Body>) -> Miss {
        let status = response.status();
        let wait = retry_after(&response);
        let target = response.headers().get("location").and_then(|target| target.to_str().ok()).map(short);
        // The text only explains; where it cannot be read the status has to do.
        let body = response.body_mut().with_config().limit(MOST_REPLY).read_to_vec().unwrap_or_default();
        let told = self.hide_key(&explanation(&body));
        let told = if told.is_empty() { status.to_string() } else { format!("{status}, {told}") };
        let (address, model) = (&self.address, self.model());
        let setup = |cause: String| Miss::Last(JudgeError::Setup(cause));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                setup(format!("{address} wants another key than it was given in the environment ({told})"))
            }
            StatusCode::NOT_FOUND => setup(format!(
                "{address} does not know the address or the model {model:?} ({told}); addresses usually end in /v1"
            )),
            _ if status.is_redirection() => {
                let target = target.unwrap_or_else(|| "another address".into());
                setup(format!("{address} points to {target}; give that address ({status})"))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Miss::Again(Again { cause: told, wait, warmer: false, unreachable: false })
            }
            _ if status.is_client_error() => {
                // A question too long for the model is that question's trouble; anything else is everyone's, unless
                // others have been answered.
                let too_long = status == StatusCode::PAYLOAD_TOO_LARGE || told.to_lowercase().contains("context");
                if too_long || self.has_answered() {
                    Miss::Last(JudgeError::Refused(told))
                } else {
                    setup(format!("{address} does not accept the questions ({told})"))
                }
            }
            _ => Miss::Again(Again { cause: told, wait, warmer: false, unreachable: false }),
        }
    }

    /// A text without the key, should the server have repeated it.
    fn hide_key(&self, text: &str) -> String {
        match &self.options.key {
            Some(ApiKey(key)) => text.replace(key.as_str(), "(the key)"),
            None => text.to_owned(),
        }
    }
}

/// Where to post below `url`, and whether that is this machine, to which no proxy leads.
fn address(url: &str) -> Result<(String, bool), JudgeError> {
    let refuse =
        |cause: &str| JudgeError::Setup(format!("the judge's address {cause}, as in http://localhost:8000/v1"));
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
    fn keys_are_one_word_and_never_shown() {
        assert_eq!(format!("{:?}", ApiKey::new(" sk-1234\n").unwrap()), "ApiKey(hidden)");
        for bad in ["", "two words", "line\nbreak", "clé"] {
            let error = ApiKey::new(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
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
