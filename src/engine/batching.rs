//! The continuous-batching executor: many requests at once, each step one batch.
//!
//! A request's prompt is prefilled once, from the longest prefix that the cache holds, and after any prompt that is on its
//! way in and shares more; its rollouts then share those cells. Each step's batch takes the next token of every running
//! rollout and fills up with slices of waiting prompts, so no prompt makes the rollouts wait for longer than a slice. Which
//! requests and rollouts run is `admission`'s business. Results may differ in rounding with what runs beside them; `chain` is
//! for when they must not.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::cache::{Budget, Cache};
use super::ffi::{Batch, Context, DecodeError};
use super::job::{Job, Reply, Rollout, Rows};
use super::prompt::{Span, common_prefix, token_key};
use super::sampling::{self, Sampler, Scratch};
use super::stats::{Phase, Stats};
use super::{EngineError, Finish, GenerateRequest, Token};

/// Prompt positions decoded beside running rollouts in one step: a longer slice would make the rollouts wait.
const PREFILL_SLICE: usize = 256;

/// Limits of the executor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Rollouts decoded side by side.
    pub rollouts: usize,
    /// Requests whose prompts are in the cache at the same time.
    pub jobs: usize,
    /// Prefixes kept that nothing needs.
    pub idle: Budget,
}

impl Limits {
    /// Sequence ids that these limits need.
    pub fn sequences(&self) -> u32 {
        // A sequence that comes to rest is counted before another makes way for it.
        (self.rollouts + self.jobs + self.idle.sequences) as u32
    }
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Batching {
    pub(super) limits: Limits,
    pub(super) queue: VecDeque<Job>,
    /// Requests admitted, in the order of their arrival.
    pub(super) jobs: Vec<Job>,
    pub(super) rollouts: Vec<Rollout>,
    pub(super) cache: Cache,
    /// Tokens to reckon with in a rollout: a moving mean of those finished.
    pub(super) expected: usize,
    pub(super) scratch: Scratch,
    next_job: u64,
}

impl Batching {
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

    /// Forgets all idle prefixes.
    pub fn clear(&mut self, context: &mut Context) {
        debug_assert!(self.is_idle());
        self.cache.clear(context);
    }

