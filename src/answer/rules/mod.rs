//! The general rule: do two answers mean the same?
//!
//! [`compare`] finds the answer in both texts, reads each in every way that makes sense (`1,234` may be one number or two),
//! and looks for a pair of readings that mean the same. They are different only if every pair is.

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

/// Compares `prediction`, an answer or a text that gives one, with the expected answer `gold`.
///
/// Time and memory are bounded whatever the texts hold: what is too long, too deep or too large is undecided.
pub fn compare(gold: &str, prediction: &str, spec: &AnswerSpec) -> Comparison {
    if prediction.trim().is_empty() {
        return Comparison::different("there is no answer");
    }
    if gold.trim().is_empty() {
        return Comparison::undecided("there is no expected answer");
    }
    if let Some(comparison) = choices::compare(gold, prediction, spec) {
        return comparison;
    }
    let (expected, given) = (extract(gold), extract(prediction));
    let uncertain = expected.method.is_fallback();
    let guessed = given.method.is_fallback();
    let (gold, prediction) = (free::joined(expected), free::joined(given));
    if prediction.trim().is_empty() {
        return Comparison::different("there is no answer");
    }
    let comparison = free::compare(&gold, &prediction, spec);
    if uncertain && comparison.outcome == Outcome::Different {
        return Comparison::undecided("the expected answer is a text, and what was taken from it is another answer");
    }
    if !guessed {
        return comparison;
    }
    Comparison {
        reason: format!("{}; no answer is announced, the last one is taken", comparison.reason).into(),
        ..comparison
    }
}
