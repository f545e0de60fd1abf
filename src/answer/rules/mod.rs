//! The general rule: decides whether two answers are mathematically equivalent.
//!
//! [`compare`] extracts both answers, reads each in every way that makes sense (`1,234` is one
//! number or two), and looks for an equal pair of readings. Two answers differ only if all pairs
//! do.
//!
//! The files depend on each other in one direction: this one, `choices`, `free`, `readings`,
//! `shapes`. The exception is deliberate: an answer contains answers (a list of sets of relations
//! of values), so `shapes` calls `families`, `lists`, `quantities`, `relations` and `sets`,
//! and they call `shapes` for each part.

mod choices;
mod clocks;
mod combine;
mod conditions;
mod families;
mod free;
mod intervals;
mod key_notes;
mod kind;
mod letters;
mod lists;
mod numbered_parts;
mod part_spec;
mod quantities;
mod quantity;
mod readings;
mod relations;
mod remarks;
mod sets;
mod shapes;
mod statement_numbers;
mod variable_names;
mod words;

pub use kind::{AnswerKind, is_verifiable, kind};

use super::comparison::{Comparison, Outcome};
use super::extract::{Extraction, extract};
use super::grammar::{in_symbols, normalize};
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
    let (expected_condition, condition) = (condition(gold, &expected), condition(prediction, &given));
    let uncertain = expected.method.is_fallback() && expected_condition.is_none();
    let guessed = given.method.is_fallback() && condition.is_none();
    let gold = expected_condition.map_or_else(|| free::joined(expected), Into::into);
    let prediction = condition.map_or_else(|| free::joined(given), Into::into);
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

/// Returns a short text that states a condition in words ("x is at least 2"), instead of the answer
/// guessed from it.
fn condition<'a>(text: &'a str, extraction: &Extraction<'_>) -> Option<&'a str> {
    const MAX_BYTES: usize = 80;
    let text = text.trim();
    let short = text.len() <= MAX_BYTES && extraction.method.is_fallback();
    let starts = text.trim_start_matches(['$', '\\', '(', ' ']);
    let variable = starts.starts_with(|c: char| c.is_ascii_alphabetic())
        && !starts[1..].starts_with(|c: char| c.is_ascii_alphabetic());
    (short && variable && in_symbols(&normalize(text)).is_some()).then_some(text)
}
