//! The policy: a model that writes solutions, asked for `n` rollouts of a prompt.
//!
//! [`RolloutModel`] is the trait that search and candidate generation use. [`LocalPolicy`] runs a
//! GGUF model on llama.cpp, [`RemotePolicy`] sends requests to an OpenAI-compatible server. Whether
//! a rollout is right is left to [`judge`](crate::judge).
//!
//! ```no_run
//! use mmprm::data::problem::Problems;
//! use mmprm::policy::{GenerationOptions, RemotePolicy, RolloutModel, RolloutRequest};
//! use mmprm::remote::{Endpoint, EndpointOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let problems = Problems::load("problems.json".as_ref(), None)?;
//! let options = GenerationOptions { data_root: problems.root, max_tokens: 1024, ..GenerationOptions::default() };
//! let endpoint = Endpoint::new(EndpointOptions::new("http://localhost:8000/v1", "MM-Policy"))?;
//! let policy = RemotePolicy::new(endpoint, options);
//! for sampled in policy.rollouts(&RolloutRequest::new(&problems.items[0], &[], 16, 0))? {
//!     println!("{:?}", sampled.rollout);
//! }
//! # Ok(()) }
//! ```

#[cfg(feature = "engine")]
mod chat;
mod error;
#[cfg(feature = "engine")]
mod local;
mod logprob;
mod options;
mod remote;
mod request;
mod speculation;
mod step_tokens;

pub use error::PolicyError;
#[cfg(feature = "engine")]
pub use local::LocalPolicy;
pub use options::GenerationOptions;
pub use remote::{RemotePolicy, Traffic};
pub use request::{Detail, RolloutModel, RolloutRequest, SampledRollout, StepLogprob};
pub use speculation::Speculation;
pub use step_tokens::StepTokens;
