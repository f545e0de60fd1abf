//! Compares two free answers: as texts, as words, as numbered parts, and last by what they can mean.

use std::borrow::Cow;

use super::part_spec::PartSpec;
use super::{combine, key_notes, letters, numbered_parts, readings, statement_numbers, words};
use crate::answer::comparison::Comparison;
use crate::answer::extract::Extraction;
use crate::answer::grammar::normalize;
use crate::answer::spec::AnswerSpec;

/// Answers longer than this are no answers to be compared by rules.
const MAX_LENGTH: usize = 4000;

/// The answer that a text gives; several that are given together are a list.
pub fn joined(extraction: Extraction<'_>) -> Cow<'_, str> {
    let mut parts = extraction.parts;
    match parts.len() {
        1 => parts.remove(0),
        _ => parts.join(" ; ").into(),
    }
}

/// Compares two answers that stand alone.
pub fn compare(gold: &str, prediction: &str, spec: &AnswerSpec) -> Comparison {
    if gold.len() > MAX_LENGTH || prediction.len() > MAX_LENGTH {
        return Comparison::undecided("too long for an answer");
    }
    let (gold, prediction) = (normalize(gold), normalize(prediction));
    let Some(note) = key_notes::parse(&gold) else { return compare_texts(&gold, &prediction, spec) };
    if same_text(&gold, &prediction) {
        return Comparison::equal("the same text");
    }
    let open = note.open.then(|| Comparison::undecided("the expected answer is only one of many"));
    combine::any(open.into_iter().chain(note.forms.into_iter().map(|form| compare_texts(form, &prediction, spec))))
}

/// Compares two canonical texts.
fn compare_texts(gold: &str, prediction: &str, spec: &AnswerSpec) -> Comparison {
    if same_text(gold, prediction) {
        return Comparison::equal("the same text");
    }
    let by_words = || words::closed(gold, prediction).or_else(|| words::single(gold, prediction));
    if let Some(comparison) = by_words().or_else(|| letters::compare(gold, prediction)) {
        return comparison;
    }
    let spec = PartSpec::of(spec);
    let by_number =
        || numbered_parts::compare(gold, prediction, &spec).or_else(|| statement_numbers::compare(gold, prediction));
    by_number().unwrap_or_else(|| readings::compare(gold, prediction, &spec))
}

/// Whether two texts are the same but for spaces, other than those between digits, and a final period.
fn same_text(a: &str, b: &str) -> bool {
    signs(a).eq(signs(b))
}

/// The characters of a text that carry meaning.
fn signs(text: &str) -> impl Iterator<Item = char> {
    let text = text.trim().trim_end_matches('.');
    let mut before = None;
    text.char_indices().filter_map(move |(at, character)| {
        let digit = |side: Option<char>| side.is_some_and(|c| c.is_ascii_digit());
        // The first space of a run stands for all of it.
        let divides = || digit(before) && digit(text[at..].trim_start().chars().next());
        let kept = !character.is_whitespace() || character == '\n' || divides();
        before = Some(character);
        kept.then_some(if character.is_whitespace() && character != '\n' { ' ' } else { character })
    })
}
