//! Evaluation: generating and scoring candidates for a data set, Best-of-N selection with
//! confidence intervals, and answer comparison against human verdicts.
//!
//! Works on files of candidates; models are used through the traits of `policy`, `prm` and `judge`.

pub mod batch;
pub mod bon;
pub mod generate;
pub mod majority;
pub mod metrics;
pub mod score;
pub mod triples;
