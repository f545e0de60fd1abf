//! Guesses the answer of a text that states none: the last candidate in it.

use super::extraction::Method;
use super::letters;
use super::scan::{MAX_ANSWER_BYTES, head, is_wordlike};
use super::sentence;

/// Up to this many words, mathematics that is not at the end is only a part of the answer.
const FEW_WORDS: usize = 8;

/// Returns the last bold answer, mathematics, number or letter of a text, whichever is the most
/// informative.
pub(super) fn last(text: &str) -> Option<(Method, &str)> {
    let bold = bold(text).map(|bold| (Method::LastBold, bold));
    let math = last_mathematics(text);
    let number = last_number(text).map(|number| (Method::LastNumber, number));
    let math = math.map(|math| (Method::LastMath, math));
    let later = match (math, number) {
        (Some(math), Some(number)) => {
            let telling = math.1.contains(|c: char| c.is_ascii_digit() || matches!(c, '=' | '\\'));
            Some(if telling && end(text, math.1) >= end(text, number.1) { math } else { number })
        }
        (math, number) => number.or(math),
    };
    let letter = last_letter(text).map(|letter| (Method::LastLetter, letter));
    let letter = letter.filter(|letter| later.is_none_or(|later| end(text, later.1) < end(text, letter.1)));
    let found = bold.or(letter).or(later)?;
    // In "$ABC$ is isosceles" the mathematics is the subject of the answer. This does not apply to
    // numbers, nor to what is called the solution.
    let value = !matches!(found.0, Method::LastMath | Method::LastLetter) || !found.1.contains(char::is_alphabetic);
    let short = sentence::words(text) <= FEW_WORDS;
    let following = &text[end(text, found.1)..];
    let called = ["solution", "answer", "result"].iter().any(|noun| following.trim_end_matches('.').ends_with(noun));
    (value || !short || called || sentence::words(following) == 0).then_some(found)
}

/// Returns the offset in `text` at which its subslice `part` ends.
fn end(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr() + part.len()
}

/// Returns the last `**…**` with a number, mathematics or a letter that is not a headline.
pub(super) fn bold(text: &str) -> Option<&str> {
    let mut last = None;
    for line in text.lines() {
        let mut pieces = line.split("**");
        pieces.next();
        while let (Some(inside), Some(following)) = (pieces.next(), pieces.next()) {
            let inside = inside.trim();
            let headline = inside.ends_with([':', '：']) || following.starts_with([':', '：']) || opens_list(inside);
            let tells = inside.contains(|c: char| c.is_ascii_digit()) || letters::at_start(inside).is_some();
            if !headline && tells && inside.len() <= 200 && sentence::is_bare(inside) {
                last = Some(inside.trim_end_matches(['.', '。']));
            }
        }
    }
    last
}

/// Returns whether a text numbers a part of the solution: `Step 3`, `2. …`.
fn opens_list(text: &str) -> bool {
    let following = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered =
        following.len() < text.len() && following.strip_prefix(['.', ')']).is_some_and(|rest| rest.starts_with(' '));
    numbered || ["step", "case", "part", "option"].iter().any(|word| super::scan::strip_word(text, word).is_some())
}

/// Returns the inside of the last `$…$`, `$$…$$`, `\(…\)` or `\[…\]`; a single letter only if there
/// is nothing else.
fn last_mathematics(text: &str) -> Option<&str> {
    let (mut last, mut rest) = (None, text);
    let mut lone = None;
    while let Some(at) = rest.find(['$', '\\']) {
        rest = &rest[at..];
        let Some((inside, following)) = enclosed(rest) else {
            rest = &rest[1..];
            continue;
        };
        let mathematics = inside.trim();
        if mathematics.len() <= MAX_ANSWER_BYTES && is_mathematics(mathematics) {
            let telling =
                mathematics.contains(|c: char| c.is_ascii_digit() || matches!(c, '=' | '+' | '^' | '<' | '>'));
            *(if telling { &mut last } else { &mut lone }) = Some(mathematics);
            rest = following;
        } else {
            rest = &rest[1..];
        }
    }
    last.or(lone)
}

