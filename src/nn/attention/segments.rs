//! Visibility between tokens: a packed sequence as a forest of segments.

use std::ops::Range;

/// Visibility within a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Each token attends to itself and earlier tokens: language models.
    Causal,
    /// Each token attends to all tokens: vision models.
    Full,
}

/// Consecutive segments of a packed sequence, each with at most one parent before it.
///
/// A token attends to all ancestors of its segment and, by the [`Mask`], to its own segment. A
/// plain sample is one root; a search tree has one segment per node, so that shared prefixes occur
/// once. The segments of a tree are contiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    segments: Vec<Segment>,
    mask: Mask,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    /// Its tokens in the packed sequence.
    tokens: Range<usize>,
    parent: Option<usize>,
    /// Number of tokens in all ancestors.
    depth: usize,
}

impl Segments {
    /// Creates segments from lengths and parents, in packed order.
    ///
    /// # Panics
    /// If a parent does not precede its child, or belongs to an earlier tree.
    pub fn new(segments: &[(usize, Option<usize>)], mask: Mask) -> Self {
        let mut all: Vec<Segment> = Vec::with_capacity(segments.len());
        let (mut start, mut root) = (0, 0);
        for (index, (length, parent)) in segments.iter().copied().enumerate() {
            let depth = match parent {
                None => {
                    root = index;
                    0
                }
                Some(parent) => {
                    assert!(
                        (root..index).contains(&parent),
                        "segment {index} has parent {parent}, but its tree begins at {root}"
                    );
                    all[parent].depth + all[parent].tokens.len()
                }
            };
            all.push(Segment { tokens: start..start + length, parent, depth });
            start += length;
        }
        Self { segments: all, mask }
    }

    /// Creates independent sequences of these lengths.
    pub fn plain(lengths: &[usize], mask: Mask) -> Self {
        Self::new(&lengths.iter().map(|length| (*length, None)).collect::<Vec<_>>(), mask)
    }

    /// Returns the number of tokens in the packed sequence.
    pub fn tokens(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.tokens.end)
    }

    /// Returns each token's position in its path from the root, for rotary embeddings.
    pub fn positions(&self) -> Vec<u32> {
        let positions = |segment: &Segment| segment.depth as u32..(segment.depth + segment.tokens.len()) as u32;
        self.segments.iter().flat_map(positions).collect()
    }

    /// Returns the number of visible (query, key) pairs, which determines the cost of attention.
    pub fn pairs(&self) -> u64 {
        let pairs = |segment: &Segment| {
            let (length, depth) = (segment.tokens.len() as u64, segment.depth as u64);
            let own = if self.mask == Mask::Full { length * length } else { length * (length + 1) / 2 };
            length * depth + own
        };
        self.segments.iter().map(pairs).sum()
    }

    /// Returns tiles of at most `rows` query tokens, each within one segment.
    pub(super) fn tiles(&self, rows: usize) -> Vec<QueryTile> {
        self.tiles_of(0..self.segments.len(), rows)
    }

    /// Returns for each tree its tokens and its tiles of at most `rows` query tokens.
    pub(super) fn trees(&self, rows: usize) -> Vec<(Range<usize>, Vec<QueryTile>)> {
        let roots: Vec<usize> =
            (0..self.segments.len()).filter(|index| self.segments[*index].parent.is_none()).collect();
        let ends = roots.iter().copied().skip(1).chain([self.segments.len()]);
        let tree = |(root, end): (&usize, usize)| {
            let tokens = self.segments[*root].tokens.start..self.segments[end - 1].tokens.end;
            (tokens, self.tiles_of(*root..end, rows))
        };
        roots.iter().zip(ends).map(tree).collect()
    }

    fn tiles_of(&self, segments: Range<usize>, rows: usize) -> Vec<QueryTile> {
        let tiles = segments.flat_map(|index| {
            let tokens = self.segments[index].tokens.clone();
            let starts = tokens.clone().step_by(rows);
            starts.map(move |start| QueryTile { segment: index, tokens: start..(start + rows).min(tokens.end) })
        });
        tiles.collect()
    }

    /// Returns the key tokens visible to any query of a tile, in order, in chunks of at most `size`
    /// tokens; a chunk is a few ranges.
    ///
    /// In causal segments the keys visible to a query at token i are those up to i, since ancestors
    /// precede descendants.
    pub(super) fn keys(&self, queries: &QueryTile, size: usize) -> Vec<Vec<Range<usize>>> {
        let own = &self.segments[queries.segment];
        let end = if self.mask == Mask::Full { own.tokens.end } else { queries.tokens.end };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        ranges.push(own.tokens.start..end);
        let mut ancestor = own.parent;
        while let Some(index) = ancestor {
            ranges.push(self.segments[index].tokens.clone());
            ancestor = self.segments[index].parent;
        }
        let mut chunks: Vec<Vec<Range<usize>>> = Vec::new();
        let mut free = 0;
        for mut range in ranges.into_iter().rev() {
            while !range.is_empty() {
                if free == 0 {
                    chunks.push(Vec::new());
                    free = size;
                }
                let part = range.start..range.end.min(range.start + free);
                free -= part.len();
                range.start = part.end;
                if let Some(chunk) = chunks.last_mut() {
                    match chunk.last_mut() {
                        Some(last) if last.end == part.start => last.end = part.end,
                        _ => chunk.push(part),
                    }
                }
            }
        }
        chunks
    }

    pub(super) fn is_causal(&self) -> bool {
        self.mask == Mask::Causal
    }
}

/// A tile of query tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryTile {
    segment: usize,
    pub tokens: Range<usize>,
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a chunk of one range")]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_the_path() {
        let segments = Segments::new(&[(3, None), (2, Some(0)), (2, Some(1)), (1, Some(0)), (2, None)], Mask::Causal);
        assert_eq!(segments.positions(), [0, 1, 2, 3, 4, 5, 6, 3, 0, 1]);
        assert_eq!(segments.tokens(), 10);
        assert_eq!(segments.pairs(), 6 + (6 + 3) + (10 + 3) + 4 + 3);
    }

    #[test]
    fn chunks_merge_adjacent_ancestors() {
        let segments = Segments::new(&[(3, None), (2, Some(0)), (4, Some(1)), (4, Some(0))], Mask::Causal);
        let tiles = segments.tiles(2);
        let last = |start: usize| tiles.iter().find(|tile| tile.tokens.start == start).unwrap();
        assert_eq!(segments.keys(last(7), 100), [vec![0..9]]);
        assert_eq!(segments.keys(last(5), 100), [vec![0..7]]);
        assert_eq!(segments.keys(last(11), 100), [vec![0..3, 9..13]]);
        assert_eq!(segments.keys(last(11), 4), [vec![0..3, 9..10], vec![10..13]]);
    }

    #[test]
    fn trees_are_separate() {
        let segments = Segments::new(&[(3, None), (2, Some(0)), (4, None), (0, None)], Mask::Full);
        let trees = segments.trees(4);
        assert_eq!(trees.iter().map(|tree| tree.0.clone()).collect::<Vec<_>>(), [0..5, 5..9, 9..9]);
        assert_eq!(trees[0].1.len(), 2);
        assert_eq!(segments.keys(&trees[0].1[0], 100), [vec![0..3]]);
    }

    #[test]
    #[should_panic(expected = "its tree begins at 1")]
    fn a_parent_in_an_earlier_tree_is_rejected() {
        Segments::new(&[(1, None), (1, None), (1, Some(0))], Mask::Causal);
    }
}
