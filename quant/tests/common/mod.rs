//! What several test files need: where data is, hashes, and small checkpoints made on the spot.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod checkpoint;
#[path = "../../../tests/support/skips.rs"]
mod skips;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The directory of golden data: `MMPRM_GOLDEN`, by default `tests/golden`, relative to the workspace.
pub fn golden() -> PathBuf {
    workspace().join(std::env::var_os("MMPRM_GOLDEN").unwrap_or_else(|| "tests/golden".into()))
}

/// A file or folder of the golden directory that a test cannot do without; a missing one is a skipped test where the
/// directory is outside the repository, and fails otherwise.
pub fn golden_path(path: &str) -> Option<PathBuf> {
    let path = golden().join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("MMPRM_GOLDEN").is_some(), "the repository lacks {}", path.display());
    skips::skip(format_args!("no {}", path.display()));
    None
}

/// Checkpoints to test with: all golden ones and the demo's.
pub fn checkpoints() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in golden_path("ckpt").into_iter().chain([workspace().join("demo/checkpoints")]) {
        let entries = std::fs::read_dir(&directory).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("config.json").exists()));
    }
    found.sort();
    found
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Writes a safetensors file of F32 tensors, each filled by a function of its element's index.
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

/// Writes a safetensors file of the given header and data, whatever they say.
pub fn write_safetensors_raw(path: &Path, header: &str, data: &[u8]) {
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    std::fs::write(path, bytes).unwrap();
}