/// Returns the inside of the mathematics at the start of `text`, and the text after it.
fn enclosed(text: &str) -> Option<(&str, &str)> {
    let window = head(text, MAX_ANSWER_BYTES + 16);
    for (open, close) in [("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        if let Some(inside) = window.strip_prefix(open) {
            // Mathematics contains no other opening of its kind, so that nothing is searched twice.
            let other = if open == close { inside.len() } else { inside.find(open).unwrap_or(inside.len()) };
            let length = inside[..other].find(close)?;
            return Some((&inside[..length], &text[open.len() + length + close.len()..]));
        }
    }
    let inside = window.strip_prefix('$')?;
    let length = inside.find('$')?;
    (!inside[..length].contains("\n\n")).then(|| (&inside[..length], &text[1 + length + 1..]))
}

fn is_mathematics(inside: &str) -> bool {
    !inside.is_empty() && !inside.ends_with(['+', '-', '=', '*', '/', '(', ',']) && sentence::words(inside) <= 1
}

/// Returns the last number with its sign, thousands separators, decimals, fraction, and a percent
/// or degree sign after it. Numbers inside words and numbers of list items are skipped.
pub(super) fn last_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut end = bytes.len();
    while let Some(at) = bytes[..end].iter().rposition(u8::is_ascii_digit) {
        let mut start = at;
        while start > 0 && belongs(bytes, start - 1) {
            start -= 1;
        }
        if stands_alone(text, start, at + 1) {
            let start = start - sign_length(&text[..start]);
            return Some(&text[start..at + 1 + mark_length(&text[at + 1..])]);
        }
        end = start;
    }
    None
}

/// Returns whether a byte belongs to the digits after it: a digit, or a point, comma, slash or colon
/// between digits.
fn belongs(bytes: &[u8], at: usize) -> bool {
    bytes[at].is_ascii_digit()
        || matches!(bytes[at], b'.' | b',' | b'/' | b':')
            && (at > 0 && bytes[at - 1].is_ascii_digit() || bytes[at] == b'.')
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let (before, following) = (&text[..start], &text[end..]);
    let counts = following.starts_with(". ") || following.starts_with(") ");
    let opens_line = before.trim_end_matches([' ', '*', '(']).chars().next_back().is_none_or(|c| c == '\n');
    let worded = before.ends_with(|c: char| is_wordlike(c) || c == '_') || before.ends_with('#');
    let numbers_an_item = counts && opens_line && !following[2..].trim().is_empty();
    !(worded || numbers_an_item)
}

/// Returns the length of a minus sign at the end of `before` that is not an operator between two
/// numbers.
pub(super) fn sign_length(before: &str) -> usize {
    let Some(sign) = before.chars().next_back().filter(|c| matches!(c, '-' | '−' | '–')) else { return 0 };
    let further = &before[..before.len() - sign.len_utf8()];
    let operator = further.ends_with(char::is_alphanumeric)
        || further.trim_end().ends_with(|c: char| c.is_ascii_digit() || matches!(c, ')' | '}' | ']' | '%'));
    if operator { 0 } else { sign.len_utf8() }
}

/// Returns the length of a percent or degree sign, or the half of the day, after a number.
fn mark_length(following: &str) -> usize {
    [" a.m.", " p.m.", " AM", " PM", " am", " pm", "%", "\\%", " %", " percent", "°", "^\\circ", "^{\\circ}", "％"]
        .iter()
        .find(|mark| following.starts_with(**mark))
        .map_or(0, |mark| mark.len())
}

/// Returns whether a text contains exactly one number.
pub(super) fn has_one_number(text: &str) -> bool {
    let Some(last) = last_number(text) else { return false };
    last_number(&text[..end(text, last) - last.len()]).is_none()
}

/// Returns the last letter of an option: in brackets, or at the end of a sentence.
pub(super) fn last_letter(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut end = bytes.len();
    while let Some(at) = bytes[..end].iter().rposition(|byte| (b'A'..=b'J').contains(byte)) {
        end = at;
        let (before, following) = (&text[..at], &text[at + 1..]);
        let bracketed = before.ends_with(['(', '（']) && following.starts_with([')', '）']);
        let rest = following.trim_start_matches(['*', '"', '”', ')']);
        let ends = rest.is_empty()
            || rest.starts_with(['。', '\n'])
            || rest.strip_prefix('.').is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if bracketed || ends && before.ends_with([' ', '\n', '*', '"', '“', '是', '选', '：', ':', '为']) {
            return Some(&text[at..=at]);
        }
    }
    None
}
