//! Requests to a policy: the request, the sampled rollouts, and the trait.

use super::{PolicyError, Speculation, StepTokens};
use crate::data::problem::Problem;
use crate::data::solution::{Continue, Rollout};

/// What to return with each rollout besides its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Nothing.
    #[default]
    Text,
    /// [`SampledRollout::step_tokens`], for later requests that continue the rollout.
    Tokens,
    /// [`SampledRollout::logprobs`].
    Logprobs,
}

/// A request for rollouts that continue `prefix` on `problem`.
#[derive(Debug, Clone, Copy)]
pub struct RolloutRequest<'a> {
    /// The problem to solve.
    pub problem: &'a Problem,
    /// The steps so far; empty at the root.
    pub prefix: &'a [String],
    /// The policy's own tokens for each step of `prefix`, from an earlier [`SampledRollout`]; empty
    /// where unknown. A policy without them tokenises the text.
    pub step_tokens: &'a [StepTokens],
    /// Number of rollouts to sample.
    pub count: usize,
    /// Index of the first of them: the number of rollouts that this node has already.
    pub first: usize,
    /// Identifies the node within the problem (in a search: the number of states estimated before).
    /// Problem, node and rollout index select the random stream, so results do not depend on what
    /// else runs.
    pub node: u64,
    /// What to return besides the text.
    pub detail: Detail,
    /// Sample only up to the end of the next step.
    pub one_step: bool,
    /// Set for a speculative request, made before it is known whether its rollouts are needed.
    pub speculation: Option<&'a Speculation>,
}

impl<'a> RolloutRequest<'a> {
    /// A request for the text of the first `count` rollouts of a node.
    pub fn new(problem: &'a Problem, prefix: &'a [String], count: usize, node: u64) -> Self {
        Self {
            problem,
            prefix,
            step_tokens: &[],
            count,
            first: 0,
            node,
            detail: Detail::Text,
            one_step: false,
            speculation: None,
        }
    }
}

/// A sampled rollout with the detail that was requested.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SampledRollout {
    /// The steps; the last one holds the answer. Empty for text without step tags.
    pub rollout: Rollout,
    /// Whether a rollout of [one step](RolloutRequest::one_step) has no answer yet, and can be continued.
    pub unfinished: bool,
    /// One entry per step with [`Detail::Tokens`]; `None` where the policy does not use them or
    /// cannot divide its tokens.
    pub step_tokens: Option<Vec<StepTokens>>,
    /// One entry per step with [`Detail::Logprobs`]; `None` where the policy does not return
    /// log-probabilities.
    pub logprobs: Option<Vec<StepLogprob>>,
}

impl From<Rollout> for SampledRollout {
    fn from(rollout: Rollout) -> Self {
        Self { rollout, ..Self::default() }
    }
}

/// Log-probability of a step under the policy's own distribution: temperature 1, no truncation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLogprob {
    /// Sum of the natural logarithms of the token probabilities.
    pub log_probability: f64,
    /// Number of tokens.
    pub tokens: usize,
}

/// A model that writes solutions.
///
/// ```
/// use mmprm::data::problem::Problem;
/// use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
///
/// struct AlwaysTwo;
/// impl RolloutModel for AlwaysTwo {
///     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
///         Ok(vec![SampledRollout::from(vec!["Add.".to_owned(), "It is 2.".to_owned()]); request.count])
///     }
/// }
///
/// let problem = Problem::new("1 + 1?").answer("2");
/// let sampled = AlwaysTwo.rollouts(&RolloutRequest::new(&problem, &[], 4, 0)).unwrap();
/// assert_eq!((sampled.len(), sampled[0].rollout.len()), (4, 2));
/// ```
pub trait RolloutModel: Sync {
    /// Which message of the prompt holds the steps before a rollout.
    fn continues(&self) -> Continue {
        Continue::User
    }

    /// Samples `request.count` rollouts, in index order, with the detail in `request.detail` where
    /// the model has it.
    ///
    /// # Errors
    /// [`PolicyError`].
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError>;
}
