//! The trainer on tiny checkpoints: MM-PRM's token ids, losses and parameters; trees against separate samples; killed runs;
//! labels. What needs llama.cpp (MM-PRM's token ids, scores and GGUF adapters) is left out without the feature `engine`.

mod checkpoints;
#[cfg(feature = "engine")]
mod golden;
mod jobs;
mod labels;
mod loops;
mod lora;
mod losses;
#[cfg(feature = "engine")]
mod lora_gguf;
#[cfg(feature = "engine")]
mod scores;
#[path = "../support/mod.rs"]
mod support;
#[cfg(not(feature = "engine"))]
mod tokenizer;
mod text;
mod trees;

use std::fs;
use std::path::{Path, PathBuf};

use mmprm::train::Tokenizer;
use mmprm::train::full::FullModel;
use mmprm::train::prepare::{TrainingData, prepare};
use mmprm::train::recipe::{Compute, Recipe};
use mmprm::train::trainer::{Event, RunError, Summary, run};
use mmprm::util::cancel::CancelToken;
use support::golden_path;
use tempfile::TempDir;

/// The tokenizer of a checkpoint.
#[cfg(feature = "engine")]
fn tokenizer(checkpoint: &Path) -> impl Tokenizer {
    mmprm::train::vocabulary::Vocabulary::open(checkpoint, &[]).unwrap()
}

/// The tokenizer of a checkpoint.
#[cfg(not(feature = "engine"))]
fn tokenizer(checkpoint: &Path) -> impl Tokenizer {
    tokenizer::GreedyTokenizer::open(checkpoint)
}

/// Architectures with a tiny checkpoint.
const ARCHITECTURES: [&str; 2] = ["internlm2", "qwen2"];

/// The tiny checkpoint of an architecture, if the golden directory has it.
fn checkpoint(architecture: &str) -> Option<PathBuf> {
    golden_path(&format!("ckpt/{architecture}"))
}

/// A directory with samples, and a recipe that trains a tiny checkpoint on them.
struct Bench {
    folder: TempDir,
    recipe: Recipe,
}

impl Bench {
    fn new(samples: &str) -> Option<Self> {
        Self::of("internlm2", samples)
    }

    fn of(architecture: &str, samples: &str) -> Option<Self> {
        let model = checkpoint(architecture)?;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("samples.jsonl");
        fs::write(&path, samples).unwrap();
        let recipe = Recipe {
            model,
            samples: path,
            output: folder.path().join("run"),
            precision: Compute::F32,
            lr: 1e-3,
            warmup: 0.0,
            weight_decay: 0.0,
            ..Recipe::default()
        };
        Some(Self { folder, recipe })
    }

    fn data(&self) -> TrainingData {
        prepare(&self.recipe, &tokenizer(&self.recipe.model)).unwrap()
    }

    fn open(&self, data: &TrainingData) -> FullModel {
        FullModel::open(&self.recipe, data.train.special, data.train.images.clone()).unwrap()
    }

    /// Trains; returns the summary and all trained values.
    fn run(&self, on_event: &mut dyn FnMut(&Event)) -> Result<(Summary, Vec<Vec<f32>>), RunError> {
        self.run_until(on_event, &CancelToken::new())
    }

    fn run_until(
        &self,
        on_event: &mut dyn FnMut(&Event),
        cancel: &CancelToken,
    ) -> Result<(Summary, Vec<Vec<f32>>), RunError> {
        let data = self.data();
        let mut full = self.open(&data);
        let summary = run(&mut full, &data, &self.recipe, on_event, cancel)?;
        Ok((summary, values(&full)))
    }
}

fn values(full: &FullModel) -> Vec<Vec<f32>> {
    use mmprm::train::learner::Learner;
    full.values().into_iter().map(<[f32]>::to_vec).collect()
}

/// A training sample without image, of steps with labels.
fn sample(question: &str, steps: &[(&str, f32)]) -> String {
    with_image(None, question, steps)
}

/// A training sample with an image or none, of steps with labels.
fn with_image(image: Option<&str>, question: &str, steps: &[(&str, f32)]) -> String {
    let process: Vec<String> = steps.iter().map(|(step, _)| format!("{step}<prm>")).collect();
    let labels: Vec<f32> = steps.iter().map(|(_, label)| *label).collect();
    let human = format!("Question: {question}\nProcess: {}", process.join("\n\n"));
    let turns = serde_json::json!([{"from": "human", "value": human}, {"from": "gpt", "value": labels}]);
    format!("{}\n", serde_json::json!({"id": question, "image": image, "conversations": turns}))
}
