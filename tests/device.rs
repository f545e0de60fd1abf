//! A GPU gives the CPU's results. Skipped without a GPU: `make test-vulkan` provides one in
//! software, and sets `MMPRM_EXPECT_DEVICE`, which makes a missing GPU a failure.

mod support;

use std::sync::Arc;

use mmprm::engine::{
    Chunk, Engine, EngineOptions, GenerateRequest, LlamaEncoder, Model, ModelOptions, Prompt, Sampling, Stream,
    gpu_devices,
};
use mmprm_quant::convert::WeightType;
use support::Pair;

/// A model in f32 on the CPU and on the GPU; `None` without a GPU.
fn both() -> Option<(Pair, [Arc<Model>; 2])> {
    if gpu_devices().is_empty() {
        assert!(std::env::var_os("MMPRM_EXPECT_DEVICE").is_none(), "no GPU was found");
        support::skip("no GPU");
        return None;
    }
    let pair = support::convert(&support::repository().join("demo/checkpoints/mini-prm"), WeightType::F32);
    let load = |gpu_layers| Model::load(&pair.model, ModelOptions { gpu_layers, ..ModelOptions::default() }).unwrap();
    let models = [load(Some(0)), load(None)];
    Some((pair, models))
}

fn prompt(model: &Model, text: &str) -> Prompt {
    Prompt::new([Chunk::Tokens(model.tokenize(text, true).unwrap())]).unwrap()
}

fn engine(model: &Arc<Model>, deterministic: bool) -> Engine {
    let options = EngineOptions { context: Some(2048), deterministic, ..EngineOptions::default() };
    Engine::start(model, options).unwrap()
}

#[test]
fn scores_agree_with_the_cpu() {
    let Some((_pair, models)) = both() else { return };
    let scores = models.each_ref().map(|model| {
        let mark = model.token("<prm>").unwrap();
        let labels = ["Yes", "No"].map(|label| model.token(label).unwrap());
        let texts =
            ["What is 3 + 4? 3 + 4 = 7.<prm>So it is 7.<prm>", "What is 3 + 4? 3 + 4 = 9.<prm>So it is 9.<prm>"];
        let prompts = texts.iter().map(|text| prompt(model, text)).collect();
        engine(model, true).probe(prompts, mark, &labels).unwrap()
    });
    for (here, there) in scores[0].iter().flatten().zip(scores[1].iter().flatten()) {
        let probability = |row: &[f32]| 1.0 / (1.0 + (row[1] - row[0]).exp());
        let (here, there) = (probability(here), probability(there));
        assert!((here - there).abs() < 1e-2, "{here} on the CPU, {there} on the GPU");
    }
}

#[test]
fn greedy_rollouts_begin_as_on_the_cpu() {
    let Some((_pair, models)) = both() else { return };
    let drawn = models.each_ref().map(|model| {
        let prompt = prompt(model, "What is 3 + 4?");
        let request = GenerateRequest::new(prompt, Sampling::GREEDY, vec![Stream::named(0, "device", 0, 0); 4], 8);
        engine(model, false).generate(GenerateRequest { logprob: true, ..request }).unwrap()
    });
    for (here, there) in drawn[0].iter().zip(&drawn[1]) {
        let difference = (here.logprob[0] - there.logprob[0]).abs();
        assert!(difference < 1e-2, "the first token's log-probability differs by {difference}");
        assert_eq!(here.tokens[0], there.tokens[0]);
    }
}

#[test]
fn image_embeddings_agree_with_the_cpu() {
    let Some((pair, [model, _])) = both() else { return };
    let encoded = [false, true].map(|gpu| {
        let vision = LlamaEncoder::load(&pair.mmproj, &model, None, gpu).unwrap();
        let side = vision.tile_size();
        let tile: Vec<u8> = (0..3 * side * side).map(|at| (at * 31 % 251) as u8).collect();
        vision.encode(&tile).unwrap()
    });
    let largest = encoded[0].iter().fold(0_f32, |largest, value| largest.max(value.abs()));
    for (here, there) in encoded[0].iter().zip(&encoded[1]) {
        assert!((here - there).abs() < 2e-2 * largest, "{here} on the CPU, {there} on the GPU, of {largest}");
    }
}
