//! Why candidates could not be scored.

use std::error::Error;

/// Why candidates could not be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrmError {
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// This problem cannot be given to the model: a missing or broken image, a prompt longer than
    /// the context. Other problems are not affected.
    #[error("{0}")]
    Problem(#[source] Box<dyn Error + Send + Sync>),
    /// The model or its engine failed.
    #[error("the reward model failed: {0}")]
    Model(#[source] Box<dyn Error + Send + Sync>),
}
