//! Reads the text of an answer as a [`Shape`]: a value, a list, a set, a relation, or words.
//!
//! One grammar covers LaTeX, plain text, Unicode symbols, full-width and Chinese forms.
//! [`normalize`] gives each symbol one spelling, [`lex`] makes tokens, [`read`] makes the shape.
//! Comparing shapes is left to the rules.
//!
//! The grammar is recursive: a bracket contains an expression, a row of a system contains a
//! statement. `Parser` (expressions) and `Reader` (whole answers) are therefore each implemented in
//! several files whose methods call each other.

mod clock;
mod commands;
mod error;
mod expression;
mod functions;
mod lex;
mod line_breaks;
mod normalize;
mod operands;
mod ordinals;
mod patterns;
mod phrases;
mod reader;
mod shape;
mod systems;
mod token_slice;
mod unicode;

pub use clock::Clock;
pub use error::Unreadable;
pub use normalize::normalize;
pub use ordinals::without_ordinals;
pub use phrases::{in_symbols, with_round_ends};
pub use reader::{Commas, read};
pub use shape::{Bracket, Joint, Relation, Shape};
