//! The batched executor (continuous batching): many requests at once, one batch per step.
//!
//! A prompt is prefilled once, from the longest prefix in the cache; it first waits for any prompt
//! being prefilled that shares a longer one. Its rollouts then share the prompt's cells. Each batch
//! holds the next token of every running rollout and slices of waiting prompts, so that no prompt
//! delays the rollouts by more than a slice. Which requests and rollouts run is left to
//! `admission`. Rounding depends on batch composition; the `serial` executor avoids that.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::job::{Job, Reply, Rollout, Rows};
use crate::engine::cache::{Budget, Cache};
use crate::engine::ffi::{Batch, Context, DecodeError};
use crate::engine::prompt::{Span, common_prefix, is_in_grid, token_key};
use crate::engine::sampling::{self, Sampler, Scratch};
use crate::engine::stats::{Phase, Stats};
use crate::engine::{EngineError, Finish, GenerateRequest, LimitError, Token};

/// Maximum prompt positions decoded beside running rollouts in one step; longer slices would delay
/// the rollouts.
const PREFILL_SLICE: usize = 256;

/// Limits of the executor.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Limits {
    /// Maximum rollouts decoded in parallel.
    pub rollouts: usize,
    /// Maximum requests whose prompts are in the cache at the same time.
    pub jobs: usize,
    /// Admit a request beside others only if all rollouts of all of them fit.
    pub whole_requests: bool,
    /// Maximum cells and sequences of cached prefixes that no request needs.
    pub idle: Budget,
}

