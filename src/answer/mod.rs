//! Is this the right answer? The judgement that every Monte Carlo label rests on.
//!
//! [`extract`] finds the answer in what a model wrote, [`compare`] holds it against the problem's own by rules that know
//! when they do not know: an [`Outcome`] is equal, different or undecided, with a reason. [`benchmark`] has the rules of the
//! published benchmarks, exactly. [`RuleVerifier`] is the whole as a [`Verifier`]; a judge model for what is undecided is
//! the `judge` room's business, and so is what becomes of a rollout that nobody could judge.
//!
//! ```
//! use mmprm::answer::{Outcome, AnswerSpec, compare};
//! let spec = AnswerSpec::default();
//! assert_eq!(compare(r"\frac{1}{2}", "The final answer is $0.5$.", &spec).outcome, Outcome::Equal);
//! assert_eq!(compare("x = 3", "4", &spec).outcome, Outcome::Different);
//! assert_eq!(compare("the longest side", "the side opposite the right angle", &spec).outcome, Outcome::Undecided);
//! ```

use std::borrow::Cow;

pub mod benchmark;
pub mod extract;
mod grammar;
mod math;
mod numerals;
mod rules;
mod spec;
mod units;

pub use rules::compare;
pub use spec::{AnswerSpec, AnswerType, Precision};

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
pub struct Comparison {
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
    pub fn compare(self, gold: &str, said: &str, spec: &AnswerSpec) -> Comparison {
        if self == Self::General {
            return compare(gold, said, spec);
        }
        let extraction = extract::extract_for(said, spec);
        let stated =
            matches!(extraction.found, extract::Found::Announced | extract::Found::Boxed | extract::Found::Tagged);
        let said = extraction.parts.first().filter(|_| stated).map_or(said, |part| part);
        let right = if self == Self::MathVista {
            benchmark::mathvista(gold, said, spec)
        } else {
            benchmark::mathvision(gold, said, &spec.choices)
        };
        if right {
            Comparison::equal("by the benchmark's rule")
        } else {
            Comparison::different("by the benchmark's rule")
        }
    }
}

impl Comparison {
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
