//! The base of an adapter: a checkpoint, or the GGUF file of a text model.

use std::path::{Path, PathBuf};

use super::error::ConvertError;
use super::language;
use super::names::Names;
use super::options::WeightType;
use super::planned::PlannedTensor;
use crate::blocks::{BlockError, GgmlType, dequantize_row};
use crate::check::language_config;
use crate::gguf::GgufFile;
use crate::hf::config::{LanguageConfig, ModelConfig, TensorNames};
use crate::safetensors::{Checkpoint, Dtype};

/// The base of an adapter.
pub(super) struct Base {
    /// The language model's configuration.
    pub language: LanguageConfig,
    path: PathBuf,
    weights: Weights,
}

enum Weights {
    Checkpoint { checkpoint: Checkpoint, names: Names, has_vision: bool },
    Gguf(GgufFile),
}

impl Base {
    /// Opens a directory or a file.
    pub fn open(path: &Path) -> Result<Self, ConvertError> {
        if path.is_file() {
            let file = GgufFile::open(path)?;
            let language = language_config(&file)?;
            return Ok(Self { language, path: path.to_owned(), weights: Weights::Gguf(file) });
        }
        let ModelConfig { names, language, vision, .. } = ModelConfig::read(path)?;
        let checkpoint = Checkpoint::open(path)?;
        let names = Names::of(names, Some(&checkpoint));
        let weights = Weights::Checkpoint { checkpoint, names, has_vision: vision.is_some() };
        Ok(Self { language, path: path.to_owned(), weights })
    }

    /// Plans the language model's tensors, with the names and rows that they have in a checkpoint.
    pub fn map(&self, weight_type: WeightType) -> Result<Vec<PlannedTensor>, ConvertError> {
        let (checkpoint, names) = match &self.weights {
            Weights::Checkpoint { checkpoint, names, .. } => (Some(checkpoint), *names),
            Weights::Gguf(_) => (None, Names::of(TensorNames::Text, None)),
        };
        language::map(checkpoint, &self.path, names, &self.language, weight_type)
    }

    /// Whether the base has a tensor that is converted to the mmproj file.
    pub fn is_in_mmproj(&self, name: &str) -> bool {
        match &self.weights {
            Weights::Checkpoint { checkpoint, names, has_vision } => {
                *has_vision && !names.is_language(name) && checkpoint.get(name).is_some()
            }
            Weights::Gguf(_) => false,
        }
    }

    /// Returns a row of an embedding or a head, which conversion does not reorder.
    ///
    /// # Errors
    /// [`BlockError`] for a type that cannot be dequantised.
    pub fn row(&self, target: &PlannedTensor, row: usize, width: usize) -> Result<Vec<f32>, BlockError> {
        let (ggml_type, data) = match &self.weights {
            Weights::Checkpoint { checkpoint, .. } => {
                let source = checkpoint.get(&target.source).expect("planned from this checkpoint");
                let ggml_type = match source.dtype {
                    Dtype::F16 => GgmlType::F16,
                    Dtype::BF16 => GgmlType::BF16,
                    _ => GgmlType::F32,
                };
                (ggml_type, checkpoint.data(source))
            }
            Weights::Gguf(file) => {
                let source = file.tensor(&target.spec.name).expect("checked with the file");
                (source.ggml_type, file.tensor_data(source))
            }
        };
        let bytes = ggml_type.row_bytes(width).expect("rows are whole blocks");
        let mut values = vec![0.0; width];
        dequantize_row(ggml_type, &data[row * bytes..][..bytes], &mut values)?;
        Ok(values)
    }
}
