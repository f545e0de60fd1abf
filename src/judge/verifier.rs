//! Is an answer right? The question that search and evaluation ask, and the rules that answer it without a model.

use crate::answer::{AnswerSpec, Outcome, compare};
use crate::data::problem::Problem;

/// What a verifier says of a proposed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It means the same as the problem's own answer.
    Correct,
    /// It does not.
    Incorrect,
    /// Nobody could tell; never to be counted as incorrect unless the user says so.
    Unjudged,
}

/// Why an answer could not be judged. A failure is never an "incorrect".
#[derive(Debug, thiserror::Error)]
#[error("cannot judge the answer: {0}")]
pub struct VerifyError(pub String);

/// Compares a proposed answer, the last element of a rollout, with the problem's own.
pub trait Verifier: Sync {
    /// Judges `answer`, the whole text of the rollout's last element.
    ///
    /// # Errors
    /// [`VerifyError`] where the problem itself cannot be judged (it has no answer).
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError>;

    /// Judges several answers to one problem, in their order. A verifier that waits for somebody else does better to wait
    /// for all of them at once.
    fn verify_all(&self, problem: &Problem, answers: &[&str]) -> Vec<Result<Verdict, VerifyError>> {
        answers.iter().map(|answer| self.verify(problem, answer)).collect()
    }
}

/// Judges by [`compare`], with the choices, precision and unit that the problem's record tells; what the rules leave
/// undecided is [`Verdict::Unjudged`].
#[derive(Debug, Clone, Copy, Default)]
pub struct RuleVerifier;

impl Verifier for RuleVerifier {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        if problem.answer.trim().trim_matches('$').trim().is_empty() {
            return Err(VerifyError(format!("problem {}: expected a correct answer, found an empty one", problem.id)));
        }
        Ok(match compare(&problem.answer, answer, &AnswerSpec::from_record(&problem.record)).outcome {
            Outcome::Equal => Verdict::Correct,
            Outcome::Different => Verdict::Incorrect,
            Outcome::Undecided => Verdict::Unjudged,
        })
    }
}
