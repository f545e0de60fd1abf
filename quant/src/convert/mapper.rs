//! Maps llama.cpp's tensor names to the checkpoint's tensors, checks their shapes and chooses their
//! types.

use std::collections::HashSet;
use std::path::Path;

use super::error::ConvertError;
use super::names::Names;
use super::options::WeightType;
use super::planned::{PlannedFile, PlannedTensor};
use super::rows::RowMap;
use crate::blocks::GgmlType;
use crate::gguf::TensorSpec;
use crate::safetensors::{Checkpoint, Dtype, Tensor};

/// Collects the tensors of one file. Without a checkpoint to look them up in, all tensors are
/// assumed to exist.
pub(super) struct Mapper<'a> {
    checkpoint: Option<&'a Checkpoint>,
    directory: &'a Path,
    /// Returns the name of a tensor in the checkpoint.
    named: Box<dyn Fn(&str) -> String + 'a>,
    weight_type: WeightType,
    tensors: Vec<PlannedTensor>,
}

impl<'a> Mapper<'a> {
    pub(super) fn new(
        checkpoint: Option<&'a Checkpoint>,
        directory: &'a Path,
        named: impl Fn(&str) -> String + 'a,
        weight_type: WeightType,
    ) -> Self {
        Self { checkpoint, directory, named: Box::new(named), weight_type, tensors: Vec::new() }
    }

    /// Returns whether the checkpoint has a tensor; not without a checkpoint.
    pub(super) fn has(&self, source: &str) -> bool {
        self.checkpoint.is_some_and(|checkpoint| checkpoint.get(&(self.named)(source)).is_some())
    }

    /// Plans a vector that is computed from the configuration.
    pub(super) fn compute(&mut self, target: &str, values: Vec<f32>) {
        let spec = TensorSpec { name: target.to_owned(), dims: vec![values.len() as u64], ggml_type: GgmlType::F32 };
        let size = 4 * values.len() as u64;
        let source = "config.json".to_owned();
        self.tensors.push(PlannedTensor {
            spec,
            source,
            shape: Vec::new(),
            size,
            rows: RowMap::From(0),
            values: Some(values),
        });
    }

    /// Plans `target` from all rows of `source` (a name as in a model of its own), which must have
    /// the given shape.
    pub(super) fn take(&mut self, target: &str, source: &str, shape: &[u64]) -> Result<(), ConvertError> {
        self.take_rows(target, source, shape, RowMap::From(0), shape[0])
    }

    /// Plans `target` from `count` rows of the first dimension of `source`.
    pub(super) fn take_rows(
        &mut self,
        target: &str,
        source: &str,
        shape: &[u64],
        rows: RowMap,
        count: u64,
    ) -> Result<(), ConvertError> {
        let mut dims: Vec<u64> = shape.iter().rev().copied().collect();
        *dims.last_mut().expect("shapes have a dimension") = count;
        self.plan(target, source, shape, dims, rows)
    }

    /// Plans `target` from the reordered rows of `source`, a batch of one matrix; the batch
    /// dimension is dropped.
    pub(super) fn take_matrix(
        &mut self,
        target: &str,
        source: &str,
        [rows, width]: [u64; 2],
        order: RowMap,
    ) -> Result<(), ConvertError> {
        self.plan(target, source, &[1, rows, width], vec![width, rows], order)
    }

    /// Plans `target` from the kernel of one of two frames in `source`, a convolution over both.
    pub(super) fn take_frame(
        &mut self,
        target: &str,
        source: &str,
        [outputs, channels, side]: [u64; 3],
        frame: u64,
    ) -> Result<(), ConvertError> {
        let shape = [outputs, channels, 2, side, side];
        self.plan(target, source, &shape, vec![side, side, channels, outputs], RowMap::Frame { frame })
    }

    fn plan(
        &mut self,
        target: &str,
        source: &str,
        shape: &[u64],
        dims: Vec<u64>,
        rows: RowMap,
    ) -> Result<(), ConvertError> {
        let source = (self.named)(source);
        if let Some(checkpoint) = self.checkpoint {
            self.look_up(checkpoint, &source, shape)?;
        }
        let ggml_type = tensor_type(target, &dims, self.weight_type);
        let Some(size) = ggml_type.tensor_bytes(&dims) else {
            let (path, shape) = (self.directory.to_owned(), shape.to_vec());
            return Err(ConvertError::TooLarge { path, tensor: source, shape });
        };
        let spec = TensorSpec { name: target.to_owned(), dims, ggml_type };
        self.tensors.push(PlannedTensor { spec, source, shape: shape.to_vec(), size, rows, values: None });
        Ok(())
    }

