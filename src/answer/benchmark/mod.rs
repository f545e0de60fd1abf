//! The rules of published benchmarks, exactly as their scripts decide, even where a human would
//! not.
//!
//! [`mathvista()`] follows `MathVista`'s evaluation script (arXiv 2310.02255), [`mathvision()`]
//! that of MATH-Vision (arXiv 2402.14804). Both take an extracted answer ([`extract_for`]) and
//! always decide. Mathematical equality beyond these scripts is left to [`compare`].
//!
//! ```
//! use mmprm::answer::{AnswerSpec, benchmark};
//! let choices = vec!["10 cm".into(), "12 cm".into()];
//! let spec = AnswerSpec { choices, ..AnswerSpec::default() };
//! // Any prediction chooses the option with the smallest edit distance.
//! assert_eq!(benchmark::normalize("2 cm", &spec).as_deref(), Some("12 cm"));
//! assert!(benchmark::mathvista("12 cm", "(B)", &spec));
//! assert!(benchmark::mathvision("0.25", r"\frac{1}{4}", &[]));
//! ```
//!
//! [`compare`]: super::compare
//! [`extract_for`]: super::extract::extract_for

mod latex;
mod mathvision;
mod mathvista;
mod python;

pub use mathvision::mathvision;
pub use mathvista::{mathvista, normalize};

#[cfg(test)]
mod tests;
