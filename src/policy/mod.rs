//! "Give me n rollouts for this prompt": what search and generation ask of a model that writes solutions.
//!
//! The trait comes first, so that search can be driven by a script in tests; [`EmbeddedPolicy`] runs a model here, on
//! llama.cpp, and [`RemotePolicy`] asks a server, where one machine is not enough.
//!
//! ```no_run
//! use mmprm::endpoint::{Endpoint, EndpointOptions};
//! use mmprm::engine::Sampling;
//! use mmprm::policy::{Policy, RemoteOptions, RemotePolicy, RolloutRequest};
//! use mmprm::problem::Problems;
//! use mmprm::prompt::ChatTemplate;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let problems = Problems::load("problems.json".as_ref(), None)?;
//! let options = RemoteOptions {
//!     sampling: Sampling { temperature: 1.0, top_k: 50, top_p: 0.9, repetition_penalty: 1.05 },
//!     max_tokens: 1024,
//!     seed: 0,
//!     data_root: problems.root,
//!     template: ChatTemplate::default(),
//! };
//! let policy = RemotePolicy::new(Endpoint::new(EndpointOptions::new("http://localhost:8000/v1", "MM-Policy"))?, options);
//! let request = RolloutRequest { problem: &problems.items[0], prefix: &[], count: 16, node: 0 };
//! for rollout in policy.rollouts(&request)? {
//!     println!("{rollout:?}");
//! }
//! # Ok(()) }
//! ```

mod embedded;
mod likelihood;
mod remote;

pub use embedded::{EmbeddedPolicy, PolicyOptions};
pub use remote::{RemoteOptions, RemotePolicy, Traffic};

use crate::problem::Problem;
use crate::solution::Rollout;

/// A request for rollouts that continue `prefix` on `problem`.
#[derive(Debug, Clone, Copy)]
pub struct RolloutRequest<'a> {
    /// The problem to solve.
    pub problem: &'a Problem,
    /// Steps already written; empty at the root.
    pub prefix: &'a [String],
    /// How many rollouts to draw.
    pub count: usize,
    /// Names the request among all requests of this problem (search: the number of estimates before this one). With the
    /// problem and the rollout's own index it picks the random stream, so that results do not depend on what else runs.
    pub node: u64,
}

/// A rollout and how likely the policy found it.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The rollout.
    pub rollout: Rollout,
    /// One for each element of the rollout; empty where the policy does not tell.
    pub likelihood: Vec<Likelihood>,
}

/// How likely a policy found a text that it wrote, under its own distribution: at temperature 1, nothing cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// Natural logarithm of the probability of all its tokens together.
    pub log_probability: f64,
    /// How many tokens it has.
    pub tokens: usize,
}

/// Why rollouts could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The run is being stopped; nothing is wrong with the problem.
    #[error("cancelled")]
    Cancelled,
    /// The problem cannot be put to the model (a missing or broken image, a prompt longer than the context).
    #[error("{0}")]
    Problem(String),
    /// The model or its engine failed.
    #[error("the policy failed: {0}")]
    Engine(String),
}

/// Writes solutions.
pub trait Policy: Sync {
    /// Draws `request.count` rollouts, in index order; text without step tags gives an empty rollout.
    ///
    /// # Errors
    /// See [`PolicyError`].
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Rollout>, PolicyError>;

    /// Draws the same rollouts and tells how likely each of their elements was.
    ///
    /// # Errors
    /// See [`PolicyError`].
    fn drawn(&self, request: &RolloutRequest<'_>) -> Result<Vec<Drawn>, PolicyError> {
        let rollouts = self.rollouts(request)?;
        Ok(rollouts.into_iter().map(|rollout| Drawn { rollout, likelihood: Vec::new() }).collect())
    }
}
