//! Numbers of statements: which of ①, ②, ③ hold. `①③`, `(1)(3)`, `1.3.` and `1, 3` are the same selection.

use super::numbered_parts::CIRCLED;
use crate::answer::comparison::Comparison;

/// How the numbers of a selection are written.
#[derive(Clone, Copy, PartialEq)]
enum Dress {
    /// In circles, or several in brackets.
    Marked,
    /// With a period after each.
    Dotted,
    /// With something else between them.
    Plain,
}

/// Numbers beyond this are no numbers of statements.
const MOST: usize = 20;

/// Compares two selections of which one is marked as such; nothing for other answers.
pub fn compare(gold: &str, prediction: &str) -> Option<Comparison> {
    let telling = |text: &str| text.contains(CIRCLED) || text.starts_with('(') || text.contains('.');
    if !telling(gold) && !telling(prediction) {
        return None;
    }
    let ((gold, expected), (prediction, given)) = match (selection(gold), selection(prediction)) {
        (Some(gold), Some(prediction)) => (gold, prediction),
        // (2)(3) is no product.
        (Some((Dress::Marked, _)), None) | (None, Some((Dress::Marked, _))) => {
            return Some(Comparison::undecided("numbers of statements and another kind of answer"));
        }
        _ => return None,
    };
    let same = expected == given;
    let marks = |dress, count| dress == Dress::Marked || dress == Dress::Dotted && count > 2;
    let sure = marks(gold, expected.len()) || marks(prediction, given.len());
    match same {
        true if sure || gold != prediction => Some(Comparison::equal("the same statements")),
        false if sure => Some(Comparison::different("other statements")),
        _ => None,
    }
}

/// The numbers, rising, and how they are written.
fn selection(text: &str) -> Option<(Dress, Vec<usize>)> {
    let mut numbers = Vec::new();
    let mut dress: Option<Dress> = None;
    let mut rest = text.trim_start_matches(separates);
    while let Some(character) = rest.chars().next() {
        let (number, found, after) = if let Some(place) = CIRCLED.iter().position(|mark| *mark == character) {
            (place + 1, Dress::Marked, &rest[character.len_utf8()..])
        } else if let Some((inside, after)) = rest.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
            (inside.trim().parse().ok()?, Dress::Marked, after)
        } else {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let after = &rest[length..];
            let found = if after.starts_with('.') { Dress::Dotted } else { Dress::Plain };
            if !after.is_empty() && !after.starts_with(['.', ',', ';', ' ', '\n']) {
                return None;
            }
            (rest[..length].parse().ok()?, found, after)
        };
        if !(1..=MOST).contains(&number) || numbers.len() == MOST {
            return None;
        }
        rest = after.trim_start_matches(separates);
        for joint in ["and ", "\\text{ and }"] {
            rest = rest.strip_prefix(joint).unwrap_or(rest).trim_start_matches(separates);
        }
        numbers.push(number);
        dress = match (dress, found) {
            (None, found) => Some(found),
            // The last period may be missing, or end the sentence.
            (Some(Dress::Dotted), Dress::Plain) if rest.is_empty() => Some(Dress::Dotted),
            (Some(Dress::Plain), Dress::Dotted) if rest.is_empty() => Some(Dress::Plain),
            (Some(before), found) if before == found => Some(found),
            _ => return None,
        };
    }
    let rising = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    numbers.sort_unstable();
    numbers.dedup();
    let dress = dress?;
    // One number in brackets may be any number; numbers that fall or repeat select nothing unless they are marked.
    let single = numbers.len() == 1 && text.starts_with('(');
    (!single && (rising || dress == Dress::Marked)).then_some((dress, numbers))
}

fn separates(character: char) -> bool {
    matches!(character, ' ' | ',' | ';' | '.' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::comparison::Outcome;

    #[test]
    fn a_selection_of_statements_is_the_same_in_any_dress() {
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
