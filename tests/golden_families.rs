//! Converted checkpoints of every family through llama.cpp, against the family's own code: token ids, logits, image embeddings,
//! outputs of heads (`tests/golden/families/README.md`).

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmprm::engine::{
    Chunk, Embeddings, Engine, EngineOptions, GenerateRequest, Model, ModelOptions, Prompt, QwenEncoder, Sampling,
    Stream, Token, gpu_devices,
};
use mmprm::image::{Limits, Tiling, load, tiles};
use mmprm::prompt::Piece;
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm::vision::{NativeEncoder, NativeOptions, VisionEncoder};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::head::Head;
use mmprm_quant::progress::no_progress;
use serde_json::Value;
use support::tensors::Tensors;
use support::{cases, golden, ids, json, name};

/// A converted checkpoint and what its own code computes.
struct Family {
    name: String,
    folder: PathBuf,
    _directory: tempfile::TempDir,
    paths: Vec<PathBuf>,
    golden: Value,
    numbers: Tensors,
}

impl Family {
    fn convert(folder: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(&folder, directory.path(), &ConvertOptions::new(WeightType::F32)).unwrap();
        plan.write(&mut no_progress).unwrap();
        let name = name(&folder);
        // The two layouts of one model have the same numbers.
        let own = folder.join("golden.safetensors");
        let numbers = if own.exists() { own } else { golden().join(format!("families/{name}-hf/golden.safetensors")) };
        let paths = plan.files.iter().map(|file| file.path.clone()).collect();
        let golden = json(&folder.join("golden.json"));
        Self { name, folder, _directory: directory, paths, golden, numbers: Tensors::read(&numbers) }
    }

    /// Whether it reads images whole.
    fn is_qwen_vl(&self) -> bool {
        self.paths.get(1).is_some_and(|path| QwenEncoder::is_for(&GgufFile::open(path).unwrap()))
    }

    fn model(&self) -> Arc<Model> {
        Model::load(&self.paths[0], ModelOptions::default()).unwrap()
    }
}

fn families() -> Vec<Family> {
    cases("families").into_iter().map(Family::convert).collect()
}

/// 2e-5 was measured on a CPU, for numbers up to 13. The products of a GPU keep 10 bits.
fn tolerance() -> f32 {
    if gpu_devices().is_empty() { 1e-3 } else { 5e-2 }
}

fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    assert_within(what, found, expected, tolerance());
}

fn assert_within(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: {off:.1e}");
    assert!(off <= tolerance, "{what}: off by {off}");
}

/// Logits of every token after every token of a prompt, read by the engine.
fn logits(model: &Arc<Model>, chunks: impl Fn() -> Vec<Chunk>, tokens: &[Token]) -> Vec<(usize, Vec<f32>)> {
    let options = EngineOptions { context: Some(512), deterministic: true, ..EngineOptions::default() };
    let engine = Engine::start(model, options).unwrap();
    let all: Vec<Token> = (0..model.vocabulary_size() as Token).collect();
    let mut distinct = tokens.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let mut found = Vec::new();
    for token in distinct {
        let prompt = Prompt::new(chunks()).unwrap();
        let rows = engine.probe(vec![prompt], token, &all).unwrap().remove(0);
        let places = tokens.iter().enumerate().filter(|(_, other)| **other == token).map(|(place, _)| place);
        found.extend(places.zip(rows));
    }
    found.sort_by_key(|(place, _)| *place);
    found
}

#[test]
fn token_ids_are_those_of_each_familys_tokenizer() {
    for family in families() {
        let options = ModelOptions { vocab_only: true, ..ModelOptions::default() };
        let model = Model::load(&family.paths[0], options).unwrap();
        let texts = family.golden["texts"].as_array().unwrap();
        for (text, expected) in texts.iter().zip(family.golden["ids"].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            assert_eq!(model.tokenize(text, true).unwrap(), ids(expected), "{}: {text:?}", family.name);
        }
        assert!(texts.len() > 3, "{}", family.name);
    }
}

