//! The process reward model (PRM): scores every step of candidate solutions.
//!
//! [`StepScorer`] is the trait that Best-of-N uses; [`LocalPrm`] runs a GGUF model on llama.cpp, in a form ([`PrmForm`]) that says
//! which text it reads and where and how scores are read: from logits of tokens, perhaps after a critique that the model writes,
//! from a [head](mmprm_quant::head::Head), or from log-probabilities.
//! Aggregating step scores is left to [`eval`](crate::eval).
//!
//! ```
//! use mmprm::prm::{PrmError, ScoreRequest, StepScorer};
//!
//! /// Distrusts long steps.
//! struct Brevity;
//! impl StepScorer for Brevity {
//!     fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
//!         let score = |step: &String| 1.0 / (1.0 + step.len() as f64 / 100.0);
//!         Ok(request.solutions.iter().map(|steps| steps.iter().map(score).collect()).collect())
//!     }
//! }
//!
//! let solutions = [vec!["Add.".to_owned(), "It is 2.".to_owned()], vec![]];
//! let scores = Brevity.score(&ScoreRequest { question: "1 + 1?", images: &[], solutions: &solutions }).unwrap();
//! assert_eq!((scores[0].len(), scores[1].len()), (2, 0));
//! ```

#[cfg(feature = "engine")]
mod critique;
mod error;
pub mod form;
#[cfg(feature = "engine")]
mod local;
#[cfg(feature = "engine")]
mod probability;
mod request;

pub use crate::prompt::PrmForm;
pub use error::PrmError;
pub(crate) use error::finite;
#[cfg(feature = "engine")]
pub use local::{LocalPrm, PrmOptions};
pub use request::{Critique, ScoreRequest, Scored, StepScorer};
