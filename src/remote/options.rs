//! How to reach an endpoint.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::SetupError;
use crate::util::cancel::CancelToken;

/// An API key. Neither `Debug` nor any message shows it.
#[derive(Clone)]
pub struct ApiKey(pub(super) String);

impl ApiKey {
    /// Checks a key; white space around it is removed.
    ///
    /// # Errors
    /// [`SetupError::Key`] if it is empty or contains white space, control or non-ASCII characters.
    pub fn new(text: &str) -> Result<Self, SetupError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SetupError::Key);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

/// How to reach a model on a server.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// Base URL, to which `chat/completions` is appended: `http://host:port/v1`.
    pub url: String,
    /// The model's name on the server.
    pub model: String,
    /// API key, where one is needed.
    pub key: Option<ApiKey>,
    /// Deadline of one attempt, from name resolution to the end of the reply.
    pub timeout: Duration,
    /// Maximum number of requests at once.
    pub parallel: NonZeroUsize,
    /// Maximum number of attempts per request; MM-PRM makes 5.
    pub tries: u32,
    /// Wait after the first failed attempt; doubles each time, up to a minute.
    pub initial_backoff: Duration,
    /// Once cancelled, requests end with
    /// [`EndpointError::Cancelled`](super::EndpointError::Cancelled), those in flight within 50 ms.
    pub cancel: CancelToken,
}

impl EndpointOptions {
    /// Options without a key: a timeout of 60 s, 8 requests at once, 5 attempts, 0.5 s after the
    /// first.
    pub fn new(url: &str, model: &str) -> Self {
        Self {
            url: url.to_owned(),
            model: model.to_owned(),
            key: None,
            timeout: Duration::from_mins(1),
            parallel: const { NonZeroUsize::new(8).unwrap() },
            tries: 5,
            initial_backoff: Duration::from_millis(500),
            cancel: CancelToken::new(),
        }
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
