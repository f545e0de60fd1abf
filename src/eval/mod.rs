//! Evaluation: generating and scoring candidates for a data set, Best-of-N selection with
//! confidence intervals, and answer comparison against human verdicts.
//!
//! Works on files of candidates; models are used through the traits of `policy`, `prm` and `judge`.
//!
//! ```
//! use mmprm::eval::metrics::{Aggregator, best};
//! // Step scores of two candidates: the second one has no weak step.
//! let scores = [vec![0.9, 0.2], vec![0.8, 0.7]];
//! let products: Vec<f64> = scores.iter().map(|steps| Aggregator::Product.apply(steps).unwrap()).collect();
//! assert_eq!(best(&products), Some(1));
//! ```

pub mod ablation;
pub mod batch;
pub mod bench;
pub mod bon;
pub mod classes;
pub mod curve;
pub mod detection;
pub mod generate;
pub mod guided;
mod labelled;
pub mod metrics;
pub mod prmbench;
pub mod score;
pub mod selection;
pub mod solve;
mod step_labels;
pub mod steps;
pub mod triples;
