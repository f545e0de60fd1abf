//! The fixed schedule: in what batches a prompt is decoded so that its results are the same bits whatever of it was kept.
//!
//! llama.cpp's kernels take rows in groups: one row alone, the rows beyond a multiple of four, and fewer than eight at once may
//! go through other code than the rest, which rounds differently. Where every batch starts a multiple of [`GRAIN`] rows
//! behind the start of its span (a run of tokens, or an image) and has at least [`LEAST`] rows, each row goes through the same
//! code however the span is cut. What comes after the last attention is computed for wanted rows alone, so there are
//! [`LEAST`] of those too, in whole grains. Measured for every type that `mmprm quantize` writes: `tests/engine/probing.rs`.

use std::ops::Range;

use super::prompt::{Prompt, common_prefix};

/// Where batches may start: at whole multiples behind the start of their span.
const GRAIN: usize = 4;
/// Fewest rows of a batch, in a span that has as many.
const LEAST: usize = 8;
/// Most rows of a batch.
pub const FIXED_BATCH: usize = 128;

/// A prompt as the fixed schedule decodes it, up to some position.
#[derive(Debug, Default)]
pub(super) struct CachedPrefix {
    keys: Vec<u64>,
    spans: Vec<Range<usize>>,
}

impl CachedPrefix {
    /// `prompt` up to position `end`.
    pub fn of(prompt: &Prompt, end: usize) -> Self {
        Self { keys: prompt.keys()[..end].to_vec(), spans: prompt.spans(end) }
    }

    /// How many of its positions can be taken from a cache that holds `cached`. With `last_row` not all of them, so that the
    /// last row is decoded again.
    pub fn kept(&self, cached: &Self, last_row: bool) -> usize {
        let common = common_prefix(&self.keys, &cached.keys);
        let is_whole = |(own, other): &(&Range<usize>, &Range<usize>)| own == other && own.end <= common;
        let whole = self.spans.iter().zip(&cached.spans).take_while(is_whole).count();
        match (self.spans.get(whole), cached.spans.get(whole), self.spans.last()) {
            (Some(own), Some(other), _) if other.len() >= LEAST => own.start + most_kept(own, common - own.start),
            (Some(own), _, _) => own.start,
            (None, _, Some(last)) if last_row => last.start + most_kept(last, last.len()),
            (None, _, _) => self.keys.len(),
        }
    }

    /// Rows of the batch that starts at `position`, of which at most `most_wanted` ([`LEAST`] or more) can be wanted.
    pub fn rows_from(&self, position: usize, is_read: impl Fn(usize) -> bool, most_wanted: usize) -> usize {
        debug_assert!(most_wanted >= LEAST, "a batch of {LEAST} rows could not be read");
        let end = self.spans.iter().map(|span| span.end).find(|&end| end > position).unwrap_or(position);
        let left = end - position;
        let mut rows = left.min(FIXED_BATCH);
        if rows < left && left - rows < LEAST {
            rows = (left - LEAST) / GRAIN * GRAIN;
        }
        let most_read = most_wanted / GRAIN * GRAIN;
        while (position..position + rows).filter(|&at| is_read(at)).count() > most_read {
            rows = (rows - 1) / GRAIN * GRAIN;
        }
        rows
    }
}

/// Adds to the rows of a batch that are to be read others whose logits are wanted for the sake of company alone. (Where nearly
/// all rows of a batch are read there are too few others.)
pub(super) fn with_company(read: &[bool]) -> Vec<bool> {
    let mut wanted = read.to_vec();
    let count = read.iter().filter(|&&read| read).count();
    if count > 0 {
        let missing = count.max(LEAST).next_multiple_of(GRAIN) - count;
        wanted.iter_mut().rev().filter(|wanted| !**wanted).take(missing).for_each(|wanted| *wanted = true);
    }
    wanted
}

/// The most of the first `common` positions of a span that can be kept while the rest is decoded.
fn most_kept(span: &Range<usize>, common: usize) -> usize {
    common.min(span.len().saturating_sub(LEAST)) / GRAIN * GRAIN
}

#[cfg(test)]
mod tests {
    use super::super::prompt::Chunk;
    use super::super::{Embeddings, Token};
    use super::*;

