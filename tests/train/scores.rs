//! A trained reward model gives the same scores in the trainer and, converted, in llama.cpp.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmprm::engine::{Chunk, Embeddings, Engine, EngineOptions, Prompt, Token};
use mmprm::image::{IMAGENET_MEAN, IMAGENET_STD, normalise};
use mmprm::internvl::{
    ComputeOptions, ImageSpan, Model, Packed, Parameters, StepLoss, Targets, Tiles, read_layout, read_parameters,
};
use mmprm::nn::attention::{Mask, Segments};
use mmprm::prm::{LocalPrm, PrmOptions, ScoreRequest, StepScorer};
use mmprm::prompt::PrmTemplate;
use mmprm::train::data::{Dataset, Sample, StepTokens};
use mmprm::train::network::tiling;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::convert::WeightType;
use mmprm_quant::safetensors::StoredType;
use serde_json::Value;

use crate::support::{convert, golden, golden_path, json, json_lines, load, repository};
use crate::{ARCHITECTURES, Bench, checkpoint, with_image};

/// The golden samples whose images are available, and one with two images.
fn samples() -> Option<String> {
    let lines = json_lines(&golden_path("train/samples.jsonl")?);
    let is_here = |image: &Value| image.as_str().is_none_or(|name| golden().join("images").join(name).exists());
    let here = lines.iter().filter(|line| is_here(&line["image"])).map(|line| format!("{line}\n"));
    let mut two: Value = serde_json::from_str(&with_image(
        None,
        "Compare <image> with <image>.",
        &[("The first is larger.", 0.75), ("Answer: the first", 0.25)],
    ))
    .unwrap();
    two["image"] = serde_json::json!(["img2.png", "img1.png"]);
    Some(here.chain([format!("{two}\n")]).collect())
}

/// Two rollouts of each of the first mini problems, with the correctness of their steps as labels.
fn mini_samples() -> String {
    let problems = json_lines(&repository().join("demo/mini-k12/test/rollouts.jsonl"));
    let of = |problem: &Value| -> String {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (image, question) = (text(&problem["image_path"]), text(&problem["question"]));
        let rollout = |rollout: &Value| {
            let steps: Vec<String> = rollout["steps"].as_array().unwrap().iter().map(text).collect();
            let labels = rollout["step_ok"].as_array().unwrap().iter().map(|ok| f32::from(u8::from(ok == true)));
            let steps: Vec<(&str, f32)> = steps.iter().map(String::as_str).zip(labels).collect();
            with_image(Some(&image), &question, &steps)
        };
        problem["rollouts"].as_array().unwrap().iter().take(2).map(rollout).collect()
    };
    problems.iter().take(8).map(of).collect()
}

/// A trained reward model and what it was trained on.
struct Trained {
    bench: Bench,
    data: Dataset,
    model: Model,
    parameters: Parameters,
}

impl Trained {
    /// Trains a few steps from a checkpoint and saves as f16, which both sides represent exactly.
    fn new(model: &Path, samples: &str, images: PathBuf) -> Option<Self> {
        let mut bench = Bench::new(samples)?;
        model.clone_into(&mut bench.recipe.model);
        bench.recipe.data_root = Some(images);
        bench.recipe.batch_samples = 3;
        bench.recipe.epochs = 2;
        bench.recipe.lr = 3e-4;
        bench.recipe.save_as = StoredType::F16;
        let (summary, _) = bench.run(&mut |_| ()).unwrap();
        assert!(summary.steps >= 4);
        let last = bench.recipe.output.join("last");
        let layout = read_layout(&last).unwrap();
        let parameters = read_parameters(&last, &layout, |_| true).unwrap();
        Some(Self { data: bench.data().train, model: Model::new(&layout), parameters, bench })
    }

    /// The tiny checkpoint of an architecture, trained on golden samples.
    fn tiny(architecture: &str) -> Option<Self> {
        Self::new(&checkpoint(architecture)?, &samples()?, golden().join("images"))
    }

