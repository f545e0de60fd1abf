//! The result of comparing two answers.

use std::borrow::Cow;

/// The outcome of comparing two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answers are equivalent.
    Equal,
    /// The answers are not equivalent.
    Different,
    /// No rule can decide.
    Undecided,
}

/// An outcome with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The outcome.
    pub outcome: Outcome,
    /// The rule that decided, or why no rule could.
    pub reason: Cow<'static, str>,
}

impl Comparison {
    pub(super) fn equal(reason: &'static str) -> Self {
        Self { outcome: Outcome::Equal, reason: reason.into() }
    }

    pub(super) fn different(reason: &'static str) -> Self {
        Self { outcome: Outcome::Different, reason: reason.into() }
    }

    pub(super) fn undecided(reason: &'static str) -> Self {
        Self { outcome: Outcome::Undecided, reason: reason.into() }
    }
}
