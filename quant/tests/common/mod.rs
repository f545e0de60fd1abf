//! Shared by the tests: paths of data, types of this build, hashes, and generated safetensors
//! files.
#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../../../tests/support/skips.rs"]
mod skips;

use std::path::{Path, PathBuf};

use mmprm_quant::WeightType;
use mmprm_quant::quantize::QuantType;
use sha2::{Digest, Sha256};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The directory of golden data: `MMPRM_GOLDEN`, by default `tests/golden`, relative to the
/// workspace.
pub fn golden() -> PathBuf {
    workspace().join(std::env::var_os("MMPRM_GOLDEN").unwrap_or_else(|| "tests/golden".into()))
}

/// Returns a file or folder of the golden directory. If it is missing, the test is skipped where `MMPRM_GOLDEN` names another
/// directory, and fails otherwise.
pub fn golden_path(path: &str) -> Option<PathBuf> {
    let path = golden().join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("MMPRM_GOLDEN").is_some(), "the repository lacks {}", path.display());
    skips::skip(format_args!("no {}", path.display()));
    None
}

/// All golden checkpoints and the demo's.
pub fn checkpoints() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in golden_path("ckpt").into_iter().chain([workspace().join("demo/checkpoints")]) {
        let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        found.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("config.json").exists()));
    }
    found.sort();
    found
}

/// The types that this build converts to.
pub fn weight_types() -> impl Iterator<Item = WeightType> {
    WeightType::ALL.into_iter().filter(|weight_type| cfg!(feature = "ggml") || *weight_type != WeightType::Q8_0)
}

/// Those of the types that this build quantises to.
pub fn supported(types: &[QuantType]) -> impl Iterator<Item = QuantType> {
    types.iter().copied().filter(|quant_type| cfg!(feature = "ggml") || !quant_type.base_type().is_quantized())
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Writes a safetensors file of F32 tensors whose values are a function of name and element index.
pub fn write_safetensors(path: &Path, tensors: &[(&str, Vec<usize>)], value: impl Fn(&str, usize) -> f32) {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, shape) in tensors {
        let start = data.len();
        let count: usize = shape.iter().product();
        data.extend((0..count).flat_map(|index| value(name, index).to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    write_safetensors_raw(path, &serde_json::Value::Object(header).to_string(), &data);
}

/// Writes a safetensors file with the given header and data, valid or not.
pub fn write_safetensors_raw(path: &Path, header: &str, data: &[u8]) {
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    std::fs::write(path, bytes).unwrap();
}
