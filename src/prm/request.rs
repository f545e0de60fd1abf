//! Requests to a process reward model: candidates to score, and the trait.

use super::PrmError;

/// What a generative reward model wrote about a step before its score was read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Critique {
    /// The text, without what ended it.
    pub text: String,
    /// Whether it reached its maximum length, so that the model did not end it.
    pub truncated: bool,
}

/// Scores of candidates, with critiques if the model writes any.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// One list per candidate, one number from 0 to 1 per step.
    pub scores: Vec<Vec<f64>>,
    /// One list per candidate, one critique per step; `None` for a model that writes none.
    pub critiques: Option<Vec<Vec<Critique>>>,
}

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

    /// As [`score`](Self::score), with what the model wrote about each step. Models that write critiques override this.
    ///
    /// # Errors
    /// [`PrmError`].
    fn score_with_critiques(&self, request: &ScoreRequest<'_>) -> Result<Scored, PrmError> {
        Ok(Scored { scores: self.score(request)?, critiques: None })
    }

    /// As [`score`](Self::score), for the beginnings of solutions, whose last step is not an answer. Models that read the answer in
    /// a form of its own override this.
    ///
    /// # Errors
    /// [`PrmError`].
    fn score_unfinished(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        self.score(request)
    }
}
