//! Which tokens see which: a packed sequence as a forest of segments.

use std::ops::Range;

/// What a token sees of its own segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// The tokens up to itself: language models.
    Causal,
    /// All: vision models.
    Full,
}

/// Segments of a packed sequence, one after the other, each with at most one parent before it.
///
/// A token sees its ancestors' segments and its [`Mask`]. A plain sample is a root; a search tree has a segment for each node,
/// so that what paths share is there once. The segments of a tree follow each other without another tree's between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    segments: Vec<Segment>,
    own: Mask,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    /// Tokens in the packed sequence.
    tokens: Range<usize>,
    parent: Option<usize>,
    /// Tokens of all ancestors.
    depth: usize,
}

impl Segments {
    /// Segments from their lengths and parents, in packed order.
    ///
    /// # Panics
    /// If a parent does not come before its child, or lies in an earlier tree.
    pub fn new(segments: &[(usize, Option<usize>)], own: Mask) -> Self {
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
                        "segment {index} has parent {parent}, its tree begins at {root}"
                    );
                    all[parent].depth + all[parent].tokens.len()
                }
            };
            all.push(Segment { tokens: start..start + length, parent, depth });
            start += length;
        }
        Self { segments: all, own }
    }

    /// Independent sequences of these lengths.
    pub fn plain(lengths: &[usize], own: Mask) -> Self {
        Self::new(&lengths.iter().map(|length| (*length, None)).collect::<Vec<_>>(), own)
    }

    /// Tokens of the packed sequence.
    pub fn tokens(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.tokens.end)
    }

    /// Each token's position in its path, as rotary embeddings need it: ancestors' tokens, then its own segment's.
    pub fn positions(&self) -> Vec<u32> {
        let positions = |segment: &Segment| segment.depth as u32..(segment.depth + segment.tokens.len()) as u32;
        self.segments.iter().flat_map(positions).collect()
    }

    /// Pairs of a token and a token that it sees: what attention costs.
    pub fn pairs(&self) -> u64 {
        let pairs = |segment: &Segment| {
            let (length, depth) = (segment.tokens.len() as u64, segment.depth as u64);
            let own = if self.own == Mask::Full { length * length } else { length * (length + 1) / 2 };
            length * depth + own
        };
        self.segments.iter().map(pairs).sum()
    }

    /// Tiles of at most `rows` query tokens, each inside of one segment.
    pub(super) fn tiles(&self, rows: usize) -> Vec<Queries> {
        self.tiles_of(0..self.segments.len(), rows)
    }

    /// For each tree its tokens and its tiles of at most `rows` query tokens.
    pub(super) fn trees(&self, rows: usize) -> Vec<(Range<usize>, Vec<Queries>)> {
        let roots: Vec<usize> =
            (0..self.segments.len()).filter(|index| self.segments[*index].parent.is_none()).collect();
        let ends = roots.iter().copied().skip(1).chain([self.segments.len()]);
        let tree = |(root, end): (&usize, usize)| {
            let tokens = self.segments[*root].tokens.start..self.segments[end - 1].tokens.end;
            (tokens, self.tiles_of(*root..end, rows))
        };
        roots.iter().zip(ends).map(tree).collect()
    }

    fn tiles_of(&self, segments: Range<usize>, rows: usize) -> Vec<Queries> {
        let tiles = segments.flat_map(|index| {
            let tokens = self.segments[index].tokens.clone();
            let starts = tokens.clone().step_by(rows);
            starts.map(move |start| Queries { segment: index, tokens: start..(start + rows).min(tokens.end) })
        });
        tiles.collect()
    }

    /// The key tokens that some query of a tile sees, in order, in chunks of at most `size` tokens, each a few ranges.
    ///
    /// For causal segments a query at token i sees of them those up to i: ancestors come before all of their descendants.
    pub(super) fn keys(&self, queries: &Queries, size: usize) -> Vec<Vec<Range<usize>>> {
        let own = &self.segments[queries.segment];
        let end = if self.own == Mask::Full { own.tokens.end } else { queries.tokens.end };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        ranges.push(own.tokens.start..end);
        let mut above = own.parent;
        while let Some(index) = above {
            ranges.push(self.segments[index].tokens.clone());
            above = self.segments[index].parent;
        }
        let mut chunks: Vec<Vec<Range<usize>>> = Vec::new();
        let mut room = 0;
        for mut range in ranges.into_iter().rev() {
            while !range.is_empty() {
                if room == 0 {
                    chunks.push(Vec::new());
                    room = size;
                }
                let taken = range.start..range.end.min(range.start + room);
                room -= taken.len();
                range.start = taken.end;
                if let Some(chunk) = chunks.last_mut() {
                    match chunk.last_mut() {
                        Some(last) if last.end == taken.start => last.end = taken.end,
                        _ => chunk.push(taken),
                    }
                }
            }
        }
        chunks
    }

    pub(super) fn is_causal(&self) -> bool {
        self.own == Mask::Causal
    }
}

/// Query tokens of one tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queries {
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
    fn chunks_join_ancestors_that_lie_next_to_each_other() {
        let segments = Segments::new(&[(3, None), (2, Some(0)), (4, Some(1)), (4, Some(0))], Mask::Causal);
        let tiles = segments.tiles(2);
        let last = |start: usize| tiles.iter().find(|tile| tile.tokens.start == start).unwrap();
        assert_eq!(segments.keys(last(7), 100), [vec![0..9]]);
        assert_eq!(segments.keys(last(5), 100), [vec![0..7]]);
        assert_eq!(segments.keys(last(11), 100), [vec![0..3, 9..13]]);
        assert_eq!(segments.keys(last(11), 4), [vec![0..3, 9..10], vec![10..13]]);
    }

    #[test]
    fn trees_are_apart() {
        let segments = Segments::new(&[(3, None), (2, Some(0)), (4, None), (0, None)], Mask::Full);
        let trees = segments.trees(4);
        assert_eq!(trees.iter().map(|tree| tree.0.clone()).collect::<Vec<_>>(), [0..5, 5..9, 9..9]);
        assert_eq!(trees[0].1.len(), 2);
        assert_eq!(segments.keys(&trees[0].1[0], 100), [vec![0..3]]);
    }

    #[test]
    #[should_panic(expected = "its tree begins at 1")]
    fn a_parent_in_an_earlier_tree_is_refused() {
        Segments::new(&[(1, None), (1, None), (1, Some(0))], Mask::Causal);
    }
}
