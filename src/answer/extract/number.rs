//! Extracts the number or list of a response to a problem that asks for one.

use std::borrow::Cow;

use super::extraction::{Extraction, Method};
use super::stated::tagged;
use super::{announced, boxed, fallback, scan, sentence};
use crate::answer::number_words::up_to_twenty;

/// What precedes the number that a sentence is about.
const LINKS: [&str; 10] =
    ["=", "≈", " is ", " are ", " was ", " were ", " be ", " equals ", " total of ", " approximately "];

/// Returns the number that a response gives, as Python reads it: without thousands separators,
/// signs and units.
pub(super) fn numeric(tail: &str) -> Option<Extraction<'_>> {
    let stated = stated(tail);
    if stated.is_none() && sentence::refuses(tail) {
        return Some(Extraction::nothing());
    }
    stated.or_else(|| {
        let bold = fallback::bold(tail).and_then(first).map(|number| Extraction::one(Method::LastBold, number));
        bold.or_else(|| in_prose(tail).map(|number| Extraction::one(Method::LastNumber, number)))
    })
}

fn stated(tail: &str) -> Option<Extraction<'_>> {
    let tag = tagged(tail).and_then(|(_, inside)| in_statement(inside));
    if let Some(number) = tag {
        return Some(Extraction::one(Method::Tagged, number));
    }
    let boxed = boxed::last(tail).and_then(|boxes| in_statement(boxes.contents.last()?).map(Cow::into_owned));
    if let Some(number) = boxed {
        return Some(Extraction::one(Method::Boxed, number));
    }
    let number = announced::all(tail).into_iter().find_map(|announcement| in_statement(announcement.text))?;
    Some(Extraction::one(Method::Announced, number))
}

/// Returns the first number of a statement, after its last equals sign.
fn in_statement(statement: &str) -> Option<Cow<'_, str>> {
    if let Some(value) = up_to_twenty(statement) {
        return Some(Cow::Owned(value.to_string()));
    }
    let value = statement.rsplit(['=', '≈']).find(|side| first(side).is_some()).unwrap_or(statement);
    quotient(value.trim()).map(Cow::Owned).or_else(|| first(value))
}

/// Returns the value of a fraction of two numbers.
fn quotient(value: &str) -> Option<String> {
    let (top, bottom) = value.split_once('/')?;
    let (top, bottom): (f64, f64) = (top.trim().parse().ok()?, bottom.trim().parse().ok()?);
    let quotient = top / bottom;
    quotient.is_finite().then(|| quotient.to_string())
}

/// Returns the number that the last sentence with a number is about.
pub(super) fn in_prose(tail: &str) -> Option<Cow<'_, str>> {
    let mut rest = tail;
    for _ in 0..64 {
        let Some(last) = fallback::last_number(rest) else { break };
        let end = last.as_ptr().addr() - rest.as_ptr().addr();
        let before = &rest[..end];
        let start = before.rfind(['\n', '。']).map_or(0, |at| scan::after(before, at));
        let start = start.max(before.rfind(". ").map_or(0, |at| at + 2)).max(before.rfind("? ").map_or(0, |at| at + 2));
        let sentence = &rest[start..end + last.len()];
        let counts = ["There are ", "There were ", "There is "]
            .iter()
            .find_map(|start| sentence.trim_start().strip_prefix(start));
        if let Some(number) = counts.and_then(first) {
            return Some(number);
        }
        let linked = LINKS.iter().filter_map(|link| sentence.rfind(link).map(|at| at + link.len())).max();
        if let Some(number) = linked.and_then(|at| first(&sentence[at..])).or_else(|| first(last)) {
            return Some(number);
        }
        rest = before;
    }
    // Without digits, a number word.
    first(scan::tail(tail, 1024))
}

/// Returns the first number or number word of a text that is not inside a word.
fn first(text: &str) -> Option<Cow<'_, str>> {
    let text = scan::head(text, 1024);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|step| at + step) {
        let end = start
            + bytes[start..].iter().take_while(|&&byte| byte.is_ascii_digit() || byte == b',' || byte == b'.').count();
        let digits = text[start..end].trim_end_matches([',', '.']);
        let before = &text[..start];
        if !before.ends_with(|c: char| scan::is_wordlike(c) || c == '_') {
            return Some(in_words(before).unwrap_or_else(|| plain(before, digits)));
        }
        at = end;
    }
    in_words(text)
}

/// Returns the first number word from two to twenty, in digits.
fn in_words(text: &str) -> Option<Cow<'static, str>> {
    let mut word = None;
    sentence::each_word(text, |next| {
        word = word.or_else(|| up_to_twenty(next).filter(|value| *value >= 2));
    });
    word.map(|value| Cow::Owned(value.to_string()))
}

/// Returns a number without thousands separators, with its sign and a leading decimal point.
fn plain<'a>(before: &str, digits: &'a str) -> Cow<'a, str> {
    let point = before.ends_with('.');
    let before = before.strip_suffix('.').unwrap_or(before);
    let negative = fallback::sign_length(before.trim_end_matches(['$', ' '])) > 0;
    let grouped = digits.split(['.', ',']).skip(1).all(|group| group.len() == 3) && digits.contains(',');
    if !point && !negative && !digits.contains(',') {
        return Cow::Borrowed(digits);
    }
    let sign = if negative { "-" } else { "" };
    let digits = if grouped { digits.replace(',', "") } else { digits.split(',').next().unwrap_or(digits).to_owned() };
    Cow::Owned(format!("{sign}{}{digits}", if point { "0." } else { "" }))
}

/// Returns the last list in square brackets.
pub(super) fn list(tail: &str) -> Option<Extraction<'_>> {
    let end = tail.rfind(']')?;
    let start = tail[..end].rfind('[')?;
    let list = &tail[start..=end];
    let plausible = list.contains(|c: char| c.is_ascii_digit()) && list.len() <= scan::MAX_ANSWER_BYTES;
    plausible.then(|| Extraction::one(Method::LastMath, list))
}
