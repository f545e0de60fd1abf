//! The trait of judge models.

use super::JudgeError;
use crate::data::problem::Problem;

/// Maximum new tokens of a judge's reply; MM-PRM's number.
pub(super) const VERDICT_TOKENS: usize = 8;
/// Maximum size of a server's reply in bytes. A verdict takes about a thousand.
pub(super) const MAX_REPLY: u64 = 1 << 20;

/// A model that decides whether an answer matches the problem's correct one.
pub trait JudgeModel: Sync {
    /// Whether `answer`, the last element of a rollout, is right.
    ///
    /// # Errors
    /// [`JudgeError`]; a failure is never a verdict.
    fn judge(&self, problem: &Problem, answer: &str) -> Result<bool, JudgeError>;

    /// Identifies the judge: its model and the wording of its question. Cached verdicts apply to
    /// judges of the same identity.
    fn identity(&self) -> String;

    /// Maximum number of questions at once.
    fn parallel(&self) -> usize {
        1
    }

    /// Number of questions answered from a cache so far.
    fn cache_hits(&self) -> u64 {
        0
    }
}