#[test]
fn logits_agree_to_1e_3() {
    for family in families() {
        let tokens = ids(&family.golden["prompt"]);
        let found = logits(&family.model(), || vec![Chunk::Tokens(tokens.clone())], &tokens);
        assert_eq!(found.len(), tokens.len(), "{}", family.name);
        let found: Vec<f32> = found.into_iter().flat_map(|(_, row)| row).collect();
        assert_near(&family.name, &found, &family.numbers.floats("logits"));
    }
}

/// The outputs of a head, as numbers of the golden files.
fn outputs(head: &Head, hidden: &[f32]) -> Vec<f32> {
    head.apply(hidden).into_iter().map(|output| output as f32).collect()
}

#[test]
fn heads_compute_what_their_own_code_does() {
    let mut heads = 0;
    for family in families() {
        let head = Head::read(&GgufFile::open(&family.paths[0]).unwrap()).unwrap();
        let has_head = family.numbers.names().iter().any(|name| name == "head");
        assert_eq!(head.is_some(), has_head, "{}", family.name);
        let Some(head) = head else { continue };
        let hidden = family.numbers.floats("hidden");
        let found: Vec<f32> =
            hidden.chunks_exact(head.layers[0].inputs).flat_map(|hidden| outputs(&head, hidden)).collect();
        assert_near(&family.name, &found, &family.numbers.floats("head"));
        heads += 1;
    }
    assert!(heads >= 4, "token classification of two families, an MLP and a value head");
}

#[test]
fn the_engine_reads_the_hidden_states_that_heads_score() {
    let mut heads = 0;
    for family in families() {
        let model = family.model();
        let Some(head) = Head::read(model.file()).unwrap() else { continue };
        let options = EngineOptions { context: Some(512), deterministic: true, ..EngineOptions::default() };
        let engine = Engine::start(&model, options).unwrap();
        let tokens = ids(&family.golden["prompt"]);
        let places = (0..tokens.len()).collect();
        let prompt = Prompt::new(vec![Chunk::Tokens(tokens)]).unwrap().marked(places).unwrap();
        let rows = engine.hidden(vec![prompt]).unwrap().remove(0);
        assert_near(&format!("{}, hidden", family.name), &rows.concat(), &family.numbers.floats("hidden"));
        let outputs: Vec<f32> = rows.iter().flat_map(|row| outputs(&head, row)).collect();
        assert_near(&family.name, &outputs, &family.numbers.floats("head"));
        heads += 1;
    }
    assert!(heads >= 4, "{heads}");
}

/// The embeddings of the golden tile by our encoder.
fn embeddings(family: &Family, width: usize) -> Embeddings {
    let tile = load(&family.folder.join("tile.png"), &Limits::default()).unwrap();
    let tiling = Tiling { size: 56, min_tiles: 1, max_tiles: 12, thumbnail: true };
    let encoder = NativeEncoder::load(&family.paths[1], NativeOptions::default()).unwrap();
    let tiles = tiles(&tile, &tiling);
    assert_eq!(tiles.len(), 1, "the image has the size of a tile");
    let values = encoder.encode(&tiles).unwrap();
    assert_eq!(values.len() % width, 0);
    Embeddings { values, width, digest: 1, grid: None }
}

#[test]
fn images_are_embedded_and_read_as_in_each_layouts_own_code() {
    let mut compared = 0;
    for family in families().into_iter().filter(|family| family.paths.len() == 2 && !family.is_qwen_vl()) {
        let model = family.model();
        let image = Arc::new(embeddings(&family, model.embedding_width()));
        assert_near(&family.name, &image.values, &family.numbers.floats("embeddings"));
        let (tokens, place) = (ids(&family.golden["image_prompt"]), family.golden["image_token"].as_i64().unwrap());
        let start = tokens.iter().position(|token| i64::from(*token) == place).unwrap();
        let end = start + image.tokens();
        let chunks = || {
            let [before, after] = [&tokens[..start], &tokens[end..]].map(|part| Chunk::Tokens(part.to_vec()));
            vec![before, Chunk::Image(Arc::clone(&image)), after]
        };
        // The engine reads after tokens of text.
        let text: Vec<Token> = [&tokens[..start], &tokens[end..]].concat();
        let expected = family.numbers.floats("image_logits");
        let width = model.vocabulary_size();
        for (place, row) in logits(&model, chunks, &text) {
            let place = if place < start { place } else { place + image.tokens() };
            assert_near(&format!("{} at {place}", family.name), &row, &expected[place * width..][..width]);
        }
        compared += 1;
    }
    assert_eq!(compared, 4, "two models in two layouts");
}

