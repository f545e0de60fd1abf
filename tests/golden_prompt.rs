//! Golden: prompts and parsed rollouts equal MM-PRM's: strings where the golden files have strings
//! (`golden/mcts`, `golden/pipeline`, `golden/score`), and detokenised ids where they have ids
//! only.

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use mmprm::data::solution::parse;
use mmprm::image::{self, Limits, Tiling};
use mmprm::prompt::{ChatTemplate, Images, Piece, PrmTemplate, prm, prm_text, render, rollout_user};
use serde_json::Value;
use support::tensors::Tensors;
use support::{assert_compared, golden_case, golden_path, json, json_lines};

const ARCHITECTURES: [&str; 2] = ["internlm2", "qwen2"];
/// Image tokens per tile of the golden checkpoints.
const TOKENS_PER_TILE: usize = 16;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Returns the number of context tokens of a golden image, if this copy has it.
fn image_tokens(name: &str) -> Option<usize> {
    let path = golden_case(&format!("images/{name}.png"))?;
    let image = image::load(&path, &Limits::default()).unwrap();
    let tiling = Tiling { size: 112, min_tiles: 1, max_tiles: 6, thumbnail: true };
    Some(image::tiles(&image, &tiling).len() * TOKENS_PER_TILE)
}

/// Returns the prompt with image placeholders, as MM-PRM's chat template leaves it.
fn with_placeholders(pieces: &[Piece]) -> String {
    let write = |piece: &Piece| match piece {
        Piece::Text(text) | Piece::Plain(text) => text.clone(),
        Piece::Image(_) => "<image>".to_owned(),
    };
    pieces.iter().map(write).collect()
}

#[test]
fn golden_search_prompts_are_the_question_and_the_steps_so_far() {
    let Some(path) = golden_path("mcts/traces.jsonl") else { return };
    let mut checked = 0;
    for trace in json_lines(&path) {
        let question = text(&trace["item"]["question"]);
        let pool: Vec<String> = texts(&trace["steps"]).iter().map(|step| step.trim().to_owned()).collect();
        for call in trace["calls"].as_array().unwrap() {
            let expected = text(&call["prompt"]);
            let tail = expected.strip_prefix(&rollout_user(question, &[])).unwrap();
            let prefix = parse(tail, &[""; 0]);
            assert!(prefix.iter().all(|step| pool.contains(step)), "{}: {tail}", trace["name"]);
            assert_eq!(rollout_user(question, &prefix), expected, "{}", trace["name"]);
            checked += 1;
        }
    }
    assert!(checked > 0, "no calls in {}", path.display());
}

#[test]
fn golden_chat_prompts_are_equal_but_for_the_first_token() {
    let Some(path) = golden_path("pipeline/llm_utils.json") else { return };
    let cases = json(&path);
    let cases = cases.as_object().unwrap();
    assert!(!cases.is_empty());
    let template = ChatTemplate::default();
    for (name, case) in cases {
        // MM-PRM's template writes the first token and its tokenizer adds it again; here only the
        // tokenizer does.
        let expected = |field: &str| text(&case[field]).trim_start_matches("<s>").to_owned();
        for mode in [Images::All, Images::Reference] {
            let prompt = template.chat("<image>\n Your task is X.\n\nQuestion: q", 1, mode);
            assert_eq!(with_placeholders(&prompt), expected("prompt"), "{name}");
            let prompt = template.chat("no placeholder", 1, mode);
            assert_eq!(with_placeholders(&prompt), expected("prompt_without_placeholder"), "{name}");
        }
    }
}

#[test]
fn golden_raw_texts_parse_to_mm_prms_rollouts() {
    let Some(path) = golden_path("pipeline/llm_utils.json") else { return };
    let mut checked = 0;
    for (name, case) in json(&path).as_object().unwrap() {
        let special_tokens = texts(&case["special_tokens_removed"]);
        let parsed = case["parsed"].as_array().unwrap();
        for (raw, expected) in texts(&case["raw"]).iter().zip(parsed) {
            assert_eq!(parse(raw, &special_tokens), texts(expected), "{name}: {raw}");
            checked += 1;
        }
    }
    assert!(checked > 0, "no texts in {}", path.display());
}

