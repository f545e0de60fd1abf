//! Multiple choice: letters in any dress, and the texts of the options.

use std::borrow::Cow;

use super::{joined, plain};
use crate::answer::extract::{Found, extract, extract_for};
use crate::answer::{AnswerSpec, Comparison, Outcome};

/// Compares by options where the spec has some: both answers are resolved to an option, by letter or by what it says.
/// Nothing where the expected answer is no option.
pub fn compare(gold: &str, said: &str, spec: &AnswerSpec) -> Option<Comparison> {
    if spec.choices.is_empty() {
        return None;
    }
    let free = AnswerSpec { choices: Vec::new(), ..spec.clone() };
    let literal = |text: &str| spec.choices.iter().position(|choice| choice.trim() == text.trim());
    let expected = literal(gold).or_else(|| option(&joined(extract(gold)), spec, &free))?;
    if literal(said) == Some(expected) {
        return Some(Comparison::equal("the same option"));
    }
    let mut extraction = extract_for(said, spec);
    if extraction.found.is_fallback() {
        // What is stated or stands alone counts more than an option that is only mentioned.
        let free_answer = extract(said);
        let text = joined(free_answer.clone());
        let alone = free_answer.found == Found::Whole
            && plain(&spec.choices[expected], &text, &free).outcome == Outcome::Different;
        if alone || !free_answer.found.is_fallback() && option(&text, spec, &free).is_some() {
            extraction = free_answer;
        }
    }
    let [part] = extraction.parts.as_slice() else {
        return Some(Comparison::undecided("several answers for one choice"));
    };
    if let Some(chosen) = option(part, spec, &free) {
        // Two options of one problem may say the same.
        let same = chosen == expected || spec.choices[chosen].trim() == spec.choices[expected].trim();
        return Some(if same { Comparison::equal("the same option") } else { Comparison::different("another option") });
    }
    if spec.choices.iter().all(|choice| letter(choice).is_some() && choice.trim().len() == 1) {
        return Some(Comparison::different("no option is named"));
    }
    let finding = plain(&spec.choices[expected], part, &free);
    Some(match finding.outcome {
        Outcome::Different => Comparison::different("not what the option says"),
        _ => finding,
    })
}

/// The option that an answer names: by its letter, or, if it is the only one that agrees, by what it says.
fn option(text: &str, spec: &AnswerSpec, free: &AnswerSpec) -> Option<usize> {
    let count = spec.choices.len();
    if let Some(index) = letter(text).map(|letter| usize::from(letter - b'A')).filter(|index| *index < count) {
        return Some(index);
    }
    let text = text.trim();
    if let Some(index) = spec.choices.iter().position(|choice| choice.trim() == text) {
        return Some(index);
    }
    let mut agreeing = (0..count).filter(|index| plain(&spec.choices[*index], text, free).outcome == Outcome::Equal);
    let first = agreeing.next()?;
    agreeing.next().is_none().then_some(first)
}

/// Compares single letters or sets of letters where nothing is known of the options: a capital letter from A to H is taken
/// for a choice.
pub fn letters(gold: &str, said: &str) -> Option<Comparison> {
    if !gold.contains(|c: char| c.is_ascii_alphabetic()) || !said.contains(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    if let (Some(gold), Some(said)) = (several(gold), several(said)) {
        return Some(if gold == said {
            Comparison::equal("the same options")
        } else {
            Comparison::different("other options")
        });
    }
    let ours = letter(gold).filter(|letter| (b'A'..=b'H').contains(letter))?;
    let theirs = letter(said)?;
    let capital = |text: &str, letter: u8| text.contains(char::from(letter));
    match ours == theirs {
        true if capital(gold, ours) || capital(said, theirs) => Some(Comparison::equal("the same letter")),
        false if capital(gold, ours) => Some(Comparison::different("another letter")),
        _ => None,
    }
}

/// The letters of several options, rising: `ABD`, `A, C`, `A and C`.
fn several(text: &str) -> Option<Vec<u8>> {
    let plain = text.replace("\\text{ and }", " ").replace(" and ", " ");
    let separated = plain.contains([' ', ',', ';']);
    let mut letters: Vec<u8> = plain.bytes().filter(|byte| !b" ,;.()".contains(byte)).collect();
    let rising = letters.windows(2).all(|pair| pair[0] < pair[1]);
    letters.sort_unstable();
    let distinct = letters.windows(2).all(|pair| pair[0] != pair[1]);
    let options = letters.len() > 1 && distinct && letters.iter().all(|letter| (b'A'..=b'H').contains(letter));
    (options && (rising || separated)).then_some(letters)
}

/// The letter of an answer that is one, upper case: `B`, `(b)`, `B.`, `B) 12 cm`, `option B`, `选B`.
fn letter(text: &str) -> Option<u8> {
    const FACES: [&str; 5] = ["\\textbf", "\\textrm", "\\text", "\\mathrm", "\\mathbf"];
    let mut bare = Cow::Borrowed(text);
    for face in FACES.iter().filter(|_| text.contains('\\')) {
        bare = Cow::Owned(bare.replace(face, ""));
    }
    let mut text = bare.trim().trim_matches(|c: char| "{}$*\"'`".contains(c) || c.is_whitespace());
    for lead in ["option", "Option", "OPTION", "choice", "Choice", "answer", "Answer", "选项", "选择", "选", "答案"]
    {
        text = text.strip_prefix(lead).unwrap_or(text).trim_start_matches([' ', ':', '：']);
    }
    let bracketed = text.starts_with(['(', '[', '（', '【', '{']);
    let inside = text.trim_start_matches(['(', '[', '（', '【', '{', '*', ' ']);
    let first = inside.bytes().next().filter(u8::is_ascii_alphabetic)?;
    let rest = &inside[1..];
    let rest = rest.trim_start_matches('}').trim_start();
    // Parts of an answer may be lettered as options are.
    let marks = |mark: &[char]| text.chars().filter(|c| mark.contains(c)).count() > 1;
    if bracketed && marks(&['(', '（']) && "abAB".contains(char::from(first)) && text.contains(['b', 'B']) {
        return None;
    }
    // What follows the letter: nothing, a mark that sets it off, or (for a capital) a word that begins with one.
    let closed = bracketed && rest.starts_with([')', ']', '）', '】']);
    let marked = rest
        .strip_prefix(['.', ')', ':', '、', '。', '：'])
        .is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase()));
    let named = first.is_ascii_uppercase()
        && inside[1..].starts_with([' ', '\n'])
        && rest.starts_with(|c: char| c.is_ascii_uppercase());
    let foreign = rest.starts_with(|c: char| c.is_alphabetic() && !c.is_ascii());
    (rest.is_empty() || closed || marked && first.is_ascii_uppercase() || named || foreign)
        .then(|| first.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_recognised_in_any_dress() {
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

    #[test]
    fn answers_are_resolved_to_options() {
        let spec =
            AnswerSpec { choices: ["135°", "140°", "145°"].map(str::to_owned).to_vec(), ..AnswerSpec::default() };
        let outcome = |gold, said| compare(gold, said, &spec).unwrap().outcome;
        assert_eq!(outcome("145°", "C"), Outcome::Equal);
        assert_eq!(outcome("C", "(C) 145°"), Outcome::Equal);
        assert_eq!(outcome("C", "145 degrees"), Outcome::Equal);
        assert_eq!(outcome("C", "A"), Outcome::Different);
        assert_eq!(outcome("C", "150°"), Outcome::Different);
    }
}
