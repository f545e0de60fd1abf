//! The general rule on pairs of an expected answer and a prediction: by kind of answer, inside sentences, and where different answers
//! look alike.

mod kinds;
mod pitfalls;
mod prose;

use mmprm::answer::{AnswerSpec, Outcome, compare};

/// An expected answer and a prediction.
type Pair<'a> = (&'a str, &'a str);

/// Checks that the outcome of each expected answer and prediction is `accepted`, and lists all that
/// fail.
fn check(accepted: impl Fn(Outcome) -> bool, pairs: &[Pair<'_>]) {
    let mut failed = Vec::new();
    for (gold, prediction) in pairs {
        let comparison = compare(gold, prediction, &AnswerSpec::default());
        if !accepted(comparison.outcome) {
            failed.push(format!("{gold}  |  {prediction}  is {:?}: {}", comparison.outcome, comparison.reason));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn same(pairs: &[Pair<'_>]) {
    check(|outcome| outcome == Outcome::Equal, pairs);
}

fn unlike(pairs: &[Pair<'_>]) {
    check(|outcome| outcome == Outcome::Different, pairs);
}

fn open(pairs: &[Pair<'_>]) {
    check(|outcome| outcome == Outcome::Undecided, pairs);
}

fn unequal(pairs: &[Pair<'_>]) {
    check(|outcome| outcome != Outcome::Equal, pairs);
}
