//! The continuous-batching executor: many requests at once, each step one batch.
//!
//! A request's prompt is prefilled once, from the longest prefix that the cache or a running request already holds; its
//! rollouts then share those cells. Each step's batch takes the next token of every running rollout and fills up with
//! slices of waiting prompts. When the KV cache is full, idle prefixes go first, least recently used first; then prompts
//! that are only partly in go back to the queue; then the youngest rollout pauses and is decoded again later from its own
//! tokens. Nothing running is lost. Results may differ in rounding with what runs beside them; `chain` is for when they
//! must not.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use rayon::prelude::*;

use super::cache::PrefixCache;
use super::ffi::{Batch, Context, DecodeError};
use super::prompt::{Span, common_prefix};
use super::sampling::{Sampler, Scratch};
use super::stats::Stats;
use super::{Completion, EngineError, Finish, GenerateRequest, Token};

/// Prompt positions decoded beside running rollouts in one step: a longer slice would make the rollouts wait.
const PREFILL_SLICE: usize = 256;
/// Logits to look through, over all rollouts, from which sampling is spread over threads.
const PARALLEL_SAMPLING: usize = 1 << 18;

/// What a request's caller waits for.
pub(super) type Reply = Sender<Result<Vec<Completion>, EngineError>>;

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
    paused: VecDeque<Rollout>,
    cache: PrefixCache,
    /// How many rollouts may run now; falls when the cache was full, rises again as rollouts finish.
    room: usize,
    /// The cache was full: no new prompts until a rollout has finished.
    closed: bool,
    next_job: u64,
}

/// A request on its way through.
#[derive(Debug)]
struct Job {
    id: u64,
    request: GenerateRequest,
    reply: Reply,
    sequence: i32,
    /// Prompt positions in the cache.
    position: usize,
    /// Logits at the end of the prompt, once it is in.
    first: Option<Vec<f32>>,
    started: usize,
    completions: Vec<Option<Completion>>,
    unfinished: usize,
}

#[derive(Debug)]
struct Rollout {
    job: u64,
    index: usize,
    prompt: usize,
    sequence: i32,
    tokens: Vec<Token>,
    /// Tokens already in the cache.
    fed: usize,
    sampler: Sampler,
}

/// Rows of a batch that lead to a draw.
#[derive(Debug, Default)]
struct Rows {
    /// Row and index into `rollouts`.
    rollouts: Vec<(usize, usize)>,
    /// Tokens fed, per index into `rollouts`.
    fed: Vec<(usize, usize)>,
    /// Index into `jobs`, positions decoded, and the row of the prompt's end if it is reached.
    prompts: Vec<(usize, usize, Option<usize>)>,
}

impl Batching {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            free: (0..limits.sequences() as i32).rev().collect(),
            queue: VecDeque::new(),
            jobs: Vec::new(),
            rollouts: Vec::new(),
            paused: VecDeque::new(),
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

    pub fn submit(&mut self, request: GenerateRequest, reply: Reply, context: &Context) {
        let cells = context.options().cells as usize;
        if request.prompt.len() + 1 >= cells {
            let error = EngineError::Limit(format!(
                "the prompt takes {} positions but the context has {cells}; raise --context",
                request.prompt.len()
            ));
            let _ = reply.send(Err(error));
            return;
        }
        let count = request.streams.len();
        let job = Job {
            id: self.next_job,
            request,
            reply,
            sequence: -1,
            position: 0,
            first: None,
            started: 0,
            completions: vec![None; count],
            unfinished: count,
        };
        self.next_job += 1;
        self.queue.push_back(job);
    }

    /// Fails everything that is queued or running.
    pub fn fail_all(&mut self, context: &mut Context, error: &EngineError) {
        for job in self.queue.drain(..).chain(self.jobs.drain(..)) {
            let _ = job.reply.send(Err(error.clone()));
        }
        self.rollouts.clear();
        self.paused.clear();
        self.clear(context);
    }

    /// One step: admit, start, decode one batch, draw.
    pub fn step(&mut self, context: &mut Context, stats: &Stats) -> Result<(), EngineError> {
        self.drop_cancelled(context);
        self.admit(context, stats);
        self.start(context, stats);
        match self.decode(context, stats) {
            Ok(()) => {}
            Err(DecodeError::Full) => self.relieve(context, stats)?,
            Err(DecodeError::Failed(error)) => return Err(error),
        }
        self.finish_jobs();
        Ok(())
    }

