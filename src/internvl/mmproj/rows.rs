//! Rows of quantised weights, unpacked where a product asks for them.

use std::ops::Range;
use std::sync::Arc;

use mmprm_quant::blocks::{BlockError, GgmlType, dequantize_row};
use mmprm_quant::gguf::{GgufFile, TensorInfo};

use crate::nn::gemm::{COLUMN_ALIGNMENT, RowSource};

/// Tensors of a file, one above the other, each of its own type.
pub(super) struct QuantisedRows {
    file: Arc<GgufFile>,
    parts: Vec<TensorInfo>,
    cols: usize,
}

impl QuantisedRows {
    /// Parts of `cols` columns each.
    ///
    /// # Errors
    /// The name of the first part whose type cannot be unpacked, or not in pieces, and why.
    pub fn new(file: &Arc<GgufFile>, parts: &[&TensorInfo], cols: usize) -> Result<Self, (String, BlockError)> {
        let mut scratch = vec![0.0; cols];
        for part in parts {
            let refuse = |error| (part.name.clone(), error);
            let unsupported = BlockError::Unsupported { ggml_type: part.ggml_type, direction: "to" };
            if part.row_len() != cols as u64 || !COLUMN_ALIGNMENT.is_multiple_of(part.ggml_type.block_len() as usize) {
                return Err(refuse(unsupported));
            }
            let row = packed(file, part, 0, 0..cols);
            dequantize_row(part.ggml_type, row, &mut scratch).map_err(refuse)?;
        }
        Ok(Self { file: Arc::clone(file), parts: parts.iter().copied().cloned().collect(), cols })
    }
}

/// The bytes of columns of a row; columns begin and end with blocks.
fn packed<'a>(file: &'a GgufFile, part: &TensorInfo, row: usize, columns: Range<usize>) -> &'a [u8] {
    let bytes = |columns: usize| bytes_of(part.ggml_type, columns);
    let start = row * bytes(part.row_len() as usize);
    &file.tensor_data(part)[start + bytes(columns.start)..start + bytes(columns.end)]
}

fn bytes_of(ggml_type: GgmlType, columns: usize) -> usize {
    columns / ggml_type.block_len() as usize * ggml_type.block_bytes() as usize
}

impl RowSource for QuantisedRows {
    fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows() as usize).sum()
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn write_row(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let mut row = row;
        for part in &self.parts {
            let rows = part.rows() as usize;
            if row < rows {
                let bytes = packed(&self.file, part, row, columns);
                dequantize_row(part.ggml_type, bytes, out).expect("a row of this type was unpacked before");
                return;
            }
            row -= rows;
        }
        unreachable!("a row beyond the last");
    }
}
