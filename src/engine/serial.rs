//! The canonical executor: one prompt at a time, in batches whose shape cannot be told from the results.
//!
//! A result computed here depends on its own input only: not on which requests came before, how many run beside it, or how
//! many threads compute (given a context without fused attention). Scoring runs here on a processor; on a GPU it
//! does in deterministic mode, as generation does anywhere. The cache holds one prompt, the cached_prefix; the next one keeps what
//! it shares with it and decodes the rest (`schedule` tells which), so candidates sorted by their tokens are computed as a
//! trie.

use std::collections::VecDeque;

use super::ffi::{Batch, Context, DecodeError};
use super::prompt::{Prompt, Span};
use super::sampling::{self, Sampler, Scratch};
use super::schedule::{CachedPrefix, with_company};
use super::stats::{Phase, Stats};
use super::{Completion, EngineError, Finish, GenerateRequest, Token};

/// Rollouts decoded side by side in deterministic mode; a constant, since results may depend on it through rounding.
pub const WIDTH: usize = 16;
/// The sequence that holds the cached_prefix; rollouts use the ids above it.
const LINEAGE: i32 = 0;

/// What a probe reads: the logits of `read` at every position whose token is `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub at: Token,
    pub read: Vec<Token>,
}

#[derive(Debug, Default)]
pub(super) struct SerialExecutor {
    /// What the cache holds.
    cached_prefix: CachedPrefix,
    reading: Option<Reading>,
    /// What was read in the cached_prefix: positions, in order, and logits.
    rows: Vec<(usize, Vec<f32>)>,
}

impl SerialExecutor {
    /// Forgets the cached_prefix.
    pub fn clear(&mut self, context: &mut Context) {
        context.clear();
        *self = Self::default();
    }

    /// Runs `prompt` and returns one row of logits per position whose token is `reading.at`, in order.
    pub fn probe(
        &mut self,
        context: &mut Context,
        prompt: &Prompt,
        reading: &Reading,
        stats: &Stats,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        if self.reading.as_ref() != Some(reading) {
            self.clear(context);
            self.reading = Some(reading.clone());
        }
        // What comes after the last reading cannot change it.
        let read = prompt.last_position_of(reading.at).map_or(0, |last| last + 1);
        self.advance(context, prompt, read, stats, || Ok(()))?;
        stats.prompt(&prompt.keys()[..read], 1);
        Ok(self.rows.iter().map(|(_, row)| row.clone()).collect())
    }

    /// Makes the cache hold `prompt` up to position `end`, keeping what it shares with the last one; asks `check` before each
    /// batch whether to go on. Without a reading the last row is always decoded; its index in the last batch is returned.
    fn advance(
        &mut self,
        context: &mut Context,
        prompt: &Prompt,
        end: usize,
        stats: &Stats,
        check: impl Fn() -> Result<(), EngineError>,
    ) -> Result<Option<usize>, EngineError> {
        let cells = context.options().cells as usize;
        if prompt.len() >= cells {
            return Err(EngineError::too_long(prompt.len(), cells));
        }
        let next = CachedPrefix::of(prompt, end);
        let mut position = next.kept(&std::mem::take(&mut self.cached_prefix), self.reading.is_none());
        self.rows.retain(|&(at, _)| at < position);
        context.truncate(LINEAGE, position);
        let mut last = None;
        while position < end {
            check()?;
            let length = next.rows_from(position, |at| self.is_read(prompt, at), context.options().outputs() as usize);
            let (mut batch, read) = self.batch(prompt, position, length, end);
            stats.timed(Phase::Decode, || context.decode(&mut batch)).map_err(|error| match error {
                DecodeError::Full => EngineError::Limit("the context is full; raise --context".into()),
                DecodeError::Failed(error) => error,
            })?;
            stats.decoded(length);
            stats.in_use(position + length);
            if let Some(reading) = &self.reading {
                self.rows.extend(read.into_iter().map(|row| {
                    let logits = context.logits(row);
                    (position + row, reading.read.iter().map(|&token| logits[token as usize]).collect())
                }));
            }
            position += length;
            last = self.reading.is_none().then_some(length - 1);
        }
        self.cached_prefix = next;
        Ok(last)
    }

    fn is_read(&self, prompt: &Prompt, position: usize) -> bool {
        self.reading.as_ref().is_some_and(|reading| prompt.is_token(position, reading.at))
    }

    /// `length` positions from `start` as a batch, and its rows that are to be read. Without a reading the row before `end` is
    /// wanted.
    fn batch(&self, prompt: &Prompt, start: usize, length: usize, end: usize) -> (Batch, Vec<usize>) {
        match prompt.span(start, length) {
            Span::Embeddings { values, width } => {
                (Batch::embeddings(values.to_vec(), width, start, &[LINEAGE]), Vec::new())
            }
            Span::Tokens(tokens) => {
                let read: Vec<bool> = (start..start + length).map(|at| self.is_read(prompt, at)).collect();
                let mut wanted = with_company(&read);
                if self.reading.is_none() && start + length == end {
                    wanted[length - 1] = true;
                }
                let mut batch = Batch::tokens();
                for ((position, &token), &wanted) in (start..).zip(tokens).zip(&wanted) {
                    batch.push(token, position, LINEAGE, wanted);
                }
                (batch, (0..length).filter(|&row| read[row]).collect())
            }
        }
    }

