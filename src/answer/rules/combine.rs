//! Combines several comparisons: at least one has to be equal, or all have to be.

use crate::answer::comparison::{Comparison, Outcome};

/// Returns the first equal comparison; otherwise the first undecided one, otherwise the first
/// different one.
pub fn any(comparisons: impl IntoIterator<Item = Comparison>) -> Comparison {
    let (mut undecided, mut different) = (None, None);
    for comparison in comparisons {
        match comparison.outcome {
            Outcome::Equal => return comparison,
            Outcome::Undecided => undecided = undecided.or(Some(comparison)),
            Outcome::Different => different = different.or(Some(comparison)),
        }
    }
    undecided.or(different).unwrap_or_else(|| Comparison::undecided("no reading could be compared"))
}

/// Returns the first different comparison; otherwise the last undecided one, otherwise equal with
/// the reason `why`.
pub fn all(comparisons: impl IntoIterator<Item = Comparison>, why: &'static str) -> Comparison {
    let mut undecided = None;
    for comparison in comparisons {
        match comparison.outcome {
            Outcome::Equal => {}
            Outcome::Different => return comparison,
            Outcome::Undecided => undecided = Some(comparison),
        }
    }
    undecided.unwrap_or_else(|| Comparison::equal(why))
}

/// Turns an equal or undecided comparison into an undecided one with the reason `why`.
pub fn undecided_unless_different(comparison: Comparison, why: &'static str) -> Comparison {
    if comparison.outcome == Outcome::Different { comparison } else { Comparison::undecided(why) }
}
