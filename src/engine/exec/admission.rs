//! Admission and preemption of the batched executor: which requests and rollouts run.
//!
//! Requests are admitted, prefilled and given places for rollouts in order of arrival, and none
//! overtakes a request that waits for cells. So a request waits for earlier requests only. A
//! rollout starts when the free cells hold it and the expected growth of all running rollouts,
//! estimated from finished ones.
//!
//! The estimate can be too low, so cells can run out. Then the youngest are preempted: first partly
//! prefilled prompts return to the queue; then the youngest rollout pauses and is later decoded
//! again from its own tokens; then all prompts but that of the last rollout return to the queue.
//! The oldest rollout always continues, so there is always progress, and a rollout is cut short
//! only if the whole context cannot hold it.
//!
//! For small models on a CPU, attention over the cells costs more than the weights
//! (`memory::planning`). There `Limits::whole_requests` keeps prompts out of the cache whose
//! rollouts could only run in part.

use super::batched::BatchedExecutor;
use super::job::{Job, Rollout};
use crate::engine::ffi::Context;
use crate::engine::prompt::common_prefix;
use crate::engine::stats::{Phase, Stats};
use crate::engine::{EngineError, Finish, LimitError};

/// Minimum expected growth of a rollout in cells, however long it is.
const MIN_GROWTH: usize = 16;

impl BatchedExecutor {
    /// Admits requests from the queue whose rollouts can run soon.
    pub(super) fn admit(&mut self, context: &Context) {
        while self.jobs.len() < self.limits.jobs && self.waiting_rollouts() < self.limits.rollouts {
            let Some(next) = self.queue.front() else { return };
            if self.limits.whole_requests && !self.jobs.is_empty() {
                let unfinished: usize = self.jobs.iter().map(|job| job.unfinished).sum();
                if unfinished + next.unfinished > self.limits.rollouts {
                    return;
                }
            }
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

    /// Returns the number of rollouts of admitted requests that are not running.
    fn waiting_rollouts(&self) -> usize {
        self.jobs.iter().map(Job::waiting).sum()
    }

    /// Returns the cells that running rollouts are expected to need.
    fn growth(&self) -> usize {
        self.rollouts.iter().map(|rollout| self.growth_of(rollout.tokens.len())).sum()
    }

    fn growth_of(&self, length: usize) -> usize {
        self.expected.saturating_sub(length).max(MIN_GROWTH)
    }

    /// Starts rollouts of prefilled prompts while there is room: those of the oldest request first,
    /// and its paused rollouts before new ones.
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
        let prompt = &job.request.prompt;
        context.share(job.sequence, sequence, 0..prompt.rotary(prompt.len()));
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

    /// Makes room when the running requests fill the cache, in the order of the module
    /// documentation.
    pub(super) fn relieve(&mut self, context: &mut Context, stats: &Stats) -> Result<(), EngineError> {
        let holding = self.jobs.iter().filter(|job| job.begun).count();
        let partial = self.jobs.iter().rposition(Job::is_prefilling);
        if let Some(index) = partial.filter(|_| holding > 1) {
            self.postpone(context, index);
            return Ok(());
        }
        let youngest = (0..self.rollouts.len()).max_by_key(|&at| (self.rollouts[at].job, self.rollouts[at].index));
        let Some(youngest) = youngest else {
            return Err(LimitError::ContextFull { context: context.options().cells as usize }.into());
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

    /// Returns a request without running rollouts to the queue. The decoded part of its prompt
    /// stays cached until the room is needed.
    fn postpone(&mut self, context: &mut Context, index: usize) {
        let mut job = self.jobs.remove(index);
        if job.position > job.held {
            // A part of an image, which the cache does not know.
            context.truncate(job.sequence, job.request.prompt.rotary(job.held));
        }
        self.cache.keep(context, job.sequence);
        (job.begun, job.position, job.held, job.first) = (false, 0, 0, None);
        self.queue.push_front(job);
    }

    /// Releases a rollout's cells until there is room again; it keeps its tokens and its position
    /// in its random stream.
    fn pause(&mut self, context: &mut Context, index: usize) {
        let rollout = self.rollouts.remove(index);
        self.cache.release(context, rollout.sequence);
        let job = self.jobs.iter_mut().find(|job| job.id == rollout.job).expect("a rollout's job is running");
        job.paused.push_front(Rollout { fed: 0, ..rollout });
    }
}
