//! Compares two answers without options: as texts, as words, as numbered parts, and finally as all
//! shapes that they can be read as.

use std::borrow::Cow;

use super::part_spec::PartSpec;
use super::remarks::without_remarks;
use super::{combine, key_notes, letters, numbered_parts, readings, statement_numbers, words};
use crate::answer::comparison::Comparison;
use crate::answer::extract::Extraction;
use crate::answer::grammar::normalize;
use crate::answer::spec::AnswerSpec;

/// Maximum length of a comparable answer, in bytes.
const MAX_BYTES: usize = 4000;

/// Returns an extracted answer as one text; several parts become a list.
pub fn joined(extraction: Extraction<'_>) -> Cow<'_, str> {
    let mut parts = extraction.parts;
    match parts.len() {
        1 => parts.remove(0),
        _ => parts.join(" ; ").into(),
    }
}

/// Compares two extracted answers.
pub fn compare(gold: &str, prediction: &str, spec: &AnswerSpec) -> Comparison {
    if gold.len() > MAX_BYTES || prediction.len() > MAX_BYTES {
        return Comparison::undecided("longer than an answer may be");
    }
    let (gold, prediction) = (normalize(gold), normalize(prediction));
    let (gold, prediction) = (without_remarks(&gold), without_remarks(&prediction));
    let Some(note) = key_notes::parse(&gold) else { return compare_texts(&gold, &prediction, spec) };
    if same_text(&gold, &prediction) {
        return Comparison::equal("the same text");
    }
    let open = note.open.then(|| Comparison::undecided("the expected answer is one of many"));
    combine::any(open.into_iter().chain(note.forms.into_iter().map(|form| compare_texts(form, &prediction, spec))))
}

/// Compares two normalised texts.
fn compare_texts(gold: &str, prediction: &str, spec: &AnswerSpec) -> Comparison {
    if same_text(gold, prediction) {
        return Comparison::equal("the same text");
    }
    let by_words = || words::closed_class(gold, prediction).or_else(|| words::single(gold, prediction));
    if let Some(comparison) = by_words().or_else(|| letters::compare(gold, prediction)) {
        return comparison;
    }
    let numbered = [gold, prediction].into_iter().any(numbered_parts::has_parts);
    if !numbered && letters::letter_and_value(gold, prediction) {
        return Comparison::undecided("a letter and a value; the options are unknown");
    }
    match (letters::labelled(gold), letters::labelled(prediction)) {
        (Some(gold), None) => return compare_texts(&gold, prediction, spec),
        (None, Some(prediction)) => return compare_texts(gold, &prediction, spec),
        _ => {}
    }
    let spec = PartSpec::of(spec);
    let by_number =
        || numbered_parts::compare(gold, prediction, &spec).or_else(|| statement_numbers::compare(gold, prediction));
    by_number().unwrap_or_else(|| readings::compare(gold, prediction, &spec))
}

/// Returns whether two texts are the same, ignoring a final period and all spaces that do not
/// separate digits.
fn same_text(a: &str, b: &str) -> bool {
    signs(a).eq(signs(b))
}

/// Returns the significant characters of a text.
fn signs(text: &str) -> impl Iterator<Item = char> {
    let text = text.trim().trim_end_matches('.');
    let mut before = None;
    text.char_indices().filter_map(move |(at, character)| {
        let digit = |side: Option<char>| side.is_some_and(|c| c.is_ascii_digit());
        // The first space of a run represents all of it.
        let divides = || digit(before) && digit(text[at..].trim_start().chars().next());
        let kept = !character.is_whitespace() || character == '\n' || divides();
        before = Some(character);
        kept.then_some(if character.is_whitespace() && character != '\n' { ' ' } else { character })
    })
}
