//! The states of a running search, with an index of those that have unsearched candidates.

use std::ops::Range;
use std::sync::Arc;

use super::SearchError;
use super::pool::{CandidateId, StateId};
use crate::data::solution::Rollout;
use crate::data::tree::{MAX_DEPTH, Node};
use crate::policy::StepTokens;

/// A solution up to some step.
#[derive(Debug, Default)]
pub(super) struct State {
    parent: Option<StateId>,
    /// The child index at every level from the root to this state. Lexicographic order is
    /// depth-first order.
    position: Box<[u32]>,
    /// The steps that this state adds to its parent's are `part` of this rollout.
    rollout: Arc<[String]>,
    part: Range<usize>,
    /// The policy's tokens for each step of `rollout`; empty where unknown.
    pub(super) step_tokens: Arc<[StepTokens]>,
    pub(super) mc_value: f64,
    pub(super) visits: u64,
    pub(super) correct: Vec<Arc<[String]>>,
    pub(super) incorrect: Vec<Arc<[String]>>,
    /// Candidates of this state that have not been searched.
    pub(super) live: Vec<CandidateId>,
    children: Vec<StateId>,
}

impl State {
    fn steps(&self) -> &[String] {
        &self.rollout[self.part.clone()]
    }
}

/// All states of a search, indexed by id; the root is [`States::ROOT`].
#[derive(Debug)]
pub(super) struct States {
    all: Vec<State>,
    /// States with live candidates, in depth-first order.
    open: Vec<StateId>,
    /// The sum of all visit counts.
    total_visits: u64,
}

impl std::ops::Index<StateId> for States {
    type Output = State;

    fn index(&self, id: StateId) -> &State {
        &self.all[id]
    }
}

impl std::ops::IndexMut<StateId> for States {
    fn index_mut(&mut self, id: StateId) -> &mut State {
        &mut self.all[id]
    }
}

impl States {
    pub(super) const ROOT: StateId = 0;

    pub(super) fn new() -> Self {
        Self { all: vec![State::default()], open: Vec::new(), total_visits: 0 }
    }

    /// Adds a state that continues `parent` with `part` of one of its rollouts.
    pub(super) fn add(
        &mut self,
        parent: StateId,
        rollout: Arc<[String]>,
        part: Range<usize>,
    ) -> Result<StateId, SearchError> {
        let id = self.all.len();
        let siblings = &mut self.all[parent].children;
        let index = siblings.len() as u32;
        siblings.push(id);
        let position: Box<[u32]> = self.all[parent].position.iter().copied().chain([index]).collect();
        if position.len() > MAX_DEPTH {
            return Err(SearchError::TooDeep);
        }
        self.all.push(State { parent: Some(parent), position, rollout, part, ..State::default() });
        Ok(id)
    }

    /// All steps from the root to this state.
    pub(super) fn prefix(&self, id: StateId) -> Rollout {
        self.path(id).into_iter().flat_map(State::steps).cloned().collect()
    }

    /// The policy's tokens for these steps; empty unless known for every one.
    pub(super) fn step_tokens(&self, id: StateId) -> Vec<StepTokens> {
        let steps = self.path(id).into_iter().map(|state| state.step_tokens.get(state.part.clone()));
        steps.collect::<Option<Vec<_>>>().map(|steps| steps.concat()).unwrap_or_default()
    }

    /// The states from the root to this one.
    fn path(&self, id: StateId) -> Vec<&State> {
        let parent = |state: &&State| state.parent.map(|parent| &self[parent]);
        let mut path: Vec<&State> = std::iter::successors(Some(&self[id]), parent).collect();
        path.reverse();
        path
    }

    pub(super) fn total_visits(&self) -> u64 {
        self.total_visits
    }

    pub(super) fn visit(&mut self, id: StateId) {
        self.all[id].visits += 1;
        self.total_visits += 1;
    }

    /// Sets the live candidates of a state.
    pub(super) fn open(&mut self, id: StateId, live: Vec<CandidateId>) {
        if !live.is_empty() {
            let (Ok(at) | Err(at)) = self.find_open(id);
            self.open.insert(at, id);
            self.all[id].live = live;
        }
    }

    /// Removes a candidate from the live ones: it is being searched.
    pub(super) fn take(&mut self, id: StateId, candidate: CandidateId) {
        let live = &mut self.all[id].live;
        live.retain(|&other| other != candidate);
        if live.is_empty()
            && let Ok(at) = self.find_open(id)
        {
            self.open.remove(at);
        }
    }

    /// Every live candidate with its state: states depth first, candidates of a state in order of
    /// arrival.
    pub(super) fn live(&self) -> impl Iterator<Item = (StateId, CandidateId)> {
        self.open.iter().flat_map(|&id| self[id].live.iter().map(move |&candidate| (id, candidate)))
    }

    fn find_open(&self, id: StateId) -> Result<usize, usize> {
        self.open.binary_search_by(|&other| self[other].position.cmp(&self[id].position))
    }

    /// The subtree of a state as a [`Node`].
    pub(super) fn node(&self, id: StateId) -> Node {
        let state = &self[id];
        let plain = |rollouts: &[Arc<[String]>]| rollouts.iter().map(|rollout| rollout.to_vec()).collect();
        Node {
            partial_solution: state.steps().to_vec(),
            judged: None,
            mc_value: state.mc_value,
            visit_count: state.visits,
            correct_rollouts: plain(&state.correct),
            incorrect_rollouts: plain(&state.incorrect),
            children: state.children.iter().map(|&child| self.node(child)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(names: &[&str]) -> Arc<[String]> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn live_candidates_are_depth_first_in_any_order_of_opening() {
        let mut states = States::new();
        let first = states.add(States::ROOT, steps(&["a", "b"]), 0..1).unwrap();
        let second = states.add(States::ROOT, steps(&["c"]), 0..1).unwrap();
        let below_first = states.add(first, steps(&["a", "b"]), 1..2).unwrap();
        assert_eq!(states.prefix(below_first), ["a", "b"]);
        for (candidate, state) in [second, below_first, States::ROOT, first].into_iter().enumerate() {
            states.open(state, vec![candidate]);
        }
        assert_eq!(states.live().map(|(state, _)| state).collect::<Vec<_>>(), [0, first, below_first, second]);
        states.take(first, 3);
        assert_eq!(states.live().collect::<Vec<_>>(), [(0, 2), (below_first, 1), (second, 0)]);
    }

    #[test]
    fn a_state_beyond_the_maximum_depth_is_refused() {
        let mut states = States::new();
        let mut id = States::ROOT;
        for _ in 0..MAX_DEPTH {
            id = states.add(id, steps(&["on"]), 0..1).unwrap();
        }
        assert!(matches!(states.add(id, steps(&["on"]), 0..1), Err(SearchError::TooDeep)));
    }
}
