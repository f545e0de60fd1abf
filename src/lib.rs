//! Step-level judging of multimodal mathematics on one workstation.
//!
//! MM-PRM (arXiv 2505.13427) makes a multimodal maths model better by judging every step of its solutions. This crate holds
//! the parts: a *policy* that writes solutions ([`policy`]), rules and judge models that tell right answers from wrong ones
//! ([`answer`], [`judge`]), a Monte Carlo tree search that labels steps without humans ([`search`], [`annotate`],
//! [`samples`]), a *process reward model* that scores steps ([`reward`]), and Best-of-N over its scores ([`eval`]). Models
//! run on llama.cpp ([`engine`]). `ARCHITECTURE.md` has the map; the command line is the `mmprm` binary of the `mmprm-tools`
//! package.
#![deny(unsafe_code)]

pub mod annotate;
pub mod answer;
pub mod endpoint;
pub mod engine;
pub mod eval;
pub mod fit;
pub mod image;
pub mod internvl;
pub mod journal;
pub mod judge;
pub mod mt19937;
pub mod multimodal;
pub mod nn;
pub mod policy;
pub mod problem;
pub mod prompt;
pub mod python_json;
pub mod python_text;
pub mod reward;
pub mod samples;
pub mod search;
pub mod solution;
pub mod train;
pub mod tree;
pub mod vision;