/// llama.cpp's vision towers round pixels to 16 bits (`ggml_conv_2d`) and take the approximate GELU from a table of 16-bit numbers:
/// measured were 4e-3 for embeddings up to 9, and from them 1.2e-2 for logits up to 10. Images are resized here as by Pillow, to the
/// bit, so that one that is resized is as near as one that is not.
const WHOLE_IMAGES: f32 = 2e-2;

/// The prompt of the golden numbers: text, an image, and more of both.
fn shown(encoder: &PromptEncoder, folder: &Path, images: usize) -> Prompt {
    let texts = ["The angle", "is 12 degrees.\nAnd here:", "it's 5, not 7."].map(|text| Piece::Text(text.to_owned()));
    let pieces: Vec<Piece> =
        texts.into_iter().enumerate().flat_map(|(index, text)| [text, Piece::Image(index)]).collect();
    let files = ["tile.png", "photo.png"].map(|name| folder.join(name));
    encoder.prompt(&pieces[..=2 * images], &files).unwrap()
}

/// The positions of text in a prompt.
fn text_places(prompt: &Prompt, tokens: &[Token], image: Token) -> Vec<usize> {
    assert_eq!(prompt.len(), tokens.len());
    let places: Vec<usize> = (0..tokens.len()).filter(|place| tokens[*place] != image).collect();
    let text: Vec<Token> = places.iter().map(|place| tokens[*place]).collect();
    assert_eq!(prompt.text_tokens().collect::<Vec<_>>(), text);
    places
}

#[test]
fn whole_images_are_embedded_and_read_as_in_transformers() {
    let mut compared = 0;
    for family in families().into_iter().filter(Family::is_qwen_vl) {
        let model = family.model();
        let options = PromptEncoderOptions::default();
        let encoder = PromptEncoder::load(Arc::clone(&model), Some(&family.paths[1]), options).unwrap();
        for (file, label) in [("tile.png", "embeddings"), ("photo.png", "photo_embeddings")] {
            let image = encoder.image(&family.folder.join(file)).unwrap();
            let what = format!("{}: {label}", family.name);
            assert_within(&what, &image.values, &family.numbers.floats(label), WHOLE_IMAGES);
        }
        let all: Vec<Token> = (0..model.vocabulary_size() as Token).collect();
        let options = EngineOptions { context: Some(512), deterministic: true, ..EngineOptions::default() };
        let engine = Engine::start(&model, options).unwrap();
        let image = family.golden["image_token"].as_i64().unwrap() as Token;
        for (label, images) in [("image", 1), ("photo", 2)] {
            let prompt = shown(&encoder, &family.folder, images);
            let tokens = ids(&family.golden[&format!("{label}_prompt")]);
            let places = text_places(&prompt, &tokens, image);
            let rows = engine.logits(vec![prompt.marked(places).unwrap()], &all).unwrap().remove(0);
            let what = format!("{}: logits after {images} images", family.name);
            assert_within(&what, &rows.concat(), &family.numbers.floats(&format!("{label}_logits")), WHOLE_IMAGES);
        }
        compared += 1;
    }
    assert_eq!(compared, 3, "Qwen2-VL, Qwen2.5-VL and Qwen3-VL");
}

