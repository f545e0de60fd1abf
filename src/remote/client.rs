//! The client: places, tries, and what a failure means.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::StatusCode;

use super::exchange::{self, Broken, Post, Refusal, Replied};
use super::reply::Unread;
use super::wait::{self, Places};
use super::{ApiKey, EndpointError, EndpointOptions};

/// An OpenAI-compatible endpoint; see the [module](super).
///
/// Requests that may succeed later are repeated, after a growing wait or the one that the server asks for: time-outs,
/// broken connections, replies that are no chat completion, and status 408, 425, 429 and 5xx. What would fail for every
/// question (a wrong address, key or model) is [`EndpointError::Setup`] at once.
#[derive(Debug)]
pub struct Endpoint {
    agent: Agent,
    address: String,
    options: EndpointOptions,
    places: Places,
    /// Whether it ever answered, so that the set-up is known to be right.
    answered: AtomicBool,
}

/// What a model is asked.
#[derive(Clone)]
pub(crate) struct Question<'a> {
    /// The conversation: an array of `{role, content}`.
    pub(crate) messages: &'a Value,
    /// Every other field of the request but the model's name.
    pub(crate) settings: Map<String, Value>,
    /// The largest reply that is read, in bytes.
    pub(crate) most_reply: u64,
    /// Whether nobody waits for the reply any more.
    pub(crate) is_dropped: &'a (dyn Fn() -> bool + Sync),
}

impl Question<'_> {
    /// Whether it asks for several completions.
    fn is_for_several(&self) -> bool {
        self.settings.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1)
    }
}

/// A request as it is written.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a Value,
    #[serde(flatten)]
    settings: &'a Map<String, Value>,
}

/// Why a try gave nothing.
enum Miss {
    /// Another would give nothing either.
    Last(EndpointError),
    /// Another may do better.
    Again(Again),
}

struct Again {
    cause: String,
    /// How long to stay away, where that is known.
    wait: Option<Duration>,
    /// The temperature to try next, where the same would give the same reply.
    temperature: Option<f64>,
    /// Nobody was there.
    unreachable: bool,
}

impl Again {
    fn because(cause: String) -> Miss {
        Miss::Again(Self { cause, wait: None, temperature: None, unreachable: false })
    }
}

impl Endpoint {
    /// An endpoint; nothing is asked yet.
    ///
    /// # Errors
    /// [`EndpointError::Setup`] for an address that cannot be one.
    pub fn new(options: EndpointOptions) -> Result<Self, EndpointError> {
        let (address, local) = exchange::address(&options.url)?;
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

    /// Where requests go.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name of the model that is asked.
    pub fn model(&self) -> &str {
        &self.options.model
    }

    /// Most requests at once.
    pub fn parallel(&self) -> usize {
        self.options.parallel.get()
    }

    /// Ends all questions, by the flag of its options.
    pub(crate) fn stop(&self) {
        self.options.cancel.cancel();
    }

    /// Asks until `read` can use the reply.
    pub(crate) fn ask<T>(
        &self,
        mut question: Question<'_>,
        read: impl Fn(&Value) -> Result<T, Unread>,
    ) -> Result<T, EndpointError> {
        for index in 0.. {
            let again = match self.attempt(&question, &read) {
                Ok(answer) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Miss::Last(error)) => return Err(error),
                Err(Miss::Again(again)) => again,
            };
            let tries = index + 1;
            tracing::debug!("{} gave no answer, try {tries}: {}", self.address, again.cause);
            if tries >= self.options.tries {
                if again.unreachable && !self.has_answered() {
                    let cause = format!("cannot reach the server at {}: {}; is it running?", self.address, again.cause);
                    return Err(EndpointError::Setup(cause));
                }
                return Err(EndpointError::Failed { address: self.address.clone(), tries, cause: again.cause });
            }
            if let Some(temperature) = again.temperature {
                question.settings.insert("temperature".into(), json!(temperature));
            }
            let is_cancelled = || self.is_cancelled(&question);
            if !wait::sleep(wait::pause(self.options.first_wait, index, again.wait), &is_cancelled) {
                break;
            }
        }
        Err(EndpointError::Cancelled)
    }

