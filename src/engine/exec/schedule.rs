//! The fixed schedule: batch boundaries that make a prompt's results bit-identical however much of
//! it was cached.
//!
//! llama.cpp's kernels process rows in groups: a single row, rows beyond a multiple of four, and
//! fewer than eight rows at once may take another code path, which rounds differently. If every
//! batch starts a multiple of [`GRAIN`] rows after the start of its span (a run of tokens, or an
//! image) and has at least [`MIN_ROWS`] rows, each row takes the same path however the span is cut.
//! Everything behind the last attention is computed for rows with requested logits only, so there
//! are at least [`MIN_ROWS`] of those too, in whole grains. `tests/engine/probing.rs` checks this
//! for every type that `mmprm quantize` writes.

use std::ops::Range;

use crate::engine::prompt::{Prompt, common_prefix, is_in_grid};

/// Batches start at multiples of this, counted from the start of their span.
const GRAIN: usize = 4;
/// Minimum rows of a batch, in spans that have as many.
const MIN_ROWS: usize = 8;
/// Maximum rows of a batch.
pub(in crate::engine) const FIXED_BATCH: usize = 128;

/// The keys and spans of a prompt on the fixed schedule, up to some position.
#[derive(Debug, Default)]
pub(super) struct CachedPrefix {
    keys: Vec<u64>,
    spans: Vec<Range<usize>>,
}

/// Which cached positions may be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// All that are the same.
    All,
    /// Not the prompt's last position, whose logits are needed.
    WithoutLastRow,
    /// Not the last one that is the same: another token follows it, and the logits at it are read for that token.
    WithoutBranch,
}

impl CachedPrefix {
    /// The first `end` positions of `prompt`.
    pub fn of(prompt: &Prompt, end: usize) -> Self {
        Self { keys: prompt.keys()[..end].to_vec(), spans: prompt.spans(end) }
    }

    /// Returns how many positions can be reused from a cache that holds `cached`; `limit` and those after it are needed again.
    pub fn kept(&self, cached: &Self, reuse: Reuse, limit: usize) -> usize {
        let mut common = common_prefix(&self.keys, &cached.keys).min(limit);
        if reuse == Reuse::WithoutBranch {
            common = common.saturating_sub(1);
        }
        let is_whole = |(own, other): &(&Range<usize>, &Range<usize>)| own == other && own.end <= common;
        let whole = self.spans.iter().zip(&cached.spans).take_while(is_whole).count();
        match (self.spans.get(whole), cached.spans.get(whole), self.spans.last()) {
            (Some(own), Some(other), _) if other.len() >= MIN_ROWS && !is_in_grid(self.keys[own.start]) => {
                own.start + max_kept(own, common - own.start)
            }
            (Some(own), _, _) => own.start,
            (None, _, Some(last)) if reuse == Reuse::WithoutLastRow => last.start + max_kept(last, last.len()),
            (None, _, _) => self.keys.len(),
        }
    }

    /// Returns the first position of the grain that holds `position`.
    pub fn grain_before(&self, position: usize) -> usize {
        let start = self.spans.iter().find(|span| span.contains(&position)).map_or(0, |span| span.start);
        start + (position - start) / GRAIN * GRAIN
    }

    /// Returns the number of rows of the batch that starts at `position`; `max_outputs`, at least
    /// [`MIN_ROWS`], limits the rows with logits.
    pub fn rows_from(&self, position: usize, is_read: impl Fn(usize) -> bool, max_outputs: usize) -> usize {
        debug_assert!(max_outputs >= MIN_ROWS, "a batch of {MIN_ROWS} rows could not be read");
        let end = self.spans.iter().map(|span| span.end).find(|&end| end > position).unwrap_or(position);
        let left = end - position;
        let mut rows = left.min(FIXED_BATCH);
        if rows < left && left - rows < MIN_ROWS {
            rows = (left - MIN_ROWS) / GRAIN * GRAIN;
        }
        let max_read = max_outputs / GRAIN * GRAIN;
        while (position..position + rows).filter(|&at| is_read(at)).count() > max_read {
            rows = (rows - 1) / GRAIN * GRAIN;
        }
        // The limit on outputs may leave too few rows.
        if rows < left && left - rows < MIN_ROWS && left >= 2 * MIN_ROWS {
            rows = (left - MIN_ROWS) / GRAIN * GRAIN;
        }
        rows
    }
}

/// Adds rows to those whose logits are read, up to whole grains and at least [`MIN_ROWS`], as far
/// as the batch has other rows.
pub(super) fn pad_outputs(read: &[bool]) -> Vec<bool> {
    let mut outputs = read.to_vec();
    let count = read.iter().filter(|&&read| read).count();
    if count > 0 {
        let missing = count.max(MIN_ROWS).next_multiple_of(GRAIN) - count;
        outputs.iter_mut().rev().filter(|outputs| !**outputs).take(missing).for_each(|outputs| *outputs = true);
    }
    outputs
}

