//! The question of a record as the model sees it: with its options, as the benchmark that names them so shows them.
//!
//! * `choices`, as `MathVista`: a line `Choices:` and a line for each (`create_one_query` of lupantech/MathVista,
//!   `evaluation/build_query.py`).
//! * `options`, as MATH-Vision: a line for each, and nothing where they are only their letters, which the image shows
//!   (mathllm/MATH-V, `models/GPT4V.py`).
//!
//! Options that the question's text has already are not repeated. Comparing answers with options is left to
//! [`answer`](crate::answer).

use serde_json::{Map, Value};

/// Returns `question`, followed by the options of its record.
///
/// ```
/// use mmprm::data::question::with_options;
/// let record = serde_json::json!({"options": ["3 cm", "4 cm"]});
/// assert_eq!(with_options("How long?", record.as_object().unwrap()), "How long?\n(A) 3 cm\n(B) 4 cm");
/// ```
pub fn with_options(question: &str, record: &Map<String, Value>) -> String {
    let list = |name: &str| record.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    let (heading, options) = match (list("choices"), list("options")) {
        (Some(choices), _) => ("\nChoices:", choices),
        (None, Some(options)) => ("", options),
        (None, None) => return question.to_owned(),
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
    let options: Vec<String> = options.iter().map(text).collect();
    let lettered = || ('A'..='Z').zip(&options);
    let is_letter = |(letter, option): (char, &String)| option.trim_matches(['(', ')', '.']) == letter.to_string();
    let is_shown = |(letter, _): (char, &String)| has_mark(question, letter);
    if options.len() > 26 || lettered().all(is_letter) || lettered().all(is_shown) {
        return question.to_owned();
    }
    let has_own_mark = lettered().all(|(letter, option)| mark_at(option, letter));
    let mut shown = format!("{question}{heading}");
    for (letter, option) in lettered() {
        let line = if has_own_mark { option.clone() } else { format!("({letter}) {option}") };
        shown.extend(["\n", &line]);
    }
    shown
}

/// Whether a text has the mark of an option: `(A)`, `A.`, `A)`, `A:` or `A、`.
fn has_mark(text: &str, letter: char) -> bool {
    let begins_word = |at: usize| !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '\\');
    text.char_indices().any(|(at, _)| begins_word(at) && mark_at(&text[at..], letter))
}

/// Whether a text begins with the mark of an option.
fn mark_at(text: &str, letter: char) -> bool {
    let marks = |rest: &str| rest.starts_with(['.', ')', ':', '、', '．', '）', '：']);
    if let Some(rest) = text.strip_prefix(['(', '（']) {
        return rest.strip_prefix(letter).is_some_and(|rest| rest.starts_with([')', '）']));
    }
    text.strip_prefix(letter).is_some_and(marks)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(question: &str, record: &Value) -> String {
        with_options(question, record.as_object().unwrap())
    }

    #[test]
    fn choices_are_shown_as_mathvista_and_options_as_math_vision_shows_them() {
        assert_eq!(shown("q", &json!({"choices": ["3/11", 8]})), "q\nChoices:\n(A) 3/11\n(B) 8");
        assert_eq!(shown("q", &json!({"options": ["red", "blue "]})), "q\n(A) red\n(B) blue");
        assert_eq!(shown("q", &json!({"choices": [], "options": ["1"]})), "q\n(A) 1");
        for none in [json!({}), json!({"choices": null, "options": []}), json!({"options": ["A", "B", "C"]})] {
            assert_eq!(shown("q", &none), "q");
        }
    }

    #[test]
    fn options_that_the_question_has_are_not_repeated() {
        for question in ["Which? (A) 1 (B) 2", "Which?\nA. 1\nB. 2", "哪个？A、1 B、2", "Which? A: 1, B: 2"] {
            assert_eq!(shown(question, &json!({"choices": ["1", "2"]})), question);
        }
        assert_eq!(shown("From (A) to B?", &json!({"options": ["1", "2"]})), "From (A) to B?\n(A) 1\n(B) 2");
        assert_eq!(shown("In MATLAB. Who?", &json!({"options": ["A. 1", "B. 2"]})), "In MATLAB. Who?\nA. 1\nB. 2");
    }
}
