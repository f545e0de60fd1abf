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
    /// The model computed a score that is not a number, or infinite.
    #[error("candidate {} of {candidates}, step {} of {steps}: the score is {value}, expected a number from 0 to 1", candidate + 1, step + 1)]
    NotFinite {
        /// Index of the candidate, from 0.
        candidate: usize,
        /// Number of candidates.
        candidates: usize,
        /// Index of the step in it, from 0.
        step: usize,
        /// Number of steps of the candidate.
        steps: usize,
        /// The score.
        value: f64,
    },
}

/// Returns `scores` if all of them are finite.
///
/// # Errors
/// [`PrmError::NotFinite`], naming the first score that is not.
pub(crate) fn finite(scores: Vec<Vec<f64>>) -> Result<Vec<Vec<f64>>, PrmError> {
    for (candidate, steps) in scores.iter().enumerate() {
        if let Some(step) = steps.iter().position(|score| !score.is_finite()) {
            let (candidates, value, steps) = (scores.len(), steps[step], steps.len());
            return Err(PrmError::NotFinite { candidate, candidates, step, steps, value });
        }
    }
    Ok(scores)
}
