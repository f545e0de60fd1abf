//! Compares two answers without options: as texts, as words, as numbered parts, and finally as all
//! shapes that they can be read as.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::part_spec::PartSpec;
use super::readings::Readings;
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
    Prediction::new(prediction).compare(gold, spec)
}

/// An extracted answer that is read once, however many expected answers it is compared with.
pub struct Prediction {
    /// The normalised text; `None` if the answer is too long.
    text: Option<String>,
    readings: OnceCell<Readings>,
}

impl Prediction {
    /// Normalises an extracted answer.
    pub fn new(text: &str) -> Self {
        let text = (text.len() <= MAX_BYTES).then(|| without_remarks(&normalize(text)).into_owned());
        Self { text, readings: OnceCell::new() }
    }

    /// Compares the answer with an expected one.
    pub fn compare(&self, gold: &str, spec: &AnswerSpec) -> Comparison {
        let Some(prediction) = self.text.as_deref().filter(|_| gold.len() <= MAX_BYTES) else {
            return Comparison::undecided("longer than an answer may be");
        };
        let gold = normalize(gold);
        let gold = without_remarks(&gold);
        let readings = || self.readings.get_or_init(|| readings::readings(prediction));
        let compare = |gold: &str| {
            compare_outside_grammar(gold, prediction, spec).unwrap_or_else(|| {
                readings::compare_readings(&readings::readings(gold), readings(), &PartSpec::of(spec))
            })
        };
        let Some(note) = key_notes::parse(&gold) else { return compare(&gold) };
        if same_text(&gold, prediction) {
            return Comparison::equal("the same text");
        }
        let open = note.open.then(|| Comparison::undecided("the expected answer is one of many"));
        combine::any(open.into_iter().chain(note.forms.into_iter().map(compare)))
    }
}

/// Compares two normalised texts by the rules that read no shapes; `None` if none of them decides.
fn compare_outside_grammar(gold: &str, prediction: &str, spec: &AnswerSpec) -> Option<Comparison> {
    if same_text(gold, prediction) {
        return Some(Comparison::equal("the same text"));
    }
    let whole = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole(gold) && whole(prediction) {
        return None;
    }
    let by_words = || words::closed_class(gold, prediction).or_else(|| words::single(gold, prediction));
    if let Some(comparison) = by_words().or_else(|| letters::compare(gold, prediction)) {
        return Some(comparison);
    }
    let numbered = [gold, prediction].into_iter().any(numbered_parts::has_parts);
    if !numbered && letters::letter_and_value(gold, prediction) {
        return Some(Comparison::undecided("a letter and a value; the options are unknown"));
    }
    let spec_of_whole = PartSpec::of(spec);
    let bare = |gold: &str, prediction: &str| {
        compare_outside_grammar(gold, prediction, spec)
            .unwrap_or_else(|| readings::compare(gold, prediction, &spec_of_whole))
    };
    match (letters::labelled(gold), letters::labelled(prediction)) {
        (Some(gold), None) => return Some(bare(&gold, prediction)),
        (None, Some(prediction)) => return Some(bare(gold, &prediction)),
        _ => {}
    }
    numbered_parts::compare(gold, prediction, &spec_of_whole).or_else(|| statement_numbers::compare(gold, prediction))
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
