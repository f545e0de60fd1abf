//! Compares letters that name options: `B`, `(b)`, `A and C`.

use std::borrow::Cow;

use crate::answer::comparison::Comparison;

/// Compares single letters or sets of letters when the options are unknown; a capital letter from A
/// to H counts as an option.
pub fn compare(gold: &str, prediction: &str) -> Option<Comparison> {
    if !gold.contains(|c: char| c.is_ascii_alphabetic()) || !prediction.contains(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    if let (Some(gold), Some(prediction)) = (several(gold), several(prediction)) {
        return Some(if gold == prediction {
            Comparison::equal("the same options")
        } else {
            Comparison::different("different options")
        });
    }
    let listed = |text: &str| several(text).is_some() && text.contains([' ', ',', ';']);
    let single = |text: &str| letter(text).is_some() && labelled(text).is_none();
    if listed(gold) && single(prediction) || single(gold) && listed(prediction) {
        return Some(Comparison::different("one option and several"));
    }
    let option = |text: &str| letter(text).filter(|letter| (b'A'..=b'H').contains(letter));
    let ours = option(gold)?;
    let theirs = letter(prediction)?;
    let capital = |text: &str, letter: u8| text.contains(char::from(letter));
    match ours == theirs {
        true if capital(gold, ours) || capital(prediction, theirs) => Some(Comparison::equal("the same letter")),
        false if capital(gold, ours) => Some(Comparison::different("different letters")),
        _ => None,
    }
}

/// Maximum length of an expression in which a letter is searched, in bytes.
const MAX_PRODUCT_BYTES: usize = 24;

/// Returns whether one answer is the letter of an unknown option, or several letters, and the other
/// is no letter at all.
pub fn letter_and_value(gold: &str, prediction: &str) -> bool {
    let option = |text: &str| {
        let capital = |letter: &u8| (b'A'..=b'H').contains(letter) && text.contains(char::from(*letter));
        letter(text).as_ref().is_some_and(capital) && labelled(text).is_none()
    };
    let lettered = |text: &str| text.contains(|c: char| c.is_ascii_alphabetic());
    // In `2B` the letter is a variable.
    let multiple = |ours: &str, theirs: &str| {
        theirs.len() <= MAX_PRODUCT_BYTES && letter(ours).is_some_and(|letter| theirs.contains(char::from(letter)))
    };
    let one_way = |ours: &str, theirs: &str| {
        option(ours) && letter(theirs).is_none() && !multiple(ours, theirs)
            || several(ours).is_some() && !lettered(theirs)
    };
    one_way(gold, prediction) || one_way(prediction, gold)
}

/// Returns the answer after the letter of its option: `18` for `(B) 18` and `B. 18`.
pub fn labelled(text: &str) -> Option<String> {
    let bare = without_faces(text);
    let (letter_of, rest) = split(&bare)?;
    let option = (b'A'..=b'H').contains(&letter_of) && bare.contains(char::from(letter_of));
    if !option {
        return None;
    }
    let marked = rest.strip_prefix([')', ']', '）', '】', '.', ':', '、', '。', '：'])?;
    let value = marked.trim_matches(|c: char| "}*$".contains(c) || c.is_whitespace());
    // Without braces that the letter opened.
    let opened = value.matches('{').count() == value.matches('}').count();
    let value = if opened { value } else { marked.trim_start_matches(['}', ' ', '*']).trim() };
    (value.contains(char::is_alphanumeric) && letter(value).is_none()).then(|| value.to_owned())
}

/// Returns the sorted letters of several options: `ABD`, `A, C`, `A and C`.
fn several(text: &str) -> Option<Vec<u8>> {
    // A byte of neither the letters nor of what joins them.
    if text.bytes().any(|byte| !(b'A'..=b'H').contains(&byte) && !b" ,;.()and\\text{}".contains(&byte)) {
        return None;
    }
    let plain = text.replace("\\text{ and }", " ").replace(" and ", " ");
    let separated = plain.contains([' ', ',', ';']);
    let mut letters: Vec<u8> = plain.bytes().filter(|byte| !b" ,;.()".contains(byte)).collect();
    let rising = letters.windows(2).all(|pair| pair[0] < pair[1]);
    letters.sort_unstable();
    let distinct = letters.windows(2).all(|pair| pair[0] != pair[1]);
    let options = letters.len() > 1 && distinct && letters.iter().all(|letter| (b'A'..=b'H').contains(letter));
    (options && (rising || separated)).then_some(letters)
}

/// Returns the upper-case letter that an answer consists of or starts with: `B`, `(b)`, `B.`, `B)
/// 12 cm`, `option B`, `选B`.
pub fn letter(text: &str) -> Option<u8> {
    split(&without_faces(text)).map(|(letter, _)| letter)
}

/// Drops the commands that set letters in a typeface.
fn without_faces(text: &str) -> Cow<'_, str> {
    const FACES: [&str; 5] = ["\\textbf", "\\textrm", "\\text", "\\mathrm", "\\mathbf"];
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    FACES.iter().fold(
        Cow::Borrowed(text),
        |bare, face| {
            if bare.contains(face) { Cow::Owned(bare.replace(face, "")) } else { bare }
        },
    )
}

