//! Step scores against MM-PRM's, on the tiny golden checkpoints.

mod support;

use std::path::Path;
use std::sync::Arc;

use mmprm::data::candidates;
use mmprm::engine::{Chunk, Embeddings, Engine, EngineOptions, Model, Prompt, Token, gpu_devices};
use mmprm::prm::{LocalPrm, PrmOptions, ScoreRequest, StepScorer};
use mmprm::prompt::PrmTemplate;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::convert::WeightType;
use support::tensors::Tensors;
use support::{assert_compared, cases, convert, golden, golden_path, ids, json, load, name, numbers};

/// An engine in the mode that scoring uses.
fn engine(model: &Arc<Model>) -> Engine {
    Engine::start(model, EngineOptions { context: Some(4096), deterministic: true, ..EngineOptions::default() })
        .unwrap()
}

/// The prompt of token ids whose run of image tokens is replaced by MM-PRM's embeddings.
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
        let path = folder.join(format!("{image}.safetensors"));
        if !path.exists() {
            continue;
        }
        let values = Tensors::read(&path).floats("vit_embeds");
        let digest = image.bytes().fold(0, |sum, byte| sum * 257 + u64::from(byte));
        let embeddings = Arc::new(Embeddings { values, width: model.embedding_width(), digest, grid: None });
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

fn max_difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "as many scores as steps");
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The tolerance of scores: `cpu`, or 5e-3 on a GPU, whose products of 32-bit numbers keep the 10
/// bits of TF32 (cuBLAS) or f16 instead of 23; 1.7e-3 was measured on one.
fn tolerance(cpu: f64) -> f64 {
    if gpu_devices().is_empty() { cpu } else { 5e-3 }
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
            let distance = max_difference(scores, &case.expected);
            assert!(
                distance < tolerance(1e-4),
                "{} {}: {distance}: {scores:?} {:?}",
                name(&folder),
                case.image,
                case.expected
            );
            compared += scores.len();
        }
    }
    assert!(compared > 0, "no golden case was found");
    println!("{compared} step scores compared");
}

