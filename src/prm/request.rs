//! Requests to a process reward model: candidates to score, and the trait.

use super::PrmError;

/// Candidate solutions of one problem, to be scored step by step.
#[derive(Debug, Clone, Copy)]
pub struct ScoreRequest<'a> {
    /// The question.
    pub question: &'a str,
    /// Paths of its images, as in the problem's record.
    pub images: &'a [String],
    /// The steps of each candidate; a candidate may have none.
    pub solutions: &'a [Vec<String>],
}

/// A model that scores steps.
pub trait StepScorer: Sync {
    /// Returns one list per candidate, in order, with one number in `[0, 1]` per step: the
    /// probability that the step is correct. A candidate without steps has an empty list. A
    /// candidate's scores do not depend on the other candidates.
    ///
    /// # Errors
    /// [`PrmError`].
    fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError>;

    /// As [`score`](Self::score), for the beginnings of solutions, whose last step is not an answer. Models that read the answer in
    /// a form of its own override this.
    ///
    /// # Errors
    /// [`PrmError`].
    fn score_unfinished(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        self.score(request)
    }
}
