//! The continuous-batching executor: many requests at once, each step one batch.
//!
//! A request's prompt is prefilled once, from the longest prefix that the cache or a running request already holds; its
//! rollouts then share those cells. Each step's batch takes the next token of every running rollout and fills up with
//! slices of waiting prompts. When the KV cache is full, idle prefixes go first, least recently used first; then prompts
//! that are only partly in go back to the queue; then the youngest rollout pauses and is decoded again later from its own
//! tokens; then all prompts but that of the last rollout go back to the queue. So a rollout is cut short only if the whole
//! context cannot hold it. Results may differ in rounding with what runs beside them; `chain` is for when they must not.

use std::collections::VecDeque;

use super::cache::{PrefixCache, distinct_positions};
use super::ffi::{Batch, Context, DecodeError};
use super::job::{Job, Reply, Rollout, Rows};
use super::prompt::{Span, common_prefix};
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
    /// Idle prefixes kept.
    pub idle: usize,
}

impl Limits {
    /// Sequence ids that these limits need.
    pub fn sequences(&self) -> u32 {
        (self.rollouts + self.jobs + self.idle) as u32
    }
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Batching {
    limits: Limits,
    free: Vec<i32>,
    queue: VecDeque<Job>,
    jobs: Vec<Job>,
    rollouts: Vec<Rollout>,
    cache: PrefixCache,
    /// How many rollouts may run now; falls when the cache was full, rises again as rollouts finish.
    room: usize,
    /// The cache was full: no new prompts until a rollout has finished.
    closed: bool,
    next_job: u64,
}

impl Batching {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            free: (0..limits.sequences() as i32).rev().collect(),
            queue: VecDeque::new(),
            jobs: Vec::new(),
            rollouts: Vec::new(),
            cache: PrefixCache::default(),
            room: limits.rollouts,
            closed: false,
            next_job: 0,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.jobs.is_empty()
    }

    /// Forgets all idle prefixes.
    pub fn clear(&mut self, context: &mut Context) {
        debug_assert!(self.is_idle());
        context.clear();
        self.cache.clear();
        self.free = (0..self.limits.sequences() as i32).rev().collect();
    }

