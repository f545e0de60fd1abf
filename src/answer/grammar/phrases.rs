//! Rewrites phrases that describe a range or a condition as symbols: "x is at least 2", "between 1
//! and 5 inclusive", "all real numbers except 3".

use std::borrow::Cow;

use crate::answer::byte_pairs::BytePairs;

/// Phrases for relations, a longer one before those that it contains.
const RELATIONS: [(&str, &str); 33] = [
    ("is greater than or equal to", ">="),
    ("greater than or equal to", ">="),
    ("is less than or equal to", "<="),
    ("less than or equal to", "<="),
    ("is strictly greater than", ">"),
    ("is strictly less than", "<"),
    ("is not less than", ">="),
    ("is not greater than", "<="),
    ("is no less than", ">="),
    ("is no more than", "<="),
    ("is at least", ">="),
    ("is at most", "<="),
    ("is greater than", ">"),
    ("is larger than", ">"),
    ("is more than", ">"),
    ("is less than", "<"),
    ("is smaller than", "<"),
    ("is not equal to", "!="),
    ("does not equal", "!="),
    ("not equal to", "!="),
    ("is an element of", "\\in "),
    ("is in the interval", "\\in "),
    ("lies in", "\\in "),
    ("is in", "\\in "),
    ("belongs to", "\\in "),
    ("大于等于", ">="),
    ("大于或等于", ">="),
    ("不小于", ">="),
    ("小于等于", "<="),
    ("小于或等于", "<="),
    ("不大于", "<="),
    ("不等于", "!="),
    ("属于", "\\in "),
];

/// Shorter Chinese phrases, replaced after the others.
const SHORT: [(&str, &str); 2] = [("大于", ">"), ("小于", "<")];

/// Names of sets of real numbers, and the sets.
const REALS: [(&str, &str); 12] = [
    ("\\mathbb{R}^{+}", "(0,\\infty)"),
    ("\\mathbb{R}^+", "(0,\\infty)"),
    ("\\mathbb{R}_{+}", "(0,\\infty)"),
    ("\\mathbb{R}_+", "(0,\\infty)"),
    ("\\mathbb{R}_{>0}", "(0,\\infty)"),
    ("\\mathbb{R}_{> 0}", "(0,\\infty)"),
    ("\\mathbb{R}_{>=0}", "[0,\\infty)"),
    ("\\mathbb{R}_{>= 0}", "[0,\\infty)"),
    ("\\mathbb{R}^{-}", "(-\\infty,0)"),
    ("\\mathbb{R}^-", "(-\\infty,0)"),
    ("\\mathbb{R}^{*}", "(-\\infty,0)\\cup(0,\\infty)"),
    ("\\mathbb{R}^*", "(-\\infty,0)\\cup(0,\\infty)"),
];

/// Phrases for all real numbers but those that follow.
const EXCEPT: [&str; 10] = [
    "all real numbers except for",
    "all real numbers except",
    "all real numbers other than",
    "all real numbers but",
    "all reals except",
    "any real number except",
    "every real number except",
    "\\mathbb{R} except",
    "R except",
    "reals except",
];

/// Maximum length of a text with such a phrase, in bytes.
const MAX_BYTES: usize = 400;

/// Returns a normalised text with its phrases in symbols; `None` if it has none.
pub fn in_symbols(text: &str) -> Option<String> {
    if text.len() > MAX_BYTES || !text.contains(|c: char| c.is_alphabetic()) {
        return None;
    }
    excluded(text).or_else(|| between(text)).or_else(|| related(text))
}