impl Limits {
    /// Returns the number of sequence ids that these limits need.
    pub fn sequences(&self) -> u32 {
        // A sequence becomes idle before another is evicted for it, but then no longer counts as
        // running.
        (self.rollouts + self.jobs + self.idle.sequences) as u32
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct BatchedExecutor {
    pub(super) limits: Limits,
    pub(super) queue: VecDeque<Job>,
    /// Admitted requests, in order of arrival.
    pub(super) jobs: Vec<Job>,
    pub(super) rollouts: Vec<Rollout>,
    pub(super) cache: Cache,
    /// Expected tokens of a rollout: a moving average over finished ones; 0 before the first.
    pub(super) expected: usize,
    pub(super) scratch: Scratch,
    next_job: u64,
}

impl BatchedExecutor {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            jobs: Vec::new(),
            rollouts: Vec::new(),
            cache: Cache::new(limits.sequences(), limits.idle),
            expected: 0,
            scratch: Scratch::default(),
            next_job: 0,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.jobs.is_empty()
    }

    /// Clears all cached prefixes. Nothing may be running.
    pub fn clear(&mut self, context: &mut Context) {
        debug_assert!(self.is_idle());
        self.cache.clear(context);
    }

    pub fn submit(&mut self, request: GenerateRequest, reply: Reply, context: &Context, stats: &Stats) {
        let cells = context.options().cells as usize;
        if request.prompt.len() + 1 >= cells {
            let error = LimitError::PromptTooLong { positions: request.prompt.len(), context: cells };
            let _ = reply.send(Err(error.into()));
            return;
        }
        stats.prompt(request.prompt.keys(), request.streams.len());
        self.queue.push_back(Job::new(self.next_job, request, reply));
        self.next_job += 1;
    }

    /// Fails everything that is queued or running.
    pub fn fail_all(&mut self, context: &mut Context, error: &EngineError) {
        for job in self.queue.drain(..).chain(self.jobs.drain(..)) {
            let _ = job.reply.send(Err(error.clone()));
        }
        self.rollouts.clear();
        self.clear(context);
    }

    /// Runs one step: admits requests, starts rollouts, decodes a batch and samples from it.
    pub fn step(&mut self, context: &mut Context, stats: &Stats) -> Result<(), EngineError> {
        self.drop_cancelled(context);
        self.admit(context);
        self.begin(context);
        self.start(context, stats);
        while self.rollouts.len() > self.free_cells(context) {
            self.relieve(context, stats)?;
        }
        match self.decode(context, stats) {
            // Prompts wait for room, and no rollout runs that would free some.
            Ok(0) if self.jobs.iter().any(Job::is_prefilling) => self.relieve(context, stats)?,
            Ok(_) => {}
            Err(DecodeError::Full) => self.relieve(context, stats)?,
            Err(DecodeError::Failed(error)) => return Err(error),
        }
        stats.in_use(self.cache.cells() + self.own_cells());
        self.finish_jobs();
        Ok(())
    }

    /// Returns the cells that the cache does not count: those of rollouts, without their prompts, and
    /// of images that are decoded in part.
    fn own_cells(&self) -> usize {
        let rollouts = self.rollouts.iter().map(|rollout| rollout.fed);
        rollouts.chain(self.jobs.iter().map(|job| job.position - job.held)).sum()
    }

    /// Returns the cells available to running requests, including those of idle prefixes.
    pub(super) fn free_cells(&self, context: &Context) -> usize {
        let taken = self.cache.running_cells() + self.own_cells();
        (context.options().cells as usize).saturating_sub(taken)
    }

    /// Decodes one slice of an image, if a prompt has reached one, and one batch of tokens. Returns
    /// the number of positions decoded.
    fn decode(&mut self, context: &mut Context, stats: &Stats) -> Result<usize, DecodeError> {
        let max_rows = context.options().batch as usize;
        let room = self.free_cells(context) - self.rollouts.len();
        let slice = room.min(if self.rollouts.is_empty() { max_rows } else { PREFILL_SLICE });
        let spent = self.decode_image(context, slice, stats)?;
        let (mut batch, rows) = self.batch(max_rows, slice - spent);
        if !batch.is_empty() {
            self.make_room(context, batch.len());
            stats.timed(Phase::Decode, || context.decode(&mut batch))?;
            self.advance(context, &rows, stats);
        }
        Ok(spent + batch.len())
    }

    fn make_room(&mut self, context: &mut Context, positions: usize) {
        let max_cells = (context.options().cells as usize).saturating_sub(self.own_cells() + positions);
        self.cache.shrink(context, max_cells);
    }

    fn drop_cancelled(&mut self, context: &mut Context) {
        self.queue.retain(|job| !job.answer_if_cancelled());
        let (cancelled, kept) = self.jobs.drain(..).partition::<Vec<_>, _>(Job::answer_if_cancelled);
        self.jobs = kept;
        for job in cancelled {
            let (gone, kept) = self.rollouts.drain(..).partition::<Vec<_>, _>(|rollout| rollout.job == job.id);
            self.rollouts = kept;
            for rollout in gone {
                self.cache.release(context, rollout.sequence);
            }
            self.cache.release(context, job.sequence);
        }
    }

    /// Begins the prefill of admitted prompts from what the cache holds, except prompts that share
    /// a longer prefix with one that is being prefilled.
    fn begin(&mut self, context: &mut Context) {
        for index in 0..self.jobs.len() {
            let job = &self.jobs[index];
            if job.begun {
                continue;
            }
            let keys = job.request.prompt.keys();
            // The last position is always decoded: its logits are needed.
            let max_shared = keys.len() - 1;
            let (known, holder) = self.cache.longest(keys);
            let prefilling = self.jobs.iter().filter(|other| other.begun && other.first.is_none());
            let coming = prefilling.map(|other| common_prefix(other.request.prompt.keys(), keys)).max().unwrap_or(0);
            if coming.min(max_shared) > known.min(max_shared) {
                continue;
            }
            let job = &mut self.jobs[index];
            (job.begun, job.position) = (true, known.min(max_shared));
            job.held = job.position;
            if let Some(holder) = holder.filter(|_| job.position > 0) {
                context.share(holder, job.sequence, 0..job.request.prompt.rotary(job.position));
                self.cache.hold(context, job.sequence, &job.request.prompt.keys()[..job.position], job.position);
            }
        }
    }

    /// Decodes the next `limit` rows of the first prompt that has reached an image. Returns their
    /// number.
    fn decode_image(&mut self, context: &mut Context, limit: usize, stats: &Stats) -> Result<usize, DecodeError> {
        if limit == 0 {
            return Ok(0);
        }
        let prefilling = self.jobs.iter().enumerate().filter(|(_, job)| job.is_prefilling());
        let found = prefilling.filter_map(|(index, job)| match job.request.prompt.span(job.position, limit) {
            Span::Embeddings(rows) => Some((index, Batch::embeddings(rows, &[job.sequence]))),
            Span::Tokens(_) => None,
        });
        let Some((index, mut batch)) = { found }.next() else { return Ok(0) };
        self.make_room(context, batch.len());
        stats.timed(Phase::Decode, || context.decode(&mut batch))?;
        self.entered(context, index, batch.len(), stats);
        Ok(batch.len())
    }

    /// Records that `count` more positions of a prompt were decoded.
    fn entered(&mut self, context: &mut Context, index: usize, count: usize, stats: &Stats) {
        let job = &mut self.jobs[index];
        job.position += count;
        stats.decoded(count);
        let keys = job.request.prompt.keys();
        let is_part = is_in_grid(keys[job.position - 1]) && job.request.prompt.is_inside_image(job.position);
        if !is_part {
            let own = std::mem::replace(&mut job.held, job.position);
            self.cache.hold(context, job.sequence, &keys[..job.position], own);
        }
    }

    /// Returns a batch of the next token of each rollout and up to `slice` more positions: first of
    /// resumed rollouts, then of prompts.
    fn batch(&self, max_rows: usize, slice: usize) -> (Batch, Rows) {
        let (mut batch, mut rows) = (Batch::tokens(), Rows::default());
        let mut slice = slice.min(max_rows - self.rollouts.len());
        for (index, rollout) in self.rollouts.iter().enumerate() {
            let tokens = &rollout.tokens[rollout.fed..];
            let count = tokens.len().min(1 + slice);
            slice -= count - 1;
            for (offset, &token) in tokens[..count].iter().enumerate() {
                let last = offset + 1 == tokens.len();
                let row = batch.push(token, rollout.prompt + rollout.fed + offset, rollout.sequence, last);
                if last {
                    rows.rollouts.push((row, index));
                }
            }
            rows.fed.push((index, count));
        }
        for (index, job) in self.jobs.iter().enumerate().filter(|(_, job)| job.is_prefilling()) {
            if slice == 0 {
                break;
            }
            let Span::Tokens(tokens) = job.request.prompt.span(job.position, slice) else { continue };
            let (mut end, rotary) = (None, job.request.prompt.rotary(job.position));
            for (offset, &token) in tokens.iter().enumerate() {
                let position = job.position + offset;
                let last = position + 1 == job.request.prompt.len();
                let row = batch.push(token, rotary + offset, job.sequence, last);
                end = last.then_some(row);
            }
            slice -= tokens.len();
            rows.prompts.push((index, tokens.len(), end));
        }
        (batch, rows)
    }

    /// Records a decoded batch, and samples the next token of its rollouts.
    fn advance(&mut self, context: &mut Context, rows: &Rows, stats: &Stats) {
        for &(index, count, end) in &rows.prompts {
            self.jobs[index].first = end.map(|row| context.logits(row).to_vec());
            self.entered(context, index, count, stats);
        }
        for &(index, count) in &rows.fed {
            self.rollouts[index].fed += count;
        }
        stats.generated(rows.rollouts.len());
        let draws = self.draw(context, rows, stats);
        let mut ended = Vec::new();
        for (&(_, index), token) in rows.rollouts.iter().zip(draws) {
            let rollout = &mut self.rollouts[index];
            let job = self.jobs.iter().find(|job| job.id == rollout.job).expect("a rollout's job is running");
            if let Some(finish) = job.request.accept(token, &mut rollout.tokens, context.model()) {
                ended.push((index, finish));
            }
        }
        for (index, finish) in ended.into_iter().rev() {
            let rollout = self.rollouts.remove(index);
            self.complete(context, rollout, finish, stats);
        }
    }

    /// Samples one token for each row of a running rollout.
    fn draw(&mut self, context: &Context, rows: &Rows, stats: &Stats) -> Vec<Token> {
        let logits: Vec<&[f32]> = rows.rollouts.iter().map(|&(row, _)| context.logits(row)).collect();
        let mut wanted = rows.rollouts.iter().map(|&(_, index)| index).peekable();
        let samplers = self.rollouts.iter_mut().enumerate().filter_map(|(index, rollout)| {
            (wanted.peek() == Some(&index)).then(|| {
                wanted.next();
                &mut rollout.sampler
            })
        });
        let work: Vec<(&mut Sampler, &[f32])> = samplers.zip(logits).collect();
        stats.timed(Phase::Sample, || sampling::draw_all(work, &mut self.scratch))
    }

    /// Removes a finished rollout, and releases its prompt after the last rollout of the request.
    pub(super) fn complete(&mut self, context: &mut Context, rollout: Rollout, finish: Finish, stats: &Stats) {
        stats.finished();
        self.expected =
            if self.expected == 0 { rollout.tokens.len() } else { (7 * self.expected + rollout.tokens.len()) / 8 };
        let job = self.jobs.iter_mut().find(|job| job.id == rollout.job).expect("a rollout's job is running");
        if job.request.keep_rollouts && rollout.fed > 0 {
            let prompt = job.request.prompt.keys();
            let fed = rollout.tokens[..rollout.fed].iter().map(|&token| token_key(token));
            let keys: Vec<u64> = prompt.iter().copied().chain(fed).collect();
            self.cache.hold(context, rollout.sequence, &keys, prompt.len());
            self.cache.keep(context, rollout.sequence);
        } else {
            self.cache.release(context, rollout.sequence);
        }
        let index = rollout.index;
        job.completions[index] = Some(rollout.into_completion(finish));
        job.unfinished -= 1;
        if job.unfinished == 0 {
            if job.request.keep {
                self.cache.keep(context, job.sequence);
            } else {
                self.cache.release(context, job.sequence);
            }
        }
    }

    fn finish_jobs(&mut self) {
        let (finished, kept) = self.jobs.drain(..).partition::<Vec<_>, _>(|job| job.unfinished == 0);
        self.jobs = kept;
        for job in finished {
            let completions = job.completions.into_iter().flatten().collect();
            let _ = job.reply.send(Ok(completions));
        }
    }
}
