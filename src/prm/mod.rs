//! "Score these candidates' steps": what search and Best-of-N ask of a process reward model.

#[cfg(feature = "engine")]
mod embedded;

#[cfg(feature = "engine")]
pub use embedded::{LocalPrm, PrmOptions};

/// Candidates of one problem, to be scored step by step.
#[derive(Debug, Clone, Copy)]
pub struct ScoreRequest<'a> {
    /// The question.
    pub question: &'a str,
    /// Paths of its images, as its record has them.
    pub images: &'a [String],
    /// Steps of each candidate, perhaps none.
    pub solutions: &'a [Vec<String>],
}

/// Why candidates could not be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrmError {
    /// The run is being stopped.
    #[error("cancelled")]
    Cancelled,
    /// The problem cannot be put to the model (a missing or broken image, a prompt longer than the context).
    #[error("{0}")]
    Problem(String),
    /// The model or its engine failed.
    #[error("the reward model failed: {0}")]
    Engine(String),
}

/// Judges steps.
pub trait StepScorer: Sync {
    /// One list a candidate, in order, with one number in `[0, 1]` a step: how likely the step is right. A candidate without
    /// steps has an empty list. A candidate's scores do not depend on the other candidates.
    ///
    /// # Errors
    /// See [`PrmError`].
    fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError>;
}
