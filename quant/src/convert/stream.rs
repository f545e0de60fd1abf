//! Streams tensors from the checkpoint into GGUF files, a few megabytes at a time.

use rayon::prelude::*;

use super::error::ConvertError;
use super::planned::{PlannedFile, PlannedTensor};
use crate::atomic::CompleteFile;
use crate::blocks::{BlockError, GgmlType, dequantize_row, quantize_rows};
use crate::gguf::{GgufWriter, TensorSpec};
use crate::progress::{Progress, ProgressFn};
use crate::safetensors::{Checkpoint, Dtype, Tensor};

/// Values converted at a time: 16 MiB as floats.
const CHUNK: usize = 1 << 22;

/// Values per parallel task.
const TASK: usize = 1 << 14;

/// A running conversion, with buffers that are reused.
pub(super) struct Stream<'a, 'w> {
    checkpoint: &'a Checkpoint,
    on_progress: &'a mut ProgressFn<'w>,
    done: u64,
    total: u64,
    values: Vec<f32>,
    packed: Vec<u8>,
}

impl<'a, 'w> Stream<'a, 'w> {
    pub(super) fn new(checkpoint: &'a Checkpoint, total: u64, on_progress: &'a mut ProgressFn<'w>) -> Self {
        Self { checkpoint, on_progress, done: 0, total, values: Vec::new(), packed: Vec::new() }
    }

    /// Writes a file, which is then still to be moved to its path.
    pub(super) fn write(&mut self, file: &PlannedFile) -> Result<CompleteFile, ConvertError> {
        let specs: Vec<TensorSpec> = file.tensors.iter().map(|tensor| tensor.spec.clone()).collect();
        let mut writer = GgufWriter::create(&file.path, &file.metadata, &specs)?;
        for tensor in &file.tensors {
            self.tensor(&mut writer, tensor)?;
        }
        Ok(writer.complete()?)
    }

    fn tensor(&mut self, writer: &mut GgufWriter, planned: &PlannedTensor) -> Result<(), ConvertError> {
        if let Some(values) = &planned.values {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            writer.write(&bytes)?;
            self.done += bytes.len() as u64;
            return Ok(());
        }
        let source = self.checkpoint.get(&planned.source).expect("planned from this checkpoint");
        let ggml_type = planned.spec.ggml_type;
        let elements = planned.elements() as usize;
        // A unit is what the row map selects.
        let unit = planned.rows.row_len(&planned.spec.dims) as usize;
        let per_chunk = (CHUNK / unit).max(1);
        // Blocks extend along the contiguous dimension; a unit has one or more rows of it. Vectors
        // are never blocks.
        let row = if planned.spec.dims.len() == 1 { unit } else { planned.spec.dims[0] as usize };
        for start in (0..elements / unit).step_by(per_chunk) {
            let count = per_chunk.min(elements / unit - start);
            self.values.resize(count * unit, 0.0);
            self.read(source, planned, unit, start);
            let bytes = ggml_type.row_bytes(row).expect("the mapper plans whole blocks") * (count * unit / row);
            self.packed.resize(bytes, 0);
            quantize_rows(ggml_type, &self.values, row, &mut self.packed)
                .map_err(|error| self.value_error(source, planned, error, start * unit))?;
            writer.write(&self.packed)?;
            self.done += bytes as u64;
            let progress = Progress { done: self.done, total: self.total, item: &planned.spec.name };
            if (self.on_progress)(progress).is_break() {
                return Err(ConvertError::Cancelled);
            }
        }
        self.checkpoint.release(source);
        Ok(())
    }

    /// Reads units from `start` into the value buffer.
    fn read(&mut self, source: &Tensor, planned: &PlannedTensor, unit: usize, start: usize) {
        let source_type = match source.dtype {
            Dtype::F32 => GgmlType::F32,
            Dtype::F16 => GgmlType::F16,
            Dtype::BF16 => GgmlType::BF16,
            _ => unreachable!("the mapper plans only floats"),
        };
        let data = self.checkpoint.data(source);
        let bytes = source_type.row_bytes(unit).expect("floats have no blocks");
        let tasks = (TASK / unit).max(1);
        self.values.par_chunks_mut(unit).enumerate().with_min_len(tasks).for_each(|(index, values)| {
            let row = planned.rows.source((start + index) as u64) as usize;
            dequantize_row(source_type, &data[row * bytes..(row + 1) * bytes], values)
                .expect("the buffers have matching lengths");
        });
    }

    fn value_error(&self, source: &Tensor, planned: &PlannedTensor, error: BlockError, start: usize) -> ConvertError {
        let source_error = match error {
            BlockError::Range { ggml_type, element, value, limit } => {
                BlockError::Range { ggml_type, element: start + element, value, limit }
            }
            other => other,
        };
        let path = self.checkpoint.file(source).to_owned();
        ConvertError::Value { path, tensor: planned.spec.name.clone(), source: source_error }
    }
}
