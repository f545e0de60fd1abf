//! Finds the answer that a box, a tag or an announcement states.

use super::extraction::{Extraction, Method};
use super::{announced, boxed, fallback, letters, sentence};

/// Returns the last stated answer.
pub(super) fn last(tail: &str) -> Option<Extraction<'_>> {
    // Digits and signs alone state nothing.
    if !tail.bytes().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) {
        return None;
    }
    let boxes = boxed::last(tail);
    if let Some((start, inside)) = tagged(tail)
        && boxes.as_ref().is_none_or(|boxes| boxes.start < start)
    {
        let inner = announced::all(inside).first().map_or(inside, |announcement| announcement.text);
        return Some(Extraction::one(Method::Tagged, inner));
    }
    let announcements = announced::all(tail);
    if let Some(boxes) = boxes {
        let later = announcements.iter().find(|announcement| announcement.start > boxes.start);
        return Some(match later.filter(|later| overrides_box(later.text)) {
            Some(later) => from_announcement(later.text),
            None => Extraction { parts: boxes.contents, method: Method::Boxed },
        });
    }
    announcements.first().map(|last| from_announcement(last.text))
}

/// Reads the answer from the announced text.
fn from_announcement(statement: &str) -> Extraction<'_> {
    let bare = sentence::is_bare(statement);
    if let Some(letters) = letters::at_start(statement)
        && (letters.marked || !bare)
        && !sentence::is_bare(letters.rest)
    {
        return Extraction::one(Method::Announced, letters.text);
    }
    // "Final answer: Tom has to wait 3 days more" is a sentence, although none of its words is
    // listed as one.
    let sentence = !bare
        || sentence::words(statement) > 3
            && statement.starts_with(char::is_alphabetic)
            && fallback::has_one_number(statement);
    let number = || fallback::last_number(statement).map(|number| (Method::LastNumber, number));
    let guess = if sentence { fallback::last(statement).or_else(number) } else { None };
    guess
        .map_or_else(|| Extraction::one(Method::Announced, statement), |(method, guess)| Extraction::one(method, guess))
}

/// Returns the last `<answer>` tag with any content, closed or not, and its offset.
pub(super) fn tagged(tail: &str) -> Option<(usize, &str)> {
    const OPEN: &str = "<answer>";
    tail.rmatch_indices(OPEN).find_map(|(start, _)| {
        let inside = &tail[start + OPEN.len()..];
        let inside = inside.split("</answer>").next().unwrap_or(inside).trim();
        (!inside.is_empty()).then_some((start, inside))
    })
}

/// Returns whether an announcement is plain enough to override a box before it.
pub(super) fn overrides_box(statement: &str) -> bool {
    let tells = statement.contains(|c: char| c.is_ascii_digit() || c == '\\' || c == '$')
        || letters::at_start(statement).is_some();
    tells && !statement.contains("oxed") && sentence::is_bare(statement)
}
