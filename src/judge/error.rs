//! Why there is no verdict. A failure is never a verdict.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use super::reply;
use crate::remote::{EndpointError, SetupError};
use crate::util::io::FileError;

/// Why a judge model gave no verdict.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The judge's server cannot be used as configured: every question would fail.
    #[error("the judge cannot be used: {0}")]
    Setup(#[source] SetupError),
    /// A local model has no tokens for `ChatML`, the default chat template.
    #[error("{}: its vocabulary has no <|im_start|>; give its chat template", path.display())]
    NoChatTemplate {
        /// The model.
        path: PathBuf,
    },
    /// The cache of verdicts cannot be opened, read or written.
    #[error("cannot use the judge's cache: {0}")]
    Cache(#[source] Arc<FileError>),
    /// The file given as the cache of verdicts holds something else.
    #[error("{}: expected a judge's cache, whose lines are verdicts, found another file", path.display())]
    NotACache {
        /// The file.
        path: PathBuf,
    },
    /// The judge refuses this question and would refuse it again.
    #[error("the judge refused the question: {0}")]
    Refused(#[source] Arc<dyn Error + Send + Sync>),
    /// Every attempt to ask the server failed.
    #[error("the judge failed {tries} times, the last time because {cause}")]
    Failed {
        /// Number of attempts.
        tries: u32,
        /// Why the last attempt failed.
        cause: String,
    },
    /// A local model's reply is neither Yes nor No.
    #[error("the judge gave no verdict: {}", reply::no_verdict(.reply))]
    NoVerdict {
        /// The reply.
        reply: String,
    },
    /// The engine of a local model failed.
    #[error("the judge failed: {0}")]
    Model(#[source] Arc<dyn Error + Send + Sync>),
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl JudgeError {
    /// Whether every further question would fail too.
    pub fn ends_the_run(&self) -> bool {
        matches!(self, Self::Setup(_) | Self::NoChatTemplate { .. } | Self::Cache(_) | Self::NotACache { .. })
    }
}

impl From<EndpointError> for JudgeError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Setup(error) => Self::Setup(error),
            EndpointError::Refused { .. } | EndpointError::SeveralRefused { .. } => Self::Refused(Arc::new(error)),
            EndpointError::Failed { tries, cause, .. } => Self::Failed { tries, cause },
            EndpointError::Cancelled => Self::Cancelled,
        }
    }
}

/// Why an answer could not be verified. A failure never counts as incorrect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The problem has no correct answer to compare with.
    #[error("cannot judge the answer: problem {problem}: expected a correct answer, found an empty one")]
    NoAnswer {
        /// The problem's id.
        problem: String,
    },
    /// The judge cannot be used, or the run was cancelled.
    #[error("cannot judge the answer: {0}")]
    Judge(#[from] JudgeError),
    /// The cause of another [`Verifier`](super::Verifier).
    #[error("cannot judge the answer: {0}")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}
