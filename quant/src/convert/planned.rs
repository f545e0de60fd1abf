//! The files and tensors of a conversion, before anything is written.

use std::path::{Path, PathBuf};

use super::error::ConvertError;
use super::rows::RowMap;
use crate::gguf::{Metadata, TensorSpec};
use crate::hf::HfError;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTensor {
    /// Name, dimensions and type in the GGUF file.
    pub spec: TensorSpec,
    /// Name of the source tensor in the checkpoint, or the file from which the tensor is computed.
    pub source: String,
    /// Shape of the source.
    pub(super) shape: Vec<u64>,
    pub(super) size: u64,
    pub(super) rows: RowMap,
    /// The values of a tensor that is computed.
    pub(super) values: Option<Vec<f32>>,
}

impl PlannedTensor {
    /// Returns the size of the data in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the number of elements.
    pub(super) fn elements(&self) -> u64 {
        self.spec.dims.iter().product()
    }
}

/// A GGUF file to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFile {
    /// Path.
    pub path: PathBuf,
    /// Metadata.
    pub metadata: Metadata,
    /// Tensors, in file order.
    pub tensors: Vec<PlannedTensor>,
}

impl PlannedFile {
    /// Returns the size of all tensors in bytes, without padding.
    pub fn data_size(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::size).sum()
    }
}

/// Returns the name of the files: that of the checkpoint directory.
pub(super) fn model_name(checkpoint: &Path) -> Result<String, ConvertError> {
    let absolute = checkpoint.canonicalize().map_err(|source| HfError::Read { path: checkpoint.to_owned(), source })?;
    match absolute.file_name() {
        Some(name) => Ok(name.to_string_lossy().into_owned()),
        None => Err(ConvertError::NoName { path: checkpoint.to_owned() }),
    }
}
