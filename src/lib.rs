//! Process reward models for multimodal mathematics on one workstation: score the steps of solutions, choose the best of N,
//! label steps by tree search, and train the model that scores.
//!
//! This is the library behind the `mmprm` command. It implements MM-PRM (arXiv 2505.13427); "reference" in names such as
//! `reference_order` means its released code, whose numbers are reproduced.
//!
//! A [`Policy`] writes solutions as lists of steps. A [`Prm`] gives every step the probability that it is right. A
//! [`Judge`] decides whether a final answer is right. [`search`] labels steps with success rates (`OmegaPRM`),
//! [`train`] turns them into a new PRM, [`eval`] evaluates selection among candidates.
//!
//! # Score the steps of candidates
//!
#![cfg_attr(feature = "engine", doc = "```no_run")]
#![cfg_attr(not(feature = "engine"), doc = "```ignore")]
//! # fn main() -> Result<(), mmprm::Error> {
//! let candidates = vec![
//!     vec!["AB is 3 and BC is 4.".to_owned(), "So AC is 5.".to_owned()],
//!     vec!["AB is 3 and BC is 4.".to_owned(), "So AC is 7.".to_owned()],
//! ];
//! let prm = mmprm::Prm::open("prm.gguf")?.mmproj("mmproj.gguf")?;
//! let scores = prm.score("How long is AC?", &["figure.png"], &candidates)?; // [candidate][step], each 0 to 1
//! println!("{scores:?}");
//! # Ok(()) }
//! ```
//!
//! # Best of N
//!
#![cfg_attr(feature = "engine", doc = "```no_run")]
#![cfg_attr(not(feature = "engine"), doc = "```ignore")]
//! use mmprm::{Policy, Prm, Problem};
//! # fn main() -> Result<(), mmprm::Error> {
//! let policy = Policy::open("policy.gguf")?.mmproj("mmproj-policy.gguf")?;
//! let prm = Prm::open("prm.gguf")?.mmproj("mmproj-prm.gguf")?;
//! let problem = Problem::new("How long is AC?").image("figure.png");
//! let best = mmprm::best_of_n(&policy, &prm, &problem, 16)?;
//! println!("{}", best.steps.join("\n"));
//! # Ok(()) }
//! ```
//!
//! # Is this answer right?
//!
//! ```
//! use mmprm::{Judge, Problem, Verdict};
//! let problem = Problem::new("What is one half of one?").answer(r"\frac{1}{2}");
//! let judge = Judge::rules();
//! assert_eq!(judge.verdict(&problem, "The final answer is 0.5.").unwrap(), Verdict::Correct);
//! ```
//!
//! # Features
//!
//! `engine` (default) builds llama.cpp, which runs the models; `cuda`, `vulkan` and `metal` add its GPU backends. Without
//! `engine` the crate needs no C++ compiler and has everything that runs no GGUF model: data, answers, images, prompts, the
//! search over any [`policy::RolloutModel`], the trainer's layers, evaluation.
//!
//! Rooms are listed in the order of the pipeline. A room uses only rooms before it, which a test checks.
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

// What is read.
pub mod data;
pub mod image;
pub mod prompt;
pub mod answer;

// What runs.
pub mod engine;
pub mod vision;
pub mod remote;

// Who answers.
pub mod policy;
pub mod prm;
pub mod judge;

// The jobs.
pub mod dataset;
pub mod search;
pub mod train;
pub mod eval;
pub mod report;

// The trainer's model, which also encodes images.
#[doc(hidden)]
pub mod nn;
#[doc(hidden)]
pub mod internvl;

// Helpers.
#[doc(hidden)]
pub mod compat;
#[doc(hidden)]
pub mod util;

// What the crate root offers.
mod facade;

pub use data::problem::Problem;
#[cfg(feature = "engine")]
pub use facade::{Best, Policy, Prm, best_of_n};
pub use facade::{Error, ErrorKind, Judge};
pub use judge::{Verdict, Verifier};