    /// A sample in the model's input form.
    fn packed(&self, sample: &Sample) -> Packed {
        let tiling = tiling(&self.bench.recipe, self.model.layout());
        let (mut images, mut pixels, mut count) = (Vec::new(), Vec::new(), 0);
        for placed in &sample.images {
            let tiles = self.data.images[placed.image].load(&tiling.unwrap()).unwrap();
            images.push(ImageSpan { first: placed.start, tiles: count..count + tiles.len() });
            count += tiles.len();
            pixels.extend(tiles.iter().flat_map(|tile| normalise(tile, IMAGENET_MEAN, IMAGENET_STD)));
        }
        let segments = Segments::plain(&[sample.tokens.len()], Mask::Causal);
        Packed { tokens: sample.tokens.clone(), segments, images, tiles: Tiles::Pixels(pixels) }
    }

    /// The trainer's own scores.
    fn scores(&self, sample: &Sample) -> Vec<f64> {
        let rows: Vec<usize> = sample.targets.iter().map(|target| target.row).collect();
        let (labels, weights) = (vec![1.0; rows.len()], vec![1.0; rows.len()]);
        let StepTokens { yes, no, .. } = self.data.special.steps.unwrap();
        let targets = Targets::Steps { rows, labels, weights, yes, no, loss: StepLoss::CrossEntropy };
        let packed = self.packed(sample);
        let loss = self.model.loss(&self.parameters, &packed, &targets, ComputeOptions::default()).unwrap();
        loss.outputs.into_iter().map(f64::from).collect()
    }

    /// The same token ids for llama.cpp, with the image embeddings of the trainer's vision tower and projector.
    fn prompt(&self, sample: &Sample) -> Prompt {
        let packed = self.packed(sample);
        let stream = self
            .model
            .hidden_states(&self.parameters, &packed, ComputeOptions::default())
            .unwrap()
            .language
            .swap_remove(0);
        let (width, per_tile) =
            (self.model.layout().config().language.hidden, self.model.layout().config().tokens_per_tile());
        let tokens = |range: std::ops::Range<usize>| {
            Chunk::Tokens(sample.tokens[range].iter().map(|token| *token as Token).collect())
        };
        let (mut chunks, mut done) = (Vec::new(), 0);
        for (image, placed) in packed.images.iter().zip(&sample.images) {
            let end = image.first + image.tiles.len() * per_tile;
            chunks.push(tokens(done..image.first));
            let values = stream[image.first * width..end * width].to_vec();
            // The engine shares prefixes of prompts by this digest.
            let digest = self.data.images[placed.image]
                .digest
                .iter()
                .fold(0_u64, |sum, byte| sum.wrapping_mul(257) + u64::from(*byte));
            chunks.push(Chunk::Image(Arc::new(Embeddings { values, width, digest, grid: None })));
            done = end;
        }
        chunks.push(tokens(done..sample.tokens.len()));
        Prompt::new(chunks).unwrap()
    }
}

fn furthest(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len(), "as many scores as steps");
    found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The largest difference between llama.cpp's scores on the trainer's token ids and the trainer's scores.
fn apart(trained: &Trained, weight_type: WeightType) -> f64 {
    let pair = convert(&trained.bench.recipe.output.join("last"), weight_type);
    let options = EngineOptions { context: Some(4096), deterministic: true, ..EngineOptions::default() };
    let engine = Engine::start(&load(&pair), options).unwrap();
    let (special, samples) = (&trained.data.special, &trained.data.samples);
    let prompts = samples.iter().map(|sample| trained.prompt(sample)).collect();
    let StepTokens { mark, yes, no } = special.steps.unwrap();
    let readings = engine.probe(prompts, mark.unwrap() as Token, &[yes as Token, no as Token]).unwrap();
    let mut worst = 0.0_f64;
    for (sample, rows) in samples.iter().zip(&readings) {
        let scores: Vec<f64> = rows.iter().map(|row| 1.0 / (1.0 + f64::from(row[1] - row[0]).exp())).collect();
        worst = worst.max(furthest(&scores, &trained.scores(sample)));
    }
    println!("{weight_type:?}: {} samples, at most {worst:.1e} apart", samples.len());
    worst
}

