//! The general rule: decides whether two answers are mathematically equivalent.
//!
//! [`compare`] extracts both answers, reads each in every way that makes sense (`1,234` is one
//! number or two), and looks for an equal pair of readings. Two answers differ only if all pairs
//! do.
//!
//! The files depend on each other in one direction: this one, `choices`, `free`, `readings`,
//! `shapes`. The exception is deliberate: an answer contains answers (a list of sets of relations
//! of values), so `shapes` calls `families`, `lists`, `relations` and `sets`, and they call
//! `shapes` for each part.

mod choices;
mod combine;
mod families;
mod free;
mod key_notes;
mod letters;
mod lists;
mod numbered_parts;
mod part_spec;
mod quantity;
mod readings;
mod relations;
mod sets;
mod shapes;
mod statement_numbers;
mod variable_names;
mod words;

use super::comparison::{Comparison, Outcome};
use super::extract::extract;
use super::spec::AnswerSpec;

/// Compares the answer in `prediction` with the expected answer `gold`. Either may be a whole
/// solution.
///
/// Time and memory are bounded for any text: what exceeds a limit is undecided.
///
/// ```
/// use mmprm::answer::{AnswerSpec, Outcome, compare};
/// let spec = AnswerSpec { unit: Some("cm".into()), ..AnswerSpec::default() };
/// let comparison = compare("120", "It is 1.2 m long, so the answer is 1.2 m.", &spec);
/// assert_eq!(comparison.outcome, Outcome::Equal, "{}", comparison.reason);
/// ```
pub fn compare(gold: &str, prediction: &str, spec: &AnswerSpec) -> Comparison {
    if prediction.trim().is_empty() {
        return Comparison::different("the prediction contains no answer");
    }
    if gold.trim().is_empty() {
        return Comparison::undecided("the expected answer is empty");
    }
    if let Some(comparison) = choices::compare(gold, prediction, spec) {
        return comparison;
    }
    let (expected, given) = (extract(gold), extract(prediction));
    let uncertain = expected.method.is_fallback();
    let guessed = given.method.is_fallback();
    let (gold, prediction) = (free::joined(expected), free::joined(given));
    if prediction.trim().is_empty() {
        return Comparison::different("the prediction contains no answer");
    }
    let comparison = free::compare(&gold, &prediction, spec);
    if uncertain && comparison.outcome == Outcome::Different {
        return Comparison::undecided("the answer guessed from the expected text differs");
    }
    if !guessed {
        return comparison;
    }
    Comparison {
        reason: format!("{} (answer guessed: the last one in the prediction)", comparison.reason).into(),
        ..comparison
    }
}
