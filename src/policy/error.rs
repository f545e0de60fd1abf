//! Why rollouts could not be sampled.

use std::error::Error;

/// Why rollouts could not be sampled. A failed request never counts as an incorrect rollout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The run was cancelled, or the request was speculative and cancelled; the problem did not
    /// fail.
    #[error("cancelled")]
    Cancelled,
    /// This problem cannot be given to the model: a missing or broken image, a prompt longer than
    /// the context. Other problems are not affected.
    #[error("{0}")]
    Problem(#[source] Box<dyn Error + Send + Sync>),
    /// The model, its engine or its server failed.
    #[error("the policy failed: {0}")]
    Model(#[source] Box<dyn Error + Send + Sync>),
}

impl PolicyError {
    pub(super) fn problem(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Problem(Box::new(cause))
    }

    pub(super) fn model(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Model(Box::new(cause))
    }
}