/// Rewrites intervals with outward brackets, `]0, 1[` and `[0, 1[`, with round ones.
pub fn with_round_ends(text: &str) -> Option<String> {
    let brackets: Vec<usize> = text.match_indices(['[', ']']).map(|(at, _)| at).collect();
    if brackets.is_empty() || !brackets.len().is_multiple_of(2) || text.len() > MAX_BYTES {
        return None;
    }
    let mut result = text.to_owned();
    let mut changed = false;
    for pair in brackets.chunks(2) {
        let inside = &text[pair[0] + 1..pair[1]];
        if inside.matches([',', ';']).count() != 1 {
            return None;
        }
        for (at, outward, round) in [(pair[0], "]", "("), (pair[1], "[", ")")] {
            if text[at..].starts_with(outward) {
                result.replace_range(at..=at, round);
                changed = true;
            }
        }
    }
    changed.then_some(result)
}

/// Reads "all real numbers except a and b".
fn excluded(text: &str) -> Option<String> {
    let worded = text.contains('\\') && text.contains("\\text{");
    let plain = if worded { text.replace("\\text{", "").replace('}', " ").into() } else { Cow::Borrowed(text) };
    let plain = plain.trim();
    let points = EXCEPT.iter().find_map(|phrase| strip_caseless(plain, phrase))?.trim().trim_end_matches('.');
    let points = points.replace("x=", "").replace("x =", "").replace(" and ", ",").replace(" or ", ",");
    points.contains(|c: char| c.is_ascii_digit()).then(|| format!("\\mathbb{{R}}\\setminus\\{{{points}\\}}"))
}

/// Reads "between a and b, inclusive" and "from a to b inclusive". Without "inclusive" or
/// "exclusive" the ends are unknown.
fn between(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('.');
    let (rest, closed) = [("exclusive", false), ("inclusive", true), ("(inclusive)", true), ("(exclusive)", false)]
        .iter()
        .find_map(|(word, closed)| Some((text.strip_suffix(word)?, *closed)))?;
    let rest =
        rest.find("between ").filter(|at| *at < 12 && rest[..*at].contains(" is")).map_or(rest, |at| &rest[at..]);
    let rest = rest.trim_end_matches([' ', ',']);
    let (low, high) = [("between ", " and "), ("from ", " to ")]
        .iter()
        .find_map(|(start, middle)| strip_caseless(rest, start)?.split_once(middle))?;
    let (open, close) = if closed { ('[', ']') } else { ('(', ')') };
    Some(format!("{open}{low},{high}{close}"))
}

/// Replaces phrases for relations.
fn related(text: &str) -> Option<String> {
    let mut result = Cow::Borrowed(text);
    if text.contains('&') && !text.contains("\\begin") {
        result = result.replace("&&", " & ").replace(" & ", "\\text{ and }").into();
    }
    if text.contains('\\') && text.contains("\\mathbb") {
        for (name, set) in REALS {
            result = result.replace(name, set).into();
        }
    }
    // A replacement never completes another phrase.
    let pairs = BytePairs::of(text);
    for (phrase, sign) in RELATIONS.iter().chain(&SHORT).filter(|(phrase, _)| pairs.may_hold(phrase)) {
        if result.contains(phrase) {
            let plain = result.replace(&format!("\\text{{ {phrase} }}"), sign);
            result = plain.replace(&format!("\\text{{{phrase}}}"), sign).replace(phrase, sign).into();
        }
    }
    (result != text).then(|| result.into_owned())
}

fn strip_caseless<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_become_symbols() {
        for (text, expected) in [
            ("x is at least 2", "x >= 2"),
            (r"x\text{ is in }[1,2]", r"x\in [1,2]"),
            ("x大于等于2", "x>=2"),
            ("between 1 and 5, inclusive", "[1,5]"),
            ("from 1 to 5 exclusive", "(1,5)"),
            ("All real numbers except 1 and 2.", r"\mathbb{R}\setminus\{ 1,2\}"),
        ] {
            let found = in_symbols(text).unwrap_or_default();
            assert_eq!(found.replace(' ', ""), expected.replace(' ', ""), "{text}");
        }
        for text in ["12", "between 1 and 5", "x = 3", "the larger one"] {
            assert_eq!(in_symbols(text), None, "{text}");
        }
    }
}
