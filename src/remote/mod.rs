//! Models behind OpenAI-compatible servers (vLLM, `SGLang`, llama-server, Ollama and others), with
//! timeouts and retries.
//!
//! An [`Endpoint`] posts chat completions: a bounded number at once, each with a deadline, retried
//! where a retry can succeed. [`EndpointError`] separates what concerns one request from what every
//! request would meet ([`SetupError`]), so that a run ends at once where it cannot continue and
//! loses one request where it can.
//!
//! What is asked and how a reply is interpreted is left to `judge` and `policy`; where API keys
//! come from, to the caller.
//!
//! Requests go through `ureq`: a small blocking client suits threads that wait, needs no async
//! runtime, has one deadline for the whole exchange, and brings its own TLS, so that a build needs
//! no system library.
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
mod error;
mod exchange;
pub(crate) mod images;
mod options;
pub(crate) mod reply;
mod secret;
pub(crate) mod special;
mod wait;

pub(crate) use client::ChatRequest;
pub use client::Endpoint;
pub use error::{EndpointError, SetupError};
pub use options::{ApiKey, EndpointOptions};
