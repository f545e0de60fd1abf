//! The result of a search.

use crate::data::tree::Tree;

/// The result of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The tree.
    pub tree: Tree,
    /// Counters.
    pub stats: SearchStats,
}

/// Counters of one search.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SearchStats {
    /// Candidates taken from the pool and bisected.
    pub searches: usize,
    /// Rollouts sampled.
    pub rollouts: usize,
    /// Of those, rollouts that could not be judged.
    pub unjudged: usize,
    /// States estimated by rollouts.
    pub estimates: usize,
    /// Probes requested speculatively.
    pub speculative_probes: usize,
    /// Of those, probes that were not needed and cancelled.
    pub cancelled_probes: usize,
    /// Priorities assigned to candidates, repeats included.
    pub pushes: usize,
    /// The sum of these priorities, in order of assignment.
    pub priority_sum: f64,
    /// Comparisons in the pool between equal priorities of different states.
    pub ties: usize,
}