    /// A prompt of runs of tokens, with an image of nine positions between each and the next.
    fn cached_prefix(runs: &[&[Token]]) -> CachedPrefix {
        let image = || Chunk::Image(Embeddings { values: vec![0.5; 18], width: 2, digest: 7 }.into());
        let runs = runs.iter().map(|run| Chunk::Tokens(run.to_vec()));
        let mut chunks: Vec<Chunk> = runs.flat_map(|run| [run, image()]).collect();
        chunks.pop();
        let prompt = Prompt::new(chunks).unwrap();
        CachedPrefix::of(&prompt, prompt.len())
    }

    fn run(length: usize, changed: usize) -> Vec<Token> {
        (0..length).map(|index| if index < changed { 1 } else { 2 }).collect()
    }

    #[test]
    fn what_is_kept_ends_at_a_grain_and_leaves_enough_to_decode() {
        let cached = cached_prefix(&[&run(40, 40)]);
        for (length, common, expected) in
            [(40, 40, 40), (40, 30, 28), (40, 39, 32), (60, 40, 40), (50, 40, 40), (30, 30, 20), (9, 9, 0), (7, 7, 0)]
        {
            assert_eq!(cached_prefix(&[&run(length, common)]).kept(&cached, false), expected, "{length} {common}");
        }
        assert_eq!(cached_prefix(&[&run(40, 40)]).kept(&cached, true), 32);
        assert_eq!(cached_prefix(&[&run(40, 40)]).kept(&CachedPrefix::default(), true), 0);
    }

    #[test]
    fn what_was_cached_in_too_small_a_batch_is_kept_for_its_like_alone() {
        let cached = cached_prefix(&[&run(6, 6)]);
        assert_eq!(cached_prefix(&[&run(6, 6)]).kept(&cached, false), 6);
        assert_eq!(cached_prefix(&[&run(20, 6)]).kept(&cached, false), 0);
        // The same run in front of an image is whole, whatever its length.
        let cached = cached_prefix(&[&run(6, 6), &run(6, 6)]);
        assert_eq!(cached_prefix(&[&run(6, 6), &run(6, 5)]).kept(&cached, false), 15);
        assert_eq!(cached_prefix(&[&run(6, 6), &run(6, 6), &[3]]).kept(&cached, false), 21);
        assert_eq!(cached_prefix(&[&run(6, 6)]).kept(&cached, false), 6);
        assert_eq!(cached_prefix(&[&run(6, 6)]).kept(&cached, true), 0);
    }

    #[test]
    fn grains_are_counted_from_the_start_of_a_span() {
        let cached = cached_prefix(&[&run(6, 6), &run(40, 40)]);
        assert_eq!(cached_prefix(&[&run(6, 6), &run(40, 22)]).kept(&cached, false), 15 + 20);
        assert_eq!(cached_prefix(&[&run(5, 5), &run(40, 40)]).kept(&cached, false), 0);
    }

    #[test]
    fn rows_are_wanted_in_whole_grains() {
        let wanted = |rows: usize, reads: &[usize]| {
            let read: Vec<bool> = (0..rows).map(|row| reads.contains(&row)).collect();
            let wanted = with_company(&read);
            assert!(read.iter().zip(&wanted).all(|(read, wanted)| wanted >= read));
            wanted.iter().filter(|&&wanted| wanted).count()
        };
        assert_eq!(wanted(20, &[]), 0);
        assert_eq!(wanted(20, &[3]), 8);
        assert_eq!(wanted(20, &[0, 1, 2, 3, 4, 5, 6, 19]), 8);
        assert_eq!(wanted(20, &[0, 1, 2, 3, 4, 5, 6, 7, 8]), 12);
        assert_eq!(wanted(5, &[0]), 5);
    }

    #[test]
    fn batches_are_neither_too_large_nor_too_small_and_have_no_more_to_read_than_is_room_for() {
        let cached_prefix = cached_prefix(&[&run(6, 6), &run(600, 600)]);
        let batches = |is_read: fn(usize) -> bool| {
            let (mut position, mut batches) = (0, Vec::new());
            while position < 615 {
                batches.push(cached_prefix.rows_from(position, is_read, 16));
                position += batches.last().unwrap();
            }
            batches
        };
        assert_eq!(batches(|_| false), [6, 9, 128, 128, 128, 128, 88]);
        assert_eq!(cached_prefix.rows_from(15 + 468, |_| false, 16), 124);
        assert_eq!(batches(|at| at % 6 == 0)[2..], [96, 96, 96, 96, 96, 96, 24]);
        assert_eq!(batches(|at| at > 400)[5..8], [16, 16, 16]);
    }
}
