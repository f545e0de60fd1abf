//! The search itself: estimate, select, bisect, maintain.

use std::sync::Arc;
use std::thread::Scope;

use serde_json::Value;

use super::pool::{CandidateId, CandidatePool, StateId};
use super::rate::{RolloutPlan, Tally};
use super::speculative::SpeculativeProbe;
use super::state::States;
use super::{Observer, Outcome, SearchError, SearchParams, SearchStats, Selection};
use crate::compat::text::word_count;
use crate::data::problem::Problem;
use crate::data::solution::answer_text;
use crate::data::tree::Tree;
use crate::judge::{self, OnUnjudged, Verdict, Verifier};
use crate::policy::{Detail, RolloutModel, RolloutRequest, SampledRollout, StepTokens};

/// Searches one problem.
///
/// The rollout budget is checked between searches only, as in MM-PRM, so that the last search may
/// exceed it. States are numbered from 0 in [`RolloutRequest::node`], in the order in which they
/// are estimated.
///
/// # Errors
/// [`SearchError`].
pub fn search(
    problem: &Problem,
    policy: &dyn RolloutModel,
    verifier: &dyn Verifier,
    params: &SearchParams,
) -> Result<Outcome, SearchError> {
    search_observed(problem, policy, verifier, params, &mut ())
}

/// Searches one problem as [`search`] does, and reports its events to `observer`.
///
/// # Errors
/// [`SearchError`].
pub fn search_observed(
    problem: &Problem,
    policy: &dyn RolloutModel,
    verifier: &dyn Verifier,
    params: &SearchParams,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    params.validate()?;
    // Speculative probes end within the search.
    std::thread::scope(|scope| {
        let mut search = Search {
            scope,
            problem,
            policy,
            verifier,
            params,
            observer,
            states: States::new(),
            pool: CandidatePool::new(),
            quality: Vec::new(),
            step_tokens: Vec::new(),
            stats: SearchStats::default(),
        };
        search.run()?;
        search.stats.ties = search.pool.ties();
        Ok(Outcome { tree: search.tree(), stats: search.stats })
    })
}

struct Search<'a, 'scope> {
    scope: &'scope Scope<'scope, 'a>,
    problem: &'a Problem,
    policy: &'a dyn RolloutModel,
    verifier: &'a dyn Verifier,
    params: &'a SearchParams,
    observer: &'a mut dyn Observer,
    states: States,
    pool: CandidatePool,
    /// The constant factor of each candidate's priority.
    quality: Vec<f64>,
    /// The policy's tokens for each candidate's rollout; empty where unknown.
    step_tokens: Vec<Arc<[StepTokens]>>,
    stats: SearchStats,
}

