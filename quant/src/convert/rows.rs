//! Maps rows of a GGUF tensor to rows of the checkpoint's tensor.
//!
//! Apart from the type, conversion changes weights only by selecting and reordering rows.

/// A part of a fused matrix of queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QkvPart {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
}

/// Maps rows of the output to rows of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowMap {
    /// Consecutive rows from this one.
    From(u64),
    /// A vision tower's position embeddings: the checkpoint stores the class token's first;
    /// llama.cpp's `InternVL` graph places that token after the patches and adds row `i` to token
    /// `i`.
    ClassLast {
        /// Number of patches.
        patches: u64,
    },
    /// `InternLM2`'s `wqkv`: per key-value head, its group of query heads, then the key head, then
    /// the value head. Queries and keys are also reordered within a head: the checkpoint rotates
    /// dimension `i` with `i + head / 2`, llama.cpp with the adjacent one.
    Wqkv {
        /// The part.
        part: QkvPart,
        /// Query heads per key-value head.
        group: u64,
        /// Width of a head.
        head: u64,
    },
    /// The kernel of one of two frames, of a convolution over both: a row is a channel of one frame.
    Frame {
        /// The frame, 0 or 1.
        frame: u64,
    },
    /// Queries or keys of Llama, reordered in the same way within each head.
    Rotated {
        /// Width of a head.
        head: u64,
    },
}

impl RowMap {
    /// Returns the number of elements of a row, which is one index of the first dimension of the source, in a tensor of these
    /// dimensions (contiguous first); of a kernel it is one index of all dimensions but those of a frame.
    pub(super) fn row_len(self, dims: &[u64]) -> u64 {
        let inner = if let Self::Frame { .. } = self { 2 } else { dims.len().saturating_sub(1) };
        dims.iter().take(inner).product()
    }

    /// Returns the source row of an output row.
    pub(super) fn source(self, row: u64) -> u64 {
        match self {
            Self::From(start) => start + row,
            Self::ClassLast { patches } => (row + 1) % (patches + 1),
            Self::Wqkv { part, group, head } => {
                let (index, within) = (row / head, row % head);
                let (block, slot) = match part {
                    QkvPart::Query => (index / group, index % group),
                    QkvPart::Key => (index, group),
                    QkvPart::Value => (index, group + 1),
                };
                let within = if part == QkvPart::Value { within } else { adjacent(within, head) };
                (block * (group + 2) + slot) * head + within
            }
            Self::Frame { frame } => 2 * row + frame,
            Self::Rotated { head } => row / head * head + adjacent(row % head, head),
        }
    }
}

/// Returns the source row, within a head, of a row for which rotated dimensions are adjacent.
fn adjacent(within: u64, head: u64) -> u64 {
    within % 2 * (head / 2) + within / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_fused_matrix_use_every_row_once() {
        let (group, head, kv_heads) = (3, 4, 2);
        let mut rows = Vec::new();
        for (part, heads) in [(QkvPart::Query, group * kv_heads), (QkvPart::Key, kv_heads), (QkvPart::Value, kv_heads)]
        {
            let map = RowMap::Wqkv { part, group, head };
            rows.extend((0..heads * head).map(|row| map.source(row)));
        }
        rows.sort_unstable();
        assert_eq!(rows, (0..(group + 2) * head * kv_heads).collect::<Vec<_>>());
    }

    #[test]
    fn the_class_token_follows_the_patches() {
        let map = RowMap::ClassLast { patches: 3 };
        assert_eq!((0..4).map(|row| map.source(row)).collect::<Vec<_>>(), [1, 2, 3, 0]);
    }

    #[test]
    fn rotated_halves_become_adjacent() {
        let map = RowMap::Wqkv { part: QkvPart::Key, group: 2, head: 4 };
        assert_eq!((0..8).map(|row| map.source(row)).collect::<Vec<_>>(), [8, 10, 9, 11, 24, 26, 25, 27]);
        let map = RowMap::Rotated { head: 4 };
        assert_eq!((0..8).map(|row| map.source(row)).collect::<Vec<_>>(), [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
