//! Decides whether an answer is right, from text alone and without a model.
//!
//! [`extract`] finds the final answer in a model's response. [`compare`] compares it with the
//! expected one by mathematical value and returns a [`Comparison`]: an [`Outcome`] (equal,
//! different or undecided) and its reason. [`benchmark`] reproduces the rules of published
//! benchmarks, and [`Rule`] selects between these and the general one. Every Monte Carlo label of a
//! search depends on this decision, so that no rule guesses: what none can decide stays undecided.
//! Asking a judge model is left to the judge.
//!
//! ```
//! use mmprm::answer::{AnswerSpec, Outcome, compare};
//! let spec = AnswerSpec::default();
//! let half = compare(r"\frac{1}{2}", "The final answer is $0.5$.", &spec);
//! assert_eq!(half.outcome, Outcome::Equal);
//! assert_eq!(compare("x = 3", "4", &spec).outcome, Outcome::Different);
//! let unclear = compare("the longest side", "the side opposite the right angle", &spec);
//! assert_eq!(unclear.outcome, Outcome::Undecided);
//! ```
//!
//! # Adding a new form of answer
//!
//! A response passes through `extract` (find the answer), `grammar::normalize` (one spelling for
//! each symbol), `grammar::lex` and `grammar::reader` (read a `Shape`), `rules` (compare two
//! shapes) and `math` (compare two expressions). Change the first of these that does not handle
//! the form:
//!
//! * a symbol, or a LaTeX command that is a synonym or carries no meaning: `grammar/unicode.rs`,
//!   `grammar/normalize.rs`;
//! * a notation inside expressions: `grammar/lex.rs` for a token, `grammar/commands.rs` for a LaTeX
//!   command, `grammar/functions.rs` and `math/evaluate.rs` for a function;
//! * a kind of answer besides values, lists, sets and relations: a variant of `Shape` in
//!   `grammar/shape.rs`, its syntax in `grammar/reader.rs`, its comparison in a new file of `rules`
//!   that `rules/shapes.rs` calls;
//! * a form outside the grammar, such as words or numbered parts: a rule that `rules/free.rs`
//!   calls;
//! * a phrase for a condition or a range ("is at least"): `grammar/phrases.rs`; a notation of a time
//!   of day: `grammar/clock.rs`;
//! * a remark around an answer, such as "(at 25 °C)": `rules/remarks.rs`;
//! * a unit or a currency: a row of a table in `units.rs`;
//! * a word that announces an answer, in any language: a list in `extract/announced.rs`;
//! * number words: `number_words.rs`;
//! * options in the text of a question: `options.rs`;
//! * the rule of a benchmark: a file in `benchmark`, and a variant of [`Rule`] in `rule.rs` (the
//!   command `mmprm verify` lists the rules by name).
//!
//! Then add the form to `tests/answers_kinds.rs` (rarer spellings of it to `tests/answers_pairs/`), with pairs that are equal and pairs that are not.

pub mod benchmark;
mod byte_pairs;
mod comparison;
pub mod extract;
mod grammar;
mod math;
mod number_words;
mod options;
mod rule;
mod rules;
mod spec;
mod units;

pub use comparison::{Comparison, Outcome};
pub use rule::Rule;
pub use rules::{AnswerKind, compare, is_verifiable, kind};
pub use spec::{AnswerSpec, AnswerType, Precision};
