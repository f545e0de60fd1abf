//! The answer that a box, a tag or an announcement states.

use super::extraction::{Extraction, Method};
use super::{announced, boxed, fallback, letters, sentence};

/// An answer that a box, a tag or words present as such; the last of them wins.
pub(super) fn last(tail: &str) -> Option<Extraction<'_>> {
    // Figures and signs alone present nothing.
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
        return Some(match later.filter(|later| is_firm(later.text)) {
            Some(later) => from_announcement(later.text),
            None => Extraction { parts: boxes.contents, method: Method::Boxed },
        });
    }
    announcements.first().map(|last| from_announcement(last.text))
}

/// The answer in what words announce.
fn from_announcement(statement: &str) -> Extraction<'_> {
    let bare = sentence::is_bare(statement);
    if let Some(letters) = letters::at_start(statement)
        && (letters.dressed || !bare)
        && !sentence::is_bare(letters.rest)
    {
        return Extraction::one(Method::Announced, letters.text);
    }
    // "Final answer: Tom has to wait 3 days more" is no answer yet, though no word of it gives the sentence away.
    let sentence = !bare
        || sentence::words(statement) > 3
            && statement.starts_with(char::is_alphabetic)
            && fallback::has_one_number(statement);
    let number = || fallback::last_number(statement).map(|number| (Method::LastNumber, number));
    let guess = if sentence { fallback::last(statement).or_else(number) } else { None };
    guess
        .map_or_else(|| Extraction::one(Method::Announced, statement), |(method, guess)| Extraction::one(method, guess))
}

/// The inside of the last `<answer>` tag that is not empty, which may not be closed, and where it begins.
pub(super) fn tagged(tail: &str) -> Option<(usize, &str)> {
    const OPEN: &str = "<answer>";
    tail.rmatch_indices(OPEN).find_map(|(start, _)| {
        let inside = &tail[start + OPEN.len()..];
        let inside = inside.split("</answer>").next().unwrap_or(inside).trim();
        (!inside.is_empty()).then_some((start, inside))
    })
}

/// Whether words announce something so plain that it counts more than a box before it.
pub(super) fn is_firm(statement: &str) -> bool {
    let tells = statement.contains(|c: char| c.is_ascii_digit() || c == '\\' || c == '$')
        || letters::at_start(statement).is_some();
    tells && !statement.contains("oxed") && sentence::is_bare(statement)
}
