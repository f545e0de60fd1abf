//! Reading a model from a Hugging Face directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use mmprm_quant::gguf::GgufError;
use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsError};

use super::config::{Config, ConfigError};
use super::layout::{Layout, TensorInfo};
use super::parameters::{Parameters, Store};

/// Largest `config.json` that is read, in bytes.
const MAX_CONFIG: u64 = 16 << 20;

/// Why a model could not be read from its directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The configuration cannot be opened or read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is no JSON.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The configuration is not one of this model.
    #[error("{}: {source}", path.display())]
    Config {
        /// The directory.
        path: PathBuf,
        /// The field and what is wrong with it.
        source: ConfigError,
    },
    /// The tensors' files are broken.
    #[error(transparent)]
    Tensors(#[from] SafetensorsError),
    /// The language model's file is broken.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A tensor that the configuration asks for is missing, or another than it says.
    #[error("{}: tensor '{name}': {problem}", path.display())]
    Tensor {
        /// The directory, or the tensor's file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// Read the configuration of the model in a directory, and with it the list of its tensors.
///
/// ```
/// use mmprm::internvl::{CheckpointError, read_layout};
/// let directory = tempfile::tempdir().unwrap();
/// assert!(matches!(read_layout(directory.path()), Err(CheckpointError::Read { .. })));
/// ```
///
/// # Errors
/// [`CheckpointError`] with the file and field.
pub fn read_layout(directory: &Path) -> Result<Arc<Layout>, CheckpointError> {
    let path = directory.join("config.json");
    let fail = |source| CheckpointError::Read { path: path.clone(), source };
    let length = std::fs::metadata(&path).map_err(fail)?.len();
    if length > MAX_CONFIG {
        let problem = format!("{length} bytes, expected at most {MAX_CONFIG}");
        return Err(fail(std::io::Error::new(std::io::ErrorKind::FileTooLarge, problem)));
    }
    let text = std::fs::read(&path).map_err(fail)?;
    let json = serde_json::from_slice(&text).map_err(|source| CheckpointError::Json { path: path.clone(), source })?;
    let config = Config::from_json(&json);
    let config = config.map_err(|source| CheckpointError::Config { path: directory.to_owned(), source })?;
    Ok(Layout::new(&config))
}

/// Read the values of a model's tensors from its directory: as `f32` those of which `masters` is true and all vectors, frozen
/// matrices in the format of the file.
///
/// Tensors that the model does not have are left alone.
///
/// # Errors
/// [`CheckpointError`] with the file and the tensor: missing, of another shape, not of floating point numbers, or broken.
pub fn read_parameters(
    directory: &Path,
    layout: &Arc<Layout>,
    masters: impl Fn(usize) -> bool,
) -> Result<Parameters, CheckpointError> {
    let mut stores = read_some(directory, layout, |_| true, masters)?;
    Parameters::load(layout, |number| Ok(stores[number].take().unwrap_or_else(|| unreachable!("all are wanted"))))
}

/// The values of the tensors that are wanted, as [`read_parameters`] gives them.
pub(super) fn read_some(
    directory: &Path,
    layout: &Layout,
    wanted: impl Fn(usize) -> bool,
    masters: impl Fn(usize) -> bool,
) -> Result<Vec<Option<Store>>, CheckpointError> {
    let checkpoint = Checkpoint::open(directory)?;
    let all = || layout.tensors().iter().enumerate();
    // Shapes first, so that nothing large is read for a checkpoint that does not fit.
    for (_, tensor) in all().filter(|(number, _)| wanted(*number)) {
        let wrong = |path: &Path, problem: String| CheckpointError::Tensor {
            path: path.to_owned(),
            name: tensor.name.clone(),
            problem,
        };
        let Some(found) = checkpoint.get(&tensor.name) else {
            return Err(wrong(directory, format!("missing, expected {:?}", tensor.shape)));
        };
        if found.shape != tensor.shape {
            let problem = format!("shape {:?}, expected {:?} by config.json", found.shape, tensor.shape);
            return Err(wrong(checkpoint.file(found), problem));
        }
        if !matches!(found.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let problem = format!("{:?}, expected F32, F16 or BF16", found.dtype);
            return Err(wrong(checkpoint.file(found), problem));
        }
    }
    let read = |(number, info): (usize, &TensorInfo)| {
        let tensor = checkpoint.get(&info.name).filter(|_| wanted(number))?;
        let bytes = checkpoint.data(tensor);
        let master = masters(number) || !info.is_matrix();
        let halves = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let store = match (tensor.dtype, master) {
            (Dtype::F16, true) => Store::F32(halves.map(|bits| f16::from_bits(bits).to_f32()).collect()),
            (Dtype::F16, false) => Store::F16(halves.map(f16::from_bits).collect()),
            (Dtype::BF16, true) => Store::F32(halves.map(|bits| bf16::from_bits(bits).to_f32()).collect()),
            (Dtype::BF16, false) => Store::Bf16(halves.map(bf16::from_bits).collect()),
            _ => Store::F32(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        };
        checkpoint.release(tensor);
        Some(store)
    };
    Ok(all().map(read).collect())
}
