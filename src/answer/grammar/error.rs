//! Why a text cannot be read as an answer.

/// Why a text cannot be read as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It does not follow the grammar.
    Grammar,
    /// It is longer or more deeply nested than the limits allow.
    TooLarge,
}
