//! Errors of conversion.

use std::path::PathBuf;

use crate::adapter::AdapterError;
use crate::blocks::BlockError;
use crate::gguf::GgufError;
use crate::hf::HfError;
use crate::safetensors::{Dtype, SafetensorsError};

/// An error of planning or writing a conversion. Every message names the file and the key or
/// tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The configuration or tokenizer cannot be read.
    #[error(transparent)]
    Hf(#[from] HfError),
    /// The tensors cannot be read.
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
    /// The GGUF file cannot be written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The adapter is invalid or does not match the base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The directory has no name (it is a root), so the files have none.
    #[error("{}: a directory without a name, expected one that names the files", path.display())]
    NoName {
        /// The directory.
        path: PathBuf,
    },
    /// A PRM form for a checkpoint that was trained as a policy.
    #[error("{}: this checkpoint was trained as a policy, which has no PRM form", path.display())]
    Policy {
        /// The file that says so.
        path: PathBuf,
    },
    /// A tensor of the architecture is missing.
    #[error("{}: tensor '{tensor}': missing, expected shape {expected:?}", path.display())]
    MissingTensor {
        /// The directory.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape according to the configuration.
        expected: Vec<u64>,
    },
    /// A tensor's shape contradicts the configuration.
    #[error("{}: tensor '{tensor}': shape {found:?}, expected {expected:?} from config.json", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape according to the configuration.
        expected: Vec<u64>,
    },
    /// A tensor's element type is not a supported float.
    #[error("{}: tensor '{tensor}': {found}, expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type found.
        found: Dtype,
    },
    /// A tensor of 2^63 bytes or more.
    #[error("{}: tensor '{tensor}': shape {shape:?} exceeds 2^63 bytes", path.display())]
    TooLarge {
        /// The directory.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape according to the configuration.
        shape: Vec<u64>,
    },
    /// A tensor that is not part of the architecture.
    #[error("{}: tensor '{tensor}': not part of this architecture, and dropping it would change the model", path.display())]
    UnexpectedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A head that the configuration does not use, with other values than the embeddings.
    #[error(
        "{}: tensor '{tensor}': differs from the embeddings, expected their copy because config.json ties the head to them",
        path.display()
    )]
    TiedHead {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor cannot be converted to the chosen type.
    #[error("{}: tensor '{tensor}': {source}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The value or type, and the reason.
        source: BlockError,
    },
    /// The result would be refused on loading.
    #[error("{}: gives a model that cannot be loaded, because of its {part}: {found}, expected {expected}", path.display())]
    Unloadable {
        /// The file or directory of the checkpoint that the part comes from.
        path: PathBuf,
        /// The key or tensor of the GGUF file.
        part: String,
        /// What it would be.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}
