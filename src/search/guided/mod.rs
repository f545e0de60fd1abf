//! Search with a process reward model at inference: solutions grow step by step, and the model's scores say which to go on with.
//!
//! Beam search over steps, lookahead search and diverse verifier tree search (DVTS), after Snell et al. (arXiv 2408.03314) and Hugging
//! Face's search-and-learn; Best-of-N is the same without steering. All are made of the same requests:
//! [rollouts of one step](crate::policy::RolloutRequest::one_step), and
//! [scores of unfinished solutions](crate::prm::StepScorer::score_unfinished). What is returned are the finished solutions, from which
//! [`eval::selection`](crate::eval::selection) selects as from any candidates.
//!
//! ```
//! # use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
//! # use mmprm::prm::{PrmError, ScoreRequest, StepScorer};
//! use mmprm::data::Problem;
//! use mmprm::search::guided::{GuidedParams, Method, guided};
//! # /// Writes a digit a step, then its answer.
//! # struct Digits;
//! # impl RolloutModel for Digits {
//! #     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
//! #         let step = |index: usize| match request.prefix.len() {
//! #             0..2 => SampledRollout { rollout: vec![(index % 3).to_string()], unfinished: true, ..SampledRollout::default() },
//! #             _ => vec![format!("Answer: {}", request.prefix.concat())].into(),
//! #         };
//! #         Ok((request.first..request.first + request.count).map(step).collect())
//! #     }
//! # }
//! # impl StepScorer for Digits {
//! #     fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
//! #         let score = |step: &String| if step.contains('2') { 0.9 } else { 0.1 };
//! #         Ok(request.solutions.iter().map(|steps| steps.iter().map(score).collect()).collect())
//! #     }
//! # }
//! // A policy that writes 0, 1 or 2, and a reward model that likes 2.
//! let params = GuidedParams { method: Method::Beam, candidates: 9, width: 3, ..GuidedParams::default() };
//! let found = guided(&Problem::new("?"), &params, &Digits, &Digits, &Default::default())?;
//! assert_eq!(found.solutions[0], ["2", "2", "Answer: 22"]);
//! # Ok::<(), mmprm::search::guided::GuidedError>(())
//! ```

mod error;
mod params;
mod run;

#[cfg(test)]
mod tests;

pub use error::GuidedError;
pub use params::{GuidedParams, Method};
pub use run::{Found, guided};
