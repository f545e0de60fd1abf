//! Reads the letters of options: `B`, `(B)`, `B.`, `**B**`, `\text{B}`, `option B`, `A and C`.

use super::scan::{is_unspaced, is_wordlike, strip_word};

/// The last letter that counts as an option when the options are unknown.
const LAST_LETTER: u8 = b'J';

/// What may precede the letter of an option.
const OPENERS: [&str; 12] =
    ["**", "$", "(", "[", "{", "（", "\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\(", " "];

/// What may follow it.
const CLOSERS: [&str; 8] = ["**", "$", ")", "]", "}", "）", "\\)", "\\ "];

/// Maximum number of openers or closers around one letter.
const MAX_WRAPPERS: usize = 8;

/// Words after a letter that start a reason, so that the letter is the answer.
const REASONS: [&str; 14] =
    ["because", "since", "as", "is", "which", "for", "due", "and", "or", "but", "not", "with", "would", "should"];

/// Option letters at the start of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letters<'a> {
    /// The letters as written: `B`, or `A and C`.
    pub text: &'a str,
    /// The index of the first letter in the alphabet, from 0.
    pub first: usize,
    /// The text after the letters.
    pub rest: &'a str,
    /// Whether a bracket, period or similar mark shows that they are option letters and not a word.
    pub marked: bool,
}

/// Reads the letters at the start of a text, unless the text after them makes them a word.
pub(super) fn at_start(text: &str) -> Option<Letters<'_>> {
    let (first, mut end, mut marked) = one(text)?;
    let start = text.len() - strip_openers(text).len();
    let mut last = start + 1;
    // `A and C`, `A, C`.
    while let Some(next) = joint(&text[end..]) {
        let Some((_, length, next_marked)) = one(next).filter(|&(letter, ..)| letter > first) else { break };
        let at = text.len() - next.len();
        last = at + (next.len() - strip_openers(next).len()) + 1;
        end = at + length;
        marked |= next_marked;
    }
    Some(Letters { text: &text[start..last], first, rest: &text[end..], marked })
}

/// Reads the marked letter at the start of a text, unless a list of further letters follows.
pub(super) fn leading(text: &str) -> Option<Letters<'_>> {
    let text = text.trim_start();
    let letters = at_start(text).filter(|letters| letters.marked || letters.rest.starts_with(is_unspaced))?;
    let lists = letters.rest.lines().skip(1).any(|line| at_start(line).is_some_and(|letters| letters.marked));
    (!lists).then_some(letters)
}

/// Reads one letter: its index in the alphabet, the offset after it, and whether it is marked.
fn one(text: &str) -> Option<(usize, usize, bool)> {
    let bare = strip_openers(text);
    let opened = bare.len() < text.trim_start().len();
    let letter = *bare.as_bytes().first()?;
    let following = bare.get(1..)?;
    let rest = strip_all(following, &CLOSERS);
    let closed = rest.len() < following.len();
    let punctuated = rest.starts_with(['.', ':', '：', '。', '、', '，', ',', ';', '\n', ')']);
    let punctuated = punctuated || rest.starts_with(" - ") || rest.starts_with(" – ");
    let capital = (b'A'..=LAST_LETTER).contains(&letter);
    let small = (b'a'..=LAST_LETTER.to_ascii_lowercase()).contains(&letter) && opened && closed;
    let marked = closed || punctuated;
    let ends = rest.trim_start().is_empty()
        || punctuated
        || rest.starts_with(is_unspaced)
        || closed && !rest.starts_with(is_wordlike)
        || REASONS.iter().any(|reason| rest.starts_with(' ') && strip_word(rest.trim_start(), reason).is_some());
    let decimal =
        rest.strip_prefix(['.', ',']).is_some_and(|following| following.starts_with(|c: char| c.is_ascii_digit()));
    let rest = rest.strip_prefix(['.', ':', '：', '。', '、']).unwrap_or(rest);
    ((capital || small) && ends && !decimal)
        .then(|| ((letter.to_ascii_uppercase() - b'A') as usize, text.len() - rest.len(), marked))
}

fn strip_openers(text: &str) -> &str {
    strip_all(text.trim_start(), &OPENERS)
}

/// Strips wrappers from the front, at most [`MAX_WRAPPERS`].
fn strip_all<'a>(text: &'a str, wrappers: &[&str]) -> &'a str {
    let mut rest = text;
    for _ in 0..MAX_WRAPPERS {
        let Some(shorter) = wrappers.iter().find_map(|piece| rest.strip_prefix(piece)) else { break };
        rest = shorter;
    }
    rest
}

/// Returns the text after `, `, ` and ` or a similar joint.
fn joint(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let after_comma = text.strip_prefix([',', '，', '、', ';', '&']).map(str::trim_start);
    let rest = after_comma.unwrap_or(text);
    let after_word = ["and", "or", "和", "或"].iter().find_map(|word| strip_word(rest, word)).map(str::trim_start);
    after_word.or(after_comma)
}
