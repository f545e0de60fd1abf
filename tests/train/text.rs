//! Text models in the trainer: the logits of each family's own code, from a checkpoint and from a GGUF file; what cannot be trained
//! is refused; a PRM in a form of one's own, trained over a GGUF file, has the same scores in llama.cpp.

use std::fs;
use std::path::{Path, PathBuf};

use mmprm::internvl::{ComputeOptions, Layout, Model, Packed, Parameters, Store, Tiles, read_layout, read_parameters};
use mmprm::nn::attention::{Mask, Segments};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufFile, GgufWriter, TensorSpec};
use mmprm_quant::progress::no_progress;
use tempfile::TempDir;

use crate::support::tensors::Tensors;
use crate::support::{golden_path, ids, json};

/// Families of text models that are trained.
const FAMILIES: [&str; 4] = ["llama2", "llama3", "qwen2_5", "smollm2"];

/// A family's checkpoint; of Mistral a copy without its window, which is wider than the golden text.
fn family(name: &str, folder: &Path) -> Option<PathBuf> {
    let own = golden_path(&format!("families/{name}"))?;
    if name != "mistral" {
        return Some(own);
    }
    for entry in fs::read_dir(&own).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let mut config = json(&own.join("config.json"));
    config["sliding_window"] = serde_json::Value::Null;
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    Some(folder.to_owned())
}

/// The GGUF file of a checkpoint.
fn gguf(checkpoint: &Path, folder: &Path, weight_type: WeightType) -> PathBuf {
    let plan = plan(checkpoint, folder, &ConvertOptions::new(weight_type)).unwrap();
    plan.write(&mut no_progress).unwrap();
    plan.files[0].path.clone()
}

/// Logits of every token after every token.
fn logits(model: &Path, tokens: &[u32]) -> Vec<f32> {
    let layout = read_layout(model).unwrap();
    let parameters = read_parameters(model, &layout, |_| false).unwrap();
    let packed = Packed {
        tokens: tokens.to_vec(),
        segments: Segments::plain(&[tokens.len()], Mask::Causal),
        images: Vec::new(),
        tiles: Tiles::none(),
    };
    let states = Model::new(&layout).hidden_states(&parameters, &packed, ComputeOptions::default()).unwrap();
    assert!(states.vision.is_empty());
    let head = matrix(&parameters, layout.head());
    let width = layout.config().language.hidden;
    let dot = |state: &[f32], row: &[f32]| -> f32 {
        state.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
    };
    let last = states.language.last().unwrap();
    last.chunks(width).flat_map(|state| head.chunks(width).map(move |row| dot(state, row))).collect()
}

/// The values of a matrix, whatever its format.
fn matrix(parameters: &Parameters, index: usize) -> Vec<f32> {
    match parameters.store(index) {
        Store::F32(values) => values.clone(),
        Store::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
        Store::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
        Store::Rows(source) => {
            let mut values = vec![0.0; source.rows() * source.cols()];
            for (index, row) in values.chunks_mut(source.cols()).enumerate() {
                source.write_row(index, 0..row.len(), row);
            }
            values
        }
        other => panic!("{other:?}"),
    }
}

