//! Choice letters in any dress: `B`, `(B)`, `B.`, `**B**`, `\text{B}`, `option B`, `A and C`.

use super::scan::{is_unspaced, is_wordlike, strip_word};

/// The last letter that is taken for a choice's where the choices are not known.
const LAST_LETTER: u8 = b'J';

/// What may stand before a choice's letter.
const OPENERS: [&str; 12] =
    ["**", "$", "(", "[", "{", "（", "\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\(", " "];

/// What may stand behind it.
const CLOSERS: [&str; 8] = ["**", "$", ")", "]", "}", "）", "\\)", "\\ "];

/// How many openers or closers one letter may have.
const MAX_WRAPPERS: usize = 8;

/// Words behind a letter that begin a reason: the letter was all.
const REASONS: [&str; 14] =
    ["because", "since", "as", "is", "which", "for", "due", "and", "or", "but", "not", "with", "would", "should"];

/// Choice letters at the beginning of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letters<'a> {
    /// The letters, from the first to the last: `B`, or `A and C`.
    pub text: &'a str,
    /// The first letter's place in the alphabet, from 0.
    pub first: usize,
    /// The text behind them.
    pub rest: &'a str,
    /// Whether a bracket, period or the like marks them as choice letters, so that they are no word of a sentence.
    pub dressed: bool,
}

/// The letters at the beginning of a text, if what follows does not make a word of them.
pub(super) fn at_start(text: &str) -> Option<Letters<'_>> {
    let (first, mut end, mut dressed) = one(text)?;
    let start = text.len() - strip_openers(text).len();
    let mut last = start + 1;
    // "A and C", "A, C", "ABD" has been read by `one`.
    while let Some(next) = joint(&text[end..]) {
        let Some((_, length, next_dressed)) = one(next).filter(|&(letter, ..)| letter > first) else { break };
        let at = text.len() - next.len();
        last = at + (next.len() - strip_openers(next).len()) + 1;
        end = at + length;
        dressed |= next_dressed;
    }
    Some(Letters { text: &text[start..last], first, rest: &text[end..], dressed })
}

/// The marked letter that a text begins with, if no others follow as a list's would.
pub(super) fn leading(text: &str) -> Option<Letters<'_>> {
    let text = text.trim_start();
    let letters = at_start(text).filter(|letters| letters.dressed || letters.rest.starts_with(is_unspaced))?;
    let lists = letters.rest.lines().skip(1).any(|line| at_start(line).is_some_and(|letters| letters.dressed));
    (!lists).then_some(letters)
}

/// The letter at the beginning of a text: its place in the alphabet, where the text goes on, whether it is dressed.
fn one(text: &str) -> Option<(usize, usize, bool)> {
    let bare = strip_openers(text);
    let opened = bare.len() < text.trim_start().len();
    let letter = *bare.as_bytes().first()?;
    let behind = bare.get(1..)?;
    let rest = strip_all(behind, &CLOSERS);
    let closed = rest.len() < behind.len();
    let marked = rest.starts_with(['.', ':', '：', '。', '、', '，', ',', ';', '\n', ')']);
    let marked = marked || rest.starts_with(" - ") || rest.starts_with(" – ");
    let capital = (b'A'..=LAST_LETTER).contains(&letter);
    let small = (b'a'..=LAST_LETTER.to_ascii_lowercase()).contains(&letter) && opened && closed;
    let dressed = closed || marked;
    let ends = rest.trim_start().is_empty()
        || marked
        || rest.starts_with(is_unspaced)
        || closed && !rest.starts_with(is_wordlike)
        || REASONS.iter().any(|reason| rest.starts_with(' ') && strip_word(rest.trim_start(), reason).is_some());
    let decimal = rest.strip_prefix(['.', ',']).is_some_and(|behind| behind.starts_with(|c: char| c.is_ascii_digit()));
    let rest = rest.strip_prefix(['.', ':', '：', '。', '、']).unwrap_or(rest);
    ((capital || small) && ends && !decimal)
        .then(|| ((letter.to_ascii_uppercase() - b'A') as usize, text.len() - rest.len(), dressed))
}

fn strip_openers(text: &str) -> &str {
    strip_all(text.trim_start(), &OPENERS)
}

/// Takes dress off the front, as much of it as a letter ever wears.
fn strip_all<'a>(text: &'a str, dress: &[&str]) -> &'a str {
    let mut rest = text;
    for _ in 0..MAX_WRAPPERS {
        let Some(shorter) = dress.iter().find_map(|piece| rest.strip_prefix(piece)) else { break };
        rest = shorter;
    }
    rest
}

/// What follows `, `, ` and ` or the like.
fn joint(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let behind_comma = text.strip_prefix([',', '，', '、', ';', '&']).map(str::trim_start);
    let rest = behind_comma.unwrap_or(text);
    let behind_word = ["and", "or", "和", "或"].iter().find_map(|word| strip_word(rest, word)).map(str::trim_start);
    behind_word.or(behind_comma)
}