/// Returns how many of the first `common` positions of a span can be kept while the rest is
/// decoded.
fn max_kept(span: &Range<usize>, common: usize) -> usize {
    common.min(span.len().saturating_sub(MIN_ROWS)) / GRAIN * GRAIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Chunk, Embeddings, Token};

    /// A prompt of token runs, separated by images of nine positions.
    fn cached_prefix(runs: &[&[Token]]) -> CachedPrefix {
        let image = || Chunk::Image(Embeddings { values: vec![0.5; 18], width: 2, digest: 7, grid: None }.into());
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
    fn kept_positions_end_at_a_grain_and_leave_enough_rows_to_decode() {
        let cached = cached_prefix(&[&run(40, 40)]);
        for (length, common, expected) in
            [(40, 40, 40), (40, 30, 28), (40, 39, 32), (60, 40, 40), (50, 40, 40), (30, 30, 20), (9, 9, 0), (7, 7, 0)]
        {
            assert_eq!(
                cached_prefix(&[&run(length, common)]).kept(&cached, Reuse::All, usize::MAX),
                expected,
                "{length} {common}"
            );
        }
        assert_eq!(cached_prefix(&[&run(40, 40)]).kept(&cached, Reuse::WithoutLastRow, usize::MAX), 32);
        assert_eq!(cached_prefix(&[&run(40, 40)]).kept(&cached, Reuse::All, 27), 24, "position 27 is needed again");
        assert_eq!(cached_prefix(&[&run(40, 40)]).kept(&CachedPrefix::default(), Reuse::WithoutLastRow, usize::MAX), 0);
    }

    #[test]
    fn positions_cached_in_too_small_a_batch_are_kept_for_equal_spans_only() {
        let cached = cached_prefix(&[&run(6, 6)]);
        assert_eq!(cached_prefix(&[&run(6, 6)]).kept(&cached, Reuse::All, usize::MAX), 6);
        assert_eq!(cached_prefix(&[&run(20, 6)]).kept(&cached, Reuse::All, usize::MAX), 0);
        // The same run before an image is a whole span, whatever its length.
        let cached = cached_prefix(&[&run(6, 6), &run(6, 6)]);
        assert_eq!(cached_prefix(&[&run(6, 6), &run(6, 5)]).kept(&cached, Reuse::All, usize::MAX), 15);
        assert_eq!(cached_prefix(&[&run(6, 6), &run(6, 6), &[3]]).kept(&cached, Reuse::All, usize::MAX), 21);
        assert_eq!(cached_prefix(&[&run(6, 6)]).kept(&cached, Reuse::All, usize::MAX), 6);
        assert_eq!(cached_prefix(&[&run(6, 6)]).kept(&cached, Reuse::WithoutLastRow, usize::MAX), 0);
    }

    #[test]
    fn grains_are_counted_from_the_start_of_a_span() {
        let cached = cached_prefix(&[&run(6, 6), &run(40, 40)]);
        assert_eq!(cached_prefix(&[&run(6, 6), &run(40, 22)]).kept(&cached, Reuse::All, usize::MAX), 15 + 20);
        assert_eq!(cached_prefix(&[&run(5, 5), &run(40, 40)]).kept(&cached, Reuse::All, usize::MAX), 0);
    }

    #[test]
    fn outputs_are_padded_to_whole_grains() {
        let outputs = |rows: usize, reads: &[usize]| {
            let read: Vec<bool> = (0..rows).map(|row| reads.contains(&row)).collect();
            let outputs = pad_outputs(&read);
            assert!(read.iter().zip(&outputs).all(|(read, outputs)| outputs >= read));
            outputs.iter().filter(|&&outputs| outputs).count()
        };
        assert_eq!(outputs(20, &[]), 0);
        assert_eq!(outputs(20, &[3]), 8);
        assert_eq!(outputs(20, &[0, 1, 2, 3, 4, 5, 6, 19]), 8);
        assert_eq!(outputs(20, &[0, 1, 2, 3, 4, 5, 6, 7, 8]), 12);
        assert_eq!(outputs(5, &[0]), 5);
    }

    #[test]
    fn batches_respect_the_limits_on_rows_and_outputs() {
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
        // No limit leaves fewer rows than a batch has.
        for length in 8..300 {
            let prefix = self::cached_prefix(&[&run(length, length)]);
            for max_outputs in [16, 20, 108, 128] {
                let (mut position, mut last) = (0, 0);
                while position < length {
                    last = prefix.rows_from(position, |_| true, max_outputs);
                    assert!(last <= max_outputs);
                    position += last;
                }
                assert!(last >= MIN_ROWS, "{length} rows, {max_outputs} outputs: {last} in the last batch");
            }
        }
    }
}
