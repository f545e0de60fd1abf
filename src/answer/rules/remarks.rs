//! Drops what surrounds an answer without being part of it: quotation marks, signs at the end of a
//! proof, and remarks in brackets such as "(at 25 °C)" or "(rounded to 2 d.p.)".

use std::borrow::Cow;

use crate::answer::byte_pairs::BytePairs;
use crate::answer::units::Unit;

/// First words of a remark. Words that restrict an answer (for, if, when) are not listed.
const STARTS: [&str; 39] = [
    "at",
    "to",
    "rounded",
    "rounding",
    "approx",
    "approx.",
    "approximately",
    "approximate",
    "about",
    "see",
    "exact",
    "exactly",
    "since",
    "because",
    "as",
    "by",
    "using",
    "correct",
    "answer",
    "nearest",
    "simplified",
    "final",
    "from",
    "i.e.",
    "note",
    "shown",
    "obtained",
    "recall",
    "given",
    "according",
    "after",
    "unit",
    "units",
    "square",
    "only",
    "cubic",
    "约",
    "精确到",
    "保留",
];

/// Words in a bracket that change the answer.
const LIMITS: [&str; 13] = [
    "at least",
    "at most",
    "only if",
    "only when",
    "only for",
    "not ",
    "incorrect",
    "wrong",
    "reject",
    "extraneous",
    "invalid",
    "thousand",
    "million",
];

/// Ends of a remark about precision.
const PRECISION: [&str; 12] = [
    "d.p.",
    "d.p",
    "dp",
    "s.f.",
    "s.f",
    "sf",
    "sig figs",
    "sig. figs.",
    "significant figures",
    "decimal places",
    "decimals",
    "3sf",
];

/// What may follow an answer, without brackets and final periods. None ends in a digit or a bracket.
const TRAILS: [&str; 20] = [
    "\\blacksquare",
    "\\square",
    "\\Box",
    "\\qed",
    "\\checkmark",
    "\\qedhere",
    "✓",
    "✔",
    "✅",
    "∎",
    "■",
    "□",
    "QED",
    "Q.E.D",
    ", as required",
    ", as desired",
    ", as claimed",
    ", approximately",
    " approx",
    " approximately",
];

/// Maximum number of remarks around one answer.
const MAX_REMARKS: usize = 4;

/// Returns a normalised answer without its remarks.
pub fn without_remarks(text: &str) -> Cow<'_, str> {
    let mut answer = Cow::Borrowed(text.trim());
    // Most answers are numbers.
    if answer.bytes().all(|byte| byte.is_ascii_digit()) {
        return answer;
    }
    for _ in 0..MAX_REMARKS {
        let Some(shorter) = shorter(&answer) else { break };
        answer = Cow::Owned(shorter);
    }
    answer
}

/// Drops one remark or one pair of quotation marks.
fn shorter(text: &str) -> Option<String> {
    let ended = text.trim_end_matches(['.', ' ', ',', '!']);
    let trails = !ended.ends_with(|c: char| c.is_ascii_digit() || matches!(c, ')' | '}' | ']'));
    if trails && let Some(rest) = TRAILS.iter().find_map(|trail| ended.strip_suffix(trail)) {
        let rest = rest.trim();
        return (!rest.is_empty() && !rest.ends_with('\\')).then(|| rest.to_owned());
    }
    let pairs = BytePairs::of(text);
    if pairs.may_hold("I hope")
        && let Some(at) = text.find("I hope").filter(|at| *at > 0)
    {
        return Some(text[..at].trim_end_matches([' ', '.', ',', ';']).to_owned());
    }
    if let Some(inside) = unquoted(ended) {
        return Some(inside.to_owned());
    }
    if pairs.may_hold(" at ")
        && let Some(main) = without_circumstances(ended)
    {
        return Some(main.to_owned());
    }
    let (main, note) = bracket(ended)?;
    let main = main.trim_end_matches(|c: char| c.is_whitespace() || c == ',');
    if main.is_empty() {
        return None;
    }
    // A unit in brackets: `5 (cm)`.
    let unit = note.strip_prefix("in ").unwrap_or(&note);
    if main.ends_with(|c: char| c.is_ascii_digit()) && unit.len() > 1 && Unit::parse(unit).is_some() {
        return Some(format!("{main} {unit}"));
    }
    is_remark(&note).then(|| main.to_owned())
}

/// Returns the inside of one pair of quotation marks around a text that has no others.
fn unquoted(text: &str) -> Option<&str> {
    [("\"", "\""), ("''", "''"), ("'", "'"), ("*", "*"), ("_", "_")].iter().find_map(|(open, close)| {
        let inside = text.strip_prefix(open)?.strip_suffix(close)?.trim();
        (!inside.is_empty() && !inside.contains(open)).then_some(inside)
    })
}

/// Drops the temperature or the point at which a value holds: `1.2 g/mL at 25 °C`.
fn without_circumstances(text: &str) -> Option<&str> {
    let (main, rest) = [" at ", "\\text{ at }"].iter().find_map(|at| text.rsplit_once(at))?;
    let degrees = rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains("\\circ");
    let named = ["STP", "room temperature", "standard", "constant"].iter().any(|name| rest.starts_with(name));
    (main.contains(|c: char| c.is_ascii_digit()) && (degrees || named)).then_some(main.trim())
}

/// Splits the bracket at the end of a text from what precedes it; the bracket may be inside a text
/// command.
fn bracket(text: &str) -> Option<(&str, String)> {
    let closed = text.ends_with(')') || text.ends_with(")}");
    if !closed {
        return None;
    }
    let open = text.rfind('(')?;
    let before = text[..open].trim_end();
    let commands = ["\\text{", "\\textrm{", "\\mathrm{", "\\mbox{"];
    let main = commands.iter().find_map(|command| before.strip_suffix(command)).unwrap_or(before);
    let mut note = text[open + 1..].trim_end_matches(['}', ')']).to_owned();
    for command in ["\\text", "\\mathrm", "\\textrm", "{", "}", "\\quad", "\\,"] {
        note = note.replace(command, " ");
    }
    Some((main, note.split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn is_remark(note: &str) -> bool {
    let lower = note.to_lowercase();
    if LIMITS.iter().any(|limit| lower.contains(limit)) {
        return false;
    }
    let first = lower.split([' ', ',', ':']).next().unwrap_or_default();
    let about = STARTS.contains(&first) || STARTS.iter().any(|start| !start.is_ascii() && lower.starts_with(start));
    about || lower.starts_with(|c: char| c.is_ascii_digit()) && PRECISION.iter().any(|end| lower.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_dropped_and_conditions_are_kept() {
        for (text, expected) in [
            ("12 (at 25 ^\\circ C)", "12"),
            ("12 (2 d.p.)", "12"),
            ("5 (cm)", "5 cm"),
            ("12 \\blacksquare", "12"),
            ("\"odd\".", "odd"),
            ("12 \\text{ (approximately)}", "12"),
        ] {
            assert_eq!(without_remarks(text), expected, "{text}");
        }
        for text in [
            "f(x)",
            "5 (at most)",
            "x > 2 (for all n)",
            "4 (mod 7)",
            "12 (thousand)",
            "A(1,2)",
            "(1, 2)",
            "30°15'",
            "2(a+b)",
        ] {
            assert_eq!(without_remarks(text), text, "{text}");
        }
    }
}