#[test]
fn golden_scoring_prompts_are_equal() {
    let mut checked = 0;
    let files: Vec<PathBuf> =
        ARCHITECTURES.iter().filter_map(|name| golden_case(&format!("score/{name}/cases.json"))).collect();
    for path in &files {
        for case in json(path).as_array().unwrap() {
            let question = text(&case["question"]);
            let tokens = case["n_image_tokens"].as_u64().unwrap() as usize;
            let run = format!("{{<IMG_CONTEXT> x {tokens}}}");
            let expected = text(&case["query"]).replace(&run, &"<IMG_CONTEXT>".repeat(tokens));
            for mode in [Images::All, Images::Reference] {
                assert_eq!(render(&prm(question, 1, PrmTemplate::Scoring, mode), &[tokens]), expected);
            }
            let (problem, process) = question.strip_prefix("Question: ").unwrap().split_once("\nProcess: ").unwrap();
            let steps: Vec<&str> = process.strip_suffix("<prm>").unwrap().split("<prm>").collect();
            assert_eq!(prm_text(problem, &steps, PrmTemplate::Scoring), question);
            checked += 1;
        }
    }
    assert_compared(checked, "score/*/cases.json");
}

#[test]
fn golden_prompts_of_many_images_are_equal_in_reference_mode() {
    let mut checked = 0;
    for name in ARCHITECTURES {
        let Some(path) = golden_case(&format!("score/{name}/multi_image.json")) else { continue };
        let Some(vocabulary) = Vocabulary::golden(name) else { continue };
        for case in json(&path).as_array().unwrap() {
            let images = texts(&case["images"]);
            let Some(tokens) = images.iter().map(|image| image_tokens(image)).collect::<Option<Vec<_>>>() else {
                continue;
            };
            assert_eq!(case["n_vit_tokens"], tokens.iter().sum::<usize>());

            let question = text(&case["question"]);
            let reference = prm(question, images.len(), PrmTemplate::Scoring, Images::Reference);
            assert_eq!(render(&reference, &tokens), vocabulary.decode(&case["input_ids"]), "{name}: {question}");

            let all = prm(question, images.len(), PrmTemplate::Scoring, Images::All);
            let shown: Vec<&Piece> = all.iter().filter(|piece| matches!(piece, Piece::Image(_))).collect();
            let expected: Vec<Piece> = (0..images.len()).map(Piece::Image).collect();
            assert_eq!(shown, expected.iter().collect::<Vec<_>>(), "{name}: {question}");
            checked += 1;
        }
    }
    assert_compared(checked, "score/*/multi_image.json");
}

#[test]
fn golden_training_samples_are_equal_as_text() {
    let Some(samples) = golden_path("train/samples.jsonl") else { return };
    let samples = json_lines(&samples);
    let mut checked = 0;
    for name in ARCHITECTURES {
        let Some(path) = golden_case(&format!("train/{name}/data.safetensors")) else { continue };
        let Some(vocabulary) = Vocabulary::golden(name) else { continue };
        let tensors = Tensors::read(&path);
        for (index, sample) in samples.iter().enumerate() {
            let value = text(&sample["conversations"][0]["value"]);
            let image = sample.get("image").map(|image| text(image).trim_end_matches(".png"));
            let Some(tokens) = image.into_iter().map(image_tokens).collect::<Option<Vec<_>>>() else { continue };
            let prompt = prm(value, tokens.len(), PrmTemplate::Training, Images::All);
            let ids = tensors.integers(&format!("sample{index}.input_ids"));
            assert_eq!(render(&prompt, &tokens), vocabulary.decode(&ids.into()), "{name}: sample {index}");

            let (problem, process) = value.strip_prefix("Question: ").unwrap().split_once("\nProcess: ").unwrap();
            let steps: Vec<&str> = process.strip_suffix("<prm>").unwrap().split("<prm>\n\n").collect();
            assert_eq!(prm_text(problem, &steps, PrmTemplate::Training), value);
            checked += 1;
        }
    }
    assert_compared(checked, "train/*/data.safetensors");
}

