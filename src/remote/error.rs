//! Why a server gave no usable reply.

/// Why there is no usable reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The server cannot be used as configured: every request would fail.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The server refuses this request and would refuse it again.
    #[error("the server at {address} refused the request: {reply}")]
    Refused {
        /// The URL of the request.
        address: String,
        /// Status and explanation.
        reply: String,
    },
    /// The server does not support several completions per request (`n`).
    #[error("the server at {address} does not write several completions at once: {reply}")]
    SeveralRefused {
        /// The URL of the request.
        address: String,
        /// Status and explanation.
        reply: String,
    },
    /// Every attempt failed.
    #[error("the server at {address} failed {tries} times, the last time because {cause}")]
    Failed {
        /// The URL of the request.
        address: String,
        /// Number of attempts.
        tries: u32,
        /// Why the last attempt failed.
        cause: String,
    },
    /// The run or the request was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl EndpointError {
    /// Whether every further request would fail too.
    pub fn ends_the_run(&self) -> bool {
        matches!(self, Self::Setup(_))
    }
}

/// What is wrong with an endpoint's configuration, or with the server it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The address is not a usable URL.
    #[error("the address {0}, as in http://localhost:8000/v1")]
    Address(&'static str),
    /// The key is empty or contains white space, control or non-ASCII characters.
    #[error("the API key is not a single word of ASCII characters")]
    Key,
    /// No connection, in any attempt.
    #[error("cannot reach the server at {address}: {cause}; is it running?")]
    Unreachable {
        /// The URL of the request.
        address: String,
        /// Why the connection failed.
        cause: String,
    },
    /// Status 401 or 403.
    #[error("{address} {} ({reply})", key_error(*.has_key))]
    Unauthorized {
        /// The URL of the request.
        address: String,
        /// Whether the request had a key.
        has_key: bool,
        /// Status and explanation.
        reply: String,
    },
    /// Status 404.
    #[error("{address}: wrong address, or unknown model {model:?} ({reply}); addresses usually end in /v1")]
    NotFound {
        /// The URL of the request.
        address: String,
        /// The model's name.
        model: String,
        /// Status and explanation.
        reply: String,
    },
    /// A redirect, which is not followed.
    #[error("{address} points to {target}; give that address ({status})")]
    Redirect {
        /// The URL of the request.
        address: String,
        /// Where it leads.
        target: String,
        /// The status.
        status: String,
    },
    /// The server rejects the form of the requests.
    #[error("{address} does not accept the requests ({reply})")]
    Unsupported {
        /// The URL of the request.
        address: String,
        /// Status and explanation.
        reply: String,
    },
    /// The server omits a required part of the reply.
    #[error("the model at {address} does not return {missing}, which are required")]
    Missing {
        /// The URL of the request.
        address: String,
        /// What is missing.
        missing: &'static str,
    },
    /// The server does not continue a message of the assistant.
    #[error("the server at {address} does not continue an assistant's message ({reply})")]
    NoContinuation {
        /// The URL of the request.
        address: String,
        /// Status and explanation.
        reply: String,
    },
}

fn key_error(has_key: bool) -> &'static str {
    if has_key { "rejected the API key" } else { "requires an API key" }
}