#[test]
fn the_converted_mini_model_gives_the_trainers_scores_to_2e_3() {
    let (model, images) = (repository().join("demo/checkpoints/mini-prm"), repository().join("demo/mini-k12/test"));
    let Some(trained) = Trained::new(&model, &mini_samples(), images) else { return };
    for (weight_type, bound) in [(WeightType::F32, 1e-5), (WeightType::F16, 2e-3)] {
        let worst = apart(&trained, weight_type);
        assert!(worst <= bound, "{weight_type:?}: {worst:e}");
    }
}

#[test]
fn converted_tiny_models_give_the_trainers_scores() {
    for architecture in ARCHITECTURES {
        let Some(trained) = Trained::tiny(architecture) else { continue };
        let worst = apart(&trained, WeightType::F32);
        assert!(worst <= 1e-5, "{architecture}: {worst:e}");
        // Random weights amplify the rounding of f16; MM-PRM's own scores in f16 give the bound.
        let Some(path) = golden_path(&format!("score/{architecture}/deltas.json")) else { continue };
        let bound = json(&path)["float16"]["max"].as_f64().unwrap();
        let worst = apart(&trained, WeightType::F16);
        assert!(worst <= bound, "{architecture}: {worst:e}, MM-PRM's own {bound:e}");
    }
}

#[test]
fn scoring_reads_a_solution_as_training_did() {
    for architecture in ARCHITECTURES {
        let Some(trained) = Trained::tiny(architecture) else { continue };
        let pair = convert(&trained.bench.recipe.output.join("last"), WeightType::F32);
        let model = load(&pair);
        let encoder =
            PromptEncoder::load(Arc::clone(&model), Some(&pair.mmproj), PromptEncoderOptions::default()).unwrap();
        let options = EngineOptions { context: Some(4096), deterministic: true, ..EngineOptions::default() };
        let data_root = golden().join("images");
        let options_of_reward = PrmOptions { data_root, form: Some(PrmTemplate::Training.form().clone()) };
        let reward = LocalPrm::new(Engine::start(&model, options).unwrap(), encoder, options_of_reward).unwrap();
        let mut compared = 0;
        for (record, sample) in json_lines(&trained.bench.recipe.samples).iter().zip(&trained.data.samples) {
            let text = record["conversations"][0]["value"].as_str().unwrap();
            let (question, process) = text.strip_prefix("Question: ").unwrap().split_once("\nProcess: ").unwrap();
            let steps: Vec<String> =
                process.split("<prm>").filter(|step| !step.is_empty()).map(str::to_owned).collect();
            let steps: Vec<String> =
                steps.iter().map(|step| step.strip_prefix("\n\n").unwrap_or(step).to_owned()).collect();
            let images: Vec<String> = match &record["image"] {
                Value::String(one) => vec![one.clone()],
                Value::Array(several) => several.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
                _ => Vec::new(),
            };
            let request = ScoreRequest { question, images: &images, solutions: &[steps] };
            let off = furthest(&reward.score(&request).unwrap()[0], &trained.scores(sample));
            // llama.cpp's vision tower reads 16-bit pixels; without images only rounding differs.
            let bound = if images.is_empty() { 1e-5 } else { 2e-3 };
            println!("{architecture}: {} images, {off:.1e} apart", images.len());
            assert!(off <= bound, "{architecture}: sample {} is {off:e} off", sample.id);
            compared += 1;
        }
        assert!(compared > 4, "{compared} samples");
    }
}
