//! An extracted answer and how it was found.

use std::borrow::Cow;

/// How an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// In a `\boxed{}` or `\fbox{}`.
    Boxed,
    /// In an `<answer>` tag.
    Tagged,
    /// Words announce it.
    Announced,
    /// The text is nothing but an answer.
    WholeText,
    /// The text begins with a choice's letter or with the text of an option.
    Leading,
    /// Guessed: the last bold number or letter.
    LastBold,
    /// Guessed: the last mathematics.
    LastMath,
    /// Guessed: the last number.
    LastNumber,
    /// Guessed: the last letter of a choice.
    LastLetter,
    /// Guessed: the option that was mentioned last.
    LastOption,
    /// There is none.
    Nothing,
}

impl Method {
    /// Whether the answer is a guess from what stands last, which nothing says is the answer.
    pub fn is_fallback(self) -> bool {
        matches!(self, Self::LastBold | Self::LastMath | Self::LastNumber | Self::LastLetter | Self::LastOption)
    }
}

/// An answer and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction<'a> {
    /// The answer; several where boxes joined by words give it piece by piece; none if nothing was found.
    pub parts: Vec<Cow<'a, str>>,
    /// How.
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
