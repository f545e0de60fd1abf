//! The rules of published benchmarks, exactly: what their own scripts call right, be it right or not.
//!
//! [`mathvista()`] and [`mathvision()`] take an answer that has been extracted already; [`extract_for`] is the way from a
//! response to one. Neither knows "undecided": a benchmark decides always. A judgement about mathematics is the general
//! rules' business.
//!
//! ```
//! use mmprm::answer::{AnswerSpec, benchmark};
//! let spec = AnswerSpec { choices: vec!["10 cm".into(), "12 cm".into()], ..AnswerSpec::default() };
//! // Whatever is prediction chooses the option that it looks most like.
//! assert_eq!(benchmark::normalize("2 cm", &spec).as_deref(), Some("12 cm"));
//! assert!(benchmark::mathvista("12 cm", "(B)", &spec));
//! assert!(benchmark::mathvision("0.25", r"\frac{1}{4}", &[]));
//! ```
//!
//! [`extract_for`]: super::extract::extract_for

mod latex;
mod mathvision;
mod mathvista;
mod python;

pub use mathvision::mathvision;
pub use mathvista::{mathvista, normalize};

#[cfg(test)]
mod tests;
