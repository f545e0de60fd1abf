//! The client: concurrency limit, attempts, and what a failure means.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::StatusCode;

use super::exchange::{self, ExchangeError, Post, Refusal, Response};
use super::reply::{ReplyError, short};
use super::secret::Secret;
use super::wait::{self, Permits};
use super::{EndpointError, EndpointOptions, SetupError};
use crate::util::nesting::{Excess, Structure};

/// A model on an OpenAI-compatible server; see the [module](super).
///
/// Attempts that may succeed later are repeated after an exponential backoff or the wait that the
/// server asks for: timeouts, broken connections, replies that are not chat completions, and status
/// 408, 425, 429 and 5xx. What would fail for every request (a wrong address, key or model) is
/// [`EndpointError::Setup`] at once.
#[derive(Debug)]
pub struct Endpoint {
    agent: Agent,
    address: String,
    options: EndpointOptions,
    secret: Secret,
    permits: Permits,
    /// Whether any request succeeded, which shows that the configuration is right.
    answered: AtomicBool,
}

/// A chat-completion request.
#[derive(Clone)]
pub(crate) struct ChatRequest<'a> {
    /// The conversation: an array of `{role, content}`.
    pub(crate) messages: &'a Value,
    /// Every other field of the request except the model's name.
    pub(crate) fields: Map<String, Value>,
    /// Maximum size of the reply in bytes.
    pub(crate) max_reply: u64,
    /// Whether the request was cancelled, apart from the whole run.
    pub(crate) is_cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl ChatRequest<'_> {
    /// Whether it asks for more than one completion.
    fn is_for_several(&self) -> bool {
        self.fields.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1)
    }
}

/// The body of a request.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a Value,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

/// Why an attempt failed.
enum AttemptError {
    /// Another attempt would fail as well.
    Final(EndpointError),
    /// Another attempt may succeed.
    Retry(Retry),
}

struct Retry {
    cause: String,
    /// The wait that the server asks for.
    wait: Option<Duration>,
    /// The temperature of the next attempt, where the same one would give the same reply.
    temperature: Option<f64>,
    /// No connection could be made.
    unreachable: bool,
}

impl Retry {
    fn because(cause: String) -> AttemptError {
        AttemptError::Retry(Self { cause, wait: None, temperature: None, unreachable: false })
    }
}

