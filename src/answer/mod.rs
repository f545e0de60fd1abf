//! Is this the right answer? The judgement that every Monte Carlo label rests on.
//!
//! Here is the trait only; [`exact`] is a light implementation. What happens with a verdict is the caller's business.
//!
//! ```
//! use mmprm::answer::{Verdict, Verifier, exact::ExactVerifier};
//! # let record = serde_json::Map::new();
//! # let problem = mmprm::problem::Problem {
//! #     record, id: "p".into(), question: "1 + 1?".into(), answer: "2".into(), images: vec![],
//! # };
//! assert_eq!(ExactVerifier.verify(&problem, "The final answer is $2.0$.").unwrap(), Verdict::Correct);
//! ```

use crate::problem::Problem;

pub mod exact;

/// What a verifier says of a proposed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It means the same as the problem's own answer.
    Correct,
    /// It does not.
    Incorrect,
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
    /// [`VerifyError`] where no verdict could be reached.
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError>;
}
