//! What happens where rules cannot decide: a judge model is asked, and what nobody can judge stays *unjudged*.
//!
//! A [`JudgeModel`] says whether an answer matches the problem's own. [`EndpointJudge`] asks a model behind an OpenAI-compatible
//! [`Endpoint`](crate::remote::Endpoint), [`LocalJudge`] one that runs here; [`CachedJudge`] keeps verdicts on disk and
//! asks the same question once. [`JudgedVerifier`] puts rules before a judge and counts who decided; [`OnUnjudged`] says
//! what becomes of a rollout that nobody could judge: a failed request is never an "incorrect" by itself.
//!
//! The same endpoint can also judge steps: [`StepJudge`] reads the probabilities of Yes and No, and [`judge_trees`] writes
//! them beside the Monte Carlo values of search trees.
//!
//! The wording of the questions is `prompt`'s; flags, keys' places and messages for people are the caller's.
//!
//! ```
//! use mmprm::util::cancel::CancelToken;
//! use mmprm::judge::{JudgeModel, JudgeError, JudgedVerifier, Verdict, Verifier, VerifyError, When};
//! use mmprm::data::problem::Problem;
//!
//! /// Rules that know numbers, and a judge that knows better.
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
//! # let problem = Problem {
//! #     record: serde_json::Map::new(), id: "p".into(), question: "1 + 1?".into(), answer: "2".into(), images: vec![],
//! # };
//! let stop = CancelToken::new();
//! let verifier = JudgedVerifier::new(&Numbers, Some(&Reader), When::Undecided, &stop);
//! assert_eq!(verifier.verify(&problem, "3").unwrap(), Verdict::Incorrect);
//! assert_eq!(verifier.verify(&problem, "two").unwrap(), Verdict::Correct);
//! assert_eq!((verifier.report().by_rules, verifier.report().by_judge), (1, 1));
//! ```

mod answers;
mod cache;
mod cascade;
#[cfg(feature = "engine")]
mod local;
mod reply;
mod rollouts;
mod run;
mod steps;
mod trees;
mod verifier;

pub use answers::EndpointJudge;
pub use cache::CachedJudge;
pub use cascade::{JudgedVerifier, Report, When};
#[cfg(feature = "engine")]
pub use local::LocalJudge;
pub use reply::StepScore;
pub use rollouts::{OnUnjudged, verdicts};
pub use run::{TreeEvent, TreesError, TreesOptions, TreesSummary, judge_trees};
pub use steps::StepJudge;
pub use trees::Judged;
pub use verifier::{RuleVerifier, Verdict, Verifier, VerifyError};

use crate::data::problem::Problem;
use crate::remote::EndpointError;

/// Most tokens in a judge's verdict; the reference's number.
const VERDICT_TOKENS: usize = 8;
/// The largest reply that is read, in bytes. A verdict takes a thousand.
const MOST_REPLY: u64 = 1 << 20;

/// Says whether an answer matches the problem's own.
pub trait JudgeModel: Sync {
    /// Whether `answer`, the last element of a rollout, is right.
    ///
    /// # Errors
    /// [`JudgeError`]; a failure is never a verdict.
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError>;

    /// Names the judge: its model and the wording of its question. Verdicts of one identity are kept and used for another
    /// run's questions.
    fn identity(&self) -> String;

    /// How many questions it can work on at once.
    fn parallel(&self) -> usize {
        1
    }

    /// How many questions it answered from memory so far.
    fn cache_hits(&self) -> u64 {
        0
    }
}

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The judge cannot be used as it was set up: every question would fail.
    #[error("{0}")]
    Setup(String),
    /// The judge will not take this question, now or later.
    #[error("the judge refused the question: {0}")]
    Refused(String),
    /// The judge was asked several times.
    #[error("the judge failed {tries} times, the last time because {cause}")]
    Failed {
        /// How many requests were made.
        tries: u32,
        /// What came of the last.
        cause: String,
    },
    /// A judge that runs here answered something else, or its engine failed.
    #[error("the judge gave no verdict: {0}")]
    NoVerdict(String),
    /// The run is being stopped.
    #[error("cancelled")]
    Cancelled,
}

impl JudgeError {
    /// Whether every further question would fail too.
    pub fn ends_the_run(&self) -> bool {
        matches!(self, Self::Setup(_))
    }
}

impl From<EndpointError> for JudgeError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Setup(cause) => Self::Setup(format!("the judge cannot be used: {cause}")),
            EndpointError::Refused { told, .. } | EndpointError::SeveralRefused { told, .. } => Self::Refused(told),
            EndpointError::Failed { tries, cause, .. } => Self::Failed { tries, cause },
            EndpointError::Cancelled => Self::Cancelled,
        }
    }
}
