//! From the text of an answer to its shape.
//!
//! One grammar for what people and models write: LaTeX, plain text, Unicode symbols, full-width and Chinese forms. A text is
//! made [`canonical`](canonical::canonical), cut into [tokens](lex), and read as a [`Shape`]: a value, a list, a set, a
//! relation, or words. Whether two shapes mean the same is the `rules`' business.

mod atoms;
mod canonical;
mod clause;
mod commands;
mod cuts;
mod expression;
mod functions;
mod lex;
mod seams;
mod shape;
mod symbols;
mod systems;
mod view;

pub use canonical::canonical;
pub use clause::{Commas, read};
pub use shape::{Bracket, Relation, Shape};

/// Why a text could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It does not follow the grammar.
    Grammar,
    /// It is longer or nested deeper than answers are.
    TooLarge,
}
