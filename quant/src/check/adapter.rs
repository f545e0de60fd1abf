//! GGUF adapters: the two factors of each matrix match each other and the base.

use super::apply::{apply, is_known};
use super::keys::{bad_key, bad_tensor};
use super::rules::Of;
use crate::blocks::GgmlType;
use crate::gguf::{GgufError, GgufFile, TensorInfo};

/// The embedding: llama.cpp looks up rows of A instead of multiplying by it.
const EMBEDDING: &str = "token_embd.weight";

/// Checks an adapter of the model in `base`. llama.cpp checks A and B of most tensors, but not
/// those of the embedding, nor adapters of a table that is both embedding and head.
///
/// # Errors
/// [`GgufError`] with the key or tensor and the expected value.
pub fn adapter(file: &GgufFile, base: &GgufFile) -> Result<(), GgufError> {
    let arch = base.get_str("general.architecture")?;
    for (key, expected) in [("general.type", "adapter"), ("general.architecture", arch)] {
        let found = file.get_str(key)?;
        if found != expected {
            return Err(bad_key(file, key, format!("'{found}'"), format!("'{expected}'")));
        }
    }
    let kinds = [Of::Any, Of::Adapter];
    apply(file, arch, &kinds)?;
    let settings = file.metadata().iter().find(|(key, _)| key.starts_with("adapter.") && !is_known(key, arch, &kinds));
    if let Some((key, value)) = settings {
        return Err(bad_key(file, key, value.to_string(), "none: this setting is not supported"));
    }
    file.tensors().iter().try_for_each(|tensor| one(file, base, tensor))
}

fn one(file: &GgufFile, base: &GgufFile, tensor: &TensorInfo) -> Result<(), GgufError> {
    let wrong = |found: String, expected: &str| Err(bad_tensor(file, &tensor.name, found, expected));
    let known = [GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0];
    if !known.contains(&tensor.ggml_type) {
        return wrong(tensor.ggml_type.to_string(), "one of F32, F16, BF16, Q8_0");
    }
    let parts = tensor.name.rsplit_once('.').filter(|(_, end)| matches!(*end, "lora_a" | "lora_b"));
    let Some((target, end)) = parts else {
        return wrong("found".to_owned(), "a name that ends in .lora_a or .lora_b");
    };
    let Some([width, rows]) = base.tensor(target).and_then(|base| base.dims.first_chunk()).copied() else {
        return wrong(format!("'{target}' is not a matrix of {}", base.path().display()), "the name of one");
    };
    let other = format!("{target}.{}", if end == "lora_b" { "lora_a" } else { "lora_b" });
    let Some(up) = file.tensor(&other) else { return wrong(format!("'{other}' is missing"), "both factors") };
    if end == "lora_b" {
        // The shapes are checked at lora_a.
        return Ok(());
    }
    if target == EMBEDDING && base.tensor("output.weight").is_none() {
        let expected = "none: llama.cpp supports no adapters of a table that is embedding and head";
        return wrong("the base's embedding is also its head".to_owned(), expected);
    }
    let fits = match (tensor.dims.as_slice(), up.dims.as_slice()) {
        (&[rank, tokens], &[other_rank, outputs]) if target == EMBEDDING => {
            rank == other_rank && tokens == rows && outputs == width
        }
        (&[inputs, rank], &[other_rank, outputs]) => rank == other_rank && inputs == width && outputs == rows,
        _ => false,
    };
    let (down, up) = (&tensor.dims, &up.dims);
    if fits { Ok(()) } else { wrong(format!("{down:?} and {up:?}"), &format!("a pair for [{width}, {rows}]")) }
}
