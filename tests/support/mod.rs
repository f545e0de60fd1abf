//! What golden tests share: where the data is, reading it, and checkpoints converted once a test binary.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod tensors;

use std::path::{Path, PathBuf};
#[cfg(feature = "engine")]
use std::sync::Arc;

#[cfg(feature = "engine")]
use mmprm::engine::{Model, ModelOptions};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::no_progress;
use serde_json::Value;
use tempfile::TempDir;

/// The golden directory: `MMPRM_GOLDEN`, or the committed copy.
pub fn golden() -> PathBuf {
    let root = std::env::var_os("MMPRM_GOLDEN").map_or_else(|| repository().join("tests/golden"), PathBuf::from);
    assert!(root.is_dir(), "expected golden cases in {}", root.display());
    root
}

/// A file or folder of the golden directory; nothing, and a message, where the copy lacks it.
pub fn golden_path(path: &str) -> Option<PathBuf> {
    let path = golden().join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no {}", path.display());
    None
}

/// The text of a file of the golden directory, if it is there.
pub fn golden_text(path: &str) -> Option<String> {
    golden_path(path).map(|path| text(&path))
}

/// The root of the source tree.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The folders below `golden/<folder>`, by name; a message if there are none.
pub fn cases(folder: &str) -> Vec<PathBuf> {
    let path = golden().join(folder);
    let mut found: Vec<PathBuf> = std::fs::read_dir(&path)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    found.retain(|path| path.is_dir());
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no cases in {}", path.display());
    }
    found
}

pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of a file of JSON Lines.
pub fn json_lines(path: &Path) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text(path).lines().map(line).collect()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

pub fn ids(value: &Value) -> Vec<i32> {
    value.as_array().expect("an array").iter().map(|id| i32::try_from(id.as_i64().unwrap()).unwrap()).collect()
}

pub fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// A checkpoint converted to a GGUF pair in a directory that lives as long as this does.
pub struct Pair {
    pub directory: TempDir,
    pub model: PathBuf,
    pub mmproj: PathBuf,
}

pub fn convert(checkpoint: &Path, weight_type: WeightType) -> Pair {
    let directory = TempDir::new().unwrap();
    let plan = plan(checkpoint, directory.path(), &ConvertOptions::new(weight_type)).unwrap();
    let paths: Vec<PathBuf> = plan.files.iter().map(|file| file.path.clone()).collect();
    plan.write(&mut no_progress).unwrap();
    Pair { directory, model: paths[0].clone(), mmproj: paths[1].clone() }
}

#[cfg(feature = "engine")]
pub fn load(pair: &Pair) -> Arc<Model> {
    Model::load(&pair.model, ModelOptions::default()).unwrap()
}
