//! `MathVista`'s rule: normalises an extracted answer and compares it as text.

use super::python;
use crate::answer::spec::{AnswerSpec, AnswerType, Precision};
use crate::compat::text::strip;

/// Maximum length of a prediction and of an option in the edit distance, in characters. Real
/// answers and options are far shorter; the limits bound the time for malicious ones.
const MAX_CHARACTERS: (usize, usize) = (4096, 512);

/// Returns whether `MathVista` counts the extracted answer `prediction` as correct.
///
/// ```
/// use mmprm::answer::{AnswerSpec, AnswerType, benchmark};
/// let spec = AnswerSpec { answer_type: Some(AnswerType::Integer), ..AnswerSpec::default() };
/// assert!(benchmark::mathvista("14", "14.6", &spec));
/// assert!(!benchmark::mathvista("14", "14 cm", &spec));
/// ```
pub fn mathvista(gold: &str, prediction: &str, spec: &AnswerSpec) -> bool {
    normalize(prediction, spec).is_some_and(|normal| normal == gold)
}

/// Normalises an extracted answer, as `MathVista`'s `normalize_extracted_answer` does.
///
/// With options, returns the text of the option that the answer's letter names, or that has the
/// smallest edit distance. Integers and decimals take the form that Python prints; lists and free
/// text stay unchanged. Returns `None` where Python raises an error.
pub fn normalize(prediction: &str, spec: &AnswerSpec) -> Option<String> {
    if !spec.choices.is_empty() {
        return Some(chosen_option(strip(prediction), &spec.choices).to_owned());
    }
    match spec.answer_type {
        Some(AnswerType::Integer) => python::int_text(python::float(prediction)?),
        Some(AnswerType::Float) => {
            let value = python::float(prediction)?;
            match spec.precision {
                Some(Precision::Decimals(decimals)) => Some(python::float_text(python::round(value, decimals))),
                Some(Precision::Within(_)) => None,
                None => python::rounded_int_text(value),
            }
        }
        Some(AnswerType::List | AnswerType::Text) | None => Some(prediction.to_owned()),
    }
}

/// Returns the option that an answer chooses.
fn chosen_option<'a>(prediction: &str, choices: &'a [String]) -> &'a str {
    let bracketed = prediction
        .as_bytes()
        .windows(3)
        .find(|three| three[0] == b'(' && three[1].is_ascii_alphabetic() && three[2] == b')');
    let letter = match bracketed {
        Some(three) => Some(three[1].to_ascii_uppercase() as char),
        None => Some(prediction)
            .and_then(|prediction| prediction.chars().next().filter(|first| first.len_utf8() == prediction.len())),
    };
    let place = letter.and_then(|letter| (letter as usize).checked_sub('A' as usize));
    if let Some(choice) = place.and_then(|place| choices.get(place)) {
        return choice;
    }
    let bracketed = bracketed.and(letter).map(String::from);
    let prediction: Vec<char> = bracketed.as_deref().unwrap_or(prediction).chars().take(MAX_CHARACTERS.0).collect();
    let nearest = choices.iter().min_by_key(|choice| distance(&prediction, choice));
    nearest.map_or("", String::as_str)
}

/// Returns the Levenshtein distance.
fn distance(prediction: &[char], choice: &str) -> usize {
    let choice: Vec<char> = choice.chars().take(MAX_CHARACTERS.1).collect();
    let mut row: Vec<usize> = (0..=choice.len()).collect();
    for (at, character) in prediction.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in choice.iter().enumerate() {
            let replaced = diagonal + usize::from(character != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[choice.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(texts: &[&str]) -> AnswerSpec {
        AnswerSpec { choices: texts.iter().map(|&text| text.to_owned()).collect(), ..AnswerSpec::default() }
    }

    fn numeric(answer_type: AnswerType, precision: Option<Precision>) -> AnswerSpec {
        AnswerSpec { answer_type: Some(answer_type), precision, ..AnswerSpec::default() }
    }

    #[test]
    fn a_letter_names_its_option() {
        let spec = choices(&["red", "green", "blue"]);
        for (prediction, text) in [("B", "green"), (" C ", "blue"), ("it is (c) red", "blue"), ("(a) or (b)", "red")] {
            assert_eq!(normalize(prediction, &spec).as_deref(), Some(text), "{prediction}");
        }
    }

    #[test]
    fn other_text_chooses_the_nearest_option_and_the_first_on_ties() {
        let spec = choices(&["red", "green", "blue"]);
        for (prediction, text) in [("greenish", "green"), ("b", "red"), ("", "red"), ("(Z)", "red"), ("blau", "blue")] {
            assert_eq!(normalize(prediction, &spec).as_deref(), Some(text), "{prediction}");
        }
        assert_eq!(normalize("3\u{b0}", &choices(&["30", "3\u{2033}"])).as_deref(), Some("30"));
    }

    #[test]
    fn numbers_take_the_form_that_python_prints() {
        let integer = numeric(AnswerType::Integer, None);
        assert_eq!(normalize("-3.9", &integer).as_deref(), Some("-3"));
        assert_eq!(normalize("three", &integer), None);
        assert_eq!(normalize("inf", &integer), None);
        let float = numeric(AnswerType::Float, Some(Precision::Decimals(2)));
        assert_eq!(normalize("2.675", &float).as_deref(), Some("2.67"));
        assert_eq!(normalize("4", &float).as_deref(), Some("4.0"));
        assert_eq!(normalize("2.5", &numeric(AnswerType::Float, None)).as_deref(), Some("2"));
        assert_eq!(normalize("1", &numeric(AnswerType::Float, Some(Precision::Within(vec![0.5])))), None);
    }

    #[test]
    fn lists_and_texts_are_compared_as_they_are() {
        assert!(mathvista("[1, 2]", "[1, 2]", &numeric(AnswerType::List, None)));
        assert!(!mathvista("[1, 2]", "[1,2]", &numeric(AnswerType::List, None)));
        assert!(mathvista("oak", "oak", &AnswerSpec::default()));
    }
}