impl Endpoint {
    /// Checks the options; sends nothing yet.
    ///
    /// # Errors
    /// [`SetupError::Address`].
    pub fn new(options: EndpointOptions) -> Result<Self, EndpointError> {
        let (address, local) = exchange::address(&options.url)?;
        let secret = Secret::new(options.key.as_ref());
        if secret.is_in(&address) || secret.is_in(&options.model) {
            return Err(SetupError::Address("or the model's name holds the API key; expected it in neither").into());
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .http_status_as_error(false)
            // Following a redirect would turn the POST into a GET, and might send the key to
            // another host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(options.parallel.get())
            .user_agent(concat!("mmprm/", env!("CARGO_PKG_VERSION")));
        if local {
            config = config.proxy(None);
        }
        let permits = Permits::new(options.parallel.get());
        let answered = AtomicBool::new(false);
        Ok(Self { agent: config.build().new_agent(), address, options, secret, permits, answered })
    }

    /// The URL that requests are posted to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The model's name on the server.
    pub fn model(&self) -> &str {
        &self.options.model
    }

    /// Maximum number of requests at once.
    pub fn parallel(&self) -> usize {
        self.options.parallel.get()
    }

    /// Cancels all requests, through the token of its options.
    pub(crate) fn stop(&self) {
        self.options.cancel.cancel();
    }

    /// Sends a request, again where that may help, until `read` accepts the reply.
    pub(crate) fn chat<T>(
        &self,
        mut request: ChatRequest<'_>,
        read: impl Fn(&Value) -> Result<T, ReplyError>,
    ) -> Result<T, EndpointError> {
        for index in 0.. {
            let retry = match self.attempt(&request, &read) {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(AttemptError::Final(error)) => return Err(error),
                Err(AttemptError::Retry(retry)) => retry,
            };
            let tries = index + 1;
            tracing::debug!("{}: attempt {tries} failed: {}", self.address, retry.cause);
            if tries >= self.options.tries {
                let (address, cause) = (self.address.clone(), retry.cause);
                if retry.unreachable && !self.has_answered() {
                    return Err(SetupError::Unreachable { address, cause }.into());
                }
                return Err(EndpointError::Failed { address, tries, cause });
            }
            if let Some(temperature) = retry.temperature {
                request.fields.insert("temperature".into(), json!(temperature));
            }
            let is_cancelled = || self.is_cancelled(&request);
            if !wait::sleep(wait::pause(self.options.initial_backoff, index, retry.wait), &is_cancelled) {
                break;
            }
        }
        Err(EndpointError::Cancelled)
    }

    fn is_cancelled(&self, request: &ChatRequest<'_>) -> bool {
        self.options.cancel.is_cancelled() || (request.is_cancelled)()
    }

    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    fn attempt<T>(
        &self,
        request: &ChatRequest<'_>,
        read: &impl Fn(&Value) -> Result<T, ReplyError>,
    ) -> Result<T, AttemptError> {
        let reply = {
            let _permit = self.permits.acquire();
            if self.is_cancelled(request) {
                return Err(AttemptError::Final(EndpointError::Cancelled));
            }
            self.post(request)?
        };
        if let Some(Excess { what, limit, .. }) = structure(request.max_reply).excess(&reply) {
            return Err(Retry::because(format!("its reply has more than {limit} {what}")));
        }
        let mut reply: Value = serde_json::from_slice(&reply)
            .map_err(|error| Retry::because(format!("its reply is not JSON ({error})")))?;
        // Texts of a reply reach files; causes of failure, which may be cut short, reach messages.
        self.secret.mask_whole(&mut reply);
        read(&reply).map_err(|error| match error {
            // The server works, so that there is no reason to wait.
            ReplyError::Content { cause, temperature } => AttemptError::Retry(Retry {
                cause: self.secret.masked(&cause),
                wait: Some(Duration::ZERO),
                temperature: Some(temperature),
                unreachable: false,
            }),
            ReplyError::Form(cause) => Retry::because(self.secret.masked(&cause)),
            ReplyError::Missing(missing) if self.has_answered() => Retry::because(format!("its reply lacks {missing}")),
            ReplyError::Missing(missing) => {
                AttemptError::Final(SetupError::Missing { address: self.address.clone(), missing }.into())
            }
        })
    }

    /// One exchange; returns the body of a reply of status 2xx.
    fn post(&self, request: &ChatRequest<'_>) -> Result<Vec<u8>, AttemptError> {
        let body = Body { model: self.model(), messages: request.messages, fields: &request.fields };
        let body = serde_json::to_vec(&body).expect("a JSON object has string keys only and memory takes every write");
        let post =
            Post { address: self.address.clone(), key: self.options.key.clone(), body, max_reply: request.max_reply };
        match exchange::post(&self.agent, post, &|| self.is_cancelled(request)) {
            Ok(Response::Success(body)) => Ok(body),
            Ok(Response::Refusal(refusal)) => Err(self.refused(refusal, request.is_for_several())),
            Err(ExchangeError::Cancelled) => Err(AttemptError::Final(EndpointError::Cancelled)),
            Err(ExchangeError::Thread(cause)) => Err(Retry::because(format!("the request could not be made: {cause}"))),
            Err(ExchangeError::Http(ureq::Error::BodyExceedsLimit(limit))) => {
                Err(Retry::because(format!("its reply has more than {limit} bytes")))
            }
            Err(ExchangeError::Http(error)) => Err(self.broken(&error)),
        }
    }

    /// An exchange without a whole reply.
    fn broken(&self, error: &ureq::Error) -> AttemptError {
        let cause = match error {
            ureq::Error::Timeout(_) => {
                format!("there was no whole reply within {} s", self.options.timeout.as_secs_f64())
            }
            error => short(&self.secret.masked(&error.to_string())),
        };
        let unreachable = match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_) => true,
            // A TLS failure, over a certificate for instance, is reported as invalid data.
            ureq::Error::Io(error) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::InvalidData),
            _ => false,
        };
        AttemptError::Retry(Retry { cause, wait: None, temperature: None, unreachable })
    }

    /// A reply of another status than 2xx, to a request for one completion or `several`.
    fn refused(&self, refusal: Refusal, several: bool) -> AttemptError {
        let Refusal { status, wait, location, explanation } = refusal;
        // Masked first: what is cut off could not be recognised.
        let explanation = short(&self.secret.masked(&explanation));
        let reply = if explanation.is_empty() { status.to_string() } else { format!("{status}, {explanation}") };
        let address = self.address.clone();
        let setup = |error: SetupError| AttemptError::Final(error.into());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                setup(SetupError::Unauthorized { address, has_key: self.options.key.is_some(), reply })
            }
            StatusCode::NOT_FOUND => setup(SetupError::NotFound { address, model: self.model().to_owned(), reply }),
            _ if status.is_redirection() => {
                let target = location.map(|target| short(&self.secret.masked(&target)));
                let target = target.unwrap_or_else(|| "another address".into());
                setup(SetupError::Redirect { address, target, status: status.to_string() })
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                AttemptError::Retry(Retry { cause: reply, wait, temperature: None, unreachable: false })
            }
            _ if status.is_client_error() => {
                // A prompt too long for the model concerns that request; anything else concerns
                // every request, unless others have succeeded.
                let too_long = status == StatusCode::PAYLOAD_TOO_LARGE || reply.to_lowercase().contains("context");
                if several && !too_long {
                    AttemptError::Final(EndpointError::SeveralRefused { address, reply })
                } else if too_long || self.has_answered() {
                    AttemptError::Final(EndpointError::Refused { address, reply })
                } else {
                    setup(SetupError::Unsupported { address, reply })
                }
            }
            _ if several && is_about_several(&reply) => {
                AttemptError::Final(EndpointError::SeveralRefused { address, reply })
            }
            _ => AttemptError::Retry(Retry { cause: reply, wait, temperature: None, unreachable: false }),
        }
    }
}

/// Maximum structure of a reply of at most `max_bytes` bytes. A token with its log-probability
/// takes some hundred bytes, three arrays and objects, and about ten values.
fn structure(max_bytes: u64) -> Structure {
    let most = |bytes_each: u64| usize::try_from(max_bytes / bytes_each).unwrap_or(usize::MAX).max(1 << 12);
    Structure { levels: MAX_LEVELS, brackets: most(128), commas: most(16) }
}

/// Maximum levels of arrays and objects in a reply; a chat completion has up to eight.
const MAX_LEVELS: usize = 64;

/// Whether an internal error is a refusal of several completions: llama-server answers 500 with
/// "Only one completion choice is allowed", or "`n_cmpl` cannot be greater than the number of
/// slots".
fn is_about_several(reply: &str) -> bool {
    reply.contains("completion choice") || reply.contains("n_cmpl")
}
