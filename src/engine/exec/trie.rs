//! The trie executor: all prompts of a probe at once, for GPUs.
//!
//! A GPU takes about as long for hundreds of rows as for one, so all prompts of a probe are decoded
//! together. A position that several prompts share is one row, whose cell belongs to all their
//! sequences. Rounding depends on batch composition; the `serial` executor avoids that.

use std::ops::Range;

use crate::engine::ffi::{Batch, Context, DecodeError};
use crate::engine::prompt::{Prompt, Span, common_prefix};
use crate::engine::request::Reading;
use crate::engine::stats::{Phase, Stats};
use crate::engine::{EngineError, LimitError};

/// See the module documentation.
pub(super) struct TrieExecutor<'a> {
    context: &'a mut Context,
    reading: &'a Reading,
    stats: &'a Stats,
}

impl<'a> TrieExecutor<'a> {
    pub fn new(context: &'a mut Context, reading: &'a Reading, stats: &'a Stats) -> Self {
        Self { context, reading, stats }
    }

    /// Returns for each prompt, in the order of `prompts`, one row of logits per position read.
    /// Leaves the cache empty.
    pub fn probe(self, prompts: &[Prompt]) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
        let Self { context, reading, stats } = self;
        let cells = context.options().cells as usize;
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by(|&a, &b| prompts[a].keys().cmp(prompts[b].keys()));
        let mut readings = vec![Vec::new(); prompts.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            context.clear();
            let mut group = PromptGroup { context: &mut *context, reading, stats, members: Vec::new() };
            let mut used = 0;
            for &index in rest.iter().take(group.context.options().sequences as usize) {
                let prompt = &prompts[index];
                let length = reading.end(prompt);
                let keys = &prompt.keys()[..length];
                let shared = group.members.last().map_or(0, |member| common_prefix(member.keys(), keys));
                if length > cells {
                    return Err(LimitError::PromptTooLong { positions: prompt.len(), context: cells }.into());
                }
                used += length - shared;
                if used > cells {
                    break;
                }
                stats.prompt(keys, 1);
                group.members.push(Member { prompt, length, shared, rows: Vec::new() });
            }
            let finished = group.run()?;
            let (done, left) = rest.split_at(finished.len());
            for (&index, member) in done.iter().zip(finished) {
                readings[index] = member.rows;
            }
            rest = left;
        }
        context.clear();
        Ok(readings)
    }
}

/// Prompts, sorted by their keys, that fit in the cache together.
struct PromptGroup<'a> {
    context: &'a mut Context,
    reading: &'a Reading,
    stats: &'a Stats,
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    prompt: &'a Prompt,
    /// Positions to decode.
    length: usize,
    /// The length of the prefix shared with the previous member.
    shared: usize,
    rows: Vec<Vec<f32>>,
}

impl Member<'_> {
    fn keys(&self) -> &[u64] {
        &self.prompt.keys()[..self.length]
    }
}

/// Token rows to decode, and which of them are read for which members.
struct Pending {
    batch: Batch,
    read: Vec<PendingRow>,
}

/// A row of a batch, its position, and the members that share it.
struct PendingRow {
    row: usize,
    position: usize,
    sharers: Range<usize>,
}

