//! Finds where one part of an answer ends and the next begins without a comma: at a line break, or
//! between two formulas.

use std::borrow::Cow;

use crate::answer::units::Unit;

/// Keeps or inserts a line break between parts, and turns all other line breaks into spaces.
pub fn mark_part_breaks(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '$']) {
        return Cow::Borrowed(text);
    }
    let paired = delimiters(text).is_multiple_of(2);
    let (mut depth, mut formula) = (0_usize, false);
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        match character {
            '\\' => {
                let (opens, name) = command(rest);
                length = name;
                depth = if opens == 0 { depth } else { depth.saturating_add_signed(opens) };
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '$' if paired => {
                length = rest.len() - rest.trim_start_matches('$').len();
                formula = formula == (length > 2);
            }
            _ => {}
        }
        let (taken, after) = rest.split_at(length);
        let next = after.trim_start();
        rest = after;
        if character == '\n' {
            let divides = depth == 0 && !formula && is_part_break(&result, next);
            result.push(if divides { '\n' } else { ' ' });
            continue;
        }
        result.push_str(taken);
        // Two formulas separated only by a space.
        if character == '$' && paired && !formula && depth == 0 && next.len() < after.len() && next.starts_with('$') {
            let inside = next.trim_start_matches('$');
            if is_part_break(&result, next) && !is_unit(&inside[..inside.find('$').unwrap_or(inside.len())]) {
                result.push('\n');
                rest = next;
            }
        }
    }
    Cow::Owned(result)
}

/// Counts the runs of dollar signs that may delimit formulas: `$` and `$$` count once, adjacent
/// ones (`$$$$`) twice.
fn delimiters(text: &str) -> usize {
    let mut count = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        let run = rest[at..].bytes().take_while(|byte| *byte == b'$').count();
        count += run.div_ceil(2);
        let escaped = rest[at..].chars().take(2).map(char::len_utf8).sum();
        rest = &rest[at + if run > 0 { run } else { escaped }..];
    }
    count
}

/// Returns how a command changes the bracket depth, and the length of its name. `text` starts with
/// the backslash.
fn command(text: &str) -> (isize, usize) {
    let letters = text[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
    match &text[1..=letters] {
        "begin" => (1, 6),
        "end" => (-1, 4),
        "" => match text[1..].chars().next() {
            Some('(' | '[' | '{') => (1, 2),
            Some(')' | ']' | '}') => (-1, 2),
            Some(other) => (0, 1 + other.len_utf8()),
            None => (0, 1),
        },
        _ => (0, 1 + letters),
    }
}

/// Returns whether the text before a break is complete and the text after it starts something new.
fn is_part_break(before: &str, after: &str) -> bool {
    const JOINTS: [&str; 6] = ["and", "or", "\\text{ and }", "\\text{ or }", "is", "are"];
    let before = before.trim_end_matches(|c: char| c == '$' || c.is_whitespace());
    let after = after.trim_start_matches(|c: char| c == '$' || c.is_whitespace());
    let ends =
        JOINTS.iter().any(|word| before.strip_suffix(word).is_some_and(|rest| !rest.ends_with(char::is_alphanumeric)));
    let begins =
        JOINTS.iter().any(|word| after.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric)));
    let open = before.is_empty() || before.ends_with(|c: char| "+-*/=<>,;:&|([{\\^_".contains(c)) || ends;
    let continues = after.is_empty()
        || after.starts_with(|c: char| "+*/=<>^_)]},;:&|!%.?".contains(c))
        || after.starts_with("- ")
        || after.starts_with("\\text") && !after.starts_with("\\textbf")
        || ["\\approx", "\\times", "\\cdot", "\\div", "\\pm", "\\in", "\\cup", "\\cap", "\\%", "\\to", "\\end"]
            .iter()
            .any(|sign| {
                after.strip_prefix(sign).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
            })
        || begins;
    !open && !continues
}

/// Returns whether a formula is the unit of the number in the previous formula.
fn is_unit(formula: &str) -> bool {
    let formula = formula.trim();
    formula.starts_with("\\mathrm") || Unit::parse(formula).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_formulas_separate_parts_unless_they_continue() {
        for (text, expected) in [
            ("12\n6", "12\n6"),
            ("5\n-3", "5\n-3"),
            ("$$1$$ $$-1$$", "$$1$$\n$$-1$$"),
            ("$a$ $b$, $c$", "$a$\n$b$, $c$"),
            ("x^2\n+ 1", "x^2 + 1"),
            ("3x\n- 2", "3x - 2"),
            ("$5$ $cm$", "$5$ $cm$"),
            ("$x =$ $3$", "$x =$ $3$"),
            ("3\nor 4", "3 or 4"),
            ("(1,\n2)", "(1, 2)"),
            ("$$\n9\n$$", "$$ 9 $$"),
            ("$5 and $6", "$5 and $6"),
        ] {
            assert_eq!(mark_part_breaks(text), expected, "{text}");
        }
    }
}
