//! What golden tests share: where the data is, reading it, and checkpoints converted once a test binary.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};
use mmprm::engine::{Model, ModelOptions};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::unwatched;
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

/// The golden directory: `MMPRM_GOLDEN`, or the committed copy.
pub fn golden() -> PathBuf {
    std::env::var_os("MMPRM_GOLDEN").map_or_else(|| repository().join("tests/golden"), PathBuf::from)
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

pub fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A tensor of 32-bit floats, if the file and the tensor are there.
pub fn floats(path: &Path, name: &str) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).ok()?;
    let file = SafeTensors::deserialize(&bytes).ok()?;
    let data = file.tensor(name).ok()?.data();
    let mut values = vec![0.0; data.len() / 4];
    LittleEndian::read_f32_into(data, &mut values);
    Some(values)
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
    plan.write(&mut unwatched).unwrap();
    Pair { directory, model: paths[0].clone(), mmproj: paths[1].clone() }
}

pub fn load(pair: &Pair) -> Arc<Model> {
    Model::load(&pair.model, ModelOptions::default()).unwrap()
}
