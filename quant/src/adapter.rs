//! Low-rank adapters of a checkpoint, in a directory as Python's PEFT writes them.
//!
//! `adapter_config.json` and `adapter_model.safetensors` are read and checked: for each adapted matrix A and B, for each table
//! of tokens the rows that take the place of some of its own, and tensors that are replaced whole. Nothing is known of the
//! base here; whether an adapter fits it is seen by who puts the two together.
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
use crate::hf::{HfError, read_json};
use crate::safetensors::{Checkpoint, Dtype, SafetensorsError, Tensor};

/// The name of an adapter's configuration.
pub const CONFIG: &str = "adapter_config.json";
/// The name of an adapter's tensors.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of the model's tensors.
pub const PREFIX: &str = "base_model.model.";

/// Why an adapter cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The configuration is missing, broken or of another kind.
    #[error(transparent)]
    Config(#[from] HfError),
    /// The tensors' file is broken.
    #[error(transparent)]
    Tensors(#[from] SafetensorsError),
    /// A tensor is not what it should be.
    #[error("{}: tensor '{name}': {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor, or the one of the base that it belongs to.
        name: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// Values `[rows, cols]`, row-major.
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
    /// A row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.cols..][..self.cols]
    }
}

/// What is added to a matrix: `scale · up · down`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// A, `[rank, inputs]`.
    pub down: Matrix,
    /// B, `[outputs, rank]`.
    pub up: Matrix,
}

/// Rows in the place of some of a table's own.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRows {
    /// The tokens, one for each row.
    pub tokens: Vec<u32>,
    /// The rows, `[tokens, width]`.
    pub rows: Matrix,
}

/// A tensor in the place of the base's.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// An adapter; its maps go by the names of the base's tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// The directory.
    pub path: PathBuf,
    /// α: what is added is multiplied by this over the rank.
    pub alpha: f64,
    /// For adapted matrices.
    pub pairs: BTreeMap<String, Pair>,
    /// For tables of tokens.
    pub rows: BTreeMap<String, TokenRows>,
    /// For tensors that are replaced.
    pub whole: BTreeMap<String, Whole>,
}

/// Whether a directory has an adapter in it.
pub fn is_adapter(directory: &Path) -> bool {
    directory.join(CONFIG).exists()
}

impl Adapter {
    /// Reads an adapter's directory.
    ///
    /// # Errors
    /// [`AdapterError`] with the file and the key or tensor.
    ///
    /// # Panics
    /// Never: names are the file's own.
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
            whole: BTreeMap::new(),
        };
        let wrong =
            |name: &str, problem: String| AdapterError::Tensor { path: file.clone(), name: name.into(), problem };
        for full in checkpoint.names() {
            let tensor = checkpoint.get(full).expect("the name is the checkpoint's");
            let values = floats(&checkpoint, tensor)
                .ok_or_else(|| wrong(full, format!("{:?}, expected F32, F16 or BF16", tensor.dtype)))?;
            let Some(name) = full.strip_prefix(PREFIX) else {
                return Err(wrong(full, format!("expected a name that begins with {PREFIX}")));
            };
            let matrix = |values: Vec<f32>| match *tensor.shape {
                [rows, cols] if rows > 0 && cols > 0 => Ok(Matrix { rows, cols, values }),
                _ => Err(wrong(full, format!("shape {:?}, expected a matrix", tensor.shape))),
            };
            if let Some(module) = name.strip_suffix(".lora_A.weight") {
                let other = format!("{PREFIX}{module}.lora_B.weight");
                let up = checkpoint.get(&other).ok_or_else(|| wrong(&other, "missing beside its lora_A".into()))?;
                let down = matrix(values)?;
                let up = match (up.shape.as_slice(), floats(&checkpoint, up)) {
                    (&[rows, cols], Some(values)) if cols == down.rows && rows > 0 => Matrix { rows, cols, values },
                    _ => {
                        return Err(wrong(
                            &other,
                            format!("{:?} {:?}, expected floats [outputs, {}]", up.dtype, up.shape, down.rows),
                        ));
                    }
                };
                adapter.pairs.insert(format!("{module}.weight"), Pair { down, up });
            } else if let Some(module) = name.strip_suffix(".lora_B.weight") {
                let other = format!("{PREFIX}{module}.lora_A.weight");
                checkpoint.get(&other).ok_or_else(|| wrong(&other, "missing beside its lora_B".into()))?;
            } else if let Some(module) = name.strip_suffix(".token_adapter.trainable_tokens_delta") {
                let rows = matrix(values)?;
                let tokens = tokens(&config, module).filter(|tokens| tokens.len() == rows.rows).ok_or_else(|| {
                    wrong(
                        full,
                        format!("{} rows, expected as many as `trainable_token_indices` has tokens for it", rows.rows),
                    )
                })?;
                adapter.rows.insert(format!("{module}.weight"), TokenRows { tokens, rows });
            } else {
                adapter.whole.insert(name.to_owned(), Whole { shape: tensor.shape.clone(), values });
            }
        }
        Ok(adapter)
    }

    /// The factor of a pair.
    pub fn scale(&self, pair: &Pair) -> f32 {
        (self.alpha / pair.down.rows as f64) as f32
    }

    /// An error about a tensor of this adapter.
    pub fn wrong(&self, name: &str, problem: impl Into<String>) -> AdapterError {
        AdapterError::Tensor { path: self.path.join(WEIGHTS), name: name.to_owned(), problem: problem.into() }
    }
}

/// Refuses what is not plain low-rank adaptation; gives α.
fn check(config: &Value, path: &Path) -> Result<f64, HfError> {
    let invalid = |key: &str, problem: String| Err(HfError::invalid(path, key, problem));
    if config["peft_type"] != "LORA" {
        return invalid("peft_type", format!("{}, expected \"LORA\"", config["peft_type"]));
    }
    for key in ["use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "layer_replication"] {
        let value = &config[key];
        let is_off = value.is_null() || *value == false || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !is_off {
            return invalid(key, format!("{value}, which is not supported; expected it off"));
        }
    }
    if !(config["bias"].is_null() || config["bias"] == "none") {
        return invalid("bias", format!("{}, expected \"none\"", config["bias"]));
    }
    match config["lora_alpha"].as_f64().filter(|alpha| alpha.is_finite() && *alpha > 0.0) {
        Some(alpha) => Ok(alpha),
        None => invalid("lora_alpha", format!("{}, expected more than 0", config["lora_alpha"])),
    }
}

/// The tokens that have rows in a table: listed for all tables, or by the last part of the module's name.
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

/// A tensor's values, if they are floats.
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
