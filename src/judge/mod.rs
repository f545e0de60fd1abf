//! Is an answer right? Rules decide first, a judge model where they cannot, and what neither can
//! decide stays *unjudged*.
//!
//! A [`Verifier`] gives a [`Verdict`] on an answer: [`RuleVerifier`] compares by rules,
//! [`RulesThenJudge`] asks a [`JudgeModel`] about what the rules leave undecided and counts who
//! decided. [`EndpointJudge`] is a model behind an OpenAI-compatible
//! [`Endpoint`](crate::remote::Endpoint), [`LocalJudge`] one on this machine; [`CachedJudge`]
//! stores verdicts on disk and never asks the same question twice. [`OnUnjudged`] says what to do
//! with a rollout that was not judged: a failed request never counts as an incorrect rollout by
//! itself.
//!
//! A model can also judge steps, as MM-PRM's `mllm_as_a_judge.py` does: [`StepJudge`] reads the
//! probabilities of Yes and No, and [`judge_trees`] writes them beside the Monte Carlo values of
//! search trees.
//!
//! The wording of the questions is in `prompt`; flags and messages for people are left to the
//! caller.
//!
//! ```
//! use mmprm::data::problem::Problem;
//! use mmprm::judge::{
//!     JudgeError, JudgeMode, JudgeModel, RulesThenJudge, Verdict, Verifier, VerifyError,
//! };
//! use mmprm::util::cancel::CancelToken;
//!
//! /// Rules that decide numbers only.
//! struct Numbers;
//! impl Verifier for Numbers {
//!     fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
//!         Ok(match answer.parse::<f64>() {
//!             Ok(_) if answer == problem.answer => Verdict::Correct,
//!             Ok(_) => Verdict::Incorrect,
//!             Err(_) => Verdict::Unjudged,
//!         })
//!     }
//! }
//! struct Reader;
//! impl JudgeModel for Reader {
//!     fn judge(&self, _: &Problem, answer: &str) -> Result<bool, JudgeError> {
//!         Ok(answer == "two")
//!     }
//!     fn identity(&self) -> String {
//!         "reader".into()
//!     }
//! }
//!
//! let problem = Problem::new("1 + 1?").answer("2");
//! let stop = CancelToken::new();
//! let verifier = RulesThenJudge::new(&Numbers, Some(&Reader), JudgeMode::Undecided, &stop);
//! assert_eq!(verifier.verify(&problem, "3").unwrap(), Verdict::Incorrect);
//! assert_eq!(verifier.verify(&problem, "two").unwrap(), Verdict::Correct);
//! assert_eq!((verifier.counts().by_rules, verifier.counts().by_judge), (1, 1));
//! ```

mod cache;
mod cascade;
mod endpoint;
mod error;
#[cfg(feature = "engine")]
mod local;
mod model;
mod reply;
mod rollouts;
mod run;
mod steps;
mod trees;
mod verifier;

pub use cache::CachedJudge;
pub use cascade::{JudgeMode, RulesThenJudge, VerdictCounts};
pub use endpoint::EndpointJudge;
pub use error::{JudgeError, VerifyError};
#[cfg(feature = "engine")]
pub use local::LocalJudge;
pub use model::JudgeModel;
pub use rollouts::OnUnjudged;
pub(crate) use rollouts::verdicts;
pub use run::{TreeEvent, TreesError, TreesOptions, TreesSummary, judge_trees};
pub use steps::StepJudge;
pub use trees::JudgedStates;
pub use verifier::{RuleVerifier, Verdict, Verifier};