    /// Draws the request's rollouts, `WIDTH` at a time, all in step.
    pub fn generate(
        &mut self,
        context: &mut Context,
        request: &GenerateRequest,
        stats: &Stats,
    ) -> Result<Vec<Completion>, EngineError> {
        if self.reading.take().is_some() {
            self.clear(context);
        }
        let row = self
            .advance(context, &request.prompt, request.prompt.len(), stats, || request.check_cancelled())?
            .expect("the last row is always decoded");
        stats.prompt(request.prompt.keys(), request.streams.len());
        let first = context.logits(row).to_vec();
        let mut waiting: VecDeque<usize> = (0..request.streams.len()).collect();
        let mut completions: Vec<Option<Completion>> = vec![None; request.streams.len()];
        while !waiting.is_empty() {
            let group: Vec<usize> = waiting.drain(..waiting.len().min(WIDTH)).collect();
            let mut run = Group { context, request, stats, rollouts: Vec::new(), scratch: Scratch::default() };
            let postponed = run.start(&group, &first, &mut completions).and_then(|()| run.finish(&mut completions));
            run.release();
            for index in postponed?.into_iter().rev() {
                waiting.push_front(index);
            }
        }
        Ok(completions.into_iter().map(|completion| completion.expect("every rollout ran to its end")).collect())
    }
}

/// Rollouts of one request decoded side by side.
struct Group<'a> {
    context: &'a mut Context,
    request: &'a GenerateRequest,
    stats: &'a Stats,
    rollouts: Vec<Rollout>,
    scratch: Scratch,
}

struct Rollout {
    index: usize,
    sequence: i32,
    tokens: Vec<Token>,
    sampler: Sampler,
}

impl Group<'_> {
    fn start(
        &mut self,
        group: &[usize],
        first: &[f32],
        completions: &mut [Option<Completion>],
    ) -> Result<(), EngineError> {
        for (&index, sequence) in group.iter().zip(LINEAGE + 1..) {
            let mut sampler = self.request.sampler(index);
            let token = self.stats.timed(Phase::Sample, || sampler.draw(first, &mut self.scratch));
            self.stats.generated(1);
            self.context.share(LINEAGE, sequence, 0..self.request.prompt.len());
            let mut rollout = Rollout { index, sequence, tokens: Vec::new(), sampler };
            match rollout.accept(token, self.request, self.context) {
                Some(finish) => complete(rollout, finish, completions, self.context, self.stats),
                None => self.rollouts.push(rollout),
            }
        }
        self.request.check_cancelled()
    }

    /// Decodes until all are done; returns those that found no room and must run again, in order.
    fn finish(&mut self, completions: &mut [Option<Completion>]) -> Result<Vec<usize>, EngineError> {
        let mut postponed = Vec::new();
        while !self.rollouts.is_empty() {
            self.request.check_cancelled()?;
            let mut batch = Batch::tokens();
            for rollout in &self.rollouts {
                let token = *rollout.tokens.last().expect("a running rollout has a token to feed");
                let position = self.request.prompt.len() + rollout.tokens.len() - 1;
                batch.push(token, position, rollout.sequence, true);
            }
            match self.stats.timed(Phase::Decode, || self.context.decode(&mut batch)) {
                Ok(()) => {}
                Err(DecodeError::Failed(error)) => return Err(error),
                Err(DecodeError::Full) => {
                    let last = self.rollouts.pop().expect("the loop runs while there are rollouts");
                    if self.rollouts.is_empty() {
                        complete(last, Finish::Length, completions, self.context, self.stats);
                    } else {
                        self.context.truncate(last.sequence, 0);
                        postponed.insert(0, last.index);
                    }
                    continue;
                }
            }
            self.stats.generated(batch.len());
            let tokens: usize = self.rollouts.iter().map(|rollout| rollout.tokens.len()).sum();
            self.stats.in_use(self.request.prompt.len() + tokens);
            let tokens = self.draw();
            for (mut rollout, token) in std::mem::take(&mut self.rollouts).into_iter().zip(tokens) {
                match rollout.accept(token, self.request, self.context) {
                    Some(finish) => complete(rollout, finish, completions, self.context, self.stats),
                    None => self.rollouts.push(rollout),
                }
            }
        }
        Ok(postponed)
    }

    /// One token for each rollout, in order.
    fn draw(&mut self) -> Vec<Token> {
        let samplers = self.rollouts.iter_mut().map(|rollout| &mut rollout.sampler);
        let work = samplers.enumerate().map(|(row, sampler)| (sampler, self.context.logits(row))).collect();
        self.stats.timed(Phase::Sample, || sampling::draw_all(work, &mut self.scratch))
    }

    fn release(&mut self) {
        for rollout in self.rollouts.drain(..) {
            self.context.truncate(rollout.sequence, 0);
        }
    }
}

impl Rollout {
    /// Takes a drawn token in; tells whether and why the rollout ends with it.
    fn accept(&mut self, token: Token, request: &GenerateRequest, context: &Context) -> Option<Finish> {
        request.accept(token, &mut self.tokens, context.model())
    }
}

fn complete(
    rollout: Rollout,
    finish: Finish,
    completions: &mut [Option<Completion>],
    context: &mut Context,
    stats: &Stats,
) {
    context.truncate(rollout.sequence, 0);
    stats.finished();
    let logprob = rollout.sampler.into_logprob();
    completions[rollout.index] = Some(Completion { tokens: rollout.tokens, logprob, finish });
}
