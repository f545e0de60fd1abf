//! Text from data, model files and servers, made safe for terminals and logs.
//!
//! A control character may move the cursor, change colours or rewrite earlier lines, a newline may
//! forge a line of a log, and a bidirectional override may show text in another order than it has.
//!
//! ```
//! use mmprm::util::printable::printable;
//! assert_eq!(printable("a\nb \u{1b}[2J"), "a\\nb \\u{1b}[2J");
//! assert_eq!(printable("(3, 4) ∈ ℝ²"), "(3, 4) ∈ ℝ²");
//! ```

use std::fmt::{self, Display, Write};

/// Returns a text on one line: control characters, line separators and bidirectional controls are
/// replaced by their escapes, as in `\n` and `\u{1b}`.
pub fn printable(text: impl Display) -> String {
    written(text, is_unsafe)
}

/// As [`printable`], except that newlines stay: for text of several lines whose parts from
/// elsewhere are [`printable`].
pub fn printable_lines(text: impl Display) -> String {
    written(text, |character| character != '\n' && is_unsafe(character))
}

fn written(text: impl Display, escapes: fn(char) -> bool) -> String {
    let mut printable = Escaping { text: String::new(), escapes };
    // Writing to a string fails only where the text's own `Display` does.
    let _ = write!(printable, "{text}");
    printable.text
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, embeddings, overrides and isolates of the direction; line and paragraph
            // separators; invisible tags.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{e0000}'..='\u{e007f}')
}

struct Escaping {
    text: String,
    escapes: fn(char) -> bool,
}

impl Write for Escaping {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for character in part.chars() {
            if !(self.escapes)(character) {
                self.text.push(character);
            } else if matches!(character, '\n' | '\r' | '\t') {
                self.text.extend(character.escape_default());
            } else {
                self.text.extend(character.escape_unicode());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_newlines_and_bidirectional_overrides_are_escaped() {
        let all = "a\r\n\tb\0\u{7}\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}\u{61c}\u{2028}";
        assert_eq!(
            printable(all),
            "a\\r\\n\\tb\\u{0}\\u{7}\\u{1b}[31m\\u{7f}\\u{9b}2J\\u{202e}\\u{2066}\\u{61c}\\u{2028}"
        );
        assert_eq!(printable_lines("a\n\u{1b}"), "a\n\\u{1b}");
        for text in ["", "é", "日本語", "x² ≤ \\frac{1}{2} 🙂", "e\u{301}"] {
            assert_eq!(printable(text), text);
        }
    }
}
