//! Is this the right answer? The judgement that every Monte Carlo label rests on.
//!
//! [`extract`] finds the answer in what a model wrote, [`compare`] holds it against the problem's own by rules that know
//! when they do not know: an [`Outcome`] is equal, different or undecided, with a reason. [`benchmark`] has the rules of the
//! published benchmarks, exactly. [`RuleVerifier`] is the whole as a [`Verifier`]; a judge model for what is undecided is
//! the `judge` room's business, and so is what becomes of a rollout that nobody could judge.
//!
//! ```
//! use mmprm::answer::{Outcome, AnswerSpec, compare};
//! let spec = AnswerSpec::default();
//! assert_eq!(compare(r"\frac{1}{2}", "The final answer is $0.5$.", &spec).outcome, Outcome::Equal);
//! assert_eq!(compare("x = 3", "4", &spec).outcome, Outcome::Different);
//! assert_eq!(compare("the longest side", "the side opposite the right angle", &spec).outcome, Outcome::Undecided);
//! ```

pub mod benchmark;
mod comparison;
pub mod extract;
mod grammar;
mod math;
mod number_words;
mod rule;
mod rules;
mod spec;
mod units;

pub use comparison::{Comparison, Outcome};
pub use rule::Rule;
pub use rules::compare;
pub use spec::{AnswerSpec, AnswerType, Precision};
