//! The result of comparing two answers.

use std::borrow::Cow;

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
