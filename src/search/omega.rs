//! The search itself: estimate, select, bisect, maintain.

use std::sync::Arc;

use serde_json::Value;

use super::pool::{CandidateId, CandidatePool, StateId};
use super::state::States;
use super::{Observer, Outcome, SearchError, SearchParams, SearchStats, Selection};
use crate::answer::{Verdict, Verifier};
use crate::judge::{self, OnUnjudged};
use crate::policy::{Policy, RolloutRequest};
use crate::problem::Problem;
use crate::python_text::word_count;
use crate::solution::answer_text;
use crate::tree::Tree;

/// Searches one problem.
///
/// The budget is looked at between searches only, as in the reference: the last one may exceed it. Requests to the policy
/// are numbered from 0 in [`RolloutRequest::node`].
///
/// # Errors
/// [`SearchError`]; nothing is lost by it but this problem's search.
pub fn search(
    problem: &Problem,
    policy: &dyn Policy,
    verifier: &dyn Verifier,
    params: &SearchParams,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    params.validate()?;
    let mut search = Search {
        problem,
        policy,
        verifier,
        params,
        observer,
        states: States::new(),
        pool: CandidatePool::new(),
        quality: Vec::new(),
        stats: SearchStats::default(),
    };
    search.run()?;
    search.stats.ties = search.pool.ties();
    Ok(Outcome { tree: search.tree(), stats: search.stats })
}

struct Search<'a> {
    problem: &'a Problem,
    policy: &'a dyn Policy,
    verifier: &'a dyn Verifier,
    params: &'a SearchParams,
    observer: &'a mut dyn Observer,
    states: States,
    pool: CandidatePool,
    /// The part of each candidate's priority that never changes.
    quality: Vec<f64>,
    stats: SearchStats,
}

