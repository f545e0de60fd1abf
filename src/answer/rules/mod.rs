//! The general rule: do two answers mean the same?
//!
//! [`compare`] finds the answer in both texts, reads each in every way that makes sense (`1,234` may be one number or two),
//! and looks for a pair of readings that mean the same. They are different only if every pair is.

mod agree;
mod choices;
mod parts;
mod quantity;
mod relation;
mod sets;
mod words;

use std::borrow::Cow;

use super::extract::{Extraction, extract};
use super::grammar::{Commas, Shape, Unreadable, canonical, read};
use super::{Finding, Outcome, Setting};
use agree::Terms;

/// Answers longer than this are no answers to be compared by rules.
const MAX_LENGTH: usize = 4000;

/// Compares `said`, an answer or a text that gives one, with the expected answer `gold`.
///
/// Time and memory are bounded whatever the texts hold: what is too long, too deep or too large is undecided.
pub fn compare(gold: &str, said: &str, setting: &Setting) -> Finding {
    if said.trim().is_empty() {
        return Finding::different("there is no answer");
    }
    if gold.trim().is_empty() {
        return Finding::undecided("there is no expected answer");
    }
    if let Some(finding) = choices::compare(gold, said, setting) {
        return finding;
    }
    let extraction = extract(said);
    let guessed = extraction.found.is_fallback();
    let (gold, said) = (joined(extract(gold)), joined(extraction));
    if said.trim().is_empty() {
        return Finding::different("there is no answer");
    }
    let finding = plain(&gold, &said, setting);
    if !guessed {
        return finding;
    }
    Finding { reason: format!("{}; no answer is announced, the last one is taken", finding.reason).into(), ..finding }
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
fn plain(gold: &str, said: &str, setting: &Setting) -> Finding {
    if gold.len() > MAX_LENGTH || said.len() > MAX_LENGTH {
        return Finding::undecided("too long for an answer");
    }
    let (gold, said) = (canonical(gold), canonical(said));
    if squeezed(&gold) == squeezed(&said) {
        return Finding::equal("the same text");
    }
    let by_words = || words::closed(&gold, &said).or_else(|| words::single(&gold, &said));
    if let Some(finding) = by_words().or_else(|| choices::letters(&gold, &said)) {
        return finding;
    }
    let terms = Terms::of(setting);
    if let Some(finding) = parts::compare(&gold, &said, &terms) {
        return finding;
    }
    of_readings(&gold, &said, &terms)
}

/// Compares every reading of one text with every reading of the other.
fn of_readings(gold: &str, said: &str, terms: &Terms<'_>) -> Finding {
    let (Ok(golds), Ok(saids)) = (readings(gold), readings(said)) else {
        return Finding::undecided("larger or deeper than answers are");
    };
    let mut undecided = None;
    let mut different = None;
    for gold in &golds {
        for said in &saids {
            let finding = agree::agree(gold, said, terms);
            match finding.outcome {
                Outcome::Equal => return finding,
                Outcome::Undecided => undecided = undecided.or(Some(finding)),
                Outcome::Different => different = different.or(Some(finding)),
            }
        }
    }
    undecided.or(different).unwrap_or_else(|| Finding::undecided("not understood"))
}

/// What a canonical text may mean.
fn readings(text: &str) -> Result<Vec<Shape>, Unreadable> {
    if let Some(number) = words::number(text) {
        return Ok(vec![Shape::value(number)]);
    }
    let mut found = vec![read(text, Commas::Thousands, true)?];
    let bytes = text.as_bytes();
    let between_digits = |(at, byte): (usize, &u8)| {
        *byte == b',' && at > 0 && bytes[at - 1].is_ascii_digit() && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
    };
    match bytes.iter().enumerate().filter(|place| between_digits(*place)).count() {
        0 => {}
        commas => {
            found.push(read(text, Commas::Parts, true)?);
            if commas == 1 && !text.contains(['(', '[', '{']) {
                found.push(read(text, Commas::Point, true)?);
            }
        }
    }
    // `3m` is a length, or three times a variable.
    if found.iter().any(quantity::may_be_variables) {
        found.push(read(text, Commas::Thousands, false)?);
    }
    found.dedup();
    Ok(found)
}

/// Without spaces.
fn squeezed(text: &str) -> String {
    text.trim_end_matches('.').chars().filter(|c| !c.is_whitespace()).collect()
}
