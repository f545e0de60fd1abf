//! The serial executor: one prompt at a time, on the fixed schedule.
//!
//! Each result depends on its own input only, not on earlier or concurrent requests or the number
//! of threads (given a context without fused attention). Probes run here on a CPU, and on a GPU in
//! deterministic mode; generation runs here in deterministic mode. The cache holds one prompt, and
//! the next prompt reuses the prefix they share as far as `schedule` permits, so candidates sorted
//! by their tokens are computed as a trie.

use std::collections::VecDeque;
use std::ops::Range;

use super::schedule::{CachedPrefix, Reuse, pad_outputs};
use crate::engine::ffi::{Batch, Context, DecodeError};
use crate::engine::prompt::{Prompt, Span};
use crate::engine::request::Reading;
use crate::engine::sampling::{self, Sampler, Scratch};
use crate::engine::stats::{Phase, Stats};
use crate::engine::{Completion, EngineError, Finish, GenerateRequest, LimitError, Token};

/// Rollouts decoded in parallel in deterministic mode; a constant, since results may depend on it
/// through rounding.
pub(in crate::engine) const WIDTH: usize = 16;
/// The sequence that holds the cached prompt; rollouts use the ids above it.
const PROMPT_SEQUENCE: i32 = 0;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct SerialExecutor {
    /// The prompt in the cache.
    cached: CachedPrefix,
    /// What to read from it; `None` for generation.
    reading: Option<Reading>,
    /// What was read from it: positions, in order, and logits.
    rows: Vec<(usize, Vec<f32>)>,
}

impl SerialExecutor {
    /// Clears the cache.
    pub fn clear(&mut self, context: &mut Context) {
        context.clear();
        *self = Self::default();
    }

    /// Returns what `reading` reads at each of its positions in `prompt`, in order.
    pub fn probe(
        &mut self,
        context: &mut Context,
        prompt: &Prompt,
        reading: &Reading,
        stats: &Stats,
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        self.switch(context, Some(reading));
        let read = reading.end(prompt);
        self.advance(context, prompt, read, stats, || Ok(()))?;
        stats.prompt(&prompt.keys()[..read], 1);
        let own = self.rows.iter().filter(|(at, _)| reading.is_at(prompt, *at));
        Ok(own.map(|(_, row)| row.clone()).collect())
    }

    /// Sets what to read. The cached prompt stays, since its keys and values do not depend on what is read, unless rows of it would
    /// be missing.
    fn switch(&mut self, context: &mut Context, reading: Option<&Reading>) {
        if self.reading.as_ref() == reading {
            return;
        }
        match (&self.reading, reading) {
            (None | Some(Reading::Logits(_)), None | Some(Reading::Logits(_))) => self.rows.clear(),
            _ => self.clear(context),
        }
        self.reading = reading.cloned();
    }