#[test]
fn golden_texts_in_both_prm_templates_are_equal() {
    let Some(path) = golden_path("quirks.json") else { return };
    let mut checked = 0;
    for (name, case) in json(&path)["train_vs_score_template"].as_object().unwrap() {
        let Some(vocabulary) = Vocabulary::golden(name) else { continue };
        let Some(tokens) = image_tokens(text(&case["image"])) else { continue };
        for (template, ids) in [(PrmTemplate::Scoring, "score_ids"), (PrmTemplate::Training, "train_ids")] {
            let prompt = render(&prm(text(&case["question"]), 1, template, Images::All), &[tokens]);
            assert_eq!(prompt, vocabulary.decode(&case[ids]), "{name}: {template}");
            checked += 1;
        }
    }
    assert_compared(checked, "quirks.json: train_vs_score_template");
}

/// The bytes of each token of a golden checkpoint.
struct Vocabulary {
    bytes: HashMap<i64, Vec<u8>>,
}

impl Vocabulary {
    fn golden(architecture: &str) -> Option<Self> {
        let folder = golden_case(&format!("ckpt/{architecture}"))?;
        let mut bytes = match fs::read(folder.join("tokenizer.model")) {
            Ok(model) => sentencepieces(&model),
            Err(_) => byte_level_tokens(&json(&folder.join("vocab.json"))),
        };
        for (id, token) in json(&folder.join("tokenizer_config.json"))["added_tokens_decoder"].as_object().unwrap() {
            bytes.insert(id.parse().unwrap(), text(&token["content"]).into());
        }
        Some(Self { bytes })
    }

    /// Returns the text of `ids`, without the beginning-of-sequence token.
    fn decode(&self, ids: &Value) -> String {
        let bytes: Vec<u8> =
            ids.as_array().unwrap().iter().flat_map(|id| &self.bytes[&id.as_i64().unwrap()]).copied().collect();
        let text = String::from_utf8(bytes).unwrap();
        text.strip_prefix("<s>").unwrap_or(&text).to_owned()
    }
}

/// Returns the pieces of a sentencepiece model: field 1 of the model is a piece, field 1 of a piece
/// its text.
fn sentencepieces(model: &[u8]) -> HashMap<i64, Vec<u8>> {
    let pieces = length_delimited(model).into_iter().filter(|&(field, _)| field == 1);
    let spelled = pieces.map(|(_, piece)| {
        let (_, spelling) = length_delimited(piece).into_iter().find(|&(field, _)| field == 1).unwrap();
        let spelling = std::str::from_utf8(spelling).unwrap();
        let byte = spelling.strip_prefix("<0x").and_then(|digits| digits.strip_suffix('>'));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => vec![byte],
            None => spelling.replace('\u{2581}', " ").into_bytes(),
        }
    });
    (0..).zip(spelled).collect()
}

/// Returns the length-delimited fields of a protocol buffer message with their numbers.
fn length_delimited(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            kind => panic!("wire type {kind}"),
        };
        let (value, rest) = message.split_at(length);
        message = rest;
        if key & 7 == 2 {
            fields.push((key >> 3, value));
        }
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first().unwrap();
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// Returns the tokens of a byte-level vocabulary, which writes bytes that are not visible Latin-1
/// characters as characters from U+0100 on, in order.
fn byte_level_tokens(vocabulary: &Value) -> HashMap<i64, Vec<u8>> {
    let is_visible = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut byte_of: HashMap<char, u8> =
        (0..=255).filter(|&byte| is_visible(byte)).map(|byte| (char::from(byte), byte)).collect();
    byte_of.extend(('\u{100}'..).zip((0..=255).filter(|&byte| !is_visible(byte))));
    let entries = vocabulary.as_object().unwrap().iter();
    entries.map(|(token, id)| (id.as_i64().unwrap(), token.chars().map(|char| byte_of[&char]).collect())).collect()
}