    /// Checks that the checkpoint has the tensor, with the expected shape and a float type.
    fn look_up(&self, checkpoint: &Checkpoint, source: &str, shape: &[u64]) -> Result<(), ConvertError> {
        look_up(checkpoint, self.directory, source, shape).map(|_| ())
    }

    pub(super) fn finish(self) -> Vec<PlannedTensor> {
        self.tensors
    }
}

/// Returns a tensor of a checkpoint, which must have the given shape and a float type.
pub(super) fn look_up<'c>(
    checkpoint: &'c Checkpoint,
    directory: &Path,
    source: &str,
    shape: &[u64],
) -> Result<&'c Tensor, ConvertError> {
    let source = source.to_owned();
    let Some(tensor) = checkpoint.get(&source) else {
        let (path, expected) = (directory.to_owned(), shape.to_vec());
        return Err(ConvertError::MissingTensor { path, tensor: source, expected });
    };
    let path = checkpoint.file(tensor).to_owned();
    if !tensor.shape.iter().map(|dim| *dim as u64).eq(shape.iter().copied()) {
        let (found, expected) = (tensor.shape.clone(), shape.to_vec());
        return Err(ConvertError::Shape { path, tensor: source, found, expected });
    }
    if !matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(ConvertError::Dtype { path, tensor: source, found: tensor.dtype });
    }
    Ok(tensor)
}

/// Chooses the type of a tensor: vectors, norms and position embeddings are small and sensitive,
/// and llama.cpp computes them in 32 bits; the patch embedding is a convolution, for which only 16-
/// and 32-bit kernels exist.
fn tensor_type(name: &str, dims: &[u64], weight_type: WeightType) -> GgmlType {
    let is_kernel = dims.len() == 4 && name.contains("patch_embd.weight");
    let is_matrix = dims.len() > 1 && name.ends_with(".weight");
    if !(is_matrix || is_kernel) || name.ends_with("_norm.weight") || name.contains("position_embd") {
        return GgmlType::F32;
    }
    if is_kernel {
        return if weight_type == WeightType::F16 { GgmlType::F16 } else { GgmlType::F32 };
    }
    let chosen = weight_type.ggml_type();
    if dims[0].is_multiple_of(chosen.block_len()) { chosen } else { GgmlType::F16 }
}

/// Refuses a checkpoint with unmapped tensors: dropping one would silently change the model. `head`
/// has the tensors that become metadata.
pub(super) fn check_all_used(
    checkpoint: &Checkpoint,
    files: &[PlannedFile],
    names: Names,
    head: &[String],
) -> Result<(), ConvertError> {
    let planned = files.iter().flat_map(|file| &file.tensors).map(|tensor| tensor.source.as_str());
    let used: HashSet<&str> = planned.chain(head.iter().map(String::as_str)).collect();
    // Rotary frequencies are computed, not learnt.
    let ignored = |name: &str| name.ends_with(".rotary_emb.inv_freq");
    let heads = ["lm_head.weight", "output.weight"].map(|name| names.language(name));
    for name in checkpoint.names().filter(|name| !used.contains(name) && !ignored(name)) {
        let tensor = checkpoint.get(name).expect("the name is from the checkpoint");
        let path = checkpoint.file(tensor).to_owned();
        // A head tied to the embeddings is stored as a copy of them, or not at all.
        let table = ["model.embed_tokens.weight", "model.tok_embeddings.weight"]
            .into_iter()
            .find_map(|table| checkpoint.get(&names.language(table)));
        match table.filter(|_| heads.iter().any(|head| head == name)) {
            Some(table) if is_copy(checkpoint, tensor, table) => {}
            Some(_) => return Err(ConvertError::TiedHead { path, tensor: name.to_owned() }),
            None => return Err(ConvertError::UnexpectedTensor { path, tensor: name.to_owned() }),
        }
    }
    Ok(())
}

/// Whether two tensors have the same shape, type and values.
fn is_copy(checkpoint: &Checkpoint, one: &Tensor, other: &Tensor) -> bool {
    let same = one.shape == other.shape && one.dtype == other.dtype && checkpoint.data(one) == checkpoint.data(other);
    checkpoint.release(one);
    checkpoint.release(other);
    same
}