    /// Decodes `prompt` up to position `end`, reusing what it shares with the cached one. Calls
    /// `check` before each batch and stops if it fails. Without a reading, the last row is always
    /// decoded, and its index in the last batch is returned.
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
            return Err(LimitError::PromptTooLong { positions: prompt.len(), context: cells }.into());
        }
        let next = CachedPrefix::of(prompt, end);
        let reuse = match &self.reading {
            None => Reuse::WithoutLastRow,
            Some(Reading::Logits(_) | Reading::Hidden) => Reuse::All,
            Some(Reading::Continuation { .. }) => Reuse::WithoutBranch,
        };
        let mut position = next.kept(&std::mem::take(&mut self.cached), reuse, self.first_unread(prompt, end));
        // Rows to read start at a grain of their batch, so that llama.cpp rounds each the same way however the prompt is cut.
        let first = match &self.reading {
            Some(Reading::Continuation { from }) => next.grain_before(from - 1),
            _ => 0,
        };
        self.rows.retain(|&(at, _)| at < position);
        context.truncate(PROMPT_SEQUENCE, prompt.rotary(position));
        let mut last = None;
        while position < end {
            check()?;
            // With hidden states, all rows of a batch are output rows.
            let is_hidden = self.reading.as_ref().is_some_and(Reading::is_hidden);
            let is_output = |at| is_hidden || self.is_read(prompt, at, first);
            let length = next.rows_from(position, is_output, context.options().max_outputs as usize);
            let (mut batch, read) = self.batch(prompt, position..position + length, end, first);
            stats.timed(Phase::Decode, || context.decode(&mut batch)).map_err(|error| match error {
                DecodeError::Full => LimitError::ContextFull { context: cells }.into(),
                DecodeError::Failed(error) => error,
            })?;
            stats.decoded(length);
            stats.in_use(position + length);
            if let Some(reading) = &self.reading {
                let read =
                    read.into_iter().map(|row| (row, position + row)).filter(|(_, at)| reading.is_at(prompt, *at));
                self.rows.extend(read.map(|(row, at)| (at, reading.values(prompt, at, row, context))));
            }
            position += length;
            last = self.reading.is_none().then_some(length - 1);
        }
        self.cached = next;
        Ok(last)
    }

    /// The first position of `prompt` before `end` that is to be read and was not read from the cached prompt.
    fn first_unread(&self, prompt: &Prompt, end: usize) -> usize {
        if !matches!(self.reading, Some(Reading::Logits(_) | Reading::Hidden)) {
            return end;
        }
        let is_known = |mark: &&usize| self.rows.binary_search_by_key(*mark, |(at, _)| *at).is_ok();
        prompt.marks().iter().find(|mark| !is_known(mark)).map_or(end, |mark| *mark)
    }

    /// Whether a position gets logits: it is read, or for a continuation from position `first` on.
    fn is_read(&self, prompt: &Prompt, position: usize, first: usize) -> bool {
        match &self.reading {
            None => false,
            Some(Reading::Continuation { .. }) => position >= first,
            Some(reading) => reading.is_at(prompt, position),
        }
    }

    /// Returns `positions` as a batch, and its rows with logits (see `is_read`). Without a reading, the row before `end` gets
    /// logits.
    fn batch(&self, prompt: &Prompt, positions: Range<usize>, end: usize, first: usize) -> (Batch, Vec<usize>) {
        let (start, length) = (positions.start, positions.len());
        match prompt.span(start, length) {
            Span::Embeddings(rows) => (Batch::embeddings(rows, &[PROMPT_SEQUENCE]), Vec::new()),
            Span::Tokens(tokens) => {
                let read: Vec<bool> = positions.map(|at| self.is_read(prompt, at, first)).collect();
                let mut outputs = pad_outputs(&read);
                if self.reading.is_none() && start + length == end {
                    outputs[length - 1] = true;
                }
                let mut batch = Batch::tokens();
                for ((position, &token), &output) in (prompt.rotary(start)..).zip(tokens).zip(&outputs) {
                    batch.push(token, position, PROMPT_SEQUENCE, output);
                }
                if self.reading.as_ref().is_some_and(Reading::is_hidden) && read.contains(&true) {
                    batch.output_hidden();
                }
                (batch, (0..length).filter(|&row| read[row]).collect())
            }
        }
    }

    /// Draws the request's rollouts, [`WIDTH`] at a time in lockstep.
    pub fn generate(
        &mut self,
        context: &mut Context,
        request: &GenerateRequest,
        stats: &Stats,
    ) -> Result<Vec<Completion>, EngineError> {
        self.switch(context, None);
        let row = self
            .advance(context, &request.prompt, request.prompt.len(), stats, || request.check_cancelled())?
            .expect("the last row is always decoded");
        stats.prompt(request.prompt.keys(), request.streams.len());
        let first = context.logits(row).to_vec();
        let mut waiting: VecDeque<usize> = (0..request.streams.len()).collect();
        let mut completions: Vec<Option<Completion>> = vec![None; request.streams.len()];
        while !waiting.is_empty() {
            let group: Vec<usize> = waiting.drain(..waiting.len().min(WIDTH)).collect();
            let mut run = RolloutGroup { context, request, stats, rollouts: Vec::new(), scratch: Scratch::default() };
            let postponed = run.start(&group, &first, &mut completions).and_then(|()| run.finish(&mut completions));
            run.release();
            for index in postponed?.into_iter().rev() {
                waiting.push_front(index);
            }
        }
        Ok(completions.into_iter().map(|completion| completion.expect("every rollout ran to its end")).collect())
    }
}

/// Rollouts of one request, decoded in parallel.
struct RolloutGroup<'a> {
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

impl RolloutGroup<'_> {
    /// Draws the first token of each rollout of `group`, and shares the prompt with those that
    /// continue.
    fn start(
        &mut self,
        group: &[usize],
        first: &[f32],
        completions: &mut [Option<Completion>],
    ) -> Result<(), EngineError> {
        for (&index, sequence) in group.iter().zip(PROMPT_SEQUENCE + 1..) {
            let mut sampler = self.request.sampler(index);
            let token = self.stats.timed(Phase::Sample, || sampler.draw(first, &mut self.scratch));
            self.stats.generated(1);
            let prompt = &self.request.prompt;
            self.context.share(PROMPT_SEQUENCE, sequence, 0..prompt.rotary(prompt.len()));
            let mut rollout = Rollout { index, sequence, tokens: Vec::new(), sampler };
            match rollout.accept(token, self.request, self.context) {
                Some(finish) => complete(rollout, finish, completions, self.context, self.stats),
                None => self.rollouts.push(rollout),
            }
        }
        self.request.check_cancelled()
    }

    /// Decodes until all rollouts have finished. Returns, in order, those that did not fit and must
    /// run again.
    fn finish(&mut self, completions: &mut [Option<Completion>]) -> Result<Vec<usize>, EngineError> {
        let mut postponed = Vec::new();
        while !self.rollouts.is_empty() {
            self.request.check_cancelled()?;
            let mut batch = Batch::tokens();
            let prompt = &self.request.prompt;
            let start = prompt.rotary(prompt.len());
            for rollout in &self.rollouts {
                let token = *rollout.tokens.last().expect("a running rollout has a token to feed");
                let position = start + rollout.tokens.len() - 1;
                batch.push(token, position, rollout.sequence, true);
            }
            match self.stats.timed(Phase::Decode, || self.context.decode(&mut batch)) {
                Ok(()) => {}
                Err(DecodeError::Failed(error)) => return Err(error),
                Err(DecodeError::Full) => {
                    let last = self.rollouts.pop().expect("the loop condition");
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

    /// Samples one token for each rollout, in order.
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
    /// Appends a drawn token; returns why the rollout ends, if it does.
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
