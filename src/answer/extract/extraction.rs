//! An extracted answer and how it was found.

use std::borrow::Cow;

/// How an answer was found. The methods `Last…` are guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// In a `\boxed{}` or `\fbox{}`.
    Boxed,
    /// In an `<answer>` tag.
    Tagged,
    /// Announced in words, such as "the answer is".
    Announced,
    /// The whole text is an answer.
    WholeText,
    /// The text starts with the letter or the text of an option.
    Leading,
    /// The last bold number or letter.
    LastBold,
    /// The last mathematics.
    LastMath,
    /// The last number.
    LastNumber,
    /// The last letter of an option.
    LastLetter,
    /// The option mentioned last.
    LastOption,
    /// No answer was found.
    Nothing,
}

impl Method {
    /// Returns whether the answer is a guess: the last candidate in a text that states no answer.
    pub fn is_fallback(self) -> bool {
        matches!(self, Self::LastBold | Self::LastMath | Self::LastNumber | Self::LastLetter | Self::LastOption)
    }
}

/// An answer and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction<'a> {
    /// The answer; several parts for joined boxes, none if no answer was found.
    pub parts: Vec<Cow<'a, str>>,
    /// How the answer was found.
    pub method: Method,
}

impl<'a> Extraction<'a> {
    pub(super) fn one(method: Method, answer: impl Into<Cow<'a, str>>) -> Self {
        Self { parts: vec![answer.into()], method }
    }

    pub(super) fn nothing() -> Self {
        Self { parts: Vec::new(), method: Method::Nothing }
    }
}
