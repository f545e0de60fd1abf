//! Why a guided search failed.

use crate::policy::PolicyError;
use crate::prm::PrmError;

/// Why a guided search failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuidedError {
    /// Sampling failed, or the search was cancelled.
    #[error("{0}")]
    Policy(#[source] PolicyError),
    /// Scoring failed.
    #[error("{0}")]
    Prm(#[source] PrmError),
}
