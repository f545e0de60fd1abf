//! Reads ordinal numbers as their number: `12th`, `12^{\text{th}}`, `第12`.

/// Endings of ordinal numbers, the longer of two first.
const ENDINGS: [&str; 5] = ["ths", "th", "st", "nd", "rd"];

/// What may stand between the digits and the ending.
const OPENERS: [&str; 9] = ["^", "{", "-", " ", "\\textsuperscript", "\\textrm", "\\text", "\\mathrm", "\\mbox"];

/// Maximum number of openers.
const MAX_OPENERS: usize = 6;

/// Returns a normalised text without the endings of its ordinal numbers; `None` if it has none.
pub fn without_ordinals(text: &str) -> Option<String> {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bare = text.strip_prefix("the ").or_else(|| text.strip_prefix("The ")).unwrap_or(text);
    let counted = bare.strip_prefix('第').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let mut rest = counted.unwrap_or(bare);
    let mut result = String::with_capacity(rest.len());
    let mut found = counted.is_some();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(at + digits);
        result.push_str(number);
        rest = after;
        if let Some(after) = ending(&number[at..], after) {
            rest = after;
            found = true;
        }
    }
    result.push_str(rest);
    found.then_some(result)
}

/// Returns the text after the ending that belongs to these digits.
fn ending<'a>(digits: &str, after: &'a str) -> Option<&'a str> {
    let (mut rest, mut braces) = (after, 0);
    for _ in 0..MAX_OPENERS {
        let Some((opener, inside)) = OPENERS.iter().find_map(|opener| Some((*opener, rest.strip_prefix(opener)?)))
        else {
            break;
        };
        braces += usize::from(opener == "{");
        rest = inside;
    }
    let (name, mut rest) = ENDINGS.iter().find_map(|name| Some((*name, rest.strip_prefix(name)?)))?;
    let teen = digits.len() > 1 && digits.as_bytes()[digits.len() - 2] == b'1';
    let expected = match digits.as_bytes().last()? {
        b'1' if !teen => "st",
        b'2' if !teen => "nd",
        b'3' if !teen => "rd",
        _ => "th",
    };
    if name != expected && name != "ths" || rest.starts_with(|c: char| c.is_alphanumeric() || "_^(".contains(c)) {
        return None;
    }
    for _ in 0..braces {
        rest = rest.trim_start().strip_prefix('}')?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_dropped_if_they_belong_to_the_number() {
        for (text, expected) in [
            ("12th", "12"),
            ("21st and 22nd", "21 and 22"),
            (r"3^{\text{rd}}", "3"),
            (r"11^{th} day", "11 day"),
            ("12-th", "12"),
            ("3/5ths", "3/5"),
            ("the 1st", "1"),
        ] {
            assert_eq!(without_ordinals(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["12", "12st", "3nd", "2thx", "th", "x^{th}", "11st", "4th_1"] {
            assert_eq!(without_ordinals(text), None, "{text}");
        }
    }
}
