//! Is this the right answer? The judgement that every Monte Carlo label rests on.
//!
//! [`extract`] finds the answer in what a model wrote, [`compare`] holds it against the problem's own by rules that know
//! when they do not know: an [`Outcome`] is equal, different or undecided, with a reason. [`benchmark`] has the rules of the
//! published benchmarks, exactly. [`RuleVerifier`] is the whole as a [`Verifier`]; a judge model for what is undecided is
//! the `judge` room's business, and so is what becomes of a rollout that nobody could judge.
//!
//! ```
//! use mmprm::answer::{Outcome, Setting, compare};
//! let setting = Setting::default();
//! assert_eq!(compare(r"\frac{1}{2}", "The final answer is $0.5$.", &setting).outcome, Outcome::Equal);
//! assert_eq!(compare("x = 3", "4", &setting).outcome, Outcome::Different);
//! assert_eq!(compare("the longest side", "the side opposite the right angle", &setting).outcome, Outcome::Undecided);
//! ```

use std::borrow::Cow;

use crate::problem::Problem;

pub mod benchmark;
pub mod extract;
mod grammar;
mod math;
mod numerals;
mod rules;
mod setting;
mod units;

pub use rules::compare;
pub use setting::{AnswerType, Precision, Setting};

/// What comparing two answers came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They mean the same.
    Equal,
    /// They do not.
    Different,
    /// The rules cannot tell.
    Undecided,
}

/// An outcome and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The outcome.
    pub outcome: Outcome,
    /// The rule that decided, or why none could.
    pub reason: Cow<'static, str>,
}

/// Whose rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rule {
    /// [`compare`]: our own.
    #[default]
    General,
    /// [`benchmark::mathvista`].
    MathVista,
    /// [`benchmark::mathvision`].
    MathVision,
}

impl Rule {
    /// Compares `said` with the expected answer `gold` by this rule. A benchmark's rule is never undecided; it is given what
    /// a text announces, boxes or tags as its answer, and else the text as it is.
    pub fn compare(self, gold: &str, said: &str, setting: &Setting) -> Finding {
        if self == Self::General {
            return compare(gold, said, setting);
        }
        let extraction = extract::extract_for(said, setting);
        let stated =
            matches!(extraction.found, extract::Found::Announced | extract::Found::Boxed | extract::Found::Tagged);
        let said = extraction.parts.first().filter(|_| stated).map_or(said, |part| part);
        let right = if self == Self::MathVista {
            benchmark::mathvista(gold, said, setting)
        } else {
            benchmark::mathvision(gold, said, &setting.choices)
        };
        if right { Finding::equal("by the benchmark's rule") } else { Finding::different("by the benchmark's rule") }
    }
}

impl Finding {
    fn equal(reason: &'static str) -> Self {
        Self { outcome: Outcome::Equal, reason: reason.into() }
    }

    fn different(reason: &'static str) -> Self {
        Self { outcome: Outcome::Different, reason: reason.into() }
    }

    fn undecided(reason: &'static str) -> Self {
        Self { outcome: Outcome::Undecided, reason: reason.into() }
    }
}

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
        Ok(match compare(&problem.answer, answer, &Setting::of(&problem.record)).outcome {
            Outcome::Equal => Verdict::Correct,
            Outcome::Different => Verdict::Incorrect,
            Outcome::Undecided => Verdict::Unjudged,
        })
    }
}