impl Search<'_> {
    fn run(&mut self) -> Result<(), SearchError> {
        self.estimate(States::ROOT)?;
        while self.stats.searches < self.params.max_searches
            && self.stats.rollouts < self.params.rollout_budget
            && let Some(candidate) = self.select()
        {
            let selected = self.pool.candidate(candidate);
            let (state, rollout) = (selected.state, Arc::clone(&selected.rollout));
            self.bisect(state, &rollout)?;
            self.states.visit(state);
            self.maintain();
            self.stats.searches += 1;
        }
        Ok(())
    }

    /// Draws and judges rollouts from a state: its Monte Carlo value, its candidates, and a child for each right rollout.
    fn estimate(&mut self, id: StateId) -> Result<(), SearchError> {
        let asked = self.params.rollouts;
        let prefix = self.states.prefix(id);
        let node = self.stats.estimates as u64;
        let rollouts =
            self.policy.rollouts(&RolloutRequest { problem: self.problem, prefix: &prefix, count: asked, node })?;
        if rollouts.len() != asked {
            return Err(SearchError::RolloutCount { asked, got: rollouts.len() });
        }
        let verdicts = judge::verdicts(self.verifier, self.problem, &rollouts)?;
        self.stats.rollouts += asked;
        self.observer.rollouts_drawn(asked);
        let unjudged = verdicts.iter().filter(|&&verdict| verdict == Verdict::Unjudged).count();
        if unjudged > 0 {
            self.stats.unjudged += unjudged;
            self.observer.rollouts_unjudged(unjudged);
        }
        if self.params.unjudged.fails(unjudged, asked) {
            return Err(SearchError::Unjudged { unjudged, drawn: asked });
        }
        let (mut right, mut counted) = (0, 0);
        for (rollout, verdict) in rollouts.into_iter().zip(verdicts) {
            let Some(is_right) = self.params.unjudged.is_right(verdict) else { continue };
            counted += 1;
            let rollout: Arc<[String]> = rollout.into();
            if is_right {
                right += 1;
                if !self.states[id].correct.contains(&rollout) {
                    self.states[id].correct.push(Arc::clone(&rollout));
                    let whole = 0..rollout.len();
                    let child = self.states.add(id, rollout, whole)?;
                    self.states[child].mc_value = 1.0;
                }
            } else if !self.states[id].incorrect.contains(&rollout) {
                self.states[id].incorrect.push(rollout);
            }
        }
        // Not every rollout was dropped: that would have failed the problem.
        self.states[id].mc_value = f64::from(right) / f64::from(counted);
        self.stats.estimates += 1;
        if right > 0 {
            self.offer(id);
        }
        Ok(())
    }

    /// The Monte Carlo value of a whole rollout that was found wrong when it was drawn, judged again as the reference does.
    fn value_of_whole(&self, rollout: &[String]) -> Result<f64, SearchError> {
        let Some(answer) = answer_text(rollout) else { return Ok(0.0) };
        let verdict = self.verifier.verify(self.problem, answer)?;
        if verdict == Verdict::Unjudged && self.params.unjudged == OnUnjudged::Fail {
            return Err(SearchError::Unjudged { unjudged: 1, drawn: 1 });
        }
        // Where nobody can judge it now, the first verdict stands.
        Ok(if verdict == Verdict::Correct { 1.0 } else { 0.0 })
    }

    /// Puts the wrong rollouts of a state into the pool.
    fn offer(&mut self, id: StateId) {
        let exploration = self.exploration();
        let solvable = self.params.alpha.powf(1.0 - self.states[id].mc_value);
        let mut live = Vec::with_capacity(self.states[id].incorrect.len());
        for index in 0..self.states[id].incorrect.len() {
            let rollout = Arc::clone(&self.states[id].incorrect[index]);
            let words: usize = rollout.iter().map(|step| word_count(step)).sum();
            let short = self.params.beta.powf(words as f64 / self.params.length_scale);
            self.quality.push(solvable * short);
            let candidate = self.pool.add(id, rollout);
            live.push(candidate);
            self.push(id, candidate, exploration);
        }
        self.states.open(id, live);
    }

    /// Gives every live candidate its new priority: the visit count of its state or the sum of all has changed.
    fn maintain(&mut self) {
        let exploration = self.exploration();
        let live: Vec<(StateId, CandidateId)> = self.states.live().collect();
        for (state, candidate) in live {
            self.push(state, candidate, exploration);
        }
    }

    /// The numerator of the exploration term, the same for all candidates at one time.
    fn exploration(&self) -> f64 {
        self.params.c_puct * (self.states.total_visits() as f64).sqrt()
    }

    fn push(&mut self, state: StateId, candidate: CandidateId, exploration: f64) {
        let priority = self.quality[candidate] + exploration / (1 + self.states[state].visits) as f64;
        self.stats.pushes += 1;
        self.stats.priority_sum += priority;
        self.pool.push(candidate, priority, &|state| self.states[state].visits);
    }

    fn select(&mut self) -> Option<CandidateId> {
        let (heap_size, candidates) = (self.pool.heap_size(), self.pool.len());
        let candidate = self.pool.pop(&|state| self.states[state].visits)?;
        let selected = self.pool.candidate(candidate);
        let state = &self.states[selected.state];
        self.observer.selected(&Selection {
            rollout: &selected.rollout,
            prefix: &self.states.prefix(selected.state),
            visit_count: state.visits,
            mc_value: state.mc_value,
            searches: self.stats.searches,
            rollouts: self.stats.rollouts,
            heap_size,
            candidates,
        });
        self.states.take(selected.state, candidate);
        Some(candidate)
    }

    /// Looks for the first wrong step of a rollout between `left` and `end`: a state is made of the steps up to the middle;
    /// if it can still be solved the search goes on behind it, from it, and else before it, from where it was.
    fn bisect(&mut self, mut state: StateId, rollout: &Arc<[String]>) -> Result<(), SearchError> {
        let (mut left, mut end) = (0, rollout.len());
        while left < end {
            let middle = (left + end - 1) / 2;
            let child = self.states.add(state, Arc::clone(rollout), left..middle + 1)?;
            if left + 1 == end && end == rollout.len() {
                // Nothing is left to roll out: the whole rollout is judged.
                self.states[child].mc_value = self.value_of_whole(rollout)?;
                break;
            }
            self.estimate(child)?;
            if self.states[child].mc_value == 0.0 {
                end = middle;
            } else {
                state = child;
                left = middle + 1;
            }
        }
        Ok(())
    }

    fn tree(&self) -> Tree {
        let record = &self.problem.record;
        let field = |key: &str| record.get(key).cloned();
        Tree {
            question: self.problem.question.clone(),
            answer: field("correct_answer").or_else(|| field("answer")).unwrap_or_default(),
            image_path: field("image_path").unwrap_or_else(|| images(&self.problem.images)),
            id: field("id").unwrap_or_default(),
            root: self.states.node(States::ROOT),
        }
    }
}

/// The image field of a record that has no `image_path`.
fn images(images: &[String]) -> Value {
    match images {
        [] => Value::Null,
        [one] => one.clone().into(),
        several => several.into(),
    }
}
