//! Many prompts read in one go, as a trie: the executor for probes on a GPU.
//!
//! A device is busy with hundreds of rows as long as with one, so all prompts of a probe are decoded together: a position that
//! several prompts share is one row, and its cell belongs to all their sequences. Results depend on the company through
//! rounding; `chain` is for when they must not.

use super::ffi::{Batch, Context, DecodeError};
use super::prompt::{Prompt, Span, common_prefix};
use super::serial::Reading;
use super::stats::{Phase, Stats};
use super::{EngineError, Token};

/// Readings of each prompt, a row for each position read, in the order of `prompts`. Leaves the cache empty.
pub(super) fn probe(
    context: &mut Context,
    prompts: &[Prompt],
    reading: &Reading,
    stats: &Stats,
) -> Result<Vec<Vec<Vec<f32>>>, EngineError> {
    let cells = context.options().cells as usize;
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by(|&a, &b| prompts[a].keys().cmp(prompts[b].keys()));
    let mut readings = vec![Vec::new(); prompts.len()];
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        context.clear();
        let mut group = Group { context: &mut *context, reading, stats, members: Vec::new() };
        let mut used = 0;
        for &index in rest.iter().take(group.context.options().sequences as usize) {
            let prompt = &prompts[index];
            let length = prompt.last_position_of(reading.at).map_or(0, |last| last + 1);
            let keys = &prompt.keys()[..length];
            let before = group.members.last().map_or(0, |member| common_prefix(member.keys(), keys));
            if length > cells {
                return Err(EngineError::too_long(prompt.len(), cells));
            }
            used += length - before;
            if used > cells {
                break;
            }
            stats.prompt(keys, 1);
            group.members.push(Member { prompt, length, before, rows: Vec::new() });
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

/// Prompts in the order of their keys that fit in the cache together.
struct Group<'a> {
    context: &'a mut Context,
    reading: &'a Reading,
    stats: &'a Stats,
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    prompt: &'a Prompt,
    /// Positions to decode.
    length: usize,
    /// Of these, how many it shares with the member before it.
    before: usize,
    rows: Vec<Vec<f32>>,
}

impl Member<'_> {
    fn keys(&self) -> &[u64] {
        &self.prompt.keys()[..self.length]
    }
}

/// Token rows that wait to be decoded, and which of them are read, for which members.
struct Pending {
    batch: Batch,
    read: Vec<(usize, std::ops::Range<usize>)>,
}

impl<'a> Group<'a> {
    fn run(mut self) -> Result<Vec<Member<'a>>, EngineError> {
        let options = *self.context.options();
        let mut pending = Pending { batch: Batch::tokens(), read: Vec::new() };
        for index in 0..self.members.len() {
            let mut position = self.members[index].before;
            while position < self.members[index].length {
                let room = options.batch as usize - pending.batch.len();
                if room == 0 || pending.read.len() >= options.outputs() as usize {
                    self.flush(&mut pending)?;
                    continue;
                }
                let (company, end) = self.company(index, position);
                let sequences: Vec<i32> = company.clone().map(|member| member as i32).collect();
                match self.members[index].prompt.span(position, room.min(end - position)) {
                    Span::Embeddings { values, width } => {
                        let mut batch = Batch::embeddings(values.to_vec(), width, position, &sequences);
                        self.flush(&mut pending)?;
                        self.decode(&mut batch)?;
                        position += batch.len();
                    }
                    Span::Tokens(tokens) => {
                        // At most one row is read in a turn of the loop, so the limit on them is never passed.
                        let until =
                            tokens.iter().position(|&token| self.is_read(token)).map_or(tokens.len(), |at| at + 1);
                        for &token in &tokens[..until] {
                            let wanted = self.is_read(token);
                            let row = pending.batch.push_shared(token, position, &sequences, wanted);
                            if wanted {
                                pending.read.push((row, company.clone()));
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

    fn is_read(&self, token: Token) -> bool {
        token == self.reading.at
    }

    /// The members from `index` on that share its `position`, and up to where they all do.
    fn company(&self, index: usize, position: usize) -> (std::ops::Range<usize>, usize) {
        let mut end = self.members[index].length;
        let mut last = index + 1;
        while let Some(member) = self.members.get(last).filter(|member| member.before > position) {
            end = end.min(member.before);
            last += 1;
        }
        (index..last, end)
    }

    fn flush(&mut self, pending: &mut Pending) -> Result<(), EngineError> {
        if pending.batch.is_empty() {
            return Ok(());
        }
        self.decode(&mut pending.batch)?;
        for (row, company) in pending.read.drain(..) {
            let logits = self.context.logits(row);
            let values: Vec<f32> = self.reading.read.iter().map(|&token| logits[token as usize]).collect();
            for member in &mut self.members[company] {
                member.rows.push(values.clone());
            }
        }
        pending.batch = Batch::tokens();
        Ok(())
    }

    fn decode(&mut self, batch: &mut Batch) -> Result<(), EngineError> {
        let context = &mut *self.context;
        self.stats.timed(Phase::Decode, || context.decode(batch)).map_err(|error| match error {
            DecodeError::Full => EngineError::Limit("the context is full; raise --context".into()),
            DecodeError::Failed(error) => error,
        })?;
        self.stats.decoded(batch.len());
        self.stats.in_use(self.members.iter().map(|member| member.length - member.before).sum());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::serial::SerialExecutor;
    use super::super::testing::{context, prompt};
    use super::*;

    #[test]
    fn prompts_read_together_read_as_alone_and_nothing_twice() {
        let candidate = |turns: &[Token]| {
            let step = |&turn: &Token| (0..9).map(move |index| 50 + (index * 31 + turn * 11) % 600).chain([5]);
            prompt((0..70).map(|index| 300 + index).chain(turns.iter().flat_map(step)).chain([6, 7]))
        };
        let prompts: Vec<Prompt> =
            [&[1, 2, 3][..], &[4], &[1, 2, 9], &[1, 2], &[1, 2, 3], &[], &[8, 2, 3]].map(candidate).into();
        let reading = Reading { at: 5, read: vec![10, 20] };
        let mut alone = context(512, 8);
        let stats = Stats::new(512, 1);
        let expected: Vec<_> = prompts
            .iter()
            .map(|prompt| SerialExecutor::default().probe(&mut alone, prompt, &reading, &stats).unwrap())
            .collect();
        // All at once; fewer sequences than prompts; fewer cells than all take.
        for (cells, sequences) in [(512, 8), (512, 3), (256, 8)] {
            let stats = Stats::new(cells, 1);
            let mut context = context(cells, sequences);
            let readings = probe(&mut context, &prompts, &reading, &stats).unwrap();
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
