//! From the text of an answer to its shape.
//!
//! One grammar for what people and models write: LaTeX, plain text, Unicode symbols, full-width and Chinese forms. A text is
//! made [`canonical`](normalize::normalize), cut into [tokens](lex), and read as a [`Shape`]: a value, a list, a set, a
//! relation, or words. Whether two shapes mean the same is the `rules`' business.

mod commands;
mod error;
mod expression;
mod functions;
mod lex;
mod line_breaks;
mod normalize;
mod operands;
mod patterns;
mod reader;
mod shape;
mod systems;
mod token_slice;
mod unicode;

pub use error::Unreadable;
pub use normalize::normalize;
pub use reader::{Commas, read};
pub use shape::{Bracket, Relation, Shape};
