//! One finding of several: where one has to hold, or all.

use crate::answer::{Comparison, Outcome};

/// The first finding that is equal; else the first undecided one, else the first that is different.
pub fn any(findings: impl IntoIterator<Item = Comparison>) -> Comparison {
    let (mut undecided, mut different) = (None, None);
    for finding in findings {
        match finding.outcome {
            Outcome::Equal => return finding,
            Outcome::Undecided => undecided = undecided.or(Some(finding)),
            Outcome::Different => different = different.or(Some(finding)),
        }
    }
    undecided.or(different).unwrap_or_else(|| Comparison::undecided("not understood"))
}

/// The first finding that is different; else the last undecided one, else equal for the reason `why`.
pub fn all(findings: impl IntoIterator<Item = Comparison>, why: &'static str) -> Comparison {
    let mut undecided = None;
    for finding in findings {
        match finding.outcome {
            Outcome::Equal => {}
            Outcome::Different => return finding,
            Outcome::Undecided => undecided = Some(finding),
        }
    }
    undecided.unwrap_or_else(|| Comparison::equal(why))
}
