//! Shared by golden tests: where the data is, how to read it, and checkpoints converted once per
//! test binary.
//!
//! The committed directory `tests/golden` has at least one case of every kind, so a test that finds
//! none of its cases there fails. Another golden directory (`MMPRM_GOLDEN`) may lack files; tests
//! that need them are [skipped](skip) and counted.
#![allow(dead_code, reason = "each test binary uses its part")]

mod skips;
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

pub use skips::skip;

/// Returns the golden directory: `MMPRM_GOLDEN`, or the committed one.
pub fn golden() -> PathBuf {
    let root = outside().unwrap_or_else(|| repository().join("tests/golden"));
    assert!(root.is_dir(), "expected golden cases in {}", root.display());
    root
}

/// Returns the golden directory outside the repository, if `MMPRM_GOLDEN` names one.
fn outside() -> Option<PathBuf> {
    std::env::var_os("MMPRM_GOLDEN").map(PathBuf::from)
}

/// Returns a file or folder of the golden directory that a test cannot do without. If it is
/// missing, skips the test where the golden directory is outside the repository.
///
/// # Panics
/// If the committed golden directory lacks it.
pub fn golden_path(path: &str) -> Option<PathBuf> {
    let path = golden().join(path);
    if path.exists() {
        return Some(path);
    }
    missing(&path);
    None
}

/// Returns a file or folder of the golden directory that holds one case of several, if this copy
/// has it. The caller asserts with [`assert_compared`] that at least one case ran.
pub fn golden_case(path: &str) -> Option<PathBuf> {
    Some(golden().join(path)).filter(|path| path.exists())
}

/// Asserts that at least one case ran; skips where the golden directory is outside the repository.
///
/// # Panics
/// If the committed golden directory has no case.
pub fn assert_compared(count: usize, what: &str) {
    if count == 0 {
        missing(&golden().join(what));
    }
}

fn missing(path: &Path) {
    assert!(outside().is_some(), "the repository lacks {}", path.display());
    skip(format_args!("no {}", path.display()));
}

/// Returns the text of a file of the golden directory, as [`golden_path`] does its path.
pub fn golden_text(path: &str) -> Option<String> {
    golden_path(path).map(|path| text(&path))
}

/// Returns the root of the source tree.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Returns the folders below `golden/<folder>`, by name; if there are none, fails or skips as
/// [`golden_path`] does.
pub fn cases(folder: &str) -> Vec<PathBuf> {
    let path = golden().join(folder);
    let mut found: Vec<PathBuf> = std::fs::read_dir(&path)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    found.retain(|path| path.is_dir());
    found.sort();
    assert_compared(found.len(), folder);
    found
}

pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the values of a JSON Lines file.
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

/// A checkpoint converted to a GGUF pair, in a directory that is removed with this value.
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
