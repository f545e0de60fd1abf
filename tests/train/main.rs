//! The trainer on tiny checkpoints: the reference's token ids, losses and parameters; trees against their paths; runs that
//! are killed; labels that stay what they are.

mod checkpoints;
mod golden;
mod labels;
mod loops;
mod lora;
mod scores;
#[path = "../support/mod.rs"]
mod support;
mod trees;

use std::fs;
use std::path::PathBuf;

use mmprm::train::full::Full;
use mmprm::train::prepare::prepare;
use mmprm::train::recipe::{Compute, Recipe};
use mmprm::train::run::{Data, Event, RunError, Summary, run};
use mmprm::train::vocabulary::Vocabulary;
use mmprm::util::cancel::CancelToken;
use support::golden_path;
use tempfile::TempDir;

/// The architectures that there are tiny checkpoints of.
const ARCHITECTURES: [&str; 2] = ["internlm2", "qwen2"];

/// The tiny checkpoint of an architecture, if the copy has it.
fn checkpoint(architecture: &str) -> Option<PathBuf> {
    golden_path(&format!("ckpt/{architecture}"))
}

/// A directory with samples, and a recipe that trains the tiny checkpoint on them.
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
            out: folder.path().join("run"),
            precision: Compute::F32,
            lr: 1e-3,
            warmup: 0.0,
            weight_decay: 0.0,
            ..Recipe::default()
        };
        Some(Self { folder, recipe })
    }

    fn data(&self) -> Data {
        prepare(&self.recipe, &Vocabulary::open(&self.recipe.model).unwrap()).unwrap()
    }

    fn open(&self, data: &Data) -> Full {
        Full::open(&self.recipe, data.train.words, data.train.images.clone()).unwrap()
    }

    /// Trains; returns what came of it and all trained values.
    fn run(&self, watch: &mut dyn FnMut(&Event)) -> Result<(Summary, Vec<Vec<f32>>), RunError> {
        self.run_until(watch, &CancelToken::new())
    }

    fn run_until(
        &self,
        watch: &mut dyn FnMut(&Event),
        cancel: &CancelToken,
    ) -> Result<(Summary, Vec<Vec<f32>>), RunError> {
        let data = self.data();
        let mut full = self.open(&data);
        let summary = run(&mut full, &data, &self.recipe, watch, cancel)?;
        Ok((summary, values(&full)))
    }
}

fn values(full: &Full) -> Vec<Vec<f32>> {
    use mmprm::train::learner::Learner;
    full.values().into_iter().map(<[f32]>::to_vec).collect()
}

/// A training sample without image: steps and their labels.
fn sample(question: &str, steps: &[(&str, f32)]) -> String {
    with_image(None, question, steps)
}

/// A training sample with an image of the golden ones, or none.
fn with_image(image: Option<&str>, question: &str, steps: &[(&str, f32)]) -> String {
    let process: Vec<String> = steps.iter().map(|(step, _)| format!("{step}<prm>")).collect();
    let labels: Vec<f32> = steps.iter().map(|(_, label)| *label).collect();
    let human = format!("Question: {question}\nProcess: {}", process.join("\n\n"));
    let turns = serde_json::json!([{"from": "human", "value": human}, {"from": "gpt", "value": labels}]);
    format!("{}\n", serde_json::json!({"id": question, "image": image, "conversations": turns}))
}
