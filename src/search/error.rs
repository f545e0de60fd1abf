//! Why a search gave no tree.

use super::ParamsError;
use crate::data::tree::MAX_DEPTH;
use crate::judge::VerifyError;
use crate::policy::PolicyError;

/// Why a search gave no tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A search parameter is out of range.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The policy could not sample rollouts.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy returned another number of rollouts than requested, which would make Monte Carlo
    /// values wrong.
    #[error("expected {asked} rollouts from the policy, got {got}")]
    RolloutCount {
        /// Rollouts requested.
        asked: usize,
        /// Rollouts returned.
        got: usize,
    },
    /// A rollout could not be judged.
    #[error(transparent)]
    Verifier(#[from] VerifyError),
    /// Too few of a state's rollouts could be judged.
    #[error("{unjudged} of {drawn} rollouts could not be judged")]
    Unjudged {
        /// Rollouts that could not be judged.
        unjudged: usize,
        /// Rollouts sampled.
        drawn: usize,
    },
    /// The tree would exceed the maximum depth.
    #[error("the tree grew beyond {MAX_DEPTH} levels: the policy's solutions do not end")]
    TooDeep,
}
