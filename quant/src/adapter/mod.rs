//! Reads low-rank adapters (`LoRA`) in the directory format of Python's PEFT.
//!
//! Reads and validates `adapter_config.json` and `adapter_model.safetensors`: A and B of each
//! adapted matrix, retrained rows of token tables (`trainable_token_indices`), and fully trained
//! tensors (`modules_to_save`). Conversion, merging and training read adapters here, so that all
//! refuse the same settings and tensors. Whether an adapter matches its base is checked where the two are
//! combined: [`crate::convert::adapter`] and merging in `mmprm`.
//!
//! ```
//! use mmprm_quant::adapter::{Adapter, AdapterError};
//! let dir = tempfile::tempdir().unwrap();
//! std::fs::write(dir.path().join("adapter_config.json"), r#"{"peft_type": "PROMPT_TUNING"}"#).unwrap();
//! let error = Adapter::open(dir.path()).unwrap_err();
//! assert!(error.to_string().ends_with(r#"peft_type: "PROMPT_TUNING", expected "LORA""#), "{error}");
//! ```

mod settings;
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use settings::Settings;

use crate::hf::{HfError, present, read_json};
use crate::safetensors::SafetensorsError;

/// File name of an adapter's configuration.
pub const CONFIG: &str = "adapter_config.json";
/// File name of an adapter's tensors.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// PEFT's prefix of the model's tensor names.
pub const PREFIX: &str = "base_model.model.";

/// An error of reading an adapter, or of combining it with its base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The configuration is missing, invalid or of another method.
    #[error(transparent)]
    Config(#[from] HfError),
    /// The tensors cannot be read.
    #[error(transparent)]
    Tensors(#[from] SafetensorsError),
    /// A tensor has an unexpected name, type or shape.
    #[error("{}: tensor '{name}': {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor, or the base's tensor that it adapts.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
}

/// A matrix `[rows, cols]`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// The values.
    pub values: Vec<f32>,
}

impl Matrix {
    /// Returns a row.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.cols..][..self.cols]
    }
}

/// The two factors of an adapted matrix, to which `scale · up · down` is added.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// A, `[rank, inputs]`.
    pub down: Matrix,
    /// B, `[outputs, rank]`.
    pub up: Matrix,
    /// Factor of the product: α over the rank, or over its square root (rank-stabilised `LoRA`).
    pub scale: f64,
}

/// Retrained rows of a token table; they replace those of the base.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRows {
    /// Token ids, one per row.
    pub tokens: Vec<u32>,
    /// The rows, `[tokens, width]`.
    pub rows: Matrix,
}

/// A fully trained tensor; it replaces the base's.
#[derive(Debug, Clone, PartialEq)]
pub struct FullTensor {
    /// Shape.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// An adapter; its maps are keyed by the names of the base's tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// The directory.
    pub path: PathBuf,
    /// α, from which the scale of each pair follows unless the adapter has others per module.
    pub alpha: f64,
    /// Adapted matrices.
    pub pairs: BTreeMap<String, Pair>,
    /// Token tables with retrained rows.
    pub rows: BTreeMap<String, TokenRows>,
    /// Fully trained tensors.
    pub full_tensors: BTreeMap<String, FullTensor>,
}

/// Returns whether a directory contains an adapter.
pub fn is_adapter(directory: &Path) -> bool {
    present(&directory.join(CONFIG))
}

impl Adapter {
    /// Reads an adapter's directory.
    ///
    /// # Errors
    /// [`AdapterError`] with the file and the key or tensor.
    pub fn open(directory: &Path) -> Result<Self, AdapterError> {
        let config_path = directory.join(CONFIG);
        let settings = Settings::read(&read_json(&config_path)?, &config_path)?;
        let mut adapter = Self {
            path: directory.to_owned(),
            alpha: settings.alpha,
            pairs: BTreeMap::new(),
            rows: BTreeMap::new(),
            full_tensors: BTreeMap::new(),
        };
        tensors::read(&mut adapter, &settings, &directory.join(WEIGHTS))?;
        if adapter.pairs.is_empty() && adapter.rows.is_empty() && adapter.full_tensors.is_empty() {
            let problem = "none, expected the tensors of an adapter";
            return Err(HfError::invalid(&directory.join(WEIGHTS), "tensors", problem).into());
        }
        let full: Vec<&str> = adapter.full_tensors.keys().map(String::as_str).collect();
        if let Some((key, problem)) = settings.without_tensors(&full, adapter.rows.len()) {
            return Err(HfError::invalid(&config_path, key, problem).into());
        }
        Ok(adapter)
    }

    /// Returns the factor of a pair's product, usually α over the rank.
    pub fn scale(&self, pair: &Pair) -> f32 {
        pair.scale as f32
    }

    /// Returns an error about a tensor of this adapter.
    #[doc(hidden)]
    pub fn tensor_error(&self, name: &str, problem: impl Into<String>) -> AdapterError {
        AdapterError::Tensor { path: self.path.join(WEIGHTS), name: name.to_owned(), problem: problem.into() }
    }
}
