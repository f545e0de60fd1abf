//! White space as Python's `str` defines it.
//!
//! MM-PRM strips steps with `str.strip()` and counts words with `str.split()`. Python's white space
//! is Unicode's plus the four ASCII separators U+001C to U+001F, which Rust's `trim` keeps. Search
//! priorities and training samples depend on it.
//!
//! ```
//! use mmprm::compat::text::{strip, word_count};
//! assert_eq!(strip("\u{1c} a step \n"), "a step");
//! assert_eq!(word_count(" three  little\u{1f}words\n"), 3);
//! ```

/// Returns `character.isspace()`.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// Returns `text.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Returns `len(text.split())`: the number of words separated by white space.
pub fn word_count(text: &str) -> usize {
    text.split(is_space).filter(|word| !word.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_unicodes_plus_the_ascii_separators() {
        for space in ['\t', '\u{b}', '\u{1c}', '\u{1f}', ' ', '\u{85}', '\u{a0}', '\u{2003}', '\u{3000}'] {
            assert!(is_space(space), "{space:?}");
        }
        for other in ['\u{200b}', '\u{feff}', '\u{180e}', '\u{0}', 'x'] {
            assert!(!is_space(other), "{other:?}");
        }
    }

    #[test]
    fn white_space_alone_has_no_words() {
        assert_eq!(word_count(" \n\u{1d}"), 0);
        assert_eq!(strip(" \n\u{1d}"), "");
    }
}
