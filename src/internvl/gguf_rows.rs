//! Matrices that stay in a GGUF file: rows are dequantised where a product reads them.
//!
//! The file is memory-mapped, so that the system may evict its pages.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use mmprm_quant::blocks::{BlockError, GgmlType, dequantize_row};
use mmprm_quant::gguf::{GgufFile, TensorInfo};

use crate::nn::gemm::{COLUMN_ALIGNMENT, RowSource};

/// A matrix made of the rows of one or more tensors of a file.
#[derive(Debug)]
pub(super) struct GgufRows {
    file: Arc<GgufFile>,
    parts: Vec<TensorInfo>,
    order: RowOrder,
    cols: usize,
}

/// How the rows of a matrix are distributed over its tensors.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowOrder {
    /// One tensor after the other.
    Stacked,
    /// `InternLM2`'s fused queries, keys and values, from three tensors.
    FusedQkv(FusedQkv),
    /// Queries or keys of Llama, whose rows are in another order within each head.
    Rotated {
        /// Head dimension.
        head: usize,
    },
}

/// A tensor that cannot be read row by row, and why.
pub(super) type UnreadableTensor = (String, BlockError);

impl GgufRows {
    /// Creates a matrix of `cols` columns.
    ///
    /// # Errors
    /// The first tensor that cannot be dequantised, as a whole or in ranges of [`COLUMN_ALIGNMENT`]
    /// columns.
    pub fn new(
        file: &Arc<GgufFile>,
        parts: &[&TensorInfo],
        order: RowOrder,
        cols: usize,
    ) -> Result<Self, UnreadableTensor> {
        for part in parts {
            let (ggml_type, block) = (part.ggml_type, part.ggml_type.block_len() as usize);
            let fail = |error| (part.name.clone(), error);
            if part.row_len() != cols as u64 || !COLUMN_ALIGNMENT.is_multiple_of(block) {
                return Err(fail(BlockError::Unsupported { ggml_type, direction: "to" }));
            }
            // Unsupported types are found here, not in the middle of a product.
            let bytes = &file.tensor_data(part)[..ggml_type.block_bytes() as usize];
            dequantize_row(ggml_type, bytes, &mut vec![0.0; block]).map_err(fail)?;
        }
        Ok(Self { file: Arc::clone(file), parts: parts.iter().copied().cloned().collect(), order, cols })
    }

    /// Returns the tensor that holds row `row`, and the row's index in it.
    fn locate(&self, row: usize) -> (&TensorInfo, usize) {
        let mut row = match self.order {
            RowOrder::FusedQkv(fused) => {
                let (part, row) = fused.locate(row);
                return (&self.parts[part], row);
            }
            RowOrder::Rotated { head } => row / head * head + paired(row % head, head),
            RowOrder::Stacked => row,
        };
        for part in &self.parts {
            let rows = part.rows() as usize;
            if row < rows {
                return (part, row);
            }
            row -= rows;
        }
        unreachable!("row beyond the last tensor");
    }
}

/// Returns the size of `columns` columns in bytes; `columns` is a multiple of the block length.
fn byte_len(ggml_type: GgmlType, columns: usize) -> usize {
    columns / ggml_type.block_len() as usize * ggml_type.block_bytes() as usize
}

impl RowSource for GgufRows {
    fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows() as usize).sum()
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn write_row(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let (part, row) = self.locate(row);
        let bytes = |columns: usize| byte_len(part.ggml_type, columns);
        let start = row * bytes(self.cols);
        let data = &self.file.tensor_data(part)[start + bytes(columns.start)..start + bytes(columns.end)];
        dequantize_row(part.ggml_type, data, out).expect("`new` dequantised a block of this type");
    }
}

/// Distribution of the rows of a fused matrix over tensors of queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct FusedQkv {
    /// Query heads per key head.
    pub group: usize,
    /// Head dimension.
    pub head: usize,
}

impl FusedQkv {
    /// Returns the tensor (0 to 2) that holds a row of the fused matrix, and the row's index in it.
    fn locate(self, row: usize) -> (usize, usize) {
        let Self { group, head } = self;
        let (index, within) = (row / head, row % head);
        let (block, slot) = (index / (group + 2), index % (group + 2));
        let paired = paired(within, head);
        match slot.cmp(&group) {
            Ordering::Less => (0, (block * group + slot) * head + paired),
            Ordering::Equal => (1, block * head + paired),
            Ordering::Greater => (2, block * head + within),
        }
    }
}

/// Returns the row within a head in the file of a row of queries or keys: inverts the conversion to
/// GGUF, which makes the two dimensions that are rotated together adjacent.
fn paired(within: usize, head: usize) -> usize {
    within % (head / 2) * 2 + within / (head / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_fused_matrix_map_one_to_one() {
        let fused = FusedQkv { group: 3, head: 4 };
        let mut places: Vec<_> = (0..2 * 5 * 4).map(|row| fused.locate(row)).collect();
        // The first key head's: dimensions 0 and 2 are rotated together.
        assert_eq!(places[12..16], [(1, 0), (1, 2), (1, 1), (1, 3)]);
        assert_eq!(places[16..20], [(2, 0), (2, 1), (2, 2), (2, 3)]);
        places.sort_unstable();
        let part = |number: usize, rows: usize| (0..rows).map(move |row| (number, row));
        assert_eq!(places, part(0, 24).chain(part(1, 8)).chain(part(2, 8)).collect::<Vec<_>>());
    }
}