#[test]
fn prompts_with_whole_images_share_them_and_read_the_same_in_any_company() {
    for family in families().into_iter().filter(Family::is_qwen_vl) {
        let model = family.model();
        let options = PromptEncoderOptions::default();
        let encoder = PromptEncoder::load(Arc::clone(&model), Some(&family.paths[1]), options).unwrap();
        let image = |name: &str| Chunk::Image(encoder.image(&family.folder.join(name)).unwrap());
        let text = |range: std::ops::Range<Token>| Chunk::Tokens(range.collect());
        let [tile, photo] = ["tile.png", "photo.png"].map(image);
        // They part after an image, before one, at the last token before one, and within texts.
        let chunks: Vec<Vec<Chunk>> = vec![
            vec![text(10..22), tile.clone(), text(30..45)],
            vec![text(10..22), tile.clone(), text(31..45)],
            vec![text(10..22), photo.clone(), text(30..45)],
            vec![text(10..22), tile.clone(), text(30..40), photo.clone(), text(50..59)],
            vec![text(10..22), tile.clone(), text(30..40), photo.clone(), text(51..59)],
            vec![text(10..21), tile.clone(), text(30..45)],
            vec![tile.clone(), photo.clone(), text(30..45)],
            vec![tile, text(30..45)],
        ];
        let prompts: Vec<Prompt> = chunks.into_iter().map(|chunks| Prompt::new(chunks).unwrap()).collect();
        let ends: Vec<Prompt> = prompts
            .iter()
            .map(|prompt| prompt.clone().marked(vec![prompt.len() - 8, prompt.len() - 1]).unwrap())
            .collect();
        let read: Vec<Token> = (0..model.vocabulary_size() as Token).collect();
        let options = |deterministic| EngineOptions { context: Some(1024), deterministic, ..EngineOptions::default() };
        let start = || Engine::start(&model, options(true)).unwrap();
        let alone: Vec<_> =
            ends.iter().map(|prompt| start().logits(vec![prompt.clone()], &read).unwrap().remove(0)).collect();
        let together = start();
        assert_eq!(together.logits(ends.clone(), &read).unwrap(), alone, "{}", family.name);
        let (mut backwards, mut expected) = (ends.clone(), alone.clone());
        backwards.reverse();
        expected.reverse();
        assert_eq!(together.logits(backwards, &read).unwrap(), expected, "{}", family.name);
        // Rollouts: the same greedy tokens from a full cache, from an empty one and side by side.
        let request = |prompt: &Prompt| {
            let streams = (0..2).map(|index| Stream::named(1, "p", 0, index)).collect();
            let request = GenerateRequest::new(prompt.clone(), Sampling::GREEDY, streams, 12);
            GenerateRequest { keep_rollouts: true, ..request }
        };
        let tokens = |engine: &Engine, prompt: &Prompt| {
            let drawn = engine.generate(request(prompt)).unwrap();
            assert_eq!(drawn[0].tokens, drawn[1].tokens);
            drawn[0].tokens.clone()
        };
        let expected: Vec<_> = prompts.iter().map(|prompt| tokens(&start(), prompt)).collect();
        for deterministic in [true, false] {
            let engine = Engine::start(&model, options(deterministic)).unwrap();
            for _ in 0..2 {
                let found: Vec<_> = prompts.iter().map(|prompt| tokens(&engine, prompt)).collect();
                assert_eq!(found, expected, "{}, deterministic: {deterministic}", family.name);
            }
            std::thread::scope(|scope| {
                let threads: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| tokens(&engine, prompt))).collect();
                let found: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
                assert_eq!(found, expected, "{}, side by side, deterministic: {deterministic}", family.name);
            });
        }
        // A cache in which not all fit: prefixes are evicted, and images decoded again.
        let small = EngineOptions { context: Some(256), parallel: Some(4), ..EngineOptions::default() };
        let engine = Engine::start(&model, small).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| tokens(&engine, prompt))).collect();
            let found: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(found, expected, "{}, in a small cache", family.name);
        });
    }
}

#[test]
fn the_layouts_of_one_model_give_the_same_tensors() {
    let content = |folder: &Path, part: usize| {
        let family = Family::convert(folder.to_owned());
        let file = GgufFile::open(&family.paths[part]).unwrap();
        mmprm_quant::inspect::content_hash(&file, &mut no_progress).unwrap()
    };
    for name in ["internvl3", "internvl3_5"] {
        let folders = [name.to_owned(), format!("{name}-hf")].map(|name| golden().join("families").join(name));
        for part in 0..2 {
            assert_eq!(content(&folders[0], part), content(&folders[1], part), "{name}");
        }
    }
}
