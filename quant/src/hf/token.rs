//! Tokens and their types.

/// A token's type (`llama_token_type`); the discriminant is its number in GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// Ordinary text.
    Normal = 1,
    /// Replaces text that the vocabulary cannot express.
    Unknown = 2,
    /// Never part of visible text.
    Control = 3,
    /// Matched as a unit in text, and visible.
    UserDefined = 4,
    /// A row of the embedding matrix without a meaning.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

impl TokenType {
    /// Returns the type's number in GGUF.
    pub fn id(self) -> i32 {
        self as i32
    }
}

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Text, in sentencepiece vocabularies with `▁` for a space.
    pub text: String,
    /// Score: sentencepiece applies merges with higher scores first; 0 in byte-level BPE, where
    /// merges decide.
    pub score: f32,
    /// Type.
    pub token_type: TokenType,
}
