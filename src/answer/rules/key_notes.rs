//! Reads the note in brackets that an answer key may add: an alternative form, or that the answer
//! is one of many.

/// The accepted forms of an expected answer.
#[derive(Debug, PartialEq)]
pub struct KeyNote<'a> {
    /// The answer and its alternative forms.
    pub forms: Vec<&'a str>,
    /// Whether other answers may be correct too.
    pub open: bool,
}

/// Reads the bracket at the end of a normalised text: `35/4 (or 8.75)`, `AB = CD (not unique)`.
/// Returns `None` if there is no such note.
pub fn parse(text: &str) -> Option<KeyNote<'_>> {
    const OPEN: [&str; 6] = ["not unique", "choose one", "may vary", "any one", "one of", "不唯一"];
    const OTHER: [&str; 5] = ["or fill in", "or", "also", "\\text{ or }", "accept"];
    let text = text.trim().trim_end_matches('.');
    let inside = text.strip_suffix(')')?;
    let place = inside.rfind('(')?;
    let (main, note) = (inside[..place].trim(), inside[place + 1..].trim());
    if main.is_empty() {
        return None;
    }
    let lower = note.to_ascii_lowercase();
    if OPEN.iter().any(|mark| lower.contains(mark)) {
        let several = lower.contains("one");
        let forms = if several { main.split(" or ").map(str::trim).collect() } else { vec![main] };
        return Some(KeyNote { forms, open: true });
    }
    let other = OTHER.iter().find_map(|word| note.strip_prefix(word).filter(|rest| rest.starts_with([' ', '\\'])))?;
    Some(KeyNote { forms: vec![main, other.trim()], open: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_give_another_form_or_leave_the_answer_open() {
        assert_eq!(parse("35/4 (or 8.75)"), Some(KeyNote { forms: vec!["35/4", "8.75"], open: false }));
        assert_eq!(parse("2.2 (not unique)."), Some(KeyNote { forms: vec!["2.2"], open: true }));
        assert_eq!(parse("a=b or c=d (choose one)"), Some(KeyNote { forms: vec!["a=b", "c=d"], open: true }));
        for text in ["(1, 2)", "f(x)", "3 (orange)", "x (x > 0)"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