impl<'scope> Search<'_, 'scope> {
    fn run(&mut self) -> Result<(), SearchError> {
        self.estimate(States::ROOT, None)?;
        while self.stats.searches < self.params.max_searches
            && self.stats.rollouts < self.params.rollout_budget
            && let Some(candidate) = self.select()
        {
            let selected = self.pool.candidate(candidate);
            let (state, rollout) = (selected.state, Arc::clone(&selected.rollout));
            let step_tokens = Arc::clone(&self.step_tokens[candidate]);
            self.bisect(state, &rollout, &step_tokens)?;
            self.states.visit(state);
            self.maintain();
            self.stats.searches += 1;
        }
        Ok(())
    }

    /// Samples and judges rollouts from a state, which gives its Monte Carlo value, its candidates,
    /// and a child for each right rollout. The first stage may be in flight as a speculative probe.
    fn estimate(&mut self, id: StateId, mut probe: Option<SpeculativeProbe<'_>>) -> Result<(), SearchError> {
        let plan = if id == States::ROOT { RolloutPlan::full(self.params.rollouts) } else { self.params.plan() };
        let (prefix, step_tokens) = (self.states.prefix(id), self.states.step_tokens(id));
        let node = self.stats.estimates as u64;
        let mut tally = Tally::default();
        let mut candidates = Vec::new();
        while let Some(part) = plan.next(&tally) {
            if tally.drawn > 0 {
                tally.begin_second_stage();
            }
            let request = RolloutRequest {
                problem: self.problem,
                prefix: &prefix,
                step_tokens: &step_tokens,
                count: part.len(),
                first: part.start,
                node,
                detail: Detail::Tokens,
                one_step: false,
                speculation: None,
            };
            let sampled = match probe.take() {
                Some(probe) => probe.commit()?,
                None => self.policy.rollouts(&request)?,
            };
            if sampled.len() != request.count {
                return Err(SearchError::RolloutCount { asked: request.count, got: sampled.len() });
            }
            candidates.extend(self.judge(id, sampled, &mut tally)?);
        }
        // Some rollouts count, since the problem fails otherwise.
        self.states[id].mc_value = tally.rate();
        self.stats.estimates += 1;
        if tally.right > 0 {
            self.offer(id, candidates);
        }
        Ok(())
    }

    /// Judges rollouts just sampled and adds the distinct ones to the state; returns the tokens of
    /// its new wrong rollouts.
    fn judge(
        &mut self,
        id: StateId,
        sampled: Vec<SampledRollout>,
        tally: &mut Tally,
    ) -> Result<Vec<Arc<[StepTokens]>>, SearchError> {
        let (rollouts, step_tokens): (Vec<_>, Vec<_>) =
            sampled.into_iter().map(|sampled| (sampled.rollout, sampled.step_tokens)).unzip();
        let verdicts = judge::verdicts(self.verifier, self.problem, &rollouts)?;
        self.stats.rollouts += rollouts.len();
        self.observer.rollouts_sampled(rollouts.len());
        let unjudged = verdicts.iter().filter(|&&verdict| verdict == Verdict::Unjudged).count();
        if unjudged > 0 {
            self.stats.unjudged += unjudged;
            self.observer.rollouts_unjudged(unjudged);
        }
        tally.drawn += rollouts.len();
        tally.unjudged += unjudged;
        if self.params.unjudged.fails(tally.unjudged, tally.drawn) {
            return Err(SearchError::Unjudged { unjudged: tally.unjudged, drawn: tally.drawn });
        }
        let mut candidates = Vec::new();
        for ((rollout, step_tokens), verdict) in rollouts.into_iter().zip(step_tokens).zip(verdicts) {
            let Some(is_right) = self.params.unjudged.is_right(verdict) else { continue };
            tally.counted += 1;
            let rollout: Arc<[String]> = rollout.into();
            if is_right {
                tally.right += 1;
                if !self.states[id].correct.contains(&rollout) {
                    self.states[id].correct.push(Arc::clone(&rollout));
                    let whole = 0..rollout.len();
                    let child = self.states.add(id, rollout, whole)?;
                    self.states[child].mc_value = 1.0;
                }
            } else if !self.states[id].incorrect.contains(&rollout) {
                self.states[id].incorrect.push(rollout);
                candidates.push(step_tokens.unwrap_or_default().into());
            }
        }
        Ok(candidates)
    }

    /// The Monte Carlo value of a whole wrong rollout, judged a second time as MM-PRM does.
    fn value_of_whole(&self, rollout: &[String]) -> Result<f64, SearchError> {
        let Some(answer) = answer_text(rollout) else { return Ok(0.0) };
        let verdict = self.verifier.verify(self.problem, answer)?;
        if verdict == Verdict::Unjudged && self.params.unjudged == OnUnjudged::Fail {
            return Err(SearchError::Unjudged { unjudged: 1, drawn: 1 });
        }
        // If it cannot be judged now, the first verdict (wrong) stays.
        Ok(if verdict == Verdict::Correct { 1.0 } else { 0.0 })
    }

    /// Adds the wrong rollouts of a state, with their tokens, to the pool.
    fn offer(&mut self, id: StateId, step_tokens: Vec<Arc<[StepTokens]>>) {
        self.step_tokens.extend(step_tokens);
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

    /// Updates the priority of every live candidate after visit counts have changed.
    fn maintain(&mut self) {
        let exploration = self.exploration();
        let live: Vec<(StateId, CandidateId)> = self.states.live().collect();
        for (state, candidate) in live {
            self.push(state, candidate, exploration);
        }
    }

    /// The numerator of the exploration term, which all candidates share.
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

    /// Binary search for the first wrong step of a rollout of `state`. The steps up to the middle
    /// become a new state; if that can still be solved, the search continues after it and from it,
    /// otherwise before it.
    fn bisect(
        &mut self,
        mut state: StateId,
        rollout: &Arc<[String]>,
        step_tokens: &Arc<[StepTokens]>,
    ) -> Result<(), SearchError> {
        let from = state;
        let (mut left, mut end) = (0, rollout.len());
        let mut probes: Vec<SpeculativeProbe<'scope>> = Vec::new();
        while left < end {
            let middle = middle(left, end);
            let child = self.states.add(state, Arc::clone(rollout), left..middle + 1)?;
            self.states[child].step_tokens = Arc::clone(step_tokens);
            if is_whole(left, end, rollout) {
                // Nothing is left to sample: the whole rollout is judged.
                self.states[child].mc_value = self.value_of_whole(rollout)?;
                break;
            }
            let probe = self.take(&mut probes, middle);
            if self.params.speculative {
                let next = [(left, middle), (middle + 1, end)];
                for (left, end) in next.into_iter().filter(|&(left, end)| left < end && !is_whole(left, end, rollout)) {
                    probes.push(self.speculate(from, rollout, step_tokens, self::middle(left, end)));
                }
            }
            self.estimate(child, probe)?;
            if self.states[child].mc_value == 0.0 {
                end = middle;
            } else {
                state = child;
                left = middle + 1;
            }
        }
        self.stats.cancelled_probes += probes.len();
        Ok(())
    }

    /// Takes the probe of the prefix that ends at `middle`, if it is in flight, and cancels the
    /// others.
    fn take(&mut self, probes: &mut Vec<SpeculativeProbe<'scope>>, middle: usize) -> Option<SpeculativeProbe<'scope>> {
        let found = probes.iter().position(|probe| probe.middle == middle).map(|at| probes.swap_remove(at));
        self.stats.cancelled_probes += probes.len();
        probes.clear();
        found
    }

    /// Requests the next probe early, assuming that it is the one of the steps up to `middle` of a
    /// rollout from `from`.
    fn speculate(
        &mut self,
        from: StateId,
        rollout: &[String],
        step_tokens: &[StepTokens],
        middle: usize,
    ) -> SpeculativeProbe<'scope> {
        let mut prefix = self.states.prefix(from);
        let mut known = self.states.step_tokens(from);
        prefix.extend_from_slice(&rollout[..=middle]);
        // Tokens are of use only for a whole prefix.
        known.extend_from_slice(step_tokens.get(..=middle).unwrap_or_default());
        if known.len() != prefix.len() {
            known.clear();
        }
        let (problem, policy) = (self.problem, self.policy);
        let (part, node) = (self.params.plan().first(), self.stats.estimates as u64 + 1);
        self.stats.speculative_probes += 1;
        SpeculativeProbe::start(self.scope, middle, move |speculation| {
            policy.rollouts(&RolloutRequest {
                problem,
                prefix: &prefix,
                step_tokens: &known,
                count: part.len(),
                first: part.start,
                node,
                detail: Detail::Tokens,
                one_step: false,
                speculation: Some(speculation),
            })
        })
    }

    fn tree(&self) -> Tree {
        let record = &self.problem.record;
        let field = |key: &str| record.get(key).cloned();
        Tree {
            question: self.problem.question.clone(),
            answer: field("correct_answer").or_else(|| field("answer")).unwrap_or_default(),
            image_path: field("image_path").unwrap_or_else(|| images(&self.problem.images)),
            id: field("id").unwrap_or_default(),
            continues: self.policy.continues(),
            root: self.states.node(States::ROOT),
        }
    }
}

/// The last step of the first half of the steps from `left` to `end`.
fn middle(left: usize, end: usize) -> usize {
    (left + end - 1) / 2
}

/// Whether the first half of these steps is the whole rollout.
fn is_whole(left: usize, end: usize, rollout: &[String]) -> bool {
    left + 1 == end && end == rollout.len()
}

/// The `image_path` of a tree whose record has none.
fn images(images: &[String]) -> Value {
    match images {
        [] => Value::Null,
        [one] => one.clone().into(),
        several => several.into(),
    }
}
