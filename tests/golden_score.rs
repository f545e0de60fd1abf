//! Step scores against the reference's, on its tiny checkpoints.

mod support;

use std::path::Path;
use std::sync::Arc;

use mmprm::engine::{Chunk, Embeddings, Engine, EngineOptions, Model, Prompt, Token};
use mmprm_quant::convert::WeightType;
use support::{cases, convert, floats, golden, ids, json, load, name, numbers};

/// The engine as scoring runs it.
fn engine(model: &Arc<Model>) -> Engine {
    Engine::start(model, EngineOptions { context: Some(4096), deterministic: true, ..EngineOptions::default() }).unwrap()
}

/// Token ids with their run of image tokens replaced by the embeddings the reference's vision tower gave.
fn prompt(ids: &[Token], image_token: Token, embeddings: &Arc<Embeddings>) -> Prompt {
    let start = ids.iter().position(|&id| id == image_token).expect("there is an image in the prompt");
    let count = ids.iter().filter(|&&id| id == image_token).count();
    assert_eq!(count, embeddings.tokens(), "one embedding for each image token");
    Prompt::new([
        Chunk::Tokens(ids[..start].to_vec()),
        Chunk::Image(Arc::clone(embeddings)),
        Chunk::Tokens(ids[start + count..].to_vec()),
    ])
    .unwrap()
}

struct Case {
    image: String,
    prompt: Prompt,
    expected: Vec<f64>,
}

fn score_cases(folder: &Path, model: &Model) -> Vec<Case> {
    let image_token = model.token("<IMG_CONTEXT>").unwrap();
    let mut read = Vec::new();
    for case in json(&folder.join("cases.json")).as_array().unwrap() {
        let image = case["image"].as_str().unwrap().to_owned();
        let Some(values) = floats(&folder.join(format!("{image}.safetensors")), "vit_embeds") else { continue };
        let digest = image.bytes().fold(0, |sum, byte| sum * 257 + u64::from(byte));
        let embeddings = Arc::new(Embeddings { values, width: model.embedding_width(), digest });
        let prompt = prompt(&ids(&case["input_ids"]), image_token, &embeddings);
        read.push(Case { image, prompt, expected: numbers(&case["scores_float32"]) });
    }
    read
}

fn probe(engine: &Engine, prompts: Vec<Prompt>) -> Vec<Vec<f64>> {
    let model = engine.model();
    let token = |text| model.token(text).unwrap();
    let readings = engine.probe(prompts, token("<prm>"), &[token("Yes"), token("No")]).unwrap();
    let score = |row: &Vec<f32>| 1.0 / (1.0 + f64::from(row[1] - row[0]).exp());
    readings.iter().map(|rows| rows.iter().map(score).collect()).collect()
}

fn furthest(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "as many scores as steps");
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn golden_scores_from_the_references_image_embeddings_agree_to_1e_4() {
    let mut compared = 0;
    for folder in cases("score") {
        let pair = convert(&golden().join("ckpt").join(name(&folder)), WeightType::F32);
        let engine = engine(&load(&pair));
        let cases = score_cases(&folder, engine.model());
        let scores = probe(&engine, cases.iter().map(|case| case.prompt.clone()).collect());
        for (case, scores) in cases.iter().zip(&scores) {
            let distance = furthest(scores, &case.expected);
            assert!(distance < 1e-4, "{} {}: {distance}: {scores:?} {:?}", name(&folder), case.image, case.expected);
            compared += scores.len();
        }
    }
    assert!(compared > 0, "no golden case was found");
    println!("{compared} step scores compared");
}

#[test]
fn golden_scores_are_the_same_bits_whatever_the_company() {
    let mut compared = 0;
    for folder in cases("score") {
        let pair = convert(&golden().join("ckpt").join(name(&folder)), WeightType::Q8_0);
        let engine = engine(&load(&pair));
        let prompts: Vec<Prompt> = score_cases(&folder, engine.model()).into_iter().map(|case| case.prompt).collect();
        let together = probe(&engine, prompts.clone());
        let backwards = probe(&engine, prompts.iter().rev().cloned().collect());
        for (index, prompt) in prompts.iter().enumerate() {
            let alone = probe(&engine, vec![prompt.clone()]);
            assert_eq!(alone[0], together[index]);
            assert_eq!(alone[0], backwards[prompts.len() - 1 - index]);
            compared += 1;
        }
    }
    assert!(compared > 0, "no golden case was found");
}