    /// One slice of an image, if a prompt stands before one, and one batch of tokens.
    fn decode(&mut self, context: &mut Context, stats: &Stats) -> Result<(), DecodeError> {
        self.decode_image(context)?;
        let (mut batch, rows) = self.batch(context);
        if !batch.is_empty() {
            context.decode(&mut batch)?;
            self.advance(context, &rows, stats);
        }
        Ok(())
    }

    fn drop_cancelled(&mut self, context: &mut Context) {
        self.queue.retain(|job| !answer_if_cancelled(job));
        let (cancelled, kept) = self.jobs.drain(..).partition::<Vec<_>, _>(answer_if_cancelled);
        self.jobs = kept;
        for job in cancelled {
            let (gone, kept) = self.rollouts.drain(..).partition::<Vec<_>, _>(|rollout| rollout.job == job.id);
            self.rollouts = kept;
            self.paused.retain(|rollout| rollout.job != job.id);
            for rollout in gone {
                self.release(context, rollout.sequence);
            }
            self.release(context, job.sequence);
        }
    }

    fn release(&mut self, context: &mut Context, sequence: i32) {
        context.truncate(sequence, 0);
        self.free.push(sequence);
    }

    /// A free sequence id, at the price of an idle prefix if need be.
    fn sequence(&mut self, context: &mut Context) -> Option<i32> {
        if self.free.is_empty() {
            let evicted = self.cache.evict()?;
            self.release(context, evicted);
        }
        self.free.pop()
    }

    /// Takes requests from the queue while their rollouts could run soon.
    fn admit(&mut self, context: &mut Context, stats: &Stats) {
        self.closed &= !self.jobs.is_empty();
        while !self.closed && self.jobs.len() < self.limits.jobs && self.waiting_rollouts() < self.limits.rollouts {
            if self.queue.is_empty() {
                return;
            }
            let Some(sequence) = self.sequence(context) else { return };
            let Some(mut job) = self.queue.pop_front() else { return };
            let keys = job.request.prompt.keys();
            let running = self
                .jobs
                .iter()
                .map(|other| (other.sequence, common_prefix(&other.request.prompt.keys()[..other.position], keys)));
            let source = running.chain(self.cache.longest(keys)).max_by_key(|&(_, length)| length);
            job.sequence = sequence;
            if let Some((from, length)) = source {
                // The last position is decoded again: its logits are needed.
                job.position = length.min(keys.len() - 1);
                context.share(from, sequence, job.position);
            }
            stats.prompt(keys, keys.len() - job.position);
            stats.shared(keys.len(), job.request.streams.len().saturating_sub(1));
            self.jobs.push(job);
        }
    }

    /// Rollouts that admitted requests have yet to start.
    fn waiting_rollouts(&self) -> usize {
        self.jobs.iter().map(|job| job.request.streams.len() - job.started).sum::<usize>() + self.paused.len()
    }

    /// Starts rollouts of prefilled prompts, paused ones first, while there is room.
    fn start(&mut self, context: &mut Context, stats: &Stats) {
        while self.rollouts.len() < self.room && !self.paused.is_empty() {
            let Some(sequence) = self.sequence(context) else { return };
            let Some(mut rollout) = self.paused.pop_front() else { return };
            let source = self.jobs.iter().find(|job| job.id == rollout.job).expect("a rollout's job is running");
            context.share(source.sequence, sequence, rollout.prompt);
            rollout.sequence = sequence;
            self.rollouts.push(rollout);
        }
        let mut scratch = Scratch::default();
        for index in 0..self.jobs.len() {
            while self.rollouts.len() < self.room
                && self.jobs[index].first.is_some()
                && self.jobs[index].started < self.jobs[index].request.streams.len()
            {
                let Some(sequence) = self.sequence(context) else { return };
                let job = &mut self.jobs[index];
                let prompt = job.request.prompt.len();
                context.share(job.sequence, sequence, prompt);
                let stream = job.request.streams[job.started];
                let mut sampler = Sampler::new(job.request.sampling, stream, job.request.prompt.text_tokens());
                let token = sampler.draw(job.first.as_deref().unwrap_or_default(), &mut scratch);
                let mut rollout =
                    Rollout { job: job.id, index: job.started, prompt, sequence, tokens: Vec::new(), fed: 0, sampler };
                job.started += 1;
                match job.request.accept(token, &mut rollout.tokens, context.model()) {
                    Some(finish) => self.complete(context, rollout, finish, stats),
                    None => self.rollouts.push(rollout),
                }
            }
        }
    }

