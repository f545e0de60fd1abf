//! Reads a normalised text in every way that makes sense, and compares all pairs of readings.

use super::part_spec::PartSpec;
use super::shapes::compare_shapes;
use super::{combine, quantity, words};
use crate::answer::comparison::Comparison;
use crate::answer::grammar::{Commas, Shape, Unreadable, in_symbols, read, with_round_ends, without_ordinals};
use crate::answer::math::{Expr, Number};

/// The readings of a text.
pub type Readings = Result<Vec<Shape>, Unreadable>;

/// Compares each reading of one text with each reading of the other.
pub fn compare(gold: &str, prediction: &str, spec: &PartSpec<'_>) -> Comparison {
    compare_readings(&readings(gold), &readings(prediction), spec)
}

/// Compares each reading with each of the other text.
pub fn compare_readings(golds: &Readings, predictions: &Readings, spec: &PartSpec<'_>) -> Comparison {
    let (Ok(golds), Ok(predictions)) = (golds, predictions) else {
        return Comparison::undecided("larger or more deeply nested than an answer may be");
    };
    combine::any(
        golds.iter().flat_map(|gold| predictions.iter().map(|prediction| compare_shapes(gold, prediction, spec))),
    )
}

/// Returns the readings of a normalised text.
pub fn readings(text: &str) -> Readings {
    // Most answers are whole numbers; the grammar reads the same from them.
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Some(number) = Number::parse(text)
    {
        return Ok(vec![Shape::value(Expr::Number(number))]);
    }
    let rounded = with_round_ends(text);
    let text = unwrapped(rounded.as_deref().unwrap_or(text));
    if let Some(number) = words::number(text) {
        // "None" is zero, or an empty set.
        let words = text.eq_ignore_ascii_case("none").then(|| Shape::Words(text.to_owned()));
        return Ok([Shape::value(number)].into_iter().chain(words).collect());
    }
    let mut found = vec![read(text, Commas::Thousands, true)?];
    for text in [without_ordinals(text), in_symbols(text)].into_iter().flatten() {
        found.push(read(&text, Commas::Thousands, true)?);
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let between =
        |separator: u8| move |at: &usize| bytes[*at] == separator && *at > 0 && digit(at - 1) && digit(at + 1);
    let commas: Vec<usize> = (0..bytes.len()).filter(between(b',')).collect();
    if !commas.is_empty() || (0..bytes.len()).any(|at| between(b' ')(&at)) {
        found.push(read(text, Commas::Parts, true)?);
    }
    if let [comma] = commas[..]
        && !groups_thousands(bytes, comma)
        && !text.contains(['(', '[', '{'])
    {
        found.push(read(text, Commas::Point, true)?);
    }
    // `3m` is a length, or a multiple of a variable.
    if found.iter().any(quantity::may_be_variables) {
        let variables = read(text, Commas::Thousands, false)?;
        found.extend(Some(variables).filter(|shape| !matches!(shape, Shape::Words(_))));
    }
    // `160 to 165` is a ratio, or a range.
    if text.contains(" to ") {
        found.push(Shape::Words(text.to_owned()));
    }
    found.dedup();
    Ok(found)
}

/// Returns the inside of a text command that contains the whole answer, if it has a number:
/// `\text{6:00 PM}`.
fn unwrapped(text: &str) -> &str {
    let inside =
        ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"].iter().find_map(|face| text.trim().strip_prefix(face));
    let inside = inside.and_then(|inside| inside.strip_suffix('}'));
    inside
        .filter(|inside| !inside.contains(['{', '}']) && inside.contains(|c: char| c.is_ascii_digit()))
        .unwrap_or(text)
}

/// Returns whether a comma between digits can only group thousands: at most three digits precede it
/// and exactly three follow.
fn groups_thousands(bytes: &[u8], comma: usize) -> bool {
    let behind = bytes[comma + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let before = bytes[..comma].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    behind == 3 && before <= 3 && bytes[comma - before] != b'0'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_as_by_the_grammar() {
        for text in ["0", "7", "007", "1234", "123456789012345678901234567890"] {
            assert_eq!(readings(text), Ok(vec![read(text, Commas::Thousands, true).unwrap()]), "{text}");
        }
    }
}
