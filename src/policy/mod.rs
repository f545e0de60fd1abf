//! "Give me n rollouts for this prompt": what search and generation ask of a model that writes solutions.
//!
//! The trait comes first, so that search can be driven by a script in tests; [`LocalPolicy`] runs a model here, on
//! llama.cpp, and [`RemotePolicy`] asks a server, where one machine is not enough.
//!
//! ```no_run
//! use mmprm::remote::{Endpoint, EndpointOptions};
//! use mmprm::engine::Sampling;
//! use mmprm::policy::{RolloutModel, RemoteOptions, RemotePolicy, RolloutRequest};
//! use mmprm::data::problem::Problems;
//! use mmprm::prompt::ChatTemplate;
//! use mmprm::data::solution::Continue;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let problems = Problems::load("problems.json".as_ref(), None)?;
//! let options = RemoteOptions {
//!     sampling: Sampling { temperature: 1.0, top_k: 50, top_p: 0.9, repetition_penalty: 1.05 },
//!     max_tokens: 1024,
//!     seed: 0,
//!     data_root: problems.root,
//!     template: ChatTemplate::default(),
//!     continues: Continue::User,
//! };
//! let policy = RemotePolicy::new(Endpoint::new(EndpointOptions::new("http://localhost:8000/v1", "MM-RolloutModel"))?, options);
//! let request = RolloutRequest::new(&problems.items[0], &[], 16, 0);
//! for rollout in policy.rollouts(&request)? {
//!     println!("{rollout:?}");
//! }
//! # Ok(()) }
//! ```

#[cfg(feature = "engine")]
mod embedded;
mod logprob;
mod remote;
mod speculation;
mod step_tokens;

#[cfg(feature = "engine")]
pub use embedded::{LocalPolicy, PolicyOptions};
pub use remote::{RemoteOptions, RemotePolicy, Traffic};
pub use speculation::Speculation;
pub use step_tokens::StepTokens;

use crate::data::problem::Problem;
use crate::data::solution::{Continue, Rollout};

/// A request for rollouts that continue `prefix` on `problem`.
#[derive(Debug, Clone, Copy)]
pub struct RolloutRequest<'a> {
    /// The problem to solve.
    pub problem: &'a Problem,
    /// Steps already written; empty at the root.
    pub prefix: &'a [String],
    /// How the policy itself wrote each of these steps, as it told in [`Traced`]; empty where nobody kept it.
    pub written: &'a [StepTokens],
    /// How many rollouts to draw.
    pub count: usize,
    /// The index of the first of them: how many rollouts of this node there are already.
    pub first: usize,
    /// Names the node among all nodes of this problem (search: the number of estimates before this one). With the problem
    /// and the rollout's own index it picks the random stream, so that results do not depend on what else runs.
    pub node: u64,
    /// For a request made before it is known whether its rollouts are needed: what has become of it.
    pub guess: Option<&'a Speculation>,
}

impl<'a> RolloutRequest<'a> {
    /// A request for the first `count` rollouts of a node.
    pub fn new(problem: &'a Problem, prefix: &'a [String], count: usize, node: u64) -> Self {
        Self { problem, prefix, written: &[], count, first: 0, node, guess: None }
    }
}

/// A rollout, and how its policy wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// The rollout.
    pub rollout: Rollout,
    /// One for each element of the rollout; empty where the policy has no use for it.
    pub written: Vec<StepTokens>,
}

/// A rollout and how likely the policy found it.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The rollout.
    pub rollout: Rollout,
    /// One for each element of the rollout; empty where the policy does not tell.
    pub logprob: Vec<StepLogprob>,
}

/// How likely a policy found a text that it wrote, under its own distribution: at temperature 1, nothing cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLogprob {
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
pub trait RolloutModel: Sync {
    /// Where the steps before a rollout stand in its prompt.
    fn continues(&self) -> Continue {
        Continue::User
    }

    /// Draws `request.count` rollouts, in index order; text without step tags gives an empty rollout.
    ///
    /// # Errors
    /// See [`PolicyError`].
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Rollout>, PolicyError>;

    /// Draws the same rollouts and tells how they were written, for later requests that continue them.
    ///
    /// # Errors
    /// See [`PolicyError`].
    fn traced(&self, request: &RolloutRequest<'_>) -> Result<Vec<Traced>, PolicyError> {
        let rollouts = self.rollouts(request)?;
        Ok(rollouts.into_iter().map(|rollout| Traced { rollout, written: Vec::new() }).collect())
    }

    /// Draws the same rollouts and tells how likely each of their elements was.
    ///
    /// # Errors
    /// See [`PolicyError`].
    fn drawn(&self, request: &RolloutRequest<'_>) -> Result<Vec<Drawn>, PolicyError> {
        let rollouts = self.rollouts(request)?;
        Ok(rollouts.into_iter().map(|rollout| Drawn { rollout, logprob: Vec::new() }).collect())
    }
}
