//! One comparison of several: where one has to hold, or all.

use crate::answer::comparison::{Comparison, Outcome};

/// The first comparison that is equal; else the first undecided one, else the first that is different.
pub fn any(comparisons: impl IntoIterator<Item = Comparison>) -> Comparison {
    let (mut undecided, mut different) = (None, None);
    for comparison in comparisons {
        match comparison.outcome {
            Outcome::Equal => return comparison,
            Outcome::Undecided => undecided = undecided.or(Some(comparison)),
            Outcome::Different => different = different.or(Some(comparison)),
        }
    }
    undecided.or(different).unwrap_or_else(|| Comparison::undecided("not understood"))
}

/// The first comparison that is different; else the last undecided one, else equal for the reason `why`.
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

/// An agreement that is not enough; a difference stays one.
pub fn undecided_unless_different(comparison: Comparison, why: &'static str) -> Comparison {
    if comparison.outcome == Outcome::Different { comparison } else { Comparison::undecided(why) }
}