fn furthest(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_each_familys_own_code() {
    for name in FAMILIES.into_iter().chain(["mistral"]) {
        let folder = TempDir::new().unwrap();
        let Some(checkpoint) = family(name, folder.path()) else { return };
        let tokens: Vec<u32> =
            ids(&json(&checkpoint.join("golden.json"))["prompt"]).iter().map(|id| *id as u32).collect();
        let expected = Tensors::read(&checkpoint.join("golden.safetensors")).floats("logits");
        let file = gguf(&checkpoint, &folder.path().join("gguf"), WeightType::F32);
        for (kind, model) in [("checkpoint", &checkpoint), ("GGUF", &file)] {
            let off = furthest(&logits(model, &tokens), &expected);
            println!("{name}, {kind}: {off:.1e}");
            // As llama.cpp's: 2e-5 was measured, for numbers up to 13.
            assert!(off <= 1e-3, "{name}, {kind}: off by {off}");
        }
    }
}

#[test]
fn a_gguf_file_and_its_checkpoint_have_the_same_tensors() {
    for name in FAMILIES {
        let folder = TempDir::new().unwrap();
        let Some(checkpoint) = family(name, folder.path()) else { return };
        let own = read_layout(&checkpoint).unwrap();
        let expected = read_parameters(&checkpoint, &own, |_| true).unwrap();
        let same = |weight_type, tolerance: f32| {
            let file = gguf(&checkpoint, &folder.path().join("gguf"), weight_type);
            let layout = read_layout(&file).unwrap();
            assert_eq!(layout.tensors(), own.tensors(), "{name}");
            let found = read_parameters(&file, &layout, |_| false).unwrap();
            for index in 0..layout.tensors().len() {
                let (found, expected) = (matrix(&found, index), matrix(&expected, index));
                let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                let off = furthest(&found, &expected);
                assert!(off <= tolerance * largest, "{name} {}: {off} of {largest}", own.tensors()[index].name);
            }
        };
        same(WeightType::F32, 0.0);
        // Half a step of 127 to the largest of 32 values, and the rounding of the step to 11 bits.
        #[cfg(feature = "engine")]
        same(WeightType::Q8_0, 0.5625 / 127.0);
    }
}

#[test]
fn what_cannot_be_trained_is_named() {
    let refused = |name: &str| {
        let path = golden_path(&format!("families/{name}"))?;
        Some(read_layout(&path).unwrap_err().to_string())
    };
    for (name, parts) in [
        ("qwen3", ["model_type: 'qwen3'", "llama"]),
        ("mistral", ["sliding_window: 128", "expected none"]),
        ("llama3-tokens", ["architectures", "head that scores"]),
    ] {
        let Some(error) = refused(name) else { return };
        assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
    }
}

/// A copy of a GGUF file with another tensor at its end.
fn with_tensor(file: &Path, name: &str) -> PathBuf {
    let own = GgufFile::open(file).unwrap();
    let width = own.tensor("output_norm.weight").unwrap().dims.clone();
    let metadata = own.metadata().clone();
    let spec = |tensor: &mmprm_quant::gguf::TensorInfo| TensorSpec {
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        ggml_type: tensor.ggml_type,
    };
    let mut specs: Vec<TensorSpec> = own.tensors().iter().map(spec).collect();
    let added = TensorSpec { name: name.to_owned(), dims: width, ggml_type: mmprm_quant::GgmlType::F32 };
    let bytes = added.ggml_type.tensor_bytes(&added.dims).unwrap();
    specs.push(added);
    let path = file.with_extension("more.gguf");
    let mut writer = GgufWriter::create(&path, &metadata, &specs).unwrap();
    own.tensors().iter().for_each(|tensor| writer.write(own.tensor_data(tensor)).unwrap());
    writer.write(&vec![0; bytes as usize]).unwrap();
    writer.finish().unwrap();
    path
}

#[test]
fn a_tensor_that_the_trainer_would_leave_out_is_refused() {
    let folder = TempDir::new().unwrap();
    let Some(checkpoint) = family("smollm2", folder.path()) else { return };
    let file = with_tensor(&gguf(&checkpoint, folder.path(), WeightType::F32), "blk.0.attn_output.bias");
    let layout: std::sync::Arc<Layout> = read_layout(&file).unwrap();
    let error = read_parameters(&file, &layout, |_| false).unwrap_err().to_string();
    assert!(error.contains("blk.0.attn_output.bias") && error.contains("not part of the model"), "{error}");
}

/// A PRM over a GGUF file in a form of one's own, through adapter conversion and llama.cpp.
#[cfg(feature = "engine")]
mod over_gguf {
    use mmprm::engine::{Engine, EngineOptions, LoraAdapter, Model as EngineModel, ModelOptions};
    use mmprm::prm::{LocalPrm, PrmOptions, ScoreRequest, StepScorer};
    use mmprm::train::learner::Learner;
    use mmprm::train::lora::LoraModel;
    use mmprm::train::pack::Packing;
    use mmprm::train::prepare::prepare;
    use mmprm::train::recipe::{Compute, LoraOptions, Recipe};
    use mmprm::train::train;
    use mmprm::train::vocabulary::Vocabulary;
    use mmprm::util::cancel::CancelToken;
    use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
    use mmprm_quant::convert::adapter;

    use super::*;

    const FORM: &str = r#"
name = "own"
[text]
begin = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
step = "{step}<|endoftext|>{read}"
between = "\n"
end = "<|im_end|>\n"
marks = ["<|endoftext|>"]
[score]
by = "tokens"
tokens = ["+", "-"]
positive = ["+"]
"#;

    const SOLUTIONS: [&[&str]; 3] = [&["1 + 1 = 2", "Answer: 2"], &["1 + 1 = 3", "so 3", "Answer: 3"], &["Answer: 2"]];

    fn recipe(family: &str, folder: &Path, weight_type: WeightType) -> Option<Recipe> {
        let base = gguf(&golden_path(&format!("families/{family}"))?, folder, weight_type);
        let samples: String = SOLUTIONS
            .iter()
            .map(|steps| {
                let labelled: Vec<(&str, f32)> =
                    steps.iter().map(|step| (*step, if step.contains('2') { 1.0 } else { 0.0 })).collect();
                crate::sample("1 + 1?", &labelled)
            })
            .collect();
        fs::write(folder.join("samples.jsonl"), samples).unwrap();
        fs::write(folder.join("form.toml"), FORM).unwrap();
        Some(Recipe {
            model: base,
            samples: folder.join("samples.jsonl"),
            output: folder.join("run"),
            prm_form: Some(folder.join("form.toml").to_str().unwrap().to_owned()),
            precision: Compute::F32,
            save_as: mmprm::train::recipe::StoredType::F32,
            lr: 1e-2,
            warmup: 0.0,
            epochs: 8,
            batch_samples: 3,
            lora: Some(LoraOptions { rank: 4, dropout: 0.0, ..LoraOptions::default() }),
            ..Recipe::default()
        })
    }

    /// The scores of the trained adapter by llama.cpp.
    fn engine_scores(recipe: &Recipe, folder: &Path) -> Vec<Vec<f64>> {
        let plan = adapter::plan(&recipe.output.join("last"), &recipe.model, folder, WeightType::F32).unwrap();
        plan.write().unwrap();
        let adapters = vec![LoraAdapter::new(&plan.path)];
        let model = EngineModel::load(&recipe.model, ModelOptions { adapters, ..ModelOptions::default() }).unwrap();
        let encoder = PromptEncoder::load(model.clone(), None, PromptEncoderOptions::default()).unwrap();
        let options = EngineOptions { context: Some(512), deterministic: true, ..EngineOptions::default() };
        let engine = Engine::start(&model, options).unwrap();
        let prm = LocalPrm::new(engine, encoder, PrmOptions { data_root: ".".into(), form: None }).unwrap();
        assert_eq!(prm.form().record().trim(), FORM.trim(), "the adapter has the form of its training");
        let solutions: Vec<Vec<String>> =
            SOLUTIONS.iter().map(|steps| steps.iter().map(|step| (*step).to_owned()).collect()).collect();
        prm.score(&ScoreRequest { question: "1 + 1?", images: &[], solutions: &solutions }).unwrap()
    }

    /// The scores of the trained adapter by the trainer.
    fn trainer_scores(recipe: &Recipe) -> Vec<Vec<f64>> {
        let vocabulary = Vocabulary::of(recipe).unwrap();
        let data = prepare(recipe, &vocabulary).unwrap();
        let mut lora = LoraModel::open(recipe, data.train.special, Vec::new(), &vocabulary).unwrap();
        let saved = mmprm_quant::Checkpoint::open_file(&recipe.output.join("last/adapter_model.safetensors")).unwrap();
        let names: Vec<String> =
            lora.tensors().into_iter().map(|(name, _)| format!("base_model.model.{name}")).collect();
        lora.for_each_parameter(&mut |index, parameter| {
            let data = saved.data(saved.get(&names[index]).unwrap());
            for (value, bytes) in parameter.values.iter_mut().zip(data.chunks_exact(4)) {
                *value = f32::from_le_bytes(bytes.try_into().unwrap());
            }
        });
        let mut limits = recipe.packing_limits();
        (limits.sequence_samples, limits.batch_samples, limits.trees, limits.shuffle) = (1, 1, false, false);
        let packing = Packing::new(&data.train.samples, None, &limits, 0);
        let sequences = packing.epoch(0).into_iter().flat_map(|batch| packing.sequences(&data.train.samples, &batch));
        sequences
            .map(|sequence| lora.loss(&sequence, 1.0).unwrap().outputs.into_iter().map(f64::from).collect())
            .collect()
    }

    #[test]
    fn an_adapter_has_the_scores_of_its_training_in_llama_cpp() {
        // The factors of quantised bases are the same; llama.cpp rounds activations in products with them, the trainer does not.
        for (family, weight_type, tolerance) in [
            ("smollm2", WeightType::F32, 1e-4),
            ("qwen2_5", WeightType::F32, 1e-4),
            ("smollm2", WeightType::Q8_0, 2e-2),
        ] {
            let folder = TempDir::new().unwrap();
            let Some(recipe) = recipe(family, folder.path(), weight_type) else { return };
            let mut losses = Vec::new();
            let mut on_event = |event: &mmprm::train::Event| {
                if let mmprm::train::Event::Step(step) = event {
                    losses.push(step.loss);
                }
            };
            train(&recipe, &mut on_event, &CancelToken::new()).unwrap();
            assert!(losses.last() < losses.first(), "{family}: {losses:?}");
            let (found, expected) = (engine_scores(&recipe, folder.path()), trainer_scores(&recipe));
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3, 1]);
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{family} {weight_type:?}: {found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn what_a_gguf_file_cannot_do_is_refused() {
        let folder = TempDir::new().unwrap();
        let Some(own) = recipe("smollm2", folder.path(), WeightType::F32) else { return };
        let refused = |change: &dyn Fn(&mut Recipe)| {
            let mut recipe = own.clone();
            change(&mut recipe);
            train(&recipe, &mut |_| (), &CancelToken::new()).unwrap_err().to_string()
        };
        for (error, expected) in [
            (refused(&|recipe| recipe.lora = None), "a table `[lora]`"),
            (
                refused(&|recipe| recipe.lora.as_mut().unwrap().base = Some(recipe.model.clone())),
                "`lora.base` is given",
            ),
            (refused(&|recipe| recipe.lora.as_mut().unwrap().projector = true), "no projector"),
            (refused(&|recipe| recipe.prm_form = None), "no token `<prm>`"),
            (refused(&|recipe| recipe.prm_form = Some("nonsense".into())), "`prm_form`"),
            (
                refused(&|recipe| {
                    (recipe.task, recipe.prm_form) = (mmprm::train::recipe::Task::Policy, None);
                }),
                "a text model",
            ),
        ] {
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
        fs::write(folder.path().join("samples.jsonl"), crate::with_image(Some("a.png"), "q", &[("s", 1.0)])).unwrap();
        assert!(refused(&|_| ()).contains("the model is a text model"));
    }
}
