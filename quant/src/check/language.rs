//! Language models: vocabulary, head counts, and types of vectors.

use std::collections::HashMap;

use super::keys::{divides, positive, unsound, unsound_key};
use crate::blocks::GgmlType;
use crate::gguf::{GgufArray, GgufError, GgufFile, GgufValue};

/// Maximum number of blocks in llama.cpp (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u32 = 512;

/// Checks a language model of any architecture, with further checks for `internlm2` and `qwen2`.
///
/// # Errors
/// [`GgufError`] with the key or tensor and the expected value.
pub fn language(file: &GgufFile) -> Result<(), GgufError> {
    let arch = file.get_str("general.architecture")?;
    vocabulary(file)?;
    let key = |name: &str| format!("{arch}.{name}");
    let layers = positive(file, &key("block_count"))?;
    if layers > MAX_LAYERS {
        return Err(unsound_key(file, &key("block_count"), format!("{layers}, expected at most {MAX_LAYERS}")));
    }
    positive(file, &key("context_length"))?;
    positive(file, &key("embedding_length"))?;
    if let Some(scaling) = file.get(&key("rope.scaling.type")) {
        let known = ["none", "linear", "yarn", "longrope"];
        if !scaling.as_str().is_some_and(|scaling| known.contains(&scaling)) {
            let problem = format!("{scaling}, expected one of {}", known.join(", "));
            return Err(unsound_key(file, &key("rope.scaling.type"), problem));
        }
    }
    if matches!(arch, "internlm2" | "qwen2") { dense(file, arch) } else { Ok(()) }
}

/// Checks that tokens are distinct (llama.cpp asserts it) and arrays as long as the vocabulary.
fn vocabulary(file: &GgufFile) -> Result<(), GgufError> {
    let tokens = file.get_strings("tokenizer.ggml.tokens")?;
    let mut ids: HashMap<&str, usize> = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        // C++ reads up to the first NUL; llama.cpp gives empty texts distinct names.
        let text = token.split('\0').next().unwrap_or_default();
        if let Some(other) = ids.insert(text, id).filter(|_| !text.is_empty()) {
            let problem = format!("tokens {other} and {id} are both '{text}', expected distinct texts");
            return Err(unsound_key(file, "tokenizer.ggml.tokens", problem));
        }
    }
    for (key, expected) in [("tokenizer.ggml.scores", "f32[]"), ("tokenizer.ggml.token_type", "i32[]")] {
        let Some(value) = file.get(key) else { continue };
        let length = match value {
            GgufValue::Array(GgufArray::F32(values)) if expected == "f32[]" => values.len(),
            GgufValue::Array(GgufArray::I32(values)) => values.len(),
            other => {
                let (path, found) = (file.path().to_owned(), other.type_name());
                return Err(GgufError::WrongType { path, key: key.to_owned(), found, expected });
            }
        };
        if length < tokens.len() {
            return Err(unsound_key(file, key, format!("{length} elements, expected one per token, {}", tokens.len())));
        }
    }
    Ok(())
}

/// Checks that head counts divide the width and each other, and that vectors are in 32 bits.
fn dense(file: &GgufFile, arch: &str) -> Result<(), GgufError> {
    let key = |name: &str| format!("{arch}.{name}");
    let width = positive(file, &key("embedding_length"))?;
    let heads = positive(file, &key("attention.head_count"))?;
    let kv_heads = positive(file, &key("attention.head_count_kv"))?;
    divides(file, &key("attention.head_count"), heads, width)?;
    divides(file, &key("attention.head_count_kv"), kv_heads, heads)?;
    let head = width / heads;
    for name in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
        if let Some(value) = file.get(&key(name)).filter(|value| value.as_u32() != Some(head)) {
            return Err(unsound_key(file, &key(name), format!("{value}, expected the width of a head, {head}")));
        }
    }
    for name in ["expert_count", "expert_used_count", "expert_group_count", "nextn_predict_layers"] {
        if let Some(value) = file.get(&key(name)).filter(|value| value.as_u32() != Some(0)) {
            return Err(unsound_key(file, &key(name), format!("{value}, expected 0 for {arch}")));
        }
    }
    let is_vector = |name: &str| name.ends_with("_norm.weight") || name.rsplit('.').next() == Some("bias");
    match file.tensors().iter().find(|tensor| is_vector(&tensor.name) && tensor.ggml_type != GgmlType::F32) {
        Some(tensor) => {
            let problem = format!("is {}, expected F32 for norms and biases", tensor.ggml_type);
            Err(unsound(file, format!("tensor '{}'", tensor.name), problem))
        }
        None => Ok(()),
    }
}