    fn decode_image(&mut self, context: &mut Context) -> Result<(), DecodeError> {
        let limit = context.options().batch as usize;
        for job in self.jobs.iter_mut().filter(|job| job.first.is_none()) {
            if let Span::Embeddings { values, width } = job.request.prompt.span(job.position, limit) {
                let mut batch = Batch::embeddings(values.to_vec(), width, job.position, job.sequence);
                context.decode(&mut batch)?;
                job.position += batch.len();
                return Ok(());
            }
        }
        Ok(())
    }

    fn batch(&self, context: &Context) -> (Batch, Rows) {
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
        let mut slice = if batch.is_empty() { limit } else { PREFILL_SLICE.min(limit - batch.len()) };
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
            job.first = end.map(|row| context.logits(row).to_vec());
        }
        for &(index, count) in &rows.fed {
            self.rollouts[index].fed += count;
        }
        stats.generated(rows.rollouts.len());
        let draws = self.draw(context, rows);
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
    fn draw(&mut self, context: &Context, rows: &Rows) -> Vec<Token> {
        let logits: Vec<&[f32]> = rows.rollouts.iter().map(|&(row, _)| context.logits(row)).collect();
        let mut wanted = rows.rollouts.iter().map(|&(_, index)| index).peekable();
        let samplers = self.rollouts.iter_mut().enumerate().filter_map(|(index, rollout)| {
            (wanted.peek() == Some(&index)).then(|| {
                wanted.next();
                &mut rollout.sampler
            })
        });
        let work: Vec<(&mut Sampler, &[f32])> = samplers.zip(logits).collect();
        if work.len() * context.model().vocabulary_size() < PARALLEL_SAMPLING {
            let mut scratch = Scratch::default();
            work.into_iter().map(|(sampler, logits)| sampler.draw(logits, &mut scratch)).collect()
        } else {
            work.into_par_iter()
                .map_init(Scratch::default, |scratch, (sampler, logits)| sampler.draw(logits, scratch))
                .collect()
        }
    }

    fn complete(&mut self, context: &mut Context, rollout: Rollout, finish: Finish, stats: &Stats) {
        self.release(context, rollout.sequence);
        self.closed = false;
        if self.paused.is_empty() {
            self.room = self.limits.rollouts.min(self.room + 1);
        }
        stats.finished();
        let job = self.jobs.iter_mut().find(|job| job.id == rollout.job).expect("a rollout's job is running");
        job.completions[rollout.index] = Some(Completion { tokens: rollout.tokens, finish });
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
        let partial = self.jobs.iter().rposition(|job| job.started == 0 && job.first.is_none());
        if let Some(index) = partial.filter(|_| self.jobs.len() > 1) {
            let mut job = self.jobs.remove(index);
            self.release(context, job.sequence);
            stats.repeated(job.position);
            (job.sequence, job.position) = (-1, 0);
            self.queue.push_front(job);
            self.closed = true;
            return Ok(());
        }
        if self.rollouts.len() > 1 {
            let mut rollout = self.rollouts.pop().expect("there is more than one");
            self.release(context, rollout.sequence);
            self.room = self.rollouts.len();
            rollout.fed = 0;
            self.paused.push_front(rollout);
            return Ok(());
        }
        if let Some(rollout) = self.rollouts.pop() {
            self.complete(context, rollout, Finish::Length, stats);
            return Ok(());
        }
        Err(EngineError::Limit("the context is full; raise --context".into()))
    }
}

/// Answers a cancelled request; true if it was.
fn answer_if_cancelled(job: &Job) -> bool {
    match job.request.check_cancelled() {
        Ok(()) => false,
        Err(error) => {
            let _ = job.reply.send(Err(error));
            true
        }
    }
}