impl<'a> PromptGroup<'a> {
    /// Decodes each distinct position once; returns the members with what was read.
    fn run(mut self) -> Result<Vec<Member<'a>>, EngineError> {
        let options = *self.context.options();
        let mut pending = Pending { batch: Batch::tokens(), read: Vec::new() };
        for index in 0..self.members.len() {
            let mut position = self.members[index].shared;
            while position < self.members[index].length {
                let is_hidden = self.reading.is_hidden();
                let rows = if is_hidden { options.batch.min(options.max_outputs) } else { options.batch };
                let room = rows as usize - pending.batch.len();
                if room == 0 || pending.read.len() >= options.max_outputs as usize {
                    self.flush(&mut pending)?;
                    continue;
                }
                let (sharers, end) = self.sharers(index, position);
                let sequences: Vec<i32> = sharers.clone().map(|member| member as i32).collect();
                match self.members[index].prompt.span(position, room.min(end - position)) {
                    Span::Embeddings(rows) => {
                        let mut batch = Batch::embeddings(rows, &sequences);
                        self.flush(&mut pending)?;
                        self.decode(&mut batch)?;
                        position += batch.len();
                    }
                    Span::Tokens(tokens) => {
                        // Each iteration reads at most one row, so the limit on outputs holds.
                        let sharing = &self.members[sharers.clone()];
                        let is_read = |at: usize| sharing.iter().any(|member| self.reading.is_at(member.prompt, at));
                        let until = (position..position + tokens.len()).find(|at| is_read(*at));
                        let until = until.map_or(tokens.len(), |at| at + 1 - position);
                        let rotary = self.members[index].prompt.rotary(position);
                        for (rotary, &token) in (rotary..).zip(&tokens[..until]) {
                            let is_read = is_read(position);
                            let row = pending.batch.push_shared(token, rotary, &sequences, is_read);
                            if is_read {
                                pending.read.push(PendingRow { row, position, sharers: sharers.clone() });
                            }
                            position += 1;
                        }
                    }
                }
            }
        }
        self.flush(&mut pending)?;
        Ok(self.members)
    }

    /// Returns the members from `index` on that share its `position`, and the end of the range that
    /// they all share.
    fn sharers(&self, index: usize, position: usize) -> (Range<usize>, usize) {
        let mut end = self.members[index].length;
        let mut last = index + 1;
        while let Some(member) = self.members.get(last).filter(|member| member.shared > position) {
            end = end.min(member.shared);
            last += 1;
        }
        (index..last, end)
    }

    fn flush(&mut self, pending: &mut Pending) -> Result<(), EngineError> {
        if pending.batch.is_empty() {
            return Ok(());
        }
        if self.reading.is_hidden() && !pending.read.is_empty() {
            pending.batch.output_hidden();
        }
        self.decode(&mut pending.batch)?;
        for PendingRow { row, position, sharers } in pending.read.drain(..) {
            for member in self.members[sharers].iter_mut().filter(|member| self.reading.is_at(member.prompt, position))
            {
                member.rows.push(self.reading.values(member.prompt, position, row, self.context));
            }
        }
        pending.batch = Batch::tokens();
        Ok(())
    }

    fn decode(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        let context = &mut *self.context;
        self.stats.timed(Phase::Decode, || context.decode(batch)).map_err(|error| match error {
            DecodeError::Full => LimitError::ContextFull { context: context.options().cells as usize }.into(),
            DecodeError::Failed(error) => error,
        })?;
        self.stats.decoded(batch.len());
        self.stats.in_use(self.members.iter().map(|member| member.length - member.shared).sum());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::serial::SerialExecutor;
    use super::*;
    use crate::engine::Token;
    use crate::engine::testing::{context, prompt};

    #[test]
    fn prompts_probed_together_read_as_alone_and_nothing_is_decoded_twice() {
        let candidate = |turns: &[Token]| {
            let step = |&turn: &Token| (0..9).map(move |index| 50 + (index * 31 + turn * 11) % 600).chain([5]);
            prompt((0..70).map(|index| 300 + index).chain(turns.iter().flat_map(step)).chain([6, 7]))
        };
        let prompts: Vec<Prompt> =
            [&[1, 2, 3][..], &[4], &[1, 2, 9], &[1, 2], &[1, 2, 3], &[], &[8, 2, 3]].map(candidate).into();
        let at_steps: Vec<Prompt> = prompts.iter().map(|prompt| prompt.clone().marked_at(5)).collect();
        // Places that candidates do not share, though they share the positions.
        let own =
            |(index, prompt): (usize, &Prompt)| prompt.clone().marked(vec![20 + index, 69, prompt.len() - 1]).unwrap();
        let elsewhere: Vec<Prompt> = prompts.iter().enumerate().map(own).collect();
        for prompts in [&at_steps, &elsewhere] {
            read_together_and_alone(prompts, &Reading::Logits(vec![10, 20]));
            read_together_and_alone(prompts, &Reading::Hidden);
        }
        read_together_and_alone(&prompts, &Reading::Continuation { from: 68 });
    }

    fn read_together_and_alone(prompts: &[Prompt], reading: &Reading) {
        let mut alone = context(512, 8);
        let stats = Stats::new(512, 1);
        let expected: Vec<_> = prompts
            .iter()
            .map(|prompt| SerialExecutor::default().probe(&mut alone, prompt, reading, &stats).unwrap())
            .collect();
        // All at once; fewer sequences than prompts; fewer cells than all of them take.
        for (cells, sequences) in [(512, 8), (512, 3), (256, 8)] {
            let stats = Stats::new(cells, 1);
            let mut context = context(cells, sequences);
            let readings = TrieExecutor::new(&mut context, reading, &stats).probe(prompts).unwrap();
            for (readings, expected) in readings.iter().zip(&expected) {
                assert_eq!(readings.len(), expected.len());
                for (value, expected) in readings.iter().flatten().zip(expected.iter().flatten()) {
                    approx::assert_abs_diff_eq!(value, expected, epsilon = 1e-3);
                }
            }
            let snapshot = stats.snapshot();
            assert!(sequences < 8 || snapshot.processed == snapshot.unique, "{snapshot:?}");
        }
    }
}
