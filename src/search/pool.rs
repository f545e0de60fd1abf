//! The candidate pool: a priority queue of wrong rollouts to bisect.
//!
//! A candidate's priority changes while it is queued. It is then pushed again, and its earlier
//! entries stay in the heap as *stale* entries, which popping skips: an entry is valid only if its
//! priority is the candidate's current one. Ties between states are broken by the states' visit
//! counts *at the time of comparison*, ties within a state by the rollouts' texts. What priorities
//! mean is left to the search.
//!
//! ```
//! use mmprm::search::pool::CandidatePool;
//! let mut pool = CandidatePool::new();
//! let visits = |_state| 0;
//! let short = pool.add(0, vec!["so 3".to_string()].into());
//! let long = pool.add(0, vec!["then".to_string(), "so 4".to_string()].into());
//! pool.push(short, 0.7, &visits);
//! pool.push(long, 0.9, &visits);
//! pool.push(long, 0.6, &visits); // its first entry is now stale
//! assert_eq!(pool.pop(&visits), Some(short));
//! assert_eq!(pool.pop(&visits), Some(long));
//! assert_eq!(pool.pop(&visits), None);
//! ```

use std::sync::Arc;

use super::heap::Heap;

/// Index of a state in the search.
pub type StateId = usize;

/// Index of a candidate in its pool.
pub type CandidateId = usize;

/// A wrong rollout of a state.
#[derive(Debug)]
pub struct Candidate {
    /// The state from which the rollout was sampled.
    pub state: StateId,
    /// The rollout, without the steps up to its state.
    pub rollout: Arc<[String]>,
    /// Its current priority; `None` while it is not queued.
    priority: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    priority: f64,
    candidate: CandidateId,
}

/// A priority queue of candidates; see the [module](self).
#[derive(Debug)]
pub struct CandidatePool {
    candidates: Vec<Candidate>,
    heap: Heap<Entry>,
    waiting: usize,
    ties: usize,
}

impl Default for CandidatePool {
    fn default() -> Self {
        Self::new()
    }
}

impl CandidatePool {
    /// An empty pool.
    pub fn new() -> Self {
        Self { candidates: Vec::new(), heap: Heap::new(), waiting: 0, ties: 0 }
    }

    /// Registers a candidate, once per distinct rollout of a state. It is queued by
    /// [`push`](Self::push).
    pub fn add(&mut self, state: StateId, rollout: Arc<[String]>) -> CandidateId {
        self.candidates.push(Candidate { state, rollout, priority: None });
        self.candidates.len() - 1
    }

    /// The candidate with this index.
    ///
    /// # Panics
    /// If the index is not from this pool.
    pub fn candidate(&self, candidate: CandidateId) -> &Candidate {
        &self.candidates[candidate]
    }

    /// Queues a candidate, or changes its priority; `visits` returns the visit count of a state.
    ///
    /// # Panics
    /// If the index is not from this pool.
    pub fn push(&mut self, candidate: CandidateId, priority: f64, visits: &impl Fn(StateId) -> u64) {
        if self.candidates[candidate].priority.replace(priority).is_none() {
            self.waiting += 1;
        }
        let Self { candidates, heap, ties, .. } = self;
        heap.push(Entry { priority, candidate }, &mut |a, b| precedes(a, b, candidates, ties, visits));
    }

    /// Removes and returns the candidate of highest priority.
    pub fn pop(&mut self, visits: &impl Fn(StateId) -> u64) -> Option<CandidateId> {
        let Self { candidates, heap, waiting, ties } = self;
        while let Some(Entry { priority, candidate }) = heap.pop(&mut |a, b| precedes(a, b, candidates, ties, visits)) {
            if candidates[candidate].priority == Some(priority) {
                candidates[candidate].priority = None;
                *waiting -= 1;
                return Some(candidate);
            }
        }
        None
    }

    /// The number of candidates in the pool.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether no candidate is in the pool.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The number of entries in the heap, stale ones included.
    pub fn heap_size(&self) -> usize {
        self.heap.len()
    }

    /// Number of comparisons between equal priorities of different states so far.
    pub fn ties(&self) -> usize {
        self.ties
    }
}

fn precedes(
    a: &Entry,
    b: &Entry,
    candidates: &[Candidate],
    ties: &mut usize,
    visits: &impl Fn(StateId) -> u64,
) -> bool {
    #[expect(clippy::float_cmp, reason = "MM-PRM compares tuples, which tie on exactly equal priorities only")]
    if a.priority != b.priority {
        return a.priority > b.priority;
    }
    let (a, b) = (&candidates[a.candidate], &candidates[b.candidate]);
    if a.state == b.state {
        return a.rollout < b.rollout;
    }
    *ties += 1;
    visits(a.state) < visits(b.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_broken_by_visit_counts_at_the_time_of_comparison() {
        let mut pool = CandidatePool::new();
        for state in 0..3 {
            let candidate = pool.add(state, vec!["x".to_owned()].into());
            pool.push(candidate, 0.5, &|_| 0);
        }
        assert_eq!(pool.pop(&|state| [0, 2, 1][state]), Some(0));
        assert_eq!(pool.pop(&|_| 0), Some(2));
        assert!(pool.ties() > 0);
    }

    #[test]
    fn a_candidate_pushed_twice_with_one_priority_pops_once() {
        let mut pool = CandidatePool::new();
        let candidate = pool.add(0, Arc::from([]));
        pool.push(candidate, 0.5, &|_| 0);
        pool.push(candidate, 0.5, &|_| 0);
        assert_eq!((pool.len(), pool.heap_size()), (1, 2));
        assert_eq!(pool.pop(&|_| 0), Some(candidate));
        assert_eq!(pool.pop(&|_| 0), None);
        assert!(pool.is_empty());
    }
}
