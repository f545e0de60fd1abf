//! The candidate pool: wrong rollouts that wait to be searched, the one of highest priority first.
//!
//! A candidate's priority changes while it waits. It is then pushed again, and its earlier entries stay in the heap as
//! *stale* ones, which popping skips: an entry counts only if its priority is the candidate's present one. Equal priorities
//! of different states are settled by the states' visit counts *at the time of comparison*, those of one state by the
//! rollouts' texts. What priorities mean is the search's business.
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

/// Names a state of the search.
pub type StateId = usize;

/// Names a candidate of a pool.
pub type CandidateId = usize;

/// A wrong rollout of a state.
#[derive(Debug)]
pub struct Candidate {
    /// The state from which the rollout was drawn.
    pub state: StateId,
    /// The rollout, without the steps up to its state.
    pub rollout: Arc<[String]>,
    /// Its present priority; `None` while it is not in the pool.
    priority: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    priority: f64,
    candidate: CandidateId,
}

/// See the [module](self).
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
    /// A pool without candidates.
    pub fn new() -> Self {
        Self { candidates: Vec::new(), heap: Heap::new(), waiting: 0, ties: 0 }
    }

    /// Makes a candidate known, once for each distinct rollout of a state. It is not in the pool before it is pushed.
    pub fn add(&mut self, state: StateId, rollout: Arc<[String]>) -> CandidateId {
        self.candidates.push(Candidate { state, rollout, priority: None });
        self.candidates.len() - 1
    }

    /// The candidate of this name.
    ///
    /// # Panics
    /// If the name is not from this pool.
    pub fn candidate(&self, candidate: CandidateId) -> &Candidate {
        &self.candidates[candidate]
    }

    /// Puts a candidate into the pool, or gives it another priority; `visits` tells the visit count of a state.
    ///
    /// # Panics
    /// If the name is not from this pool.
    pub fn push(&mut self, candidate: CandidateId, priority: f64, visits: &impl Fn(StateId) -> u64) {
        if self.candidates[candidate].priority.replace(priority).is_none() {
            self.waiting += 1;
        }
        let Self { candidates, heap, ties, .. } = self;
        heap.push(Entry { priority, candidate }, &mut |a, b| leaves_before(a, b, candidates, ties, visits));
    }

    /// Takes the candidate of highest priority out of the pool.
    pub fn pop(&mut self, visits: &impl Fn(StateId) -> u64) -> Option<CandidateId> {
        let Self { candidates, heap, waiting, ties } = self;
        while let Some(Entry { priority, candidate }) =
            heap.pop(&mut |a, b| leaves_before(a, b, candidates, ties, visits))
        {
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

    /// How often equal priorities of different states were compared so far.
    pub fn ties(&self) -> usize {
        self.ties
    }
}

fn leaves_before(
    a: &Entry,
    b: &Entry,
    candidates: &[Candidate],
    ties: &mut usize,
    visits: &impl Fn(StateId) -> u64,
) -> bool {
    #[expect(clippy::float_cmp, reason = "the reference compares tuples, which tie on exactly equal priorities only")]
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
    fn a_tie_is_settled_by_the_visit_counts_at_the_time_of_comparison() {
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
    fn a_candidate_pushed_twice_with_one_priority_leaves_once() {
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
