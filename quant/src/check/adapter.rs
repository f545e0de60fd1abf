//! GGUF adapters: the two factors of each matrix match each other and the base.

use super::keys::{unsound, unsound_key};
use crate::blocks::GgmlType;
use crate::gguf::{GgufError, GgufFile, GgufValue, TensorInfo};

/// The embedding: llama.cpp looks up rows of A instead of multiplying by it.
const EMBEDDING: &str = "token_embd.weight";

/// Checks an adapter of the model in `base`. llama.cpp checks A and B of most tensors, but not
/// those of the embedding, nor adapters of a table that is both embedding and head.
///
/// # Errors
/// [`GgufError`] with the key or tensor and the expected value.
pub fn adapter(file: &GgufFile, base: &GgufFile) -> Result<(), GgufError> {
    let arch = base.get_str("general.architecture")?;
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", arch)] {
        let found = file.get_str(key)?;
        if found != expected {
            return Err(unsound_key(file, key, format!("'{found}', expected '{expected}'")));
        }
    }
    let key = "adapter.lora.alpha";
    file.get_f32(key)?;
    if !matches!(file.get(key), Some(GgufValue::F32(alpha)) if alpha.is_finite()) {
        return Err(unsound_key(file, key, "expected a finite f32".to_owned()));
    }
    let key = "adapter.alora.invocation_tokens";
    if file.get(key).is_some() {
        return Err(unsound_key(
            file,
            key,
            "found, expected none: adapters activated by tokens are not supported".to_owned(),
        ));
    }
    let known = ["adapter.type", "adapter.lora.alpha", "adapter.lora.task_name"];
    if let Some((key, value)) =
        file.metadata().iter().find(|(key, _)| key.starts_with("adapter.") && !known.contains(&key.as_str()))
    {
        return Err(unsound_key(file, key, format!("{value}, expected none: this setting is not supported")));
    }
    file.tensors().iter().try_for_each(|tensor| one(file, base, tensor))
}

fn one(file: &GgufFile, base: &GgufFile, tensor: &TensorInfo) -> Result<(), GgufError> {
    let wrong = |problem: String| Err(unsound(file, format!("tensor '{}'", tensor.name), problem));
    let known = [GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0];
    if !known.contains(&tensor.ggml_type) {
        return wrong(format!("is {}, expected one of F32, F16, BF16, Q8_0", tensor.ggml_type));
    }
    let parts = tensor.name.rsplit_once('.').filter(|(_, end)| matches!(*end, "lora_a" | "lora_b"));
    let Some((target, end)) = parts else {
        return wrong("expected a name that ends in .lora_a or .lora_b".into());
    };
    let Some([width, rows]) = base.tensor(target).and_then(|base| base.dims.first_chunk()).copied() else {
        return wrong(format!("'{target}' is not a matrix of {}", base.path().display()));
    };
    if end == "lora_b" {
        // The shapes are checked at lora_a.
        let other = format!("{target}.lora_a");
        return if file.tensor(&other).is_some() { Ok(()) } else { wrong(format!("'{other}' is missing")) };
    }
    let other = format!("{target}.lora_b");
    let Some(up) = file.tensor(&other) else { return wrong(format!("'{other}' is missing")) };
    if target == EMBEDDING && base.tensor("output.weight").is_none() {
        return wrong("the base's embedding is also its head, for which llama.cpp supports no adapters".into());
    }
    let fits = match (tensor.dims.as_slice(), up.dims.as_slice()) {
        (&[rank, tokens], &[other_rank, outputs]) if target == EMBEDDING => {
            rank == other_rank && tokens == rows && outputs == width
        }
        (&[inputs, rank], &[other_rank, outputs]) => rank == other_rank && inputs == width && outputs == rows,
        _ => false,
    };
    let (down, up) = (&tensor.dims, &up.dims);
    if fits { Ok(()) } else { wrong(format!("{down:?} and {up:?}, expected a pair for [{width}, {rows}]")) }
}
