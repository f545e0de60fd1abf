//! A model behind an OpenAI-compatible address (vLLM, `SGLang`, llama-server, Ollama and others), asked with patience.
//!
//! An [`Endpoint`] posts chat completions: so many at once, each within a time limit, and again where another try may do
//! better. Its errors tell what concerns one request from what every request would meet, so that a run ends at once where it
//! cannot go on and loses one question where it can.
//!
//! What is asked and how a reply is understood is left to the callers (`judge`, `policy`), and so is where keys come from.
//!
//! Requests go through `ureq`: a small blocking client fits threads that wait, needs no async runtime, has one deadline over
//! the whole exchange, and brings its own TLS, so that a build needs no system library.
//!
//! ```
//! use mmprm::remote::{ApiKey, Endpoint, EndpointOptions};
//! let mut options = EndpointOptions::new("http://localhost:8000/v1", "some-model");
//! options.key = Some(ApiKey::new("sk-1234")?);
//! let endpoint = Endpoint::new(options)?;
//! assert_eq!(endpoint.address(), "http://localhost:8000/v1/chat/completions");
//! assert!(!format!("{endpoint:?}").contains("sk-1234"));
//! let wrong = Endpoint::new(EndpointOptions::new("localhost:8000", "some-model")).unwrap_err();
//! assert!(wrong.ends_the_run());
//! # Ok::<(), mmprm::remote::EndpointError>(())
//! ```

mod client;
mod exchange;
pub(crate) mod images;
pub(crate) mod reply;
mod wait;

pub use client::Endpoint;
pub(crate) use client::Question;

use crate::util::cancel::CancelToken;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The key of an endpoint. Nothing prints it.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key as it stands in the environment.
    ///
    /// # Errors
    /// [`EndpointError::Setup`] for a text that cannot be a key: it is empty or holds white space or control characters.
    pub fn new(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EndpointError::Setup("the key is not one word of ASCII characters".into()));
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
    /// When this turns true, questions end with [`EndpointError::Cancelled`], those under way within a moment.
    pub cancel: CancelToken,
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
            cancel: CancelToken::new(),
        }
    }
}

/// Why there is no reply that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The server cannot be used as it was set up: every question would fail.
    #[error("{0}")]
    Setup(String),
    /// The server will not take this question, now or later.
    #[error("the server at {address} refused the request: {told}")]
    Refused {
        /// Where it was asked.
        address: String,
        /// Its status and what it said.
        told: String,
    },
    /// The server will not write several completions of one request (`n`); it may write one.
    #[error("the server at {address} does not write several completions at once: {told}")]
    SeveralRefused {
        /// Where it was asked.
        address: String,
        /// Its status and what it said.
        told: String,
    },
    /// The server was asked several times.
    #[error("the server at {address} failed {tries} times, the last time because {cause}")]
    Failed {
        /// Where it was asked.
        address: String,
        /// How many requests were made.
        tries: u32,
        /// What came of the last.
        cause: String,
    },
    /// The run is being stopped.
    #[error("cancelled")]
    Cancelled,
}

impl EndpointError {
    /// Whether every further question would fail too.
    pub fn ends_the_run(&self) -> bool {
        matches!(self, Self::Setup(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_one_word_and_never_shown() {
        assert_eq!(format!("{:?}", ApiKey::new(" sk-1234\n").unwrap()), "ApiKey(hidden)");
        for bad in ["", "two words", "line\nbreak", "clé"] {
            let error = ApiKey::new(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }
}
