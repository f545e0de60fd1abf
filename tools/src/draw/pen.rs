//! Colours and line breaks, as far as standard output has them.

use console::{Style, Term, measure_text_width, truncate_str};
use mmprm::util::printable::printable;

/// Narrower terminals are treated as this wide.
const MIN_WIDTH: usize = 40;
/// Longer lines are hard to read.
const MAX_WIDTH: usize = 120;

/// Draws for standard output: with colours on a terminal (also where CLICOLOR_FORCE is set, never where NO_COLOR is), and
/// with lines broken at its width (or COLUMNS). Plain and unbroken for a pipe.
#[derive(Debug, Clone, Copy)]
pub struct Pen {
    colours: bool,
    width: Option<usize>,
}

/// How good what is drawn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    Good,
    Fair,
    Poor,
}

impl Pen {
    /// The pen for standard output.
    pub fn new() -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let width = columns.or_else(|| Term::stdout().size_checked().map(|(_, columns)| usize::from(columns)));
        Self { colours: console::colors_enabled(), width: width.map(|width| width.clamp(MIN_WIDTH, MAX_WIDTH)) }
    }

    #[cfg(test)]
    pub fn plain(width: Option<usize>) -> Self {
        Self { colours: false, width }
    }

    fn apply(self, style: &Style, text: &str) -> String {
        style.clone().force_styling(self.colours).apply_to(text).to_string()
    }

    /// Text that stands out.
    pub fn bold(self, text: &str) -> String {
        self.apply(&Style::new().bold(), text)
    }

    /// Text that stands back.
    pub fn dim(self, text: &str) -> String {
        self.apply(&Style::new().dim(), text)
    }

    /// Text in the colour of its grade.
    pub fn graded(self, grade: Grade, text: &str) -> String {
        let style = match grade {
            Grade::Good => Style::new().green(),
            Grade::Fair => Style::new().yellow(),
            Grade::Poor => Style::new().red(),
        };
        self.apply(&style, text)
    }

    /// Breaks an escaped text between words into lines that fit after `indent` columns; the lines after the first are
    /// indented.
    pub fn wrapped(self, text: &str, indent: usize) -> String {
        let text = printable(text);
        let Some(width) = self.width else { return text };
        let room = width.saturating_sub(indent).max(MIN_WIDTH / 2);
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let line = lines.last_mut().expect("there is a first line");
            if line.is_empty() {
                line.push_str(word);
            } else if measure_text_width(line) + 1 + measure_text_width(word) <= room {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
        lines.join(&format!("\n{}", " ".repeat(indent)))
    }

    /// An escaped text cut to the columns that are left after `indent`.
    pub fn cut(self, text: &str, indent: usize) -> String {
        let text = printable(text);
        match self.width {
            Some(width) => truncate_str(&text, width.saturating_sub(indent).max(MIN_WIDTH / 2), "…").into_owned(),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_text_is_escaped() {
        let pen = Pen::plain(Some(40));
        let text = "aaaaaaaaa bbbbbbbbb ccccccccc ddddddddd";
        assert_eq!(pen.wrapped(text, 10), "aaaaaaaaa bbbbbbbbb ccccccccc\n          ddddddddd");
        assert_eq!(Pen::plain(None).wrapped(text, 10), text);
        assert_eq!(pen.wrapped("a\n\u{1b}[2J", 0), "a\\n\\u{1b}[2J");
        assert_eq!(pen.cut("a\u{1b}b", 0), "a\\u{1b}b");
        assert_eq!(pen.cut(&"é".repeat(60), 10), "é".repeat(29) + "…");
    }
}
