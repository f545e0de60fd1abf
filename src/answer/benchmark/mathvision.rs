//! MATH-Vision's rule: equal texts in lower case, equal tuples, or equal values to two decimals.

use std::borrow::Cow;

use super::{latex, python};
use crate::compat::text::strip;

/// Maximum length of an answer that is evaluated, in bytes.
const MAX_BYTES: usize = 4096;

/// Returns whether MATH-Vision counts the extracted answer `prediction` as correct. If `gold` is a
/// letter of `choices`, the text of its option counts as well.
///
/// ```
/// use mmprm::answer::benchmark::mathvision;
/// let choices = ["$\\frac{1}{3}$".to_owned(), "$3$".to_owned()];
/// assert!(mathvision("A", "a", &choices));
/// assert!(mathvision("A", "0.33", &choices));
/// assert!(!mathvision("A", "3", &choices));
/// ```
pub fn mathvision(gold: &str, prediction: &str, choices: &[String]) -> bool {
    let mut characters = gold.chars();
    let letter = characters.next().filter(|_| characters.next().is_none());
    let place = letter.and_then(|letter| (letter as usize).checked_sub('A' as usize));
    let option = place.and_then(|place| choices.get(place));
    is_equal(gold, prediction) || option.is_some_and(|option| is_equal(option, prediction))
}

/// MATH-Vision's `is_equal`.
fn is_equal(gold: &str, prediction: &str) -> bool {
    let (gold, prediction) = (gold.to_lowercase(), prediction.to_lowercase());
    let (bare_gold, bare_said) = (strip(&gold), strip(&prediction));
    if bare_gold.is_empty() || bare_said.is_empty() {
        return false;
    }
    if bare_gold == bare_said {
        return true;
    }
    if gold.len() > MAX_BYTES || prediction.len() > MAX_BYTES {
        return false;
    }
    let (gold, prediction) = (evaluated_tuple(&gold), evaluated_tuple(&prediction));
    gold == prediction
        || rounded(&gold)
            .zip(rounded(&prediction))
            .is_some_and(|(gold, prediction)| gold.total_cmp(&prediction).is_eq())
}

/// Rounds the value to two decimals, without a negative zero.
fn rounded(text: &str) -> Option<f64> {
    latex::value(text).map(|value| python::round(value.number, 2) + 0.0)
}

/// MATH-Vision's `eval_tuple`: replaces each element of a tuple or list by its value as Python
/// prints it. Any other text stays.
fn evaluated_tuple(text: &str) -> Cow<'_, str> {
    for (open, close) in [('(', ')'), ('[', ']')] {
        let inside = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        if let Some(elements) = inside.filter(|inside| inside.contains(',')) {
            let values: Option<Vec<String>> = elements.split(',').map(element).collect();
            return values
                .map_or(Cow::Borrowed(text), |values| Cow::Owned(format!("{open}{}{close}", values.join(","))));
        }
    }
    Cow::Borrowed(text)
}

fn element(text: &str) -> Option<String> {
    if text.contains("infty") || text == "a" || text == "-a" {
        return Some(text.to_owned());
    }
    let value = latex::value(text)?;
    if value.is_integer() {
        return python::int_text(value.number.round());
    }
    Some(python::float_text(python::round(value.number, 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn the_letter_or_the_options_text_or_value_counts() {
        let choices = choices(&["$2\\sqrt{5}$", "7 cm", "$1: 4$"]);
        for (gold, prediction) in [("A", "a"), ("A", "2\\sqrt{5}"), ("A", "4.47"), ("B", "7 CM"), ("C", "\\frac{1}{4}")]
        {
            assert!(mathvision(gold, prediction, &choices), "{gold} {prediction}");
        }
        for (gold, prediction) in [("A", "b"), ("B", "7"), ("C", "4"), ("C", ""), ("Z", "a")] {
            assert!(!mathvision(gold, prediction, &choices), "{gold} {prediction}");
        }
    }

    #[test]
    fn values_are_compared_to_two_decimals() {
        assert!(mathvision("0.3333", "\\frac{1}{3}", &[]));
        assert!(mathvision("9.0", "9", &[]));
        assert!(mathvision("6", "6.thatisall", &[]));
        assert!(!mathvision("0.34", "\\frac{1}{3}", &[]));
        assert!(!mathvision("x+1", "1+x", &[]));
    }

    #[test]
    fn tuples_are_equal_element_by_element() {
        assert!(mathvision("(1,\\frac{1}{2})", "(1,0.5)", &[]));
        assert!(mathvision("[\\infty,4]", "[\\infty,2+2]", &[]));
        assert!(!mathvision("(1,2)", "[1,2]", &[]));
        assert!(!mathvision("(1,2)", "(2,1)", &[]));
    }
}
