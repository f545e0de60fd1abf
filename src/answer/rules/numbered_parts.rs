//! Compares answers in numbered parts: `① 3 ② 5`, `(1) 3; (2) 5`.

use super::part_spec::PartSpec;
use super::{combine, readings};
use crate::answer::comparison::Comparison;

/// Circled digits, which number parts or statements.
pub const CIRCLED: [char; 10] = ['①', '②', '③', '④', '⑤', '⑥', '⑦', '⑧', '⑨', '⑩'];

const ROMAN: [&str; 6] = ["i", "ii", "iii", "iv", "v", "vi"];

/// Compares part by part if both texts number their parts, or if one does and the other lists
/// equally many.
pub fn compare(gold: &str, prediction: &str, spec: &PartSpec<'_>) -> Option<Comparison> {
    let (gold, prediction) = match (split(gold), split(prediction)) {
        (Some(gold), Some(prediction)) => (gold, prediction),
        (Some(gold), None) => (gold, listed(prediction)),
        (None, Some(prediction)) => (listed(gold), prediction),
        (None, None) => return None,
    };
    if gold.len() != prediction.len() {
        // A text without numbers may split its parts differently.
        return None;
    }
    let comparisons = gold.iter().zip(&prediction).enumerate().map(|(index, (gold, prediction))| {
        let spec = spec.part(index);
        readings::compare(gold, prediction, &spec)
    });
    Some(combine::all(comparisons, "the same parts"))
}

/// Returns whether a text numbers its parts.
pub fn has_parts(text: &str) -> bool {
    split(text).is_some()
}

/// Splits a text that starts with the first number and continues with the next ones.
fn split(text: &str) -> Option<Vec<String>> {
    let circled = |index: usize| CIRCLED.get(index).map(char::to_string);
    let numbered = |index: usize| Some(format!("({})", index + 1));
    let lettered = |index: usize| Some(format!("({})", char::from(b'a' + u8::try_from(index).ok()?)));
    let roman = |index: usize| ROMAN.get(index).map(|numeral| format!("({numeral})"));
    let large = |index: usize| ROMAN.get(index).map(|numeral| format!("({})", numeral.to_ascii_uppercase()));
    let text = text.trim();
    if !text.starts_with('(') && !text.starts_with(CIRCLED[0]) {
        return None;
    }
    let marks = [&circled as &dyn Fn(usize) -> Option<String>, &numbered, &lettered, &roman, &large];
    marks.into_iter().find_map(|mark| {
        let mut rest = text.strip_prefix(&mark(0)?)?;
        let mut parts = Vec::new();
        while let Some(mark) = mark(parts.len() + 1).filter(|_| parts.len() < 9)
            && let Some((part, after)) = rest.split_once(&mark)
        {
            parts.push(part);
            rest = after;
        }
        parts.push(rest);
        let parts: Vec<String> = parts.into_iter().map(tidy).collect();
        (parts.len() > 1 && parts.iter().all(|part| !part.is_empty())).then_some(parts)
    })
}

/// Splits a text that lists its parts without numbers.
fn listed(text: &str) -> Vec<String> {
    let separator = [';', '\n'].into_iter().find(|separator| text.contains(*separator)).unwrap_or(',');
    text.split(separator).map(tidy).collect()
}

fn tidy(part: &str) -> String {
    part.trim_matches([',', ';', '.', ':', ' ', '\n']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_parts_are_split() {
        assert_eq!(split("① 3 ② 5").unwrap(), ["3", "5"]);
        assert_eq!(split("(1) x=1; (2) y=2").unwrap(), ["x=1", "y=2"]);
        assert_eq!(split("(a) yes, (b) no").unwrap(), ["yes", "no"]);
        assert_eq!(split("(i) 3 (ii) 5 (iii) 7").unwrap(), ["3", "5", "7"]);
        assert_eq!(split("(1)"), None);
        assert_eq!(split("(1,2)"), None);
    }
}
