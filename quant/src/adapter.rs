//! Reads low-rank adapters (`LoRA`) in the directory format of Python's PEFT.
//!
//! Reads and validates `adapter_config.json` and `adapter_model.safetensors`: A and B of each
//! adapted matrix, retrained rows of token tables (`trainable_token_indices`), and fully trained
//! tensors (`modules_to_save`). Whether an adapter matches its base is checked where the two are
//! combined: [`crate::convert::adapter`] and merging in `mmprm`.
//!
//! ```
//! use mmprm_quant::adapter::{Adapter, AdapterError};
//! let dir = tempfile::tempdir().unwrap();
//! std::fs::write(dir.path().join("adapter_config.json"), r#"{"peft_type": "PROMPT_TUNING"}"#).unwrap();
//! let error = Adapter::open(dir.path()).unwrap_err();
//! assert!(error.to_string().ends_with(r#"peft_type: "PROMPT_TUNING", expected "LORA""#), "{error}");
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::blocks::{GgmlType, dequantize_row};
use crate::hf::{HfError, present, read_json};
use crate::safetensors::{Checkpoint, Dtype, SafetensorsError, Tensor};

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
    /// α: the product of the factors is scaled by α over the rank.
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
        let config: Value = read_json(&config_path)?;
        let alpha = check(&config, &config_path)?;
        let file = directory.join(WEIGHTS);
        let checkpoint = Checkpoint::open_file(&file)?;
        let mut adapter = Self {
            path: directory.to_owned(),
            alpha,
            pairs: BTreeMap::new(),
            rows: BTreeMap::new(),
            full_tensors: BTreeMap::new(),
        };
        let wrong =
            |name: &str, problem: String| AdapterError::Tensor { path: file.clone(), name: name.into(), problem };
        for full in checkpoint.names() {
            let Some(tensor) = checkpoint.get(full) else { continue };
            let values = floats(&checkpoint, tensor)
                .ok_or_else(|| wrong(full, format!("{}, expected F32, F16 or BF16", tensor.dtype)))?;
            let Some(name) = full.strip_prefix(PREFIX) else {
                return Err(wrong(full, format!("expected a name that begins with {PREFIX}")));
            };
            let matrix = |values: Vec<f32>| match *tensor.shape {
                [rows, cols] if rows > 0 && cols > 0 => Ok(Matrix { rows, cols, values }),
                _ => Err(wrong(full, format!("shape {:?}, expected a matrix", tensor.shape))),
            };
            if let Some(module) = name.strip_suffix(".lora_A.weight") {
                let other = format!("{PREFIX}{module}.lora_B.weight");
                let up = checkpoint
                    .get(&other)
                    .ok_or_else(|| wrong(&other, "missing, expected next to its lora_A".into()))?;
                let down = matrix(values)?;
                let up = match (up.shape.as_slice(), floats(&checkpoint, up)) {
                    (&[rows, cols], Some(values)) if cols == down.rows && rows > 0 => Matrix { rows, cols, values },
                    _ => {
                        return Err(wrong(
                            &other,
                            format!("{} {:?}, expected floats [outputs, {}]", up.dtype, up.shape, down.rows),
                        ));
                    }
                };
                adapter.pairs.insert(format!("{module}.weight"), Pair { down, up });
            } else if let Some(module) = name.strip_suffix(".lora_B.weight") {
                let other = format!("{PREFIX}{module}.lora_A.weight");
                checkpoint.get(&other).ok_or_else(|| wrong(&other, "missing, expected next to its lora_B".into()))?;
            } else if let Some(module) = name.strip_suffix(".token_adapter.trainable_tokens_delta") {
                let rows = matrix(values)?;
                let tokens = tokens(&config, module).filter(|tokens| tokens.len() == rows.rows).ok_or_else(|| {
                    wrong(full, format!("{} rows, expected one per token of `trainable_token_indices`", rows.rows))
                })?;
                adapter.rows.insert(format!("{module}.weight"), TokenRows { tokens, rows });
            } else {
                adapter.full_tensors.insert(name.to_owned(), FullTensor { shape: tensor.shape.clone(), values });
            }
        }
        Ok(adapter)
    }

    /// Returns the scale of a pair, α / rank.
    pub fn scale(&self, pair: &Pair) -> f32 {
        (self.alpha / pair.down.rows as f64) as f32
    }

    /// Returns an error about a tensor of this adapter.
    #[doc(hidden)]
    pub fn tensor_error(&self, name: &str, problem: impl Into<String>) -> AdapterError {
        AdapterError::Tensor { path: self.path.join(WEIGHTS), name: name.to_owned(), problem: problem.into() }
    }
}

/// Refuses configurations other than plain `LoRA`; returns α.
fn check(config: &Value, path: &Path) -> Result<f64, HfError> {
    let invalid = |key: &str, problem: String| Err(HfError::invalid(path, key, problem));
    if config["peft_type"] != "LORA" {
        return invalid("peft_type", format!("{}, expected \"LORA\"", config["peft_type"]));
    }
    for key in ["use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "layer_replication"] {
        let value = &config[key];
        let is_off = value.is_null() || *value == false || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !is_off {
            return invalid(key, format!("{value}, which is not supported; expected it to be off"));
        }
    }
    if !(config["bias"].is_null() || config["bias"] == "none") {
        return invalid("bias", format!("{}, expected \"none\"", config["bias"]));
    }
    match config["lora_alpha"].as_f64().filter(|alpha| alpha.is_finite() && *alpha > 0.0) {
        Some(alpha) => Ok(alpha),
        None => invalid("lora_alpha", format!("{}, expected a positive number", config["lora_alpha"])),
    }
}

/// Returns the tokens with rows in a table: one list for all tables, or lists keyed by the end of
/// the module's name.
fn tokens(config: &Value, module: &str) -> Option<Vec<u32>> {
    let listed = &config["trainable_token_indices"];
    let list = match listed {
        Value::Object(tables) => {
            tables
                .iter()
                .find(|(name, _)| {
                    module == name.as_str()
                        || module.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
                })?
                .1
        }
        list => list,
    };
    list.as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// Returns a tensor's values if they are floats.
fn floats(checkpoint: &Checkpoint, tensor: &Tensor) -> Option<Vec<f32>> {
    let ggml_type = match tensor.dtype {
        Dtype::F32 => GgmlType::F32,
        Dtype::F16 => GgmlType::F16,
        Dtype::BF16 => GgmlType::BF16,
        _ => return None,
    };
    let mut values = vec![0.0; tensor.shape.iter().product()];
    dequantize_row(ggml_type, checkpoint.data(tensor), &mut values).ok()?;
    Some(values)
}
