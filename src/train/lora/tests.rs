//! Merging: scales of variants, and what is refused before anything is written.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use mmprm_quant::progress::{Progress, no_progress};
use mmprm_quant::safetensors::{Checkpoint, NewTensor, StoredType, Values, write};
use serde_json::{Value, json};

use super::{MergeError, merge};

const MATRIX: &str = "language_model.model.layers.0.attention.wo";
const TABLE: &str = "language_model.model.tok_embeddings.weight";
const HEAD: &str = "language_model.output.weight";

fn save(path: &Path, tensors: &[(&str, [usize; 2], f32)]) {
    let values: Vec<Vec<f32>> = tensors.iter().map(|(_, shape, value)| vec![*value; shape[0] * shape[1]]).collect();
    let mut list = Vec::new();
    for ((name, shape, _), values) in tensors.iter().zip(&values) {
        let (name, values) = ((*name).to_owned(), Values::F32(values));
        list.push(NewTensor { name, shape, values, stored: StoredType::F32 });
    }
    write(path, &list, &[]).unwrap();
}

/// A base with a matrix, a table and, optionally, a head, and an adapter of the matrix of rank 4 and α 8 with more tensors.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(settings: &Value, more: &[(&str, [usize; 2], f32)], is_tied: bool) -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        let (base, adapter) = (case.path("base"), case.path("adapter"));
        fs::create_dir(&base).unwrap();
        fs::create_dir(&adapter).unwrap();
        let matrix = format!("{MATRIX}.weight");
        let own = [(matrix.as_str(), [3, 2], 1.0), (TABLE, [5, 2], 1.0), (HEAD, [5, 2], 1.0)];
        save(&base.join("model.safetensors"), if is_tied { &own[..2] } else { &own });
        fs::write(base.join("config.json"), "{}").unwrap();
        let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["wo"]});
        for (key, value) in settings.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(adapter.join("adapter_config.json"), format!("\u{feff}{config}")).unwrap();
        let [down, up] = ["A", "B"].map(|end| format!("base_model.model.{MATRIX}.lora_{end}.weight"));
        let mut tensors = vec![(down.as_str(), [4, 2], 0.5), (up.as_str(), [3, 4], 0.5)];
        tensors.extend(more);
        save(&adapter.join("adapter_model.safetensors"), &tensors);
        case
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a merged value of the matrix, or the error.
    fn merged(&self) -> Result<f32, String> {
        let target = self.path("merged");
        let result = merge(&self.path("adapter"), &self.path("base"), &target, &mut no_progress);
        result.map_err(|error| error.to_string())?;
        let merged = Checkpoint::open(&target).unwrap();
        let bytes = merged.data(merged.get(&format!("{MATRIX}.weight")).unwrap());
        Ok(f32::from_le_bytes(bytes[..4].try_into().unwrap()))
    }
}

#[test]
fn the_scales_of_variants_are_reproduced() {
    // The product of the factors is 4 · 0.5 · 0.5 = 1.
    for (settings, scale) in [
        (json!({}), 2.0),
        (json!({"use_rslora": true}), 4.0),
        (json!({"alpha_pattern": {"attention.wo": 12}}), 3.0),
        (json!({"r": 16, "rank_pattern": {"wo": 4}}), 2.0),
    ] {
        let found = Case::new(&settings, &[], false).merged().unwrap();
        assert!((found - 1.0 - scale).abs() < 1e-6, "{settings}: {found}");
    }
}

#[test]
fn variants_and_wrong_files_are_refused_before_anything_is_written() {
    let refused = |case: &Case, expected: &str| {
        let error = case.merged().unwrap_err();
        assert!(error.contains(expected), "{error}, expected {expected}");
        assert!(!case.path("merged").join("config.json").exists());
    };
    refused(&Case::new(&json!({"init_lora_weights": "olora"}), &[], false), "init_lora_weights: \"olora\"");
    let bias = format!("base_model.model.{MATRIX}.lora_B.bias");
    refused(&Case::new(&json!({}), &[(&bias, [1, 3], 1.0)], false), "the bias of an adapter");
    let head = format!("base_model.model.{HEAD}");
    refused(
        &Case::new(&json!({"modules_to_save": ["output"]}), &[(&head, [6, 2], 1.0)], false),
        "for a base of shape [6, 2]",
    );
    let table = format!("base_model.model.{TABLE}");
    refused(&Case::new(&json!({}), &[(&table, [5, 2], 1.0)], true), "whose head is tied to it");
    Case::new(&json!({}), &[(&table, [5, 2], 1.0)], false).merged().unwrap();
    let case = Case::new(&json!({}), &[], false);
    fs::create_dir(case.path("merged")).unwrap();
    fs::write(case.path("merged").join("model.safetensors.index.json"), "{}").unwrap();
    refused(&case, "model.safetensors.index.json: weights of another checkpoint");
}

#[cfg(unix)]
#[test]
fn companions_that_leave_the_base_are_refused() {
    let case = Case::new(&json!({}), &[], false);
    fs::write(case.path("secret"), "x").unwrap();
    std::os::unix::fs::symlink("../secret", case.path("base").join("chat_template.jinja")).unwrap();
    let error = case.merged().unwrap_err();
    assert!(error.contains("chat_template.jinja: a link to "), "{error}");
    assert!(!case.path("merged").exists());
}

#[test]
fn a_cancelled_or_refused_merge_leaves_the_directory_as_it_was() {
    let case = Case::new(&json!({}), &[], false);
    let names = |folder: &str| fs::read_dir(case.path(folder)).map_or(0, Iterator::count);
    let stop = |stop: usize| {
        let mut reports = 0;
        let mut watch = |_: Progress<'_>| {
            reports += 1;
            if reports > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        merge(&case.path("adapter"), &case.path("base"), &case.path("merged"), &mut watch)
    };
    for at in 0..2 {
        assert!(matches!(stop(at), Err(MergeError::Cancelled)));
        assert_eq!(names("merged"), 0, "neither configuration nor weights, nor temporary files");
    }
    case.merged().unwrap();
    let weights = fs::read(case.path("merged").join("model.safetensors")).unwrap();
    fs::write(case.path("base").join("vocab.json"), "new").unwrap();
    assert!(stop(1).is_err() && !case.path("merged").join("vocab.json").exists());
    assert_eq!(fs::read(case.path("merged").join("model.safetensors")).unwrap(), weights);
}
