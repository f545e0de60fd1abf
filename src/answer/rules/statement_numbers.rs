//! Compares selections of numbered statements (which of ①, ②, ③ hold): `①③`, `(1)(3)`, `1.3.` and
//! `1, 3` are the same selection.

use super::numbered_parts::CIRCLED;
use crate::answer::comparison::Comparison;

/// The notation of the numbers.
#[derive(Clone, Copy, PartialEq)]
enum Notation {
    /// Circled, or several in brackets.
    Marked,
    /// With a period after each.
    Dotted,
    /// With something else between them.
    Plain,
}

/// Maximum statement number, and maximum count.
const MAX_STATEMENTS: usize = 20;

/// Compares two selections if at least one is in an unambiguous notation; `None` for other answers.
pub fn compare(gold: &str, prediction: &str) -> Option<Comparison> {
    let telling = |text: &str| text.contains(CIRCLED) || text.starts_with('(') || text.contains('.');
    if !telling(gold) && !telling(prediction) {
        return None;
    }
    let ((gold, expected), (prediction, given)) = match (selection(gold), selection(prediction)) {
        (Some(gold), Some(prediction)) => (gold, prediction),
        // (2)(3) is not a product.
        (Some((Notation::Marked, _)), None) | (None, Some((Notation::Marked, _))) => {
            return Some(Comparison::undecided("statement numbers and another kind of answer"));
        }
        _ => return None,
    };
    let same = expected == given;
    let marks = |notation, count| notation == Notation::Marked || notation == Notation::Dotted && count > 2;
    let sure = marks(gold, expected.len()) || marks(prediction, given.len());
    match same {
        true if sure || gold != prediction => Some(Comparison::equal("the same statements")),
        false if sure => Some(Comparison::different("different statements")),
        _ => None,
    }
}

/// Returns the notation and the sorted numbers.
fn selection(text: &str) -> Option<(Notation, Vec<usize>)> {
    let mut numbers = Vec::new();
    let mut notation: Option<Notation> = None;
    let mut rest = text.trim_start_matches(separates);
    while let Some(character) = rest.chars().next() {
        let (number, found, after) = if let Some(place) = CIRCLED.iter().position(|mark| *mark == character) {
            (place + 1, Notation::Marked, &rest[character.len_utf8()..])
        } else if let Some((inside, after)) = rest.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
            (inside.trim().parse().ok()?, Notation::Marked, after)
        } else {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let after = &rest[length..];
            let found = if after.starts_with('.') { Notation::Dotted } else { Notation::Plain };
            if !after.is_empty() && !after.starts_with(['.', ',', ';', ' ', '\n']) {
                return None;
            }
            (rest[..length].parse().ok()?, found, after)
        };
        if !(1..=MAX_STATEMENTS).contains(&number) || numbers.len() == MAX_STATEMENTS {
            return None;
        }
        rest = after.trim_start_matches(separates);
        for joint in ["and ", "\\text{ and }"] {
            rest = rest.strip_prefix(joint).unwrap_or(rest).trim_start_matches(separates);
        }
        numbers.push(number);
        notation = match (notation, found) {
            (None, found) => Some(found),
            // The last period may be missing, or end the sentence.
            (Some(Notation::Dotted), Notation::Plain) if rest.is_empty() => Some(Notation::Dotted),
            (Some(Notation::Plain), Notation::Dotted) if rest.is_empty() => Some(Notation::Plain),
            (Some(before), found) if before == found => Some(found),
            _ => return None,
        };
    }
    let rising = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    numbers.sort_unstable();
    numbers.dedup();
    let notation = notation?;
    // A single number in brackets may be any number. Decreasing or repeated numbers are a selection
    // only if marked.
    let single = numbers.len() == 1 && text.starts_with('(');
    (!single && (rising || notation == Notation::Marked)).then_some((notation, numbers))
}

fn separates(character: char) -> bool {
    matches!(character, ' ' | ',' | ';' | '.' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::comparison::Outcome;

    #[test]
    fn a_selection_of_statements_is_the_same_in_any_notation() {
        let outcome = |gold, prediction| compare(gold, prediction).map(|comparison| comparison.outcome);
        for prediction in ["①③④", "①, ③, ④", "④③①", "(1)(3)(4)", "(1), (3), (4)", "1.3.4.", "1, 3, 4", "1, 3 and 4"]
        {
            assert_eq!(outcome("①③④", prediction), Some(Outcome::Equal), "{prediction}");
        }
        assert_eq!(outcome("①③④", "①③"), Some(Outcome::Different));
        assert_eq!(outcome("1.3.4.", "1, 3"), Some(Outcome::Different));
        for (gold, prediction) in [("1.4", "1.5"), ("1.4.", "1.4"), ("(3)", "3"), ("1, 3", "1, 4"), ("①3②5", "①3②6")]
        {
            assert_eq!(outcome(gold, prediction), None, "{gold} and {prediction}");
        }
    }
}
