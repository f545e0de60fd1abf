//! Progress and result of an annotation.

use std::path::Path;
use std::time::Duration;

use crate::data::problem::Problem;
use crate::search::Outcome;

/// The result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Summary {
    /// Problems searched.
    pub done: usize,
    /// Problems whose tree existed before.
    pub already_done: usize,
    /// Problems that failed in this run.
    pub failed: usize,
    /// Problems skipped because they failed in an earlier run.
    pub failed_before: usize,
    /// Problems whose record occurs earlier in the data set.
    pub repeated: usize,
    /// Of those done, problems that no rollout from the root solved: they give no training samples.
    pub never_solved: usize,
    /// Of those done, problems that every rollout from the root solved: they give no training
    /// samples.
    pub always_solved: usize,
    /// Rollouts sampled, including those of failed and abandoned problems.
    pub rollouts: usize,
    /// Of those, rollouts that could not be judged.
    pub unjudged: usize,
    /// Searches of the problems done.
    pub searches: usize,
    /// Speculative probes of the problems done.
    #[serde(rename = "guesses")]
    pub speculative_probes: usize,
    /// Of those, probes that were not needed and cancelled; their rollouts are not counted above.
    #[serde(rename = "guesses_dropped")]
    pub cancelled_probes: usize,
    /// Whether the run was cancelled before all problems were searched.
    pub cancelled: bool,
}

/// The work of a run, known before its first search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Problems to search.
    pub pending: usize,
    /// Problems whose tree exists.
    pub already_done: usize,
    /// Problems skipped because they failed in an earlier run.
    pub failed_before: usize,
    /// Problems whose record occurs earlier in the data set.
    pub repeated: usize,
}

/// An event of a run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The log of earlier runs had damaged lines, which were moved to `<log>.damaged`.
    Damaged {
        /// The log.
        log: &'a Path,
        /// How many.
        lines: usize,
    },
    /// The run begins.
    Planned(Plan),
    /// The search of a problem begins.
    Started {
        /// The problem.
        problem: &'a Problem,
    },
    /// Rollouts were sampled and judged.
    Rollouts {
        /// The problem.
        problem: &'a Problem,
        /// How many.
        count: usize,
    },
    /// A problem was searched and its tree written.
    Finished {
        /// The problem.
        problem: &'a Problem,
        /// Its tree and counts.
        outcome: &'a Outcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// A problem failed and its cause was logged.
    Failed {
        /// The problem.
        problem: &'a Problem,
        /// Why.
        cause: &'a str,
    },
}

/// Receives the events of a run, from several threads. Any function of an [`Event`] is one; `()`
/// ignores them.
pub trait Progress: Sync {
    /// Handles an event.
    fn event(&self, event: Event<'_>);
}

impl<F: Fn(Event<'_>) + Sync> Progress for F {
    fn event(&self, event: Event<'_>) {
        self(event);
    }
}

impl Progress for () {
    fn event(&self, _: Event<'_>) {}
}