#[test]
fn golden_scores_are_bit_identical_in_any_batch_composition() {
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

/// A reward model of a golden checkpoint, with its vision tower, and its files.
fn reward(architecture: &str, template: PrmTemplate) -> (LocalPrm, support::Pair) {
    let pair = convert(&golden().join("ckpt").join(architecture), WeightType::F32);
    let model = load(&pair);
    let encoder = PromptEncoder::load(Arc::clone(&model), Some(&pair.mmproj), PromptEncoderOptions::default()).unwrap();
    let options = PrmOptions { data_root: golden().join("images"), form: Some(template.form().clone()) };
    (LocalPrm::new(engine(&model), encoder, options).unwrap(), pair)
}

/// Splits a prompt text `Question: …\nProcess: s1<prm>s2<prm>`.
fn question_and_steps(text: &str) -> (String, Vec<String>) {
    let (question, process) = text.strip_prefix("Question: ").unwrap().split_once("\nProcess: ").unwrap();
    let steps = process.split_terminator("<prm>").map(str::to_owned).collect();
    (question.to_owned(), steps)
}

fn score(reward: &LocalPrm, text: &str, images: &[String]) -> Vec<f64> {
    let (question, steps) = question_and_steps(text);
    let request = ScoreRequest { question: &question, images, solutions: &[steps] };
    reward.score(&request).unwrap().remove(0)
}

#[test]
fn golden_scores_from_the_image_itself_agree_to_1e_3() {
    let (mut compared, mut worst) = (0, 0.0_f64);
    for folder in cases("score") {
        let (reward, _pair) = reward(&name(&folder), PrmTemplate::Scoring);
        for case in json(&folder.join("cases.json")).as_array().unwrap() {
            let image = format!("{}.png", case["image"].as_str().unwrap());
            let scores = score(&reward, case["question"].as_str().unwrap(), &[image]);
            worst = worst.max(max_difference(&scores, &numbers(&case["scores_float32"])));
            compared += scores.len();
        }
    }
    assert!(compared > 0, "no golden case was found");
    println!("{compared} step scores compared, largest difference {worst:.1e}");
    assert!(worst < tolerance(1e-3), "{worst}");
}

#[test]
fn golden_scores_of_the_same_text_differ_by_template_as_the_references_do() {
    let Some(path) = golden_path("quirks.json") else { return };
    for (architecture, case) in json(&path)["train_vs_score_template"].as_object().unwrap() {
        let image = [format!("{}.png", case["image"].as_str().unwrap())];
        let (question, _) = question_and_steps(case["question"].as_str().unwrap());
        for (template, key) in [(PrmTemplate::Training, "train_scores"), (PrmTemplate::Scoring, "score_scores")] {
            let (reward, _pair) = reward(architecture, template);
            // The golden text has the training template's blank line between steps in both
            // templates.
            let steps: Vec<String> = match template {
                PrmTemplate::Training => vec!["Step one.".into(), "Answer: 2".into()],
                PrmTemplate::Scoring => vec!["Step one.".into(), "\n\nAnswer: 2".into()],
            };
            let request = ScoreRequest { question: &question, images: &image, solutions: &[steps] };
            let scores = reward.score(&request).unwrap().remove(0);
            let distance = max_difference(&scores, &numbers(&case[key]));
            assert!(distance < tolerance(1e-3), "{architecture} {key}: {distance}");
        }
    }
}

#[test]
fn golden_scores_with_two_images_agree_where_each_has_its_placeholder() {
    let mut compared = 0;
    for folder in cases("score") {
        let path = folder.join("multi_image.json");
        if !path.exists() {
            continue;
        }
        let (reward, _pair) = reward(&name(&folder), PrmTemplate::Scoring);
        for case in json(&path).as_array().unwrap() {
            let text = case["question"].as_str().unwrap();
            let names: Vec<String> = serde_json::from_value(case["images"].clone()).unwrap();
            let images: Vec<String> = names.iter().map(|image| format!("{image}.png")).collect();
            let scores = score(&reward, text, &images);
            assert_eq!(scores.len(), case["scores_float32"].as_array().unwrap().len());
            // With fewer placeholders MM-PRM leaves images out; this program shows every image.
            if text.matches("<image>").count() == images.len() {
                let distance = max_difference(&scores, &numbers(&case["scores_float32"]));
                assert!(distance < tolerance(1e-3), "{text}: {distance}");
                compared += 1;
            }
        }
    }
    assert_compared(compared, "score/*/multi_image.json");
}

#[test]
fn golden_best_of_n_gives_every_candidate_its_own_scores_even_after_one_without_steps() {
    let Some(bon) = golden_path("eval/bon/rollouts.json") else { return };
    let Some(quirks) = golden_path("quirks.json") else { return };
    let sets = candidates::load(&bon).unwrap();
    let mut compared = 0;
    for folder in cases("score") {
        let architecture = name(&folder);
        let reference = golden().join(format!("eval/bon/{architecture}_float32.json"));
        if !reference.exists() {
            continue;
        }
        let (reward, _pair) = reward(&architecture, PrmTemplate::Scoring);
        let expected = json(&reference);
        for (set, expected) in sets.iter().zip(expected.as_array().unwrap()) {
            let question = set.question.as_deref().unwrap();
            let request = ScoreRequest { question, images: &set.images, solutions: &set.solutions };
            let scores = reward.score(&request).unwrap();
            let lengths: Vec<usize> = scores.iter().map(Vec::len).collect();
            assert_eq!(lengths, set.solutions.iter().map(Vec::len).collect::<Vec<_>>());
            // MM-PRM shifts the scores after a candidate without steps (quirks.json); here every
            // candidate has its own.
            if set.solutions.iter().all(|steps| !steps.is_empty()) {
                compared += 1;
                for (scores, expected) in scores.iter().zip(expected["prm_scores"].as_array().unwrap()) {
                    assert!(max_difference(scores, &numbers(expected)) < tolerance(1e-3));
                }
            }
        }
        let quirks = json(&quirks);
        let shift = &quirks["empty_candidate_shift"];
        if architecture != "internlm2" || shift.is_null() {
            continue;
        }
        let set = &sets[shift["question"].as_u64().unwrap() as usize];
        let question = set.question.as_deref().unwrap();
        let request = ScoreRequest { question, images: &set.images, solutions: &set.solutions };
        let scores = reward.score(&request).unwrap();
        // MM-PRM gives even the candidate without steps a score; here it has none.
        let own = shift["own_scores_per_candidate"].as_array().unwrap();
        for (scores, own) in scores.iter().zip(own).filter(|(scores, _)| !scores.is_empty()) {
            assert!(max_difference(scores, &numbers(own)) < tolerance(1e-3), "{scores:?} {own}");
        }
    }
    assert_compared(compared, "eval/bon/*_float32.json");
}

#[test]
fn a_problem_without_an_image_is_scored_and_one_with_a_missing_image_fails() {
    for folder in cases("score") {
        let (reward, _pair) = reward(&name(&folder), PrmTemplate::Scoring);
        assert_eq!(score(&reward, "Question: 1 + 1?\nProcess: It is 2.<prm>", &[]).len(), 1);
        let request = ScoreRequest { question: "q", images: &["none.png".into()], solutions: &[vec!["a".into()]] };
        let error = reward.score(&request).unwrap_err().to_string();
        assert!(error.contains("none.png"), "{error}");
    }
}
