//! The mini policy against its golden data: prompts, image embeddings, first logits, greedy text.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use mmprm::engine::{Engine, EngineOptions, GenerateRequest, Sampling, Stream};
use mmprm::prompt::{Images, rollout};
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::convert::WeightType;
use serde_json::Value;
use support::{convert, ids, json, load, numbers, repository};

struct Setup {
    encoder: PromptEncoder,
    engine: Engine,
    cases: Vec<Value>,
    _pair: support::Pair,
}

/// Loads the checkpoint `MMPRM_MINI_POLICY`, or the shipped one, and its golden data.
fn setup() -> Setup {
    let checkpoint = std::env::var_os("MMPRM_MINI_POLICY")
        .map_or_else(|| repository().join("demo/checkpoints/mini-mm-policy"), PathBuf::from);
    let pair = convert(&checkpoint, WeightType::F32);
    let model = load(&pair);
    let encoder = PromptEncoder::load(Arc::clone(&model), Some(&pair.mmproj), PromptEncoderOptions::default()).unwrap();
    let engine = Engine::start(&model, EngineOptions { deterministic: true, ..EngineOptions::default() }).unwrap();
    let cases = json(&checkpoint.join("goldens.json"))["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "no golden case was found");
    Setup { encoder, engine, cases, _pair: pair }
}

fn prompt(setup: &Setup, case: &Value) -> mmprm::engine::Prompt {
    let steps: Vec<String> = serde_json::from_value(case["previous_steps"].clone()).unwrap_or_default();
    let image = repository().join("demo/mini-k12/test").join(case["image_path"].as_str().unwrap());
    let pieces = rollout(case["question"].as_str().unwrap(), &steps, 1, Images::All);
    setup.encoder.prompt(&pieces, &[image]).unwrap()
}

#[test]
fn golden_prompt_ids_of_the_mini_policy_are_equal_around_the_image() {
    let setup = setup();
    let image_token = setup.encoder.model().token("<IMG_CONTEXT>").unwrap();
    for case in &setup.cases {
        let prompt = prompt(&setup, case);
        let expected = ids(&case["input_ids"]);
        assert_eq!(prompt.len(), expected.len());
        let text: Vec<i32> = expected.into_iter().filter(|&id| id != image_token).collect();
        assert_eq!(prompt.text_tokens().collect::<Vec<_>>(), text, "{}", case["id"]);
    }
}

#[test]
fn golden_image_embeddings_of_the_mini_policy_agree_to_1e_3() {
    let setup = setup();
    for case in &setup.cases {
        let image = repository().join("demo/mini-k12/test").join(case["image_path"].as_str().unwrap());
        let embeddings = setup.encoder.image(&image).unwrap();
        let tile_tokens = embeddings.tokens() / case["tiles"].as_u64().unwrap() as usize;
        let width = embeddings.width;
        for (tile, rows) in case["vit_embeds_slice"].as_array().unwrap().iter().enumerate() {
            for (row, values) in rows.as_array().unwrap().iter().enumerate() {
                for (column, value) in values.as_array().unwrap().iter().enumerate() {
                    let found = f64::from(embeddings.values[(tile * tile_tokens + row) * width + column]);
                    let expected = value.as_f64().unwrap();
                    let distance = (found - expected).abs();
                    // Values reach ±100.
                    assert!(distance < 1e-3, "{}: {found} for {expected}", case["id"]);
                }
            }
        }
    }
}

#[test]
fn golden_first_logits_of_the_mini_policy_agree_to_2e_2() {
    let setup = setup();
    for case in &setup.cases {
        let prompt = prompt(&setup, case);
        let top = ids(&case["first_logits_top20"]["ids"]);
        let expected = numbers(&case["first_logits_top20"]["values"]);
        let last = prompt.text_tokens().last().unwrap();
        let readings = setup.engine.probe(vec![prompt], last, &top).unwrap();
        for ((found, expected), token) in readings[0].last().unwrap().iter().zip(expected).zip(top) {
            let distance = (f64::from(*found) - expected).abs();
            assert!(distance < 2e-2, "{} token {token}: {found} for {expected}", case["id"]);
        }
    }
}

#[test]
fn golden_greedy_text_of_the_mini_policy_is_equal() {
    let setup = setup();
    let mut exact = 0;
    for case in &setup.cases {
        let mut expected = ids(&case["greedy_ids"]);
        expected.retain(|&id| !setup.encoder.model().is_end(id));
        let request =
            GenerateRequest::new(prompt(&setup, case), Sampling::GREEDY, vec![Stream::named(0, "", 0, 0)], 400);
        let found = setup.engine.generate(request).unwrap().remove(0).tokens;
        assert_eq!(found, expected, "{}", case["id"]);
        exact += 1;
    }
    println!("{exact} continuations equal");
}
