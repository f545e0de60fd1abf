//! When two records are the same problem: equal texts but for their typography, with images that look alike.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use super::images::Facts;
use crate::data::records::Item;
use crate::image::ImageFacts;

/// LaTeX commands that only space or decorate.
const LAYOUT: [&str; 14] = [
    "left",
    "right",
    "displaystyle",
    "text",
    "mathrm",
    "rm",
    "quad",
    "qquad",
    "textbf",
    "mathbf",
    "textit",
    "operatorname",
    "mathit",
    "boldsymbol",
];

/// Returns a question's text with differences of typography removed: case, spaces, punctuation at the end of words, dollar signs,
/// braces around single symbols, commands that only decorate, blanks, markers of images.
///
/// ```
/// use mmprm::dataset::normalised;
/// assert_eq!(normalised(r"As shown, $\angle A = 30^{\circ}$; find  x."), normalised(r"as shown $$\angle A=30^\circ$$, find x ___"));
/// assert_ne!(normalised("3 + 4"), normalised("3 - 4"));
/// ```
pub fn normalised(text: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    for symbol in symbols(&text.nfkc().flat_map(char::to_lowercase).collect::<String>()) {
        kept.push(symbol);
        if let [.., open, inside, close] = kept.as_slice()
            && (open.as_str(), close.as_str()) == ("{", "}")
            && inside != "{"
        {
            let inside = kept[kept.len() - 2].clone();
            kept.truncate(kept.len() - 3);
            kept.push(inside);
        }
    }
    // Blanks: empty brackets.
    kept.concat().replace("()", "").replace("{}", "")
}

/// The symbols of a text that mean something: letters, digits, signs, commands.
fn symbols(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        rest = after;
        let is_digit = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
        match letter {
            '\\' => {
                let length = after.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(after.len());
                let (command, beyond) = after.split_at(length);
                rest = beyond;
                match command {
                    // A command of one sign, such as a thin space.
                    "" => rest = after.chars().next().map_or("", |sign| &after[sign.len_utf8()..]),
                    layout if LAYOUT.contains(&layout) => {}
                    "dfrac" | "tfrac" => found.push("\\frac ".to_owned()),
                    // The space ends the command.
                    command => found.push(format!("\\{command} ")),
                }
            }
            '<' if after.starts_with("image") && after.find('>').is_some_and(|end| end < 12) => {
                rest = &after[after.find('>').map_or(0, |end| end + 1)..];
            }
            // A decimal point and commas between numbers.
            '.' | ',' | ':' => {
                if is_digit(after.trim_start()) && found.last().is_some_and(|last| is_digit(last)) {
                    found.push(letter.into());
                }
            }
            '_' if after.starts_with(|next: char| next.is_alphanumeric() || next == '{') => found.push("_".to_owned()),
            '_' | ';' | '?' | '!' | '。' | '、' | '$' | '"' | '“' | '”' | '□' => {}
            letter if letter.is_whitespace() => {}
            letter => found.push(letter.into()),
        }
    }
    found
}

/// The sides of a comparison: a text, and what is known about its images.
#[derive(Debug, Clone)]
pub(super) struct Key<'a> {
    pub text: String,
    pub images: Vec<&'a ImageFacts>,
    /// Paths of images that cannot be read.
    pub unread: Vec<&'a str>,
}

impl<'a> Key<'a> {
    pub fn new(item: &'a Item, facts: &'a Facts) -> Self {
        let mut key = Self { text: normalised(&item.question), images: Vec::new(), unread: Vec::new() };
        for path in &item.images {
            match facts.get(path) {
                Some(Ok(facts)) => key.images.push(facts),
                _ => key.unread.push(path),
            }
        }
        key
    }

    /// Whether the images of two records with the same text are the same ones.
    fn has_images_of(&self, other: &Self) -> bool {
        self.images.len() == other.images.len()
            && self.unread == other.unread
            && self.images.iter().zip(&other.images).all(|(a, b)| a.is_similar_to(b))
    }
}

/// Finds records that are the same problem.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    by_text: HashMap<String, Vec<(usize, Key<'a>)>>,
}

impl<'a> Seen<'a> {
    /// Adds a record under a number; returns the number of the first record that is the same problem, if there is one.
    pub fn add(&mut self, number: usize, key: Key<'a>) -> Option<usize> {
        let same = self.find(&key);
        if same.is_none() {
            self.by_text.entry(key.text.clone()).or_default().push((number, key));
        }
        same
    }

    /// The number of the first record that is the same problem.
    pub fn find(&self, key: &Key<'_>) -> Option<usize> {
        let others = self.by_text.get(&key.text)?;
        others.iter().find(|(_, other)| key.has_images_of(other)).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typography_is_removed_and_meaning_stays() {
        for (a, b) in [
            ("Find X.", "find x"),
            (r"$\left( \frac{1}{2} \right)$", r"$$(\dfrac12)$$"),
            ("The area is ______ cm².", "the area is _ cm2"),
            ("<image1> How many?", "How many? <image1>"),
            (r"\text{sin}\, x", r"\mathrm{sin} x"),
            ("ＡＢ＝３", "AB = 3"),
        ] {
            assert_eq!(normalised(a), normalised(b), "{a}");
        }
        for (a, b) in [
            ("x < 3", "x > 3"),
            ("1.5", "15"),
            (r"\sin x", r"\cos x"),
            ("a + b", "a - b"),
            (r"\pi r", r"\pir"),
            ("2, 3", "23"),
            (r"\frac{1}{23}", r"\frac{12}{3}"),
            ("x_1", "x1"),
            ("a(b+c)", "ab+c"),
        ] {
            assert_ne!(normalised(a), normalised(b), "{a}");
        }
    }
}
