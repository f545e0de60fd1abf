//! The trait of verifiers, and the rules that verify without a model.

use super::VerifyError;
use crate::answer::{AnswerSpec, Outcome, compare};
use crate::data::problem::Problem;

/// The verdict on an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Equivalent to the problem's correct answer.
    Correct,
    /// Not equivalent.
    Incorrect,
    /// Neither rules nor a judge could decide. Counts as incorrect only where
    /// [`OnUnjudged`](super::OnUnjudged) says so.
    Unjudged,
}

/// Compares a rollout's answer with the problem's correct one.
pub trait Verifier: Sync {
    /// Judges `answer`, the whole text of the rollout's last element.
    ///
    /// # Errors
    /// [`VerifyError`] where the problem itself cannot be judged (it has no correct answer).
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError>;

    /// Judges several answers to one problem, in order. Verifiers that wait for a server override
    /// this to ask in parallel.
    fn verify_all(&self, problem: &Problem, answers: &[&str]) -> Vec<Result<Verdict, VerifyError>> {
        answers.iter().map(|answer| self.verify(problem, answer)).collect()
    }
}

/// Verifies by [`compare`], with the choices, precision and unit of the problem's record. What the
/// rules leave undecided is [`Verdict::Unjudged`].
///
/// ```
/// use mmprm::data::problem::Problem;
/// use mmprm::judge::{RuleVerifier, Verdict, Verifier};
/// # let record = serde_json::Map::new();
/// let problem = Problem { record, id: "p".into(), question: "1/4 + 1/4?".into(), answer: "1/2".into(), images: vec![] };
/// assert_eq!(RuleVerifier.verify(&problem, "The final answer is 0.5").unwrap(), Verdict::Correct);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RuleVerifier;

impl Verifier for RuleVerifier {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        if !problem.has_answer() {
            return Err(VerifyError::NoAnswer { problem: problem.id.clone() });
        }
        Ok(match compare(&problem.answer, answer, &AnswerSpec::from_record(&problem.record)).outcome {
            Outcome::Equal => Verdict::Correct,
            Outcome::Different => Verdict::Incorrect,
            Outcome::Undecided => Verdict::Unjudged,
        })
    }
}
