//! What is read and written: problems, solutions, candidates, search trees, training samples.

pub mod candidates;
pub mod problem;
pub mod samples;
pub mod solution;
pub mod tree;
