//! `adapter_model.safetensors`: the tensors of an adapter, each of which must be understood.

use std::path::Path;

use super::settings::Settings;
use super::{Adapter, AdapterError, FullTensor, Matrix, PREFIX, Pair, TokenRows};
use crate::blocks::{GgmlType, dequantize_row};
use crate::safetensors::{Checkpoint, Dtype, Tensor};

/// Parts of the names of tensors that belong to a variant of `LoRA` or to PEFT's wrappers, and what
/// they are. Taken for a fully trained tensor, they would be left out.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("lora_magnitude_vector", "the magnitude of DoRA"),
    ("lora_embedding_", "an adapter of an embedding"),
    ("lora_A.bias", "the bias of an adapter"),
    ("lora_B.bias", "the bias of an adapter"),
    ("lora_A.", "a name with that of the adapter, expected lora_A.weight, as PEFT saves it"),
    ("lora_B.", "a name with that of the adapter, expected lora_B.weight, as PEFT saves it"),
    ("base_layer", "a tensor of the base inside PEFT's wrapper"),
    ("original_module", "a tensor of the base inside PEFT's wrapper"),
    ("modules_to_save", "a tensor inside PEFT's wrapper"),
    ("trainable_tokens_", "rows of tokens under another name"),
    ("token_adapter", "rows of tokens under another name"),
    ("lora_", "a tensor of another variant of LoRA"),
];

/// Adds the tensors of a file to an adapter.
pub(super) fn read(adapter: &mut Adapter, settings: &Settings, path: &Path) -> Result<(), AdapterError> {
    let checkpoint = Checkpoint::open_file(path)?;
    let reader = Reader { checkpoint: &checkpoint, path };
    for full in checkpoint.names() {
        let Some(tensor) = checkpoint.get(full) else { continue };
        let values = reader.floats(full, tensor)?;
        let Some(name) = full.strip_prefix(PREFIX) else {
            return Err(reader.wrong(full, format!("expected a name that begins with {PREFIX}")));
        };
        if let Some(module) = name.strip_suffix(".lora_A.weight") {
            let down = reader.matrix(full, tensor, values)?;
            let up = reader.up(&format!("{PREFIX}{module}.lora_B.weight"), down.rows)?;
            settings.check(module, down.rows).map_err(|problem| reader.wrong(full, problem))?;
            let rank = down.rows as f64;
            let divisor = if settings.rank_stabilised { rank.sqrt() } else { rank };
            let scale = settings.alpha(module) / divisor;
            adapter.pairs.insert(format!("{module}.weight"), Pair { down, up, scale });
        } else if let Some(module) = name.strip_suffix(".lora_B.weight") {
            let other = format!("{PREFIX}{module}.lora_A.weight");
            let missing = || reader.wrong(&other, "missing, expected next to its lora_B".into());
            checkpoint.get(&other).ok_or_else(missing)?;
        } else if let Some(module) = name.strip_suffix(".token_adapter.trainable_tokens_delta") {
            let rows = reader.matrix(full, tensor, values)?;
            let tokens = settings.tokens(module).filter(|tokens| tokens.len() == rows.rows).ok_or_else(|| {
                let problem = format!("{} rows, expected one per token of `trainable_token_indices`", rows.rows);
                reader.wrong(full, problem)
            })?;
            adapter.rows.insert(format!("{module}.weight"), TokenRows { tokens, rows });
        } else if let Some((_, what)) = UNSUPPORTED.iter().find(|(part, _)| name.contains(part)) {
            return Err(reader.wrong(full, format!("{what}; not supported")));
        } else {
            adapter.full_tensors.insert(name.to_owned(), FullTensor { shape: tensor.shape.clone(), values });
        }
    }
    Ok(())
}

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, name: &str, problem: String) -> AdapterError {
        AdapterError::Tensor { path: self.path.to_owned(), name: name.to_owned(), problem }
    }

    /// Returns the values of a tensor of floats.
    fn floats(&self, name: &str, tensor: &Tensor) -> Result<Vec<f32>, AdapterError> {
        let wrong = || self.wrong(name, format!("{}, expected F32, F16 or BF16", tensor.dtype));
        let ggml_type = float_type(tensor.dtype).ok_or_else(wrong)?;
        let mut values = vec![0.0; tensor.shape.iter().product()];
        dequantize_row(ggml_type, self.checkpoint.data(tensor), &mut values).map_err(|_| wrong())?;
        Ok(values)
    }

    fn matrix(&self, name: &str, tensor: &Tensor, values: Vec<f32>) -> Result<Matrix, AdapterError> {
        match *tensor.shape {
            [rows, cols] if rows > 0 && cols > 0 => Ok(Matrix { rows, cols, values }),
            _ => Err(self.wrong(name, format!("shape {:?}, expected a matrix", tensor.shape))),
        }
    }

    /// Returns B of a pair whose A has this rank.
    fn up(&self, name: &str, rank: usize) -> Result<Matrix, AdapterError> {
        let missing = || self.wrong(name, "missing, expected next to its lora_A".into());
        let tensor = self.checkpoint.get(name).ok_or_else(missing)?;
        let wrong = || {
            let problem = format!("{} {:?}, expected floats [outputs, {rank}]", tensor.dtype, tensor.shape);
            self.wrong(name, problem)
        };
        match *tensor.shape {
            [rows, cols] if cols == rank && rows > 0 && float_type(tensor.dtype).is_some() => {
                Ok(Matrix { rows, cols, values: self.floats(name, tensor)? })
            }
            _ => Err(wrong()),
        }
    }
}

fn float_type(dtype: Dtype) -> Option<GgmlType> {
    match dtype {
        Dtype::F32 => Some(GgmlType::F32),
        Dtype::F16 => Some(GgmlType::F16),
        Dtype::BF16 => Some(GgmlType::BF16),
        _ => None,
    }
}
