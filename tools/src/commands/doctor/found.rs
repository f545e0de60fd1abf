//! The models that `mmprm doctor` finds or is given, and what of them fits this machine.

use std::path::{Path, PathBuf};

use mmprm::engine::memory::{MemoryNeeds, Workload};
use mmprm::prm::form;
use mmprm::train;
use mmprm::train::recipe::Recipe;
use mmprm::util::machine::Memory;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::hf::origin::TASK_KEY;
use serde_json::{Map, Value, json};

use super::{CELLS, parallel, usable};
use crate::models;
use crate::table::Table;
use crate::ui::{Ui, bytes};

/// Rank of the adapters that the memory of training is given for.
const RANK: u32 = 16;

/// The models that are looked at where none is named: those in the working directory, in `models` below it, and the demo's.
pub fn everywhere() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [".", "models"].iter().flat_map(|folder| models::ggufs(Path::new(folder))).collect();
    if let Some(demo) = models::demo() {
        found.extend(models::ggufs(&demo.join("models")));
        let checkpoints = std::fs::read_dir(demo.join("checkpoints")).into_iter().flatten().flatten();
        let mut checkpoints: Vec<PathBuf> =
            checkpoints.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        checkpoints.sort();
        found.extend(checkpoints);
    }
    let mut known = Vec::new();
    found.retain(|path| {
        let file = path.canonicalize().unwrap_or_else(|_| path.clone());
        let is_new = !known.contains(&file);
        known.push(file);
        is_new
    });
    found
}

/// A row of the table.
struct Row {
    path: PathBuf,
    kind: String,
    weights: u64,
    /// Positions of the KV cache that fit, at most [`CELLS`]; none for a checkpoint, or where not even the weights fit.
    cells: Option<u32>,
    cache: Option<u64>,
    training: Option<u64>,
    fits: bool,
}

/// Prints the table of `paths`, GGUF files and checkpoint directories; vision projectors and what is no model are left out.
pub fn table(
    paths: &[PathBuf],
    memory: Option<Memory>,
    result: &mut Map<String, Value>,
    ui: &Ui,
) -> anyhow::Result<()> {
    let rows: Vec<Row> = paths
        .iter()
        .filter_map(|path| if path.is_dir() { of_checkpoint(path, memory) } else { of_file(path, memory) })
        .collect();
    let mut table = Table::new([
        "model",
        "what",
        "weights",
        "KV cache",
        "positions",
        "parallel rollouts",
        "LoRA training",
        "fits here",
    ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for row in &rows {
        table.row([
            row.path.display().to_string(),
            row.kind.clone(),
            bytes(row.weights),
            or_dash(row.cache.map(bytes)),
            or_dash(row.cells.map(|cells| cells.to_string())),
            or_dash(row.cells.map(|cells| parallel(cells, 16).to_string())),
            or_dash(row.training.map(bytes)),
            if row.fits { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let objects: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({"file": row.path, "kind": row.kind, "weights": row.weights, "cells": row.cells, "cache": row.cache,
                "parallel": row.cells.map(|cells| parallel(cells, 16)), "lora_training": row.training, "fits": row.fits})
        })
        .collect();
    result.insert("models".into(), Value::Array(objects));
    if rows.is_empty() {
        return ui.say_lines("\nmodels: none here, in models/ or in the source tree's demo/; name some as arguments");
    }
    ui.say_lines(format_args!("\nModels here:\n\n{table}"))
}

/// The row of a language model's file, with the vision projector beside it.
fn of_file(path: &Path, memory: Option<Memory>) -> Option<Row> {
    let file = GgufFile::open(path).ok()?;
    if file.get_str("general.architecture").ok()? == "clip"
        || file.get_str("general.type").is_ok_and(|kind| kind == "adapter")
    {
        return None;
    }
    let mmproj = models::projector_beside(path).and_then(|path| GgufFile::open(&path).ok());
    let needs = MemoryNeeds::of_files(&file, mmproj.as_ref()).ok()?;
    let available = memory.map_or(u64::MAX, |memory| usable(memory.available));
    let cells = needs.max_cells(available, &Workload::ROLLOUTS).map(|cells| cells.min(CELLS));
    let kind = match (file.get_str(TASK_KEY), form::of_file(&file)) {
        (Ok(task), _) => task,
        (_, Some(_)) => "prm",
        _ => "language model",
    };
    Some(Row {
        path: path.to_owned(),
        kind: kind.to_owned(),
        weights: needs.weights + needs.vision,
        cells,
        cache: cells.map(|cells| needs.cache(cells)),
        training: None,
        fits: cells.is_some(),
    })
}

/// The row of a checkpoint's directory, which can be trained.
fn of_checkpoint(path: &Path, memory: Option<Memory>) -> Option<Row> {
    let overrides = json!({"model": path, "lora": {"rank": RANK}});
    let recipe = Recipe::draft_with(None, &overrides, &[]).ok()?;
    let needed = train::plan(&recipe).ok()?.total;
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "safetensors");
    let weights = files.map(|entry| entry.path()).filter(is_weights);
    Some(Row {
        path: path.to_owned(),
        kind: "checkpoint".to_owned(),
        weights: weights.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum(),
        cells: None,
        cache: None,
        training: Some(needed),
        fits: memory.is_none_or(|memory| needed <= usable(memory.available)),
    })
}