    pub fn submit(&mut self, request: GenerateRequest, reply: Reply, context: &Context, stats: &Stats) {
        let cells = context.options().cells as usize;
        if request.prompt.len() + 1 >= cells {
            let _ = reply.send(Err(EngineError::too_long(&request.prompt, cells)));
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
        self.start(context, stats);
        match self.decode(context, stats) {
            Ok(()) => {}
            Err(DecodeError::Full) => self.relieve(context, stats)?,
            Err(DecodeError::Failed(error)) => return Err(error),
        }
        stats.in_use(self.cells_in_use());
        self.finish_jobs();
        Ok(())
    }

    fn cells_in_use(&self) -> usize {
        let running = self.jobs.iter().map(|job| &job.request.prompt.keys()[..job.position]);
        let prompts = distinct_positions(running.chain(self.cache.prompts()).collect());
        prompts + self.rollouts.iter().map(|rollout| rollout.fed).sum::<usize>()
    }

    /// One slice of an image, if a prompt stands before one, and one batch of tokens.
    fn decode(&mut self, context: &mut Context, stats: &Stats) -> Result<(), DecodeError> {
        let prefill = if self.rollouts.is_empty() { context.options().batch as usize } else { PREFILL_SLICE };
        let spent = self.decode_image(context, prefill, stats)?;
        let (mut batch, rows) = self.batch(context, prefill - spent);
        if !batch.is_empty() {
            stats.timed(Phase::Decode, || context.decode(&mut batch))?;
            self.advance(context, &rows, stats);
        }
        Ok(())
    }

    fn drop_cancelled(&mut self, context: &mut Context) {
        self.queue.retain(|job| !job.answer_if_cancelled());
        let (cancelled, kept) = self.jobs.drain(..).partition::<Vec<_>, _>(Job::answer_if_cancelled);
        self.jobs = kept;
        for job in cancelled {
            let (gone, kept) = self.rollouts.drain(..).partition::<Vec<_>, _>(|rollout| rollout.job == job.id);
            self.rollouts = kept;
            for rollout in gone {
                self.release(context, rollout.sequence);
            }
            self.release(context, job.sequence);
            self.closed = false;
        }
    }

    fn release(&mut self, context: &mut Context, sequence: i32) {
        context.truncate(sequence, 0);
        self.free.push(sequence);
    }

    fn sequence(&mut self) -> i32 {
        self.free.pop().expect("there are as many ids as rollouts, prompts and idle prefixes may use")
    }

    /// Takes requests from the queue while their rollouts could run soon.
    fn admit(&mut self, context: &mut Context) {
        if self.jobs.is_empty() {
            (self.closed, self.room) = (false, self.limits.rollouts);
        }
        while !self.closed && self.jobs.len() < self.limits.jobs && self.waiting_rollouts() < self.limits.rollouts {
            let Some(mut job) = self.queue.pop_front() else { return };
            job.sequence = self.sequence();
            let keys = job.request.prompt.keys();
            let running = self
                .jobs
                .iter()
                .map(|other| (other.sequence, common_prefix(&other.request.prompt.keys()[..other.position], keys)));
            let source = running.chain(self.cache.longest(keys)).max_by_key(|&(_, length)| length);
            if let Some((from, length)) = source {
                // The last position is decoded again: its logits are needed.
                job.position = length.min(keys.len() - 1);
                context.share(from, job.sequence, job.position);
            }
            self.jobs.push(job);
        }
    }

    /// Rollouts of admitted requests that do not run yet.
    fn waiting_rollouts(&self) -> usize {
        self.jobs.iter().map(Job::waiting).sum()
    }

    /// Starts rollouts of prefilled prompts, oldest request first and its paused rollouts before new ones, while there is
    /// room.
    fn start(&mut self, context: &mut Context, stats: &Stats) {
        let mut scratch = Scratch::default();
        for index in 0..self.jobs.len() {
            while self.rollouts.len() < self.room && self.jobs[index].can_start() {
                let sequence = self.sequence();
                let job = &mut self.jobs[index];
                context.share(job.sequence, sequence, job.request.prompt.len());
                if let Some(rollout) = job.paused.pop_front() {
                    self.rollouts.push(Rollout { sequence, ..rollout });
                    continue;
                }
                let mut rollout = job.next_rollout(sequence);
                let first = job.first.as_deref().unwrap_or_default();
                let token = stats.timed(Phase::Sample, || rollout.sampler.draw(first, &mut scratch));
                stats.generated(1);
                match job.request.accept(token, &mut rollout.tokens, context.model()) {
                    Some(finish) => self.complete(context, rollout, finish, stats),
                    None => self.rollouts.push(rollout),
                }
            }
        }
    }

    /// The next `limit` embeddings of the first prompt that stands before an image; how many there were.
    fn decode_image(&mut self, context: &mut Context, limit: usize, stats: &Stats) -> Result<usize, DecodeError> {
        for job in self.jobs.iter_mut().filter(|job| job.first.is_none()) {
            if let Span::Embeddings { values, width } = job.request.prompt.span(job.position, limit) {
                let mut batch = Batch::embeddings(values.to_vec(), width, job.position, job.sequence);
                stats.timed(Phase::Decode, || context.decode(&mut batch))?;
                job.position += batch.len();
                stats.decoded(batch.len());
                return Ok(batch.len());
            }
        }
        Ok(0)
    }

    /// The next token of each rollout and up to `prefill` positions of prompts.
    fn batch(&self, context: &Context, prefill: usize) -> (Batch, Rows) {
        let limit = context.options().batch as usize;
        let (mut batch, mut rows) = (Batch::tokens(), Rows::default());
        for (index, rollout) in self.rollouts.iter().enumerate() {
            let tokens = &rollout.tokens[rollout.fed..];
            let count = tokens.len().min(limit - batch.len());
            for (offset, &token) in tokens[..count].iter().enumerate() {
                let last = rollout.fed + offset + 1 == rollout.tokens.len();
                let row = batch.push(token, rollout.prompt + rollout.fed + offset, rollout.sequence, last);
                if last {
                    rows.rollouts.push((row, index));
                }
            }
            rows.fed.push((index, count));
        }
        let mut slice = prefill.min(limit - batch.len());
        for (index, job) in self.jobs.iter().enumerate() {
            if job.first.is_some() || slice == 0 {
                continue;
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
            let job = &mut self.jobs[index];
            job.position += count;
            stats.decoded(count);
            job.first = end.map(|row| context.logits(row).to_vec());
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
        stats.timed(Phase::Sample, || sampling::draw_all(work, &mut Scratch::default()))
    }

    fn complete(&mut self, context: &mut Context, rollout: Rollout, finish: Finish, stats: &Stats) {
        self.release(context, rollout.sequence);
        self.closed = false;
        if self.jobs.iter().all(|job| job.paused.is_empty()) {
            self.room = self.limits.rollouts.min(self.room + 1);
        }
        stats.finished();
        let job = self.jobs.iter_mut().find(|job| job.id == rollout.job).expect("a rollout's job is running");
        let index = rollout.index;
        job.completions[index] = Some(rollout.into_completion(finish));
        job.unfinished -= 1;
        if job.unfinished == 0 {
            let (sequence, keys) = (job.sequence, job.request.prompt.keys().clone());
            if !job.request.keep {
                self.release(context, sequence);
                return;
            }
            for superfluous in self.cache.insert(sequence, keys) {
                self.release(context, superfluous);
            }
            while self.cache.len() > self.limits.idle {
                if let Some(evicted) = self.cache.evict() {
                    self.release(context, evicted);
                }
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

    /// Makes room in a full cache; see the module's description for the order.
    fn relieve(&mut self, context: &mut Context, stats: &Stats) -> Result<(), EngineError> {
        if let Some(sequence) = self.cache.evict() {
            self.release(context, sequence);
            return Ok(());
        }
        let partial = self.jobs.iter().rposition(|job| job.first.is_none());
        if let Some(index) = partial.filter(|_| self.jobs.len() > 1) {
            self.postpone(context, index);
            return Ok(());
        }
        let Some(youngest) = self.rollouts.pop() else {
            return Err(EngineError::Limit("the context is full; raise --context".into()));
        };
        if !self.rollouts.is_empty() {
            self.pause(context, youngest);
        } else if let Some(index) = self.jobs.iter().rposition(|job| job.id != youngest.job) {
            self.rollouts.push(youngest);
            self.postpone(context, index);
        } else {
            self.complete(context, youngest, Finish::Length, stats);
        }
        Ok(())
    }

    /// Sends a request none of whose rollouts is running back to the queue, to be prefilled again later.
    fn postpone(&mut self, context: &mut Context, index: usize) {
        let mut job = self.jobs.remove(index);
        self.release(context, job.sequence);
        (job.position, job.first) = (0, None);
        self.queue.push_front(job);
        self.closed = true;
    }

    /// Takes a rollout's cells away until there is room again; it keeps its tokens and its place in its random stream.
    fn pause(&mut self, context: &mut Context, rollout: Rollout) {
        self.release(context, rollout.sequence);
        self.room = self.rollouts.len();
        let job = self.jobs.iter_mut().find(|job| job.id == rollout.job).expect("a rollout's job is running");
        job.paused.push_front(Rollout { fed: 0, ..rollout });
    }
}
