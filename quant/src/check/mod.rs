//! What llama.cpp takes on trust: checks that keep a sound-looking but lying GGUF from aborting the process.
//!
//! [`GgufFile`] checks the container. llama.cpp itself checks shapes and types of a language model's tensors and reports
//! them; here is what it asserts instead, or does not look at: distinct tokens, head counts that divide, every shape of a
//! vision tower; and that an adapter's halves belong together. Call [`language`], [`vision`] or [`adapter`] before handing a file to C++.
//!
//! ```
//! use mmprm_quant::check;
//! use mmprm_quant::gguf::{GgufFile, GgufWriter};
//! let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("empty.gguf");
//! GgufWriter::create(&path, &[], &[]).unwrap().finish().unwrap();
//! let error = check::language(&GgufFile::open(&path).unwrap()).unwrap_err();
//! assert!(error.to_string().contains("key 'general.architecture': missing"));
//! ```

mod adapter;
mod vision;

pub use adapter::adapter;
pub use vision::vision;

use std::collections::HashMap;

use crate::blocks::GgmlType;
use crate::gguf::{GgufArray, GgufError, GgufFile, GgufValue};

/// Most blocks that llama.cpp has room for (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u32 = 512;

/// Checks a language model of any architecture, and `internlm2` and `qwen2` more closely.
///
/// # Errors
/// [`GgufError`] with the key or tensor and what was expected.
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
            return Err(unsound_key(
                file,
                &key("rope.scaling.type"),
                format!("{scaling:?}, expected one of {known:?}"),
            ));
        }
    }
    if matches!(arch, "internlm2" | "qwen2") { dense(file, arch) } else { Ok(()) }
}

/// Distinct tokens (llama.cpp asserts it), and arrays as long as the vocabulary.
fn vocabulary(file: &GgufFile) -> Result<(), GgufError> {
    let tokens = file.get_strings("tokenizer.ggml.tokens")?;
    let mut ids: HashMap<&str, usize> = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        // C++ reads up to the first NUL; empty texts get a name of their own there.
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

/// Heads that divide the width and each other, and vectors in 32 bits.
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
            return Err(unsound_key(file, &key(name), format!("{value:?}, expected the width of a head, {head}")));
        }
    }
    for name in ["expert_count", "expert_used_count", "expert_group_count", "nextn_predict_layers"] {
        if let Some(value) = file.get(&key(name)).filter(|value| value.as_u32() != Some(0)) {
            return Err(unsound_key(file, &key(name), format!("{value:?}, expected 0 for {arch}")));
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

fn positive(file: &GgufFile, key: &str) -> Result<u32, GgufError> {
    match file.get_u32(key)? {
        0 => Err(unsound_key(file, key, "0, expected at least 1".to_owned())),
        value => Ok(value),
    }
}

fn divides(file: &GgufFile, key: &str, part: u32, whole: u32) -> Result<(), GgufError> {
    if whole.is_multiple_of(part) {
        Ok(())
    } else {
        Err(unsound_key(file, key, format!("{part}, expected a divisor of {whole}")))
    }
}

fn unsound_key(file: &GgufFile, key: &str, problem: String) -> GgufError {
    unsound(file, format!("key '{key}'"), problem)
}

fn unsound(file: &GgufFile, place: String, problem: String) -> GgufError {
    GgufError::Unsound { path: file.path().to_owned(), place, problem }
}
