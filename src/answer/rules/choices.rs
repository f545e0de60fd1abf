//! Compares multiple-choice answers: resolves both to an option, by letter or by text.

use super::free;
use super::letters::letter;
use super::words;
use crate::answer::comparison::{Comparison, Outcome};
use crate::answer::extract::{Method, extract, extract_for};
use crate::answer::spec::AnswerSpec;

/// Maximum length of a prediction that is only a refusal, in bytes.
const MAX_REFUSAL_BYTES: usize = 400;

/// Compares two answers as options. Returns `None` if the spec has no options or the expected
/// answer is not one of them.
pub fn compare(gold: &str, prediction: &str, spec: &AnswerSpec) -> Option<Comparison> {
    if spec.choices.is_empty() {
        return None;
    }
    let without_choices = AnswerSpec { choices: Vec::new(), ..spec.clone() };
    let literal = |text: &str| spec.choices.iter().position(|choice| choice.trim() == text.trim());
    let expected = literal(gold).or_else(|| option(&free::joined(extract(gold)), spec, &without_choices))?;
    if literal(prediction) == Some(expected) {
        return Some(Comparison::equal("the same option"));
    }
    let mut extraction = extract_for(prediction, spec);
    if extraction.method.is_fallback() {
        // A stated or sole answer overrides an option that is only mentioned.
        let free_answer = extract(prediction);
        let text = free::joined(free_answer.clone());
        let alone = free_answer.method == Method::WholeText
            && match free::compare(&spec.choices[expected], &text, &without_choices).outcome {
                Outcome::Different => true,
                Outcome::Undecided => letter(&text).is_some() || letter(&spec.choices[expected]).is_some(),
                Outcome::Equal => false,
            };
        if alone || !free_answer.method.is_fallback() && option(&text, spec, &without_choices).is_some() {
            extraction = free_answer;
        }
    }
    if extraction.parts.is_empty() {
        let short = prediction.len() <= MAX_REFUSAL_BYTES;
        let refused = short.then(|| words::closed_class(&spec.choices[expected], prediction)).flatten();
        return Some(refused.unwrap_or(Comparison::undecided("no option is chosen")));
    }
    let [part] = extraction.parts.as_slice() else {
        return Some(Comparison::undecided("several answers to a multiple-choice problem"));
    };
    if let Some(chosen) = option(part, spec, &without_choices) {
        // Two options of one problem may have the same text.
        let same = chosen == expected || spec.choices[chosen].trim() == spec.choices[expected].trim();
        return Some(if same {
            Comparison::equal("the same option")
        } else {
            Comparison::different("a different option")
        });
    }
    if letter(part).is_some() {
        return Some(Comparison::different("a letter without an option"));
    }
    if spec.choices.iter().all(|choice| letter(choice).is_some() && choice.trim().len() == 1) {
        return Some(Comparison::different("no option is chosen"));
    }
    let comparison = free::compare(&spec.choices[expected], part, &without_choices);
    Some(match comparison.outcome {
        Outcome::Different => Comparison::different("different from the text of the option"),
        // Otherwise the answer would have been resolved to the option.
        Outcome::Equal => Comparison::undecided("equal to several options"),
        Outcome::Undecided => comparison,
    })
}

/// Returns whether an expected answer is one of the options, by its letter or by its text.
pub fn is_option(gold: &str, spec: &AnswerSpec) -> bool {
    if spec.choices.is_empty() {
        return false;
    }
    let without_choices = AnswerSpec { choices: Vec::new(), ..spec.clone() };
    spec.choices.iter().any(|choice| choice.trim() == gold.trim())
        || option(&free::joined(extract(gold)), spec, &without_choices).is_some()
}

/// Resolves an answer to an option: by its letter, or by its text if exactly one option is equal to
/// it.
fn option(text: &str, spec: &AnswerSpec, without_choices: &AnswerSpec) -> Option<usize> {
    let count = spec.choices.len();
    if let Some(index) = letter(text).map(|letter| usize::from(letter - b'A')).filter(|index| *index < count) {
        return Some(index);
    }
    let text = text.trim();
    if let Some(index) = spec.choices.iter().position(|choice| choice.trim() == text) {
        return Some(index);
    }
    let answer = free::Prediction::new(text);
    let mut agreeing =
        (0..count).filter(|index| answer.compare(&spec.choices[*index], without_choices).outcome == Outcome::Equal);
    let first = agreeing.next()?;
    agreeing.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_resolved_to_options() {
        let spec =
            AnswerSpec { choices: ["135°", "140°", "145°"].map(str::to_owned).to_vec(), ..AnswerSpec::default() };
        let outcome = |gold, prediction| compare(gold, prediction, &spec).unwrap().outcome;
        assert_eq!(outcome("145°", "C"), Outcome::Equal);
        assert_eq!(outcome("C", "(C) 145°"), Outcome::Equal);
        assert_eq!(outcome("C", "145 degrees"), Outcome::Equal);
        assert_eq!(outcome("C", "A"), Outcome::Different);
        assert_eq!(outcome("C", "150°"), Outcome::Different);
    }
}
