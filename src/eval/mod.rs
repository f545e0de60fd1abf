//! Best-of-N: candidate files, drawing candidates for a data set, scoring their steps, and choosing among them.
//!
//! Sits above `policy` and `reward` and knows only their traits.

pub mod batch;
pub mod bon;
pub mod generate;
pub mod metrics;
pub mod score;
pub mod triples;
