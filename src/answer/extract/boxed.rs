//! Finds `\boxed{…}` and `\fbox{…}`, the most reliable sign of a final answer.

use std::borrow::Cow;

use super::scan::{MAX_ANSWER_BYTES, closing_brace, head, strip_prefix_caseless, strip_word};

/// Maximum number of boxes examined, from the last one backwards.
const MAX_BOXES: usize = 16;

/// Maximum length of the text between two joined boxes, in bytes.
const MAX_JOINT_BYTES: usize = 80;

/// Words that join two boxes.
const JOINTS: [&str; 16] = [
    "and",
    "or",
    "also",
    "respectively",
    "和",
    "或",
    "、",
    "以及",
    "及",
    "与",
    "und",
    "oder",
    "et",
    "ou",
    " y ",
    " или ",
];

/// Words that may accompany them.
const FILLERS: [&str; 7] = ["for", "part", "case", "the", "other", "when", "text"];

/// The last box of a text, with the boxes that words join to it.
pub(super) struct Boxes<'a> {
    /// Byte offset of the first of them.
    pub start: usize,
    /// The content of each box in order, with a percent or degree sign that directly follows the
    /// box.
    pub contents: Vec<Cow<'a, str>>,
}

struct Boxed<'a> {
    start: usize,
    end: usize,
    content: Cow<'a, str>,
}

/// Returns the last box with any content, and the boxes joined to it.
pub(super) fn last(text: &str) -> Option<Boxes<'_>> {
    let mut found = openings(text).take(MAX_BOXES).filter_map(|(start, after)| read(text, start, after));
    let last = found.next()?;
    let mut start = last.start;
    let mut contents = vec![last.content];
    for earlier in found {
        // A box around this box has the same answer.
        if earlier.end > start {
            continue;
        }
        if !joined(&text[earlier.end..start]) {
            break;
        }
        start = earlier.start;
        contents.push(earlier.content);
    }
    contents.reverse();
    // The same box again repeats the answer.
    if contents.iter().all(|content| *content == contents[0]) {
        contents.truncate(1);
    }
    Some(Boxes { start, contents })
}

/// Returns the boxes, last first: the offsets of the command and of the end of its name. Text whose
/// escapes were interpreted has a backspace for `\b`.
fn openings(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.rmatch_indices("ox").filter_map(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + 2..]);
        if after.starts_with("ed") {
            let before = before.strip_suffix("\\b").or_else(|| before.strip_suffix('\u{8}'))?;
            return Some((before.len(), at + 4));
        }
        let before = before.strip_suffix("\\fb").filter(|_| !after.starts_with(|c: char| c.is_ascii_alphabetic()))?;
        Some((before.len(), at + 2))
    })
}

/// Reads the box whose command starts and ends at these offsets; `None` if it is empty.
fn read(text: &str, start: usize, after: usize) -> Option<Boxed<'_>> {
    let doubled = text[..start].ends_with('\\');
    let rest = text[after..].trim_start();
    let opened = text.len() - rest.len();
    let (content, end) = if let Some(inside) = rest.strip_prefix('{') {
        let closing = closing_brace(inside, doubled);
        let content = closing.map_or_else(|| unclosed(inside), |closing| &inside[..closing]);
        (content, opened + 1 + content.len() + usize::from(closing.is_some()))
    } else {
        let word = rest.split(|c: char| c.is_whitespace() || c == '$').next().unwrap_or(rest);
        let word = head(word, MAX_ANSWER_BYTES).trim_end_matches(['.', ',']);
        (word, opened + word.len())
    };
    let content = content.trim();
    let mut content = if doubled { Cow::Owned(content.replace("\\\\", "\\")) } else { Cow::Borrowed(content) };
    if content.is_empty() {
        return None;
    }
    if let Some(sign) = sign_after(&text[end..])
        && !content.ends_with(sign)
    {
        content = Cow::Owned(format!("{content}{sign}"));
    }
    Some(Boxed { start, end, content })
}

/// Returns the content of a box without a closing brace: everything up to the end of the
/// mathematics, the paragraph or the text.
fn unclosed(inside: &str) -> &str {
    let inside = head(inside, MAX_ANSWER_BYTES);
    let end = ["$", "\\]", "\\)", "\n\n"].iter().filter_map(|end| inside.find(end)).min();
    &inside[..end.unwrap_or(inside.len())]
}

/// Returns the percent or degree sign after a box, possibly outside the mathematics, that belongs
/// to the number in it.
fn sign_after(following: &str) -> Option<&'static str> {
    const PERCENT: [&str; 5] = ["percent", "pct", "percentage", "per cent", "percentage points"];
    let following = head(following, 64).trim_start();
    if following.starts_with("^\\circ") || following.starts_with("^{\\circ}") || following.starts_with('°') {
        return Some("^\\circ");
    }
    let following = ["$$", "$", "\\)", "\\]"].iter().find_map(|end| following.strip_prefix(end)).unwrap_or(following);
    let following = following.trim_start().trim_start_matches("\\text{").trim_start();
    let percent = following.starts_with('%')
        || following.starts_with("\\%")
        || PERCENT.iter().any(|word| strip_word(following, word).is_some());
    percent.then_some("\\%")
}