/// Returns the upper-case letter at the start of an answer, and the text from its bracket or mark
/// on.
fn split(bare: &str) -> Option<(u8, &str)> {
    const LEADS: [&str; 11] =
        ["option", "Option", "OPTION", "choice", "Choice", "answer", "Answer", "选项", "选择", "选", "答案"];
    let wraps = |c: char| matches!(c, '{' | '}' | '$' | '*' | '"' | '\'' | '`') || c.is_whitespace();
    let mut text = bare.trim_matches(wraps);
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    for lead in LEADS {
        text = text.strip_prefix(lead).unwrap_or(text).trim_start_matches([' ', ':', '：']);
    }
    let bracketed = text.starts_with(['(', '[', '（', '【', '{']);
    let inside = text.trim_start_matches(['(', '[', '（', '【', '{', '*', ' ']);
    let first = inside.bytes().next().filter(u8::is_ascii_alphabetic)?;
    let rest = &inside[1..];
    let rest = rest.trim_start_matches('}').trim_start();
    // Letters in brackets may number the parts of an answer.
    let marks = |mark: &[char]| text.chars().filter(|c| mark.contains(c)).count() > 1;
    if bracketed && marks(&['(', '（']) && "abAB".contains(char::from(first)) && text.contains(['b', 'B']) {
        return None;
    }
    // After the letter comes nothing, a delimiter, or (for a capital letter) a capitalised word.
    let closed = bracketed && rest.starts_with([')', ']', '）', '】']);
    let marked = rest
        .strip_prefix(['.', ')', ':', '、', '。', '：'])
        .is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase()));
    let named = first.is_ascii_uppercase()
        && inside[1..].starts_with([' ', '\n'])
        && rest.starts_with(|c: char| c.is_ascii_uppercase());
    let foreign = rest.starts_with(|c: char| c.is_alphabetic() && !c.is_ascii());
    (matches!(rest, "" | ")") || closed || marked && first.is_ascii_uppercase() || named || foreign)
        .then(|| (first.to_ascii_uppercase(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_recognised_in_any_form() {
        for text in [
            "B",
            "(b)",
            "B.",
            "B) 12 cm",
            "(B) 12 cm",
            "option B",
            r"\text{B}",
            "选B",
            "B、菱形",
            "B Peter",
            "**B**",
            r"\mathbf{(B)}",
        ] {
            assert_eq!(letter(text), Some(b'B'), "{text}");
        }
        for text in ["Bob", "b cm", "12", "", "B*2", "A triangle", "b.c", "B,1", "C, D, E"] {
            assert_eq!(letter(text), None, "{text}");
        }
    }
}
