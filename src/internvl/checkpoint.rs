//! Reads a model from a Hugging Face directory: `config.json` and safetensors files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use mmprm_quant::blocks::BlockError;
use mmprm_quant::gguf::GgufError;
use mmprm_quant::hf::HfError;
use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::read::without_bom;
use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsError};
use serde_json::Value;

use super::config::{Config, ConfigError};
use super::layout::{Layout, TensorInfo};
use super::parameters::Store;
use crate::util::io::{self, FileError};

/// Maximum size of `config.json`, in bytes.
const MAX_CONFIG: u64 = 16 << 20;

/// Text models, by their `model_type`.
const TEXT_MODELS: [&str; 5] = ["internlm2", "llama", "mistral", "qwen2", "qwen3"];

/// Why a model's configuration or weights could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// `config.json` cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// `config.json` is not valid JSON.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause and its place.
        source: serde_json::Error,
    },
    /// `config.json` does not describe a supported model.
    #[error("{}: {source}", path.display())]
    Config {
        /// The directory.
        path: PathBuf,
        /// The field and what was expected.
        source: ConfigError,
    },
    /// `config.json` of a text model is invalid or not supported.
    #[error(transparent)]
    Text(#[from] HfError),
    /// The GGUF file of a text model has a setting that cannot be trained.
    #[error("{}: {}: {}, expected {}", path.display(), source.field, source.found.as_deref().unwrap_or("missing"), source.expected)]
    GgufConfig {
        /// The file.
        path: PathBuf,
        /// The setting and what was expected.
        source: ConfigError,
    },
    /// A safetensors file is invalid.
    #[error(transparent)]
    Tensors(#[from] SafetensorsError),
    /// The GGUF file of the language model is invalid.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The GGUF file holds a model of another architecture.
    #[error("{}: general.architecture: '{found}', expected '{expected}' by config.json", path.display())]
    Architecture {
        /// The GGUF file.
        path: PathBuf,
        /// Its architecture.
        found: String,
        /// The architecture in `config.json`.
        expected: &'static str,
    },
    /// A tensor that the configuration requires is missing.
    #[error("{}: tensor '{name}': missing, expected shape {expected:?} by config.json", path.display())]
    Missing {
        /// The directory or file that lacks it.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape, in the file's order of dimensions.
        expected: Vec<u64>,
    },
    /// A tensor is not part of the model that the configuration describes.
    #[error("{}: tensor '{name}': not part of the model by config.json, and leaving it out would change the model", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("{}: tensor '{name}': shape {found:?}, expected {expected:?} by config.json", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape, in the file's order of dimensions.
        found: Vec<u64>,
        /// The shape by `config.json`.
        expected: Vec<u64>,
    },
    /// A tensor is not in a supported floating-point format.
    #[error("{}: tensor '{name}': {found}, expected F32, F16 or BF16", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its format.
        found: Dtype,
    },
    /// A tensor of a GGUF file cannot be dequantised.
    #[error("{}: tensor '{name}': {source}", path.display())]
    Dequantise {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The cause.
        source: BlockError,
    },
    /// A tensor is to be trained, but stays quantised in a GGUF file.
    #[error("{}: tensor '{name}': quantised tensors cannot be trained", path.display())]
    NotTrainable {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor cannot be stored in GGUF files.
    #[error("{}: tensor '{name}': GGUF files cannot store this tensor", path.display())]
    NoGgufForm {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
}

/// Reads `config.json` from a directory and lists the tensors of the model.
///
/// # Errors
/// [`WeightsError`] with the file and field.
pub(super) fn read_directory_layout(directory: &Path) -> Result<Arc<Layout>, WeightsError> {
    let json = read_json(directory)?;
    let is_text = json["model_type"].as_str().is_some_and(|name| TEXT_MODELS.contains(&name));
    let config = if is_text { Config::text(&ModelConfig::read(directory)?.language) } else { Config::from_json(&json) };
    let config = config.map_err(|source| WeightsError::Config { path: directory.to_owned(), source })?;
    Ok(Layout::new(&config))
}

pub(super) fn read_json(directory: &Path) -> Result<Value, WeightsError> {
    let path = directory.join("config.json");
    let bytes = io::read(&path, MAX_CONFIG)?;
    serde_json::from_slice(without_bom(&bytes)).map_err(|source| WeightsError::Json { path, source })
}

/// Reads the tensors for which `wanted` is true, as [`read_parameters`] does.
pub(super) fn read_some(
    directory: &Path,
    layout: &Layout,
    wanted: impl Fn(usize) -> bool,
    masters: impl Fn(usize) -> bool,
) -> Result<Vec<Option<Store>>, WeightsError> {
    let checkpoint = Checkpoint::open(directory)?;
    let all = || layout.tensors().iter().enumerate();
    // Shapes are checked first, so that nothing large is read from a checkpoint of another model.
    for (_, tensor) in all().filter(|(index, _)| wanted(*index)) {
        let name = || tensor.name.clone();
        let expected: Vec<u64> = tensor.shape.iter().map(|size| *size as u64).collect();
        let Some(found) = checkpoint.get(&tensor.name) else {
            return Err(WeightsError::Missing { path: directory.to_owned(), name: name(), expected });
        };
        let path = || checkpoint.file(found).to_owned();
        if found.shape != tensor.shape {
            let found = found.shape.iter().map(|size| *size as u64).collect();
            return Err(WeightsError::Shape { path: path(), name: name(), found, expected });
        }
        if !matches!(found.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(WeightsError::Format { path: path(), name: name(), found: found.dtype });
        }
    }
    if let Some(name) = checkpoint.names().find(|name| !is_known(layout, &checkpoint, name)) {
        let path = checkpoint.get(name).map_or(directory, |tensor| checkpoint.file(tensor)).to_owned();
        return Err(WeightsError::Unexpected { path, name: name.to_owned() });
    }
    let read = |(index, info): (usize, &TensorInfo)| {
        let tensor = checkpoint.get(&info.name).filter(|_| wanted(index))?;
        let bytes = checkpoint.data(tensor);
        let master = masters(index) || !info.is_matrix();
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

/// Whether a tensor is part of the model, or can be left out: rotary frequencies, which are
/// computed, and a copy of the embedding matrix as the head that is tied to it.
fn is_known(layout: &Layout, checkpoint: &Checkpoint, name: &str) -> bool {
    let is_copy = || {
        let table = checkpoint.get(&layout.tensors()[layout.embedding()].name);
        match (checkpoint.get(name), table) {
            (Some(head), Some(table)) => {
                let types = head.dtype == table.dtype && head.shape == table.shape;
                types && checkpoint.data(head) == checkpoint.data(table)
            }
            _ => false,
        }
    };
    let own_name = name.strip_prefix("language_model.").unwrap_or(name);
    let is_head = matches!(own_name, "lm_head.weight" | "output.weight");
    layout.index(name).is_some() || name.ends_with(".rotary_emb.inv_freq") || (is_head && is_copy())
}