    fn is_cancelled(&self, question: &Question<'_>) -> bool {
        self.options.cancel.is_cancelled() || (question.is_dropped)()
    }

    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    fn attempt<T>(&self, question: &Question<'_>, read: &impl Fn(&Value) -> Result<T, Unread>) -> Result<T, Miss> {
        let reply = {
            let _place = self.places.take();
            if self.is_cancelled(question) {
                return Err(Miss::Last(EndpointError::Cancelled));
            }
            self.post(question)?
        };
        let reply: Value = serde_json::from_slice(&reply)
            .map_err(|error| Again::because(format!("its reply is not JSON ({error})")))?;
        read(&reply).map_err(|unread| match unread {
            // The server is well: there is no reason to wait.
            Unread::Words { cause, temperature } => Miss::Again(Again {
                cause,
                wait: Some(Duration::ZERO),
                temperature: Some(temperature),
                unreachable: false,
            }),
            Unread::Form(cause) => Again::because(cause),
            Unread::Missing(what) if self.has_answered() => Again::because(format!("its reply lacks {what}")),
            Unread::Missing(what) => Miss::Last(EndpointError::Setup(format!(
                "the model at {} gives no {what}, which are needed",
                self.address
            ))),
        })
    }

    /// One exchange: the body of a reply of status 2xx.
    fn post(&self, question: &Question<'_>) -> Result<Vec<u8>, Miss> {
        let request = Request { model: self.model(), messages: question.messages, settings: &question.settings };
        let body =
            serde_json::to_vec(&request).expect("a JSON object has string keys only and memory takes every write");
        let post = Post {
            address: self.address.clone(),
            key: self.options.key.clone(),
            body,
            most_reply: question.most_reply,
        };
        match exchange::post(&self.agent, post, &|| self.is_cancelled(question)) {
            Ok(Replied::Well(body)) => Ok(body),
            Ok(Replied::Otherwise(refusal)) => Err(self.refused(refusal, question.is_for_several())),
            Err(Broken::Cancelled) => Err(Miss::Last(EndpointError::Cancelled)),
            Err(Broken::Thread(cause)) => Err(Again::because(format!("the request could not be made: {cause}"))),
            Err(Broken::Http(ureq::Error::BodyExceedsLimit(limit))) => {
                Err(Again::because(format!("its reply has more than {limit} bytes")))
            }
            Err(Broken::Http(error)) => Err(self.unsent(&error)),
        }
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
        Miss::Again(Again { cause, wait: None, temperature: None, unreachable })
    }

    /// A reply of another status than 2xx, to a question for one completion or `several`.
    fn refused(&self, refusal: Refusal, several: bool) -> Miss {
        let Refusal { status, wait, location, told } = refusal;
        let told = self.hide_key(&told);
        let told = if told.is_empty() { status.to_string() } else { format!("{status}, {told}") };
        let (address, model) = (&self.address, self.model());
        let setup = |cause: String| Miss::Last(EndpointError::Setup(cause));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                setup(format!("{address} wants another key than it was given in the environment ({told})"))
            }
            StatusCode::NOT_FOUND => setup(format!(
                "{address} does not know the address or the model {model:?} ({told}); addresses usually end in /v1"
            )),
            _ if status.is_redirection() => {
                let target = location.unwrap_or_else(|| "another address".into());
                setup(format!("{address} points to {target}; give that address ({status})"))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Miss::Again(Again { cause: told, wait, temperature: None, unreachable: false })
            }
            _ if status.is_client_error() => {
                let address = address.clone();
                // A question too long for the model is that question's trouble; anything else is everyone's, unless
                // others have been answered.
                let too_long = status == StatusCode::PAYLOAD_TOO_LARGE || told.to_lowercase().contains("context");
                if several && !too_long {
                    Miss::Last(EndpointError::SeveralRefused { address, told })
                } else if too_long || self.has_answered() {
                    Miss::Last(EndpointError::Refused { address, told })
                } else {
                    setup(format!("{address} does not accept the requests ({told})"))
                }
            }
            _ if several && is_about_several(&told) => {
                Miss::Last(EndpointError::SeveralRefused { address: address.clone(), told })
            }
            _ => Miss::Again(Again { cause: told, wait, temperature: None, unreachable: false }),
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

/// Whether an internal error is a refusal of several completions: llama-server answers 500 with "Only one completion choice is
/// allowed", or "`n_cmpl` cannot be greater than the number of slots".
fn is_about_several(told: &str) -> bool {
    told.contains("completion choice") || told.contains("n_cmpl")
}