/// Returns whether the text between two boxes says that both are the answer.
fn joined(between: &str) -> bool {
    if between.len() > MAX_JOINT_BYTES || between.contains("\n\n") || between.contains(". ") {
        return false;
    }
    if beside(between) {
        return true;
    }
    let mut joins = false;
    let mut rest = between;
    while let Some(character) = rest.chars().next() {
        if let Some(joint) = JOINTS.iter().find(|joint| strip_prefix_caseless(rest, joint).is_some()) {
            joins = true;
            rest = &rest[joint.len()..];
        } else if let Some(filler) = FILLERS.iter().find(|filler| strip_prefix_caseless(rest, filler).is_some()) {
            rest = &rest[filler.len()..];
        } else if rest.starts_with("\\quad") || rest.starts_with("\\qquad") {
            rest = rest.split_once("quad").map_or("", |(_, following)| following);
        } else {
            // Skip the name of a variable, `(a)`, an index; two letters in a row are a word, which
            // does not join.
            let following = &rest[character.len_utf8()..];
            if character.is_alphabetic() && following.starts_with(char::is_alphabetic) || character == '.' {
                return false;
            }
            rest = following;
        }
    }
    joins
}

/// Returns whether there are only spaces, delimiters of formulas and separators between two boxes.
fn beside(between: &str) -> bool {
    const SPACES: [&str; 14] = [
        "\\qquad",
        "\\quad",
        "\\text{ }",
        "\\,",
        "\\;",
        "\\:",
        "\\!",
        "\\ ",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "\\\\",
        "\\&",
    ];
    let mut rest = between;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || "$~&,;/|、，；*".contains(c));
        if rest.is_empty() {
            return true;
        }
        // The number of the next part: `(2)`, `(b)`.
        if let Some((number, after)) = rest.strip_prefix('(').and_then(|inside| inside.split_once(')'))
            && (1..=3).contains(&number.len())
            && number.chars().all(char::is_alphanumeric)
        {
            rest = after;
            continue;
        }
        if let Some((_, after)) = rest.strip_prefix("\\hspace{").and_then(|inside| inside.split_once('}')) {
            rest = after;
            continue;
        }
        // The name of the next value: `x = \boxed{1}, y = \boxed{2}`.
        if rest.len() < between.trim_start().len()
            && let Some(name) = rest.trim_end_matches(|c: char| c.is_whitespace() || c == '$').strip_suffix('=')
            && name.trim().len() == 1
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return true;
        }
        let Some(after) = SPACES.iter().find_map(|space| rest.strip_prefix(space)) else { return false };
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str) -> Vec<String> {
        last(text).map(|boxes| boxes.contents.into_iter().map(Cow::into_owned).collect()).unwrap_or_default()
    }

    #[test]
    fn the_last_box_is_read_with_balanced_braces() {
        assert_eq!(contents(r"\boxed{1}, no: $\boxed{\frac{2}{\{x\}}}$."), [r"\frac{2}{\{x\}}"]);
        assert_eq!(contents(r"\fbox{7} stands"), ["7"]);
        assert_eq!(contents(r"\boxed{\boxed{5}}"), ["5"]);
        assert_eq!(contents(r"\boxed{8} and later \boxed{}"), ["8"]);
        assert_eq!(contents(r"so $\boxed 9$."), ["9"]);
        assert_eq!(contents("so $\u{8}oxed{9}$."), ["9"]);
        assert_eq!(contents(r"the boxed{one} of \fboxes{}"), Vec::<String>::new());
    }

    #[test]
    fn an_unclosed_box_ends_with_the_mathematics() {
        assert_eq!(contents(r"$\boxed{12 kg$ of it"), ["12 kg"]);
        assert_eq!(contents(r"\boxed{x = 1"), ["x = 1"]);
        assert_eq!(contents(r"\boxed{"), Vec::<String>::new());
    }

    #[test]
    fn doubled_escapes_become_single_ones() {
        assert_eq!(contents(r"\\boxed{\\frac{1}{2}}"), [r"\frac{1}{2}"]);
        assert_eq!(contents(r"\\boxed{\\{1, 2\\}}"), [r"\{1, 2\}"]);
    }

    #[test]
    fn a_sign_after_the_box_belongs_to_it() {
        assert_eq!(contents(r"rises by $\boxed{15}$ percent."), [r"15\%"]);
        assert_eq!(contents(r"$\boxed{15}\%$"), [r"15\%"]);
        assert_eq!(contents(r"$\boxed{15\%}$ percent"), [r"15\%"]);
        assert_eq!(contents(r"$\boxed{40}^\circ$"), [r"40^\circ"]);
        assert_eq!(contents(r"$\boxed{15}$ percents of"), ["15"]);
    }

    #[test]
    fn boxes_that_words_join_are_one_answer() {
        assert_eq!(contents(r"$\boxed{1}$ and $\boxed{2}$"), ["1", "2"]);
        assert_eq!(contents(r"$\boxed{1} \text{ for part (a) and } \boxed{2}$"), ["1", "2"]);
        assert_eq!(contents(r"\boxed{1}, \boxed{2}, or \boxed{3}"), ["1", "2", "3"]);
        assert_eq!(contents(r"\(a = \boxed{1}\) and \(b_2 = \boxed{2}\)"), ["1", "2"]);
        assert_eq!(contents(r"\boxed{1} and this gives \boxed{2}"), ["2"]);
        assert_eq!(contents(r"\boxed{1}. \boxed{2}"), ["2"]);
    }
}
