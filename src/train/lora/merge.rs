//! Folding an adapter into its base checkpoint, streaming the weights.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use mmprm_quant::adapter::{Adapter, AdapterError, Pair};
use mmprm_quant::atomic::{self, AtomicFile, complete};
use mmprm_quant::blocks::{BlockError, GgmlType, dequantize_row, quantize_rows};
use mmprm_quant::hf::origin;
use mmprm_quant::progress::{Progress, ProgressFn};
use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsError, Tensor};

use crate::nn::gemm::Gemm;
use crate::nn::tensor::{Mat, MatMut};
use crate::train::checkpoint::{CheckpointError, companions, other_weights, read_companion};
use crate::util::io::FileError;

/// Values processed at a time: 16 MiB as f32.
const CHUNK: usize = 1 << 22;

/// The index of a sharded checkpoint.
const INDEX: &str = "model.safetensors.index.json";

/// An error of merging an adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The adapter cannot be read, or does not fit the base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The base's tensors cannot be read.
    #[error(transparent)]
    Base(#[from] SafetensorsError),
    /// A companion file of the base cannot be read.
    #[error(transparent)]
    Companion(#[from] CheckpointError),
    /// The result cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A merged value is out of range of the base's type.
    #[error("{}: tensor '{name}': {source}", path.display())]
    Value {
        /// The base's file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The value and the type.
        source: BlockError,
    },
    /// The base's weights are files of `PyTorch`.
    #[error("{}: merging copies safetensors, expected a base with model.safetensors; save it in that form first", path.display())]
    Pytorch {
        /// The file.
        path: PathBuf,
    },
    /// The target is the base.
    #[error("{}: is the base itself, expected another directory for the merged checkpoint", path.display())]
    SameDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The target has weights that are not replaced.
    #[error("{}: weights of another checkpoint, expected a directory without them", path.display())]
    OtherWeights {
        /// The file.
        path: PathBuf,
    },
    /// `watch` stopped the merge.
    #[error("cancelled")]
    Cancelled,
}

/// Folds an adapter into its base checkpoint. `target` gets the base's files, with tensors of the same names, shapes and
/// types and merged values. Weights are streamed; each file appears whole or not at all, the index of a sharded checkpoint
/// last.
///
/// # Errors
/// [`MergeError`]; an adapter that does not fit is refused before anything is written.
pub fn merge(adapter: &Path, base: &Path, target: &Path, watch: &mut ProgressFn<'_>) -> Result<(), MergeError> {
    let adapter = Adapter::open(adapter)?;
    let checkpoint = Checkpoint::open(base)?;
    if let Some(path) = checkpoint.pytorch_file() {
        return Err(MergeError::Pytorch { path: path.to_owned() });
    }
    if target.exists() && is_same_directory(base, target) {
        return Err(MergeError::SameDirectory { path: target.to_owned() });
    }
    check(&adapter, &checkpoint, base)?;
    let index = base.join(INDEX);
    let mut names: Vec<&OsStr> = checkpoint.files().filter_map(|(path, _, _)| path.file_name()).collect();
    names.extend(index.exists().then_some(OsStr::new(INDEX)));
    if let Some(path) = other_weights(target, &names) {
        return Err(MergeError::OtherWeights { path });
    }
    let copy = |path: &Path| {
        let destination = target.join(path.file_name().unwrap_or_default());
        complete(&destination, &read_companion(path)?).map_err(FileError::writing(&destination))
    };
    let mut files = companions(base)?.iter().map(|path| copy(path)).collect::<Result<Vec<_>, _>>()?;
    let origin = adapter.path.join(origin::FILE);
    if origin.exists() {
        files.push(copy(&origin)?);
    }
    let total = checkpoint.names().filter_map(|name| checkpoint.get(name)).map(|tensor| checkpoint.data(tensor).len());
    let mut merging =
        Merging { adapter: &adapter, checkpoint: &checkpoint, watch, done: 0, total: total.sum::<usize>() as u64 };
    for (path, header, tensors) in checkpoint.files() {
        let destination = target.join(path.file_name().unwrap_or_default());
        let fail = FileError::writing(&destination);
        let mut file = AtomicFile::create(&destination).map_err(&fail)?;
        file.write_all(header).map_err(&fail)?;
        for (name, tensor) in tensors {
            merging.tensor(name, tensor, &mut |bytes| Ok(file.write_all(bytes).map_err(&fail)?))?;
        }
        files.push(file.complete().map_err(&fail)?);
    }
    if index.exists() {
        files.push(copy(&index)?);
    }
    // The last file is the index, or the only one of the weights.
    Ok(atomic::put_in_place(files).map_err(FileError::writing(target))?)
}

fn is_same_directory(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Refuses an adapter that does not fit the base.
fn check(adapter: &Adapter, checkpoint: &Checkpoint, base: &Path) -> Result<(), MergeError> {
    let shape = |name: &str| -> Result<&[usize], MergeError> {
        let missing = || adapter.tensor_error(name, format!("not in {}, expected the adapter's base", base.display()));
        let tensor = checkpoint.get(name).ok_or_else(missing)?;
        if !matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let problem = format!("{:?} in {}, expected F32, F16 or BF16", tensor.dtype, base.display());
            return Err(adapter.tensor_error(name, problem).into());
        }
        Ok(&tensor.shape)
    };
    let wrong_shape = |name: &str, found: &[usize], own: &[usize]| {
        let problem = format!("for a base of shape {found:?}, which in {} is {own:?}", base.display());
        Err(adapter.tensor_error(name, problem).into())
    };
    for (name, pair) in &adapter.pairs {
        let (own, found) = (shape(name)?, [pair.up.rows, pair.down.cols]);
        if own != found {
            return wrong_shape(name, &found, own);
        }
    }
    for (name, whole) in &adapter.full_tensors {
        let own = shape(name)?;
        if own != whole.shape {
            return wrong_shape(name, &whole.shape, own);
        }
    }
    let is_table = |name: &&String| name.ends_with(".embed_tokens.weight") || name.ends_with(".tok_embeddings.weight");
    let is_head = |name: &str| name.ends_with("lm_head.weight") || name.ends_with("language_model.output.weight");
    if let Some(table) = adapter.full_tensors.keys().find(is_table)
        && !checkpoint.names().any(is_head)
    {
        let problem = "a whole embedding matrix for a base whose head is tied to it: the two then differ, which this base \
                       cannot represent";
        return Err(adapter.tensor_error(table, problem).into());
    }
    for (name, new) in &adapter.rows {
        let own = shape(name)?;
        let &[rows, width] = own else { return wrong_shape(name, &[new.rows.rows, new.rows.cols], own) };
        if width != new.rows.cols {
            return wrong_shape(name, &[rows, new.rows.cols], own);
        }
        if let Some(token) = new.tokens.iter().find(|token| **token as usize >= rows) {
            return Err(adapter
                .tensor_error(name, format!("a row for token {token}, expected tokens below {rows}"))
                .into());
        }
    }
    Ok(())
}

/// A merge in progress.
struct Merging<'a, 'w> {
    adapter: &'a Adapter,
    checkpoint: &'a Checkpoint,
    watch: &'a mut ProgressFn<'w>,
    done: u64,
    total: u64,
}

impl Merging<'_, '_> {
    /// Passes the bytes of a merged tensor to `put`.
    fn tensor(
        &mut self,
        name: &str,
        tensor: &Tensor,
        put: &mut impl FnMut(&[u8]) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let data = self.checkpoint.data(tensor);
        let Adapter { pairs, rows, full_tensors, .. } = self.adapter;
        let is_changed = pairs.contains_key(name) || rows.contains_key(name) || full_tensors.contains_key(name);
        let width = tensor.shape.last().copied().unwrap_or(1).max(1);
        let row_bytes = (data.len() / (tensor.shape.iter().product::<usize>() / width).max(1)).max(1);
        let per_chunk = (CHUNK / width).max(1);
        let (mut values, mut packed) = (Vec::new(), Vec::new());
        for (number, bytes) in data.chunks(per_chunk * row_bytes).enumerate() {
            if is_changed {
                let (ggml_type, first) = (float(tensor.dtype), number * per_chunk);
                values.resize(bytes.len() / row_bytes * width, 0.0);
                let value = |source| {
                    let path = self.checkpoint.file(tensor).to_owned();
                    MergeError::Value { path, name: name.to_owned(), source }
                };
                dequantize_row(ggml_type, bytes, &mut values).map_err(value)?;
                self.change(name, first, width, &mut values);
                packed.resize(bytes.len(), 0);
                quantize_rows(ggml_type, &values, width, &mut packed).map_err(value)?;
                put(&packed)?;
            } else {
                put(bytes)?;
            }
            self.done += bytes.len() as u64;
            if (self.watch)(Progress { done: self.done, total: self.total, item: name }).is_break() {
                return Err(MergeError::Cancelled);
            }
        }
        self.checkpoint.release(tensor);
        Ok(())
    }

    /// Adds the adapter to the rows of a tensor from row `first` on.
    fn change(&self, name: &str, first: usize, width: usize, values: &mut [f32]) {
        let count = values.len() / width;
        if let Some(pair) = self.adapter.pairs.get(name) {
            let Pair { down, up, .. } = pair;
            let up = Mat::new(&up.values, up.rows, up.cols).sub(first..first + count, 0..up.cols);
            let product = Gemm::new().alpha(self.adapter.scale(pair)).accumulate();
            product.run(up, Mat::new(&down.values, down.rows, down.cols), MatMut::new(values, count, width));
        }
        if let Some(new) = self.adapter.rows.get(name) {
            for (place, token) in new.tokens.iter().enumerate() {
                if let Some(row) = (*token as usize).checked_sub(first).filter(|row| *row < count) {
                    values[row * width..][..width].copy_from_slice(new.rows.row(place));
                }
            }
        }
        if let Some(whole) = self.adapter.full_tensors.get(name) {
            values.copy_from_slice(&whole.values[first * width..][..values.len()]);
        }
    }
}

/// The GGUF type of a float type that [`check`] accepts.
fn float(dtype: Dtype) -> GgmlType {
    match dtype {
        Dtype::F16 => GgmlType::F16,
        Dtype::BF16 => GgmlType::BF16,
        _ => GgmlType::F32,
    }
}
