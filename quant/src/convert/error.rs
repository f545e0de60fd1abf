//! Why a checkpoint cannot be converted.

use std::path::PathBuf;

use crate::adapter::AdapterError;
use crate::blocks::BlockError;
use crate::gguf::GgufError;
use crate::hf::HfError;
use crate::safetensors::{Dtype, SafetensorsError};

/// An error of planning or writing a conversion; every message names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The configuration or tokenizer.
    #[error(transparent)]
    Hf(#[from] HfError),
    /// The tensors' container.
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
    /// The file being written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The directory has no name that files could be called after.
    #[error("{}: has no name to call the files after", path.display())]
    NoName {
        /// The directory.
        path: PathBuf,
    },
    /// A tensor the architecture has is not there.
    #[error("{}: tensor '{tensor}': missing, expected shape {expected:?}", path.display())]
    MissingTensor {
        /// The directory.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape according to the configuration.
        expected: Vec<u64>,
    },
    /// A tensor's shape is not what the configuration says.
    #[error("{}: tensor '{tensor}': shape {found:?}, expected {expected:?} from config.json", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// Its shape according to the configuration.
        expected: Vec<u64>,
    },
    /// A tensor's element type is not one of the floats that weights come in.
    #[error("{}: tensor '{tensor}': {found}, expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: Dtype,
    },
    /// A tensor larger than a file can hold.
    #[error("{}: tensor '{tensor}': shape {shape:?} exceeds 2^63 bytes", path.display())]
    TooLarge {
        /// The directory.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape according to the configuration.
        shape: Vec<u64>,
    },
    /// A tensor that no part of the architecture has a place for.
    #[error("{}: tensor '{tensor}': not part of this architecture, and dropping it would change the model", path.display())]
    UnexpectedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A value that the chosen type cannot hold.
    #[error("{}: tensor '{tensor}': {source}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Which value.
        source: BlockError,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}