    pub fn submit(&mut self, request: GenerateRequest, reply: Reply, context: &Context, stats: &Stats) {
        let cells = context.options().cells as usize;
        if request.prompt.len() + 1 >= cells {
            let _ = reply.send(Err(EngineError::too_long(request.prompt.len(), cells)));
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

    /// One step: admit, start, decode one batch, draw.
    pub fn step(&mut self, context: &mut Context, stats: &Stats) -> Result<(), EngineError> {
        self.drop_cancelled(context);
        self.admit(context);
        self.begin(context);
        self.start(context, stats);
        while self.rollouts.len() > self.free_cells(context) {
            self.relieve(context, stats)?;
        }
        match self.decode(context, stats) {
            // Prompts that wait for room, with nothing running that would make some.
            Ok(0) if self.jobs.iter().any(Job::is_entering) => self.relieve(context, stats)?,
            Ok(_) => {}
            Err(DecodeError::Full) => self.relieve(context, stats)?,
            Err(DecodeError::Failed(error)) => return Err(error),
        }
        stats.in_use(self.cache.cells() + self.rollout_cells());
        self.finish_jobs();
        Ok(())
    }

    /// Cells that rollouts have beyond their prompts.
    fn rollout_cells(&self) -> usize {
        self.rollouts.iter().map(|rollout| rollout.fed).sum()
    }

    /// Cells that running requests could have: those of resting prefixes included.
    pub(super) fn free_cells(&self, context: &Context) -> usize {
        let taken = self.cache.running_cells() + self.rollout_cells();
        (context.options().cells as usize).saturating_sub(taken)
    }

    /// One slice of an image, if a prompt stands before one, and one batch of tokens; how many positions they had.
    fn decode(&mut self, context: &mut Context, stats: &Stats) -> Result<usize, DecodeError> {
        let most = context.options().batch as usize;
        let room = self.free_cells(context) - self.rollouts.len();
        let slice = room.min(if self.rollouts.is_empty() { most } else { PREFILL_SLICE });
        let spent = self.decode_image(context, slice, stats)?;
        let (mut batch, rows) = self.batch(most, slice - spent);
        if !batch.is_empty() {
            self.make_room(context, batch.len());
            stats.timed(Phase::Decode, || context.decode(&mut batch))?;
            self.advance(context, &rows, stats);
        }
        Ok(spent + batch.len())
    }

    fn make_room(&mut self, context: &mut Context, positions: usize) {
        let most = (context.options().cells as usize).saturating_sub(self.rollout_cells() + positions);
        self.cache.shrink(context, most);
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

    /// Lets admitted prompts share what is there, each as soon as no other prompt on its way in will have more for it.
    fn begin(&mut self, context: &mut Context) {
        for index in 0..self.jobs.len() {
            let job = &self.jobs[index];
            if job.begun {
                continue;
            }
            let keys = job.request.prompt.keys();
            // The last position is always decoded: its logits are needed.
            let most = keys.len() - 1;
            let (known, holder) = self.cache.longest(keys);
            let entering = self.jobs.iter().filter(|other| other.begun && other.first.is_none());
            let coming = entering.map(|other| common_prefix(other.request.prompt.keys(), keys)).max().unwrap_or(0);
            if coming.min(most) > known.min(most) {
                continue;
            }
            let job = &mut self.jobs[index];
            (job.begun, job.position) = (true, known.min(most));
            if let Some(holder) = holder.filter(|_| job.position > 0) {
                context.share(holder, job.sequence, 0..job.position);
                self.cache.hold(context, job.sequence, &job.request.prompt.keys()[..job.position], job.position);
            }
        }
    }

    /// The next `limit` embeddings of the first prompt that stands before an image; how many there were.
    fn decode_image(&mut self, context: &mut Context, limit: usize, stats: &Stats) -> Result<usize, DecodeError> {
        if limit == 0 {
            return Ok(0);
        }
        let entering = self.jobs.iter().enumerate().filter(|(_, job)| job.is_entering());
        let found = entering.filter_map(|(index, job)| match job.request.prompt.span(job.position, limit) {
            Span::Embeddings { values, width } => {
                Some((index, Batch::embeddings(values.to_vec(), width, job.position, &[job.sequence])))
            }
            Span::Tokens(_) => None,
        });
        let Some((index, mut batch)) = { found }.next() else { return Ok(0) };
        self.make_room(context, batch.len());
        stats.timed(Phase::Decode, || context.decode(&mut batch))?;
        self.entered(context, index, batch.len(), stats);
        Ok(batch.len())
    }

    /// `count` more positions of a prompt are in.
    fn entered(&mut self, context: &mut Context, index: usize, count: usize, stats: &Stats) {
        let job = &mut self.jobs[index];
        let own = job.position;
        job.position += count;
        stats.decoded(count);
        self.cache.hold(context, job.sequence, &job.request.prompt.keys()[..job.position], own);
    }

    /// The next token of each rollout, and up to `slice` positions more: first of rollouts that start again, then of prompts.
    fn batch(&self, most: usize, slice: usize) -> (Batch, Rows) {
        let (mut batch, mut rows) = (Batch::tokens(), Rows::default());
        let mut slice = slice.min(most - self.rollouts.len());
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
        for (index, job) in self.jobs.iter().enumerate().filter(|(_, job)| job.is_entering()) {
            if slice == 0 {
                break;
            }
            let Span::Tokens(tokens) = job.request.prompt.span(job.position, slice) else { continue };
            let mut end = None;
            for (offset, &token) in tokens.iter().enumerate() {
                let position = job.position + offset;
                let last = position + 1 == job.request.prompt.len();
                let row = batch.push(token, position, job.sequence, last);
                end = last.then_some(row);
            }
            slice -= tokens.len();
            rows.prompts.push((index, tokens.len(), end));
        }
        (batch, rows)
    }

    /// Takes in what a decoded batch brought.
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

    /// One token for each row of a running rollout.
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

    /// Takes a finished rollout off, and its request with the last of them.
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
            self.cache.rest(context, rollout.sequence);
        } else {
            self.cache.release(context, rollout.sequence);
        }
        let index = rollout.index;
        job.completions[index] = Some(rollout.into_completion(finish));
        job.unfinished -= 1;
        if job.unfinished == 0 {
            if job.request.keep {
                self.cache.rest(context, job.sequence);
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
