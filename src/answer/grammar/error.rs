//! Why an answer could not be read.

/// Why a text could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It does not follow the grammar.
    Grammar,
    /// It is longer or nested deeper than answers are.
    TooLarge,
}
