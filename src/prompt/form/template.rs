//! Templates: text with placeholders.

use super::FormError;

/// A placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The text of the system message.
    System,
    /// The vocabulary's beginning-of-sequence token, where its tokenizer does not write it itself.
    Bos,
    /// Images that the question does not place.
    Images,
    /// One image.
    Image,
    /// The question.
    Question,
    /// A step.
    Step,
    /// The number of the step, from 1.
    Number,
    /// The number of the step after it.
    Next,
    /// The model writes a critique of the step here.
    Critique,
    /// The score is read at the last token before this place.
    Read,
    /// The most probable of the tokens that the score is read from.
    Verdict,
}

impl Slot {
    const ALL: [(Self, &'static str); 11] = [
        (Self::System, "system"),
        (Self::Bos, "bos"),
        (Self::Images, "images"),
        (Self::Image, "image"),
        (Self::Question, "question"),
        (Self::Step, "step"),
        (Self::Number, "number"),
        (Self::Next, "next"),
        (Self::Critique, "critique"),
        (Self::Read, "read"),
        (Self::Verdict, "verdict"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(slot, _)| *slot == self).map_or("", |(_, name)| name)
    }
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Slot(Slot),
}

/// A template that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

impl Template {
    /// Parses the template under `key`, which may have the placeholders `allowed`. `{{` is a brace; braces around anything but a
    /// lower-case word are text.
    pub fn parse(key: &'static str, text: &str, allowed: &[Slot]) -> Result<Self, FormError> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
                continue;
            }
            let word = from[1..].split_once('}').map(|(word, _)| word);
            let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let Some(word) = word.filter(is_word) else {
                plain.push('{');
                rest = &from[1..];
                continue;
            };
            let slot = Slot::ALL.iter().find(|(slot, name)| *name == word && allowed.contains(slot));
            let Some((slot, _)) = slot else {
                let expected: Vec<String> = allowed.iter().map(|slot| format!("{{{}}}", slot.name())).collect();
                let expected = if expected.is_empty() { "none".to_owned() } else { expected.join(" or ") };
                return Err(FormError::Placeholder { key, found: word.to_owned(), expected });
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Slot(*slot));
            rest = &from[word.len() + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    pub fn count(&self, slot: Slot) -> usize {
        self.0.iter().filter(|part| **part == Part::Slot(slot)).count()
    }

    pub fn has(&self, slot: Slot) -> bool {
        self.count(slot) > 0
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        self.0.iter().position(|part| *part == Part::Slot(slot))
    }

    /// Whether `first` is before `second`.
    pub fn is_before(&self, first: Slot, second: Slot) -> bool {
        self.place(first) < self.place(second)
    }

    /// Whether `second` is directly after `first`.
    pub fn is_directly_before(&self, first: Slot, second: Slot) -> bool {
        self.place(first).is_some_and(|first| self.place(second) == Some(first + 1))
    }

    /// Whether a text between placeholders has `text`.
    pub fn has_text(&self, text: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Text(own) if own.contains(text)))
    }

    /// The text directly before a placeholder.
    pub fn before(&self, slot: Slot) -> &str {
        match self.place(slot).and_then(|at| at.checked_sub(1)).map(|at| &self.0[at]) {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The text of the template alone, with `fill` for the slots it names.
    pub fn text(&self, fill: impl Fn(Slot) -> Option<String>) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Slot(slot) => fill(*slot).unwrap_or_default(),
        };
        self.0.iter().map(text).collect()
    }
}
