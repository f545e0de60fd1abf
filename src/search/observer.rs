//! Callbacks of a running search.

/// A candidate just taken from the pool, with the state of the search at that moment.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// The candidate's rollout, without the steps up to its state.
    pub rollout: &'a [String],
    /// The steps up to its state.
    pub prefix: &'a [String],
    /// The visit count of its state, before this visit.
    pub visit_count: u64,
    /// The Monte Carlo value of its state, 0 to 1.
    pub mc_value: f64,
    /// Searches finished.
    pub searches: usize,
    /// Rollouts sampled.
    pub rollouts: usize,
    /// Entries in the pool's heap before the candidate was taken, stale ones included.
    pub heap_size: usize,
    /// Candidates in the pool before this one was taken.
    pub candidates: usize,
}

/// Receives the events of a running search, on its thread. `()` ignores them.
pub trait Observer {
    /// `count` more rollouts were sampled and judged.
    fn rollouts_sampled(&mut self, count: usize) {
        let _ = count;
    }

    /// Of the rollouts just sampled, `count` could not be judged.
    fn rollouts_unjudged(&mut self, count: usize) {
        let _ = count;
    }

    /// A candidate was selected and will be bisected next.
    fn selected(&mut self, selection: &Selection<'_>) {
        let _ = selection;
    }
}

impl Observer for () {}
