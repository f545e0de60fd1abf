//! Which requests and rollouts run, and which give way.
//!
//! First come, first served: requests are admitted, prefilled and given places for rollouts in the order of their arrival,
//! and nobody passes a request that waits for cells. So a request waits for those before it only, whatever comes after. A
//! rollout starts when the free cells hold it and what all running ones may still grow, reckoned by the rollouts that have
//! finished.
//!
//! That is a guess, so cells may run out. Then the youngest give way: first prompts that are only partly in go back to the
//! queue; then the youngest rollout pauses and is decoded again later from its own tokens; then all prompts but that of the
//! last rollout go back. The oldest rollout always runs on, so there is always progress, and a rollout is cut short only if
//! the whole context cannot hold it.

use super::batching::Batching;
use super::ffi::Context;
use super::job::{Job, Rollout};
use super::prompt::common_prefix;
use super::stats::{Phase, Stats};
use super::{EngineError, Finish};

/// Cells that any rollout is expected to need still, however long it is.
const LEAST_GROWTH: usize = 16;

impl Batching {
    /// Takes requests from the queue while their rollouts could run soon.
    pub(super) fn admit(&mut self, context: &Context) {
        while self.jobs.len() < self.limits.jobs && self.waiting_rollouts() < self.limits.rollouts {
            let Some(next) = self.queue.front() else { return };
            let keys = next.request.prompt.keys();
            let shared = self.jobs.iter().map(|job| common_prefix(job.request.prompt.keys(), keys)).max();
            let missing = keys.len() - shared.unwrap_or(0);
            let promised: usize = self.jobs.iter().map(Job::missing).sum();
            let needed = promised + self.growth() + missing + self.growth_of(0);
            if !self.jobs.is_empty() && needed > self.free_cells(context) {
                return;
            }
            let Some(mut job) = self.queue.pop_front() else { return };
            (job.sequence, job.reserved) = (self.cache.sequence(), missing);
            self.jobs.push(job);
        }
    }

    /// Rollouts of admitted requests that do not run yet.
    fn waiting_rollouts(&self) -> usize {
        self.jobs.iter().map(Job::waiting).sum()
    }

    /// Cells that the running rollouts may still need.
    fn growth(&self) -> usize {
        self.rollouts.iter().map(|rollout| self.growth_of(rollout.tokens.len())).sum()
    }

    fn growth_of(&self, length: usize) -> usize {
        self.expected.saturating_sub(length).max(LEAST_GROWTH)
    }

    /// Starts rollouts of prefilled prompts, the oldest request first and its paused rollouts before new ones, while there is
    /// room.
    pub(super) fn start(&mut self, context: &mut Context, stats: &Stats) {
        for index in 0..self.jobs.len() {
            while self.rollouts.len() < self.limits.rollouts && self.jobs[index].can_start() {
                let length = self.jobs[index].paused.front().map_or(0, |rollout| rollout.tokens.len());
                let needed = self.growth() + length + self.growth_of(length);
                if !self.rollouts.is_empty() && needed > self.free_cells(context) {
                    return;
                }
                self.start_one(index, context, stats);
            }
        }
    }

    fn start_one(&mut self, index: usize, context: &mut Context, stats: &Stats) {
        let sequence = self.cache.sequence();
        let job = &mut self.jobs[index];
        context.share(job.sequence, sequence, 0..job.request.prompt.len());
        if let Some(rollout) = job.paused.pop_front() {
            self.rollouts.push(Rollout { sequence, ..rollout });
            return;
        }
        let mut rollout = job.next_rollout(sequence);
        let first = job.first.as_deref().unwrap_or_default();
        let token = stats.timed(Phase::Sample, || rollout.sampler.draw(first, &mut self.scratch));
        stats.generated(1);
        match job.request.accept(token, &mut rollout.tokens, context.model()) {
            Some(finish) => self.complete(context, rollout, finish, stats),
            None => self.rollouts.push(rollout),
        }
    }

    /// Makes room when the running requests fill the cache; see the module's description for the order.
    pub(super) fn relieve(&mut self, context: &mut Context, stats: &Stats) -> Result<(), EngineError> {
        let holding = self.jobs.iter().filter(|job| job.begun).count();
        let partial = self.jobs.iter().rposition(Job::is_entering);
        if let Some(index) = partial.filter(|_| holding > 1) {
            self.postpone(context, index);
            return Ok(());
        }
        let youngest = (0..self.rollouts.len()).max_by_key(|&at| (self.rollouts[at].job, self.rollouts[at].index));
        let Some(youngest) = youngest else {
            return Err(EngineError::Limit("the context is full; raise --context".into()));
        };
        if self.rollouts.len() > 1 {
            self.pause(context, youngest);
            return Ok(());
        }
        let id = self.rollouts[youngest].job;
        if let Some(index) = self.jobs.iter().rposition(|job| job.begun && job.id != id) {
            self.postpone(context, index);
        } else {
            let rollout = self.rollouts.remove(youngest);
            self.complete(context, rollout, Finish::Length, stats);
        }
        Ok(())
    }

    /// Sends a request none of whose rollouts is running back to the queue. What is in of its prompt rests until it is needed
    /// or someone else needs the room.
    fn postpone(&mut self, context: &mut Context, index: usize) {
        let mut job = self.jobs.remove(index);
        self.cache.rest(context, job.sequence);
        (job.begun, job.position, job.first) = (false, 0, None);
        self.queue.push_front(job);
    }

    /// Takes a rollout's cells away until there is room again; it keeps its tokens and its place in its random stream.
    fn pause(&mut self, context: &mut Context, index: usize) {
        let rollout = self.rollouts.remove(index);
        self.cache.release(context, rollout.sequence);
        let job = self.jobs.iter_mut().find(|job| job.id == rollout.job).expect("a rollout's job is running");
        job.paused.push_front(Rollout { fed: 0, ..rollout });
    }
}
