//! The search itself: estimate, select, bisect, maintain.

use std::sync::Arc;
use std::thread::Scope;

use serde_json::Value;

use super::ahead::Ahead;
use super::pool::{CandidateId, CandidatePool, StateId};
use super::rate::{Plan, Tally};
use super::state::States;
use super::{Observer, Outcome, SearchError, SearchParams, SearchStats, Selection};
use crate::compat::text::word_count;
use crate::data::problem::Problem;
use crate::data::solution::answer_text;
use crate::data::tree::Tree;
use crate::judge::{self, OnUnjudged};
use crate::judge::{Verdict, Verifier};
use crate::policy::{RolloutModel, RolloutRequest, StepTokens, Traced};

/// Searches one problem.
///
/// The budget is looked at between searches only, as in the reference: the last one may exceed it. States are numbered from 0
/// in [`RolloutRequest::node`], in the order in which they are estimated.
///
/// # Errors
/// [`SearchError`]; nothing is lost by it but this problem's search.
pub fn search(
    problem: &Problem,
    policy: &dyn RolloutModel,
    verifier: &dyn Verifier,
    params: &SearchParams,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    params.validate()?;
    // Probes that are asked for ahead end within the search.
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
            written: Vec::new(),
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
    /// The part of each candidate's priority that never changes.
    quality: Vec<f64>,
    /// How the policy wrote each candidate's rollout.
    written: Vec<Arc<[StepTokens]>>,
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
            let written = Arc::clone(&self.written[candidate]);
            self.bisect(state, &rollout, &written)?;
            self.states.visit(state);
            self.maintain();
            self.stats.searches += 1;
        }
        Ok(())
    }

    /// Draws and judges rollouts from a state: its Monte Carlo value, its candidates, and a child for each right rollout. The
    /// first of them may be under way already.
    fn estimate(&mut self, id: StateId, mut under_way: Option<Ahead<'_>>) -> Result<(), SearchError> {
        let plan = if id == States::ROOT { Plan::full(self.params.rollouts) } else { self.params.plan() };
        let (prefix, written) = (self.states.prefix(id), self.states.written(id));
        let node = self.stats.estimates as u64;
        let mut tally = Tally::default();
        let mut candidates = Vec::new();
        while let Some(part) = plan.next(&tally) {
            if tally.drawn > 0 {
                tally.go_on();
            }
            let request = RolloutRequest {
                problem: self.problem,
                prefix: &prefix,
                written: &written,
                count: part.len(),
                first: part.start,
                node,
                guess: None,
            };
            let drawn = match under_way.take() {
                Some(ahead) => ahead.commit()?,
                None => self.policy.traced(&request)?,
            };
            if drawn.len() != request.count {
                return Err(SearchError::RolloutCount { asked: request.count, got: drawn.len() });
            }
            candidates.extend(self.judge(id, drawn, &mut tally)?);
        }
        // Not every rollout was dropped: that would have failed the problem.
        self.states[id].mc_value = tally.rate();
        self.stats.estimates += 1;
        if tally.right > 0 {
            self.offer(id, candidates);
        }
        Ok(())
    }

    /// Judges rollouts just drawn and gives the state what is new in them; tells how its new wrong rollouts were written.
    fn judge(
        &mut self,
        id: StateId,
        drawn: Vec<Traced>,
        tally: &mut Tally,
    ) -> Result<Vec<Arc<[StepTokens]>>, SearchError> {
        let (rollouts, written): (Vec<_>, Vec<_>) =
            drawn.into_iter().map(|Traced { rollout, written }| (rollout, written)).unzip();
        let verdicts = judge::verdicts(self.verifier, self.problem, &rollouts)?;
        self.stats.rollouts += rollouts.len();
        self.observer.rollouts_drawn(rollouts.len());
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
        for ((rollout, written), verdict) in rollouts.into_iter().zip(written).zip(verdicts) {
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
                candidates.push(written.into());
            }
        }
        Ok(candidates)
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

    /// Puts the wrong rollouts of a state, written so, into the pool.
    fn offer(&mut self, id: StateId, written: Vec<Arc<[StepTokens]>>) {
        self.written.extend(written);
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
    fn bisect(
        &mut self,
        mut state: StateId,
        rollout: &Arc<[String]>,
        written: &Arc<[StepTokens]>,
    ) -> Result<(), SearchError> {
        let from = state;
        let (mut left, mut end) = (0, rollout.len());
        let mut ahead: Vec<Ahead<'scope>> = Vec::new();
        while left < end {
            let middle = middle(left, end);
            let child = self.states.add(state, Arc::clone(rollout), left..middle + 1)?;
            self.states[child].written = Arc::clone(written);
            if is_whole(left, end, rollout) {
                // Nothing is left to roll out: the whole rollout is judged.
                self.states[child].mc_value = self.value_of_whole(rollout)?;
                break;
            }
            let under_way = self.take(&mut ahead, middle);
            if self.params.speculative {
                let next = [(left, middle), (middle + 1, end)];
                for (left, end) in next.into_iter().filter(|&(left, end)| left < end && !is_whole(left, end, rollout)) {
                    ahead.push(self.guess(from, rollout, written, self::middle(left, end)));
                }
            }
            self.estimate(child, under_way)?;
            if self.states[child].mc_value == 0.0 {
                end = middle;
            } else {
                state = child;
                left = middle + 1;
            }
        }
        self.stats.guesses_dropped += ahead.len();
        Ok(())
    }

    /// The probe that ends at `middle`, if it is under way; the others were not needed.
    fn take(&mut self, ahead: &mut Vec<Ahead<'scope>>, middle: usize) -> Option<Ahead<'scope>> {
        let found = ahead.iter().position(|probe| probe.middle == middle).map(|at| ahead.swap_remove(at));
        self.stats.guesses_dropped += ahead.len();
        ahead.clear();
        found
    }

    /// Asks for the next probe, should it be the one of the steps up to `middle` of a rollout that was drawn from `from`.
    fn guess(&mut self, from: StateId, rollout: &[String], written: &[StepTokens], middle: usize) -> Ahead<'scope> {
        let mut prefix = self.states.prefix(from);
        let mut known = self.states.written(from);
        prefix.extend_from_slice(&rollout[..=middle]);
        // Steps that are written without those before them are as good as not known.
        known.extend_from_slice(written.get(..=middle).unwrap_or_default());
        if known.len() != prefix.len() {
            known.clear();
        }
        let (problem, policy) = (self.problem, self.policy);
        let (part, node) = (self.params.plan().first(), self.stats.estimates as u64 + 1);
        self.stats.guesses += 1;
        Ahead::start(self.scope, middle, move |guess| {
            let (prefix, written) = (&prefix[..], &known[..]);
            let (count, first, guess) = (part.len(), part.start, Some(guess));
            policy.traced(&RolloutRequest { problem, prefix, written, count, first, node, guess })
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

/// Whether the state of the first half of these steps is the whole rollout.
fn is_whole(left: usize, end: usize, rollout: &[String]) -> bool {
    left + 1 == end && end == rollout.len()
}

/// The image field of a record that has no `image_path`.
fn images(images: &[String]) -> Value {
    match images {
        [] => Value::Null,
        [one] => one.clone().into(),
        several => several.into(),
    }
}
