//! Verdicts on rollouts, and what to do with those that could not be judged.

use super::{Verdict, Verifier, VerifyError};
use crate::data::problem::Problem;
use crate::data::solution::{Rollout, answer_text};

/// Judges rollouts of a problem by their last elements, in parallel where the verifier can; an
/// empty rollout is incorrect.
///
/// # Errors
/// The first [`VerifyError`].
pub(crate) fn verdicts(
    verifier: &dyn Verifier,
    problem: &Problem,
    rollouts: &[Rollout],
) -> Result<Vec<Verdict>, VerifyError> {
    let answers: Vec<&str> = rollouts.iter().filter_map(|rollout| answer_text(rollout)).collect();
    let mut judged = verifier.verify_all(problem, &answers).into_iter();
    let verdict = |rollout: &Rollout| match answer_text(rollout) {
        None => Ok(Verdict::Incorrect),
        Some(_) => judged.next().unwrap_or(Ok(Verdict::Unjudged)),
    };
    rollouts.iter().map(verdict).collect()
}

/// What to do with rollouts on which neither rules nor a judge could decide.
///
/// ```
/// use mmprm::judge::{OnUnjudged, Verdict};
/// assert_eq!(OnUnjudged::Drop.is_right(Verdict::Unjudged), None);
/// assert_eq!(OnUnjudged::Incorrect.is_right(Verdict::Unjudged), Some(false));
/// assert_eq!(OnUnjudged::Drop.is_right(Verdict::Correct), Some(true));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnjudged {
    /// Leave them out: a Monte Carlo value is the fraction of right rollouts among those judged.
    #[default]
    Drop,
    /// Count them as incorrect, as MM-PRM counts failed requests.
    Incorrect,
    /// Fail the problem, which may be retried.
    Fail,
}

impl OnUnjudged {
    /// The name in settings files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Incorrect => "incorrect",
            Self::Fail => "fail",
        }
    }

    /// Whether a rollout with this verdict counts as right; `None` where it does not count.
    pub fn is_right(self, verdict: Verdict) -> Option<bool> {
        match (verdict, self) {
            (Verdict::Correct, _) => Some(true),
            (Verdict::Incorrect, _) | (Verdict::Unjudged, Self::Incorrect) => Some(false),
            (Verdict::Unjudged, Self::Drop | Self::Fail) => None,
        }
    }

    /// Whether a problem fails with `unjudged` of its `drawn` rollouts unjudged: any for
    /// [`Fail`](Self::Fail), all for [`Drop`](Self::Drop), which would leave nothing to count.
    pub fn fails(self, unjudged: usize, drawn: usize) -> bool {
        match self {
            Self::Drop => unjudged > 0 && unjudged == drawn,
            Self::Incorrect => false,
            Self::Fail => unjudged > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_fails_when_nothing_is_left_or_every_rollout_must_be_judged() {
        assert!(!OnUnjudged::Drop.fails(15, 16) && OnUnjudged::Drop.fails(16, 16) && !OnUnjudged::Drop.fails(0, 0));
        assert!(!OnUnjudged::Incorrect.fails(16, 16));
        assert!(OnUnjudged::Fail.fails(1, 16) && !OnUnjudged::Fail.fails(0, 16));
    }
}
