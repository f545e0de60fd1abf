//! The general rule: do two answers mean the same?
//!
//! [`compare`] finds the answer in both texts, reads each in every way that makes sense (`1,234` may be one number or two),
//! and looks for a pair of readings that mean the same. They are different only if every pair is.

mod agree;
mod choices;
mod counting;
mod families;
mod fold;
mod lists;
mod marks;
mod names;
mod notes;
mod parts;
mod quantity;
mod relation;
mod sets;
mod words;

use std::borrow::Cow;

use super::extract::{Extraction, extract};
use super::grammar::{Commas, Shape, Unreadable, canonical, read};
use super::{AnswerSpec, Comparison, Outcome};
use agree::Terms;

/// Answers longer than this are no answers to be compared by rules.
const MAX_LENGTH: usize = 4000;

/// Compares `said`, an answer or a text that gives one, with the expected answer `gold`.
///
/// Time and memory are bounded whatever the texts hold: what is too long, too deep or too large is undecided.
pub fn compare(gold: &str, said: &str, spec: &AnswerSpec) -> Comparison {
    if said.trim().is_empty() {
        return Comparison::different("there is no answer");
    }
    if gold.trim().is_empty() {
        return Comparison::undecided("there is no expected answer");
    }
    if let Some(finding) = choices::compare(gold, said, spec) {
        return finding;
    }
    let (expected, given) = (extract(gold), extract(said));
    let uncertain = expected.found.is_fallback();
    let guessed = given.found.is_fallback();
    let (gold, said) = (joined(expected), joined(given));
    if said.trim().is_empty() {
        return Comparison::different("there is no answer");
    }
    let finding = plain(&gold, &said, spec);
    if uncertain && finding.outcome == Outcome::Different {
        return Comparison::undecided("the expected answer is a text, and what was taken from it is another answer");
    }
    if !guessed {
        return finding;
    }
    Comparison {
        reason: format!("{}; no answer is announced, the last one is taken", finding.reason).into(),
        ..finding
    }
}

/// The answer that a text gives; several that are given together are a list.
fn joined(extraction: Extraction<'_>) -> Cow<'_, str> {
    let mut parts = extraction.parts;
    match parts.len() {
        1 => parts.remove(0),
        _ => parts.join(" ; ").into(),
    }
}

/// Compares two answers that stand alone.
fn plain(gold: &str, said: &str, spec: &AnswerSpec) -> Comparison {
    if gold.len() > MAX_LENGTH || said.len() > MAX_LENGTH {
        return Comparison::undecided("too long for an answer");
    }
    let (gold, said) = (canonical(gold), canonical(said));
    let Some(noted) = notes::noted(&gold) else { return of_texts(&gold, &said, spec) };
    if same_text(&gold, &said) {
        return Comparison::equal("the same text");
    }
    let open = noted.open.then(|| Comparison::undecided("the expected answer is only one of many"));
    fold::any(open.into_iter().chain(noted.forms.into_iter().map(|form| of_texts(form, &said, spec))))
}

/// Compares two canonical texts.
fn of_texts(gold: &str, said: &str, spec: &AnswerSpec) -> Comparison {
    if same_text(gold, said) {
        return Comparison::equal("the same text");
    }
    let by_words = || words::closed(gold, said).or_else(|| words::single(gold, said));
    if let Some(finding) = by_words().or_else(|| choices::letters(gold, said)) {
        return finding;
    }
    let terms = Terms::of(spec);
    let by_number = || parts::compare(gold, said, &terms).or_else(|| marks::compare(gold, said));
    by_number().unwrap_or_else(|| of_readings(gold, said, &terms))
}

/// Compares every reading of one text with every reading of the other.
fn of_readings(gold: &str, said: &str, terms: &Terms<'_>) -> Comparison {
    let (Ok(golds), Ok(saids)) = (readings(gold), readings(said)) else {
        return Comparison::undecided("larger or deeper than answers are");
    };
    fold::any(golds.iter().flat_map(|gold| saids.iter().map(|said| agree::agree(gold, said, terms))))
}

/// What a canonical text may mean.
fn readings(text: &str) -> Result<Vec<Shape>, Unreadable> {
    if let Some(number) = words::number(text) {
        // "None" counts nothing, or says that there is nothing to count.
        let words = text.eq_ignore_ascii_case("none").then(|| Shape::Words(text.to_owned()));
        return Ok([Shape::value(number)].into_iter().chain(words).collect());
    }
    let mut found = vec![read(text, Commas::Thousands, true)?];
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let between =
        |separator: u8| move |at: &usize| bytes[*at] == separator && *at > 0 && digit(at - 1) && digit(at + 1);
    let commas: Vec<usize> = (0..bytes.len()).filter(between(b',')).collect();
    if !commas.is_empty() || (0..bytes.len()).any(|at| between(b' ')(&at)) {
        found.push(read(text, Commas::Parts, true)?);
    }
    if let [comma] = commas[..]
        && !groups_thousands(bytes, comma)
        && !text.contains(['(', '[', '{'])
    {
        found.push(read(text, Commas::Point, true)?);
    }
    // `3m` is a length, or three times a variable.
    if found.iter().any(quantity::may_be_variables) {
        let variables = read(text, Commas::Thousands, false)?;
        found.extend(Some(variables).filter(|shape| !matches!(shape, Shape::Words(_))));
    }
    // `160 to 165` is a ratio, or a range.
    if text.contains(" to ") {
        found.push(Shape::Words(text.to_owned()));
    }
    found.dedup();
    Ok(found)
}

/// Whether a comma between digits can only separate thousands: it stands before exactly three digits, after at most three.
fn groups_thousands(bytes: &[u8], comma: usize) -> bool {
    let behind = bytes[comma + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let before = bytes[..comma].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    behind == 3 && before <= 3 && bytes[comma - before] != b'0'
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
