//! Adapters: bit-exact resumption, PEFT's form, and merging.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mmprm::internvl::{TensorInfo, read_layout, read_parameters};
use mmprm::train::checkpoint::{prepare, save};
use mmprm::train::learner::Learner;
use mmprm::train::lora::{self, LoraModel, MergeError, merge};
use mmprm::train::pack::Packing;
use mmprm::train::recipe::{Compute, LoraOptions, OptimizerKind, Recipe, StoredType};
use mmprm::train::trainer::{Event, RunError, Summary, run};
use mmprm::util::cancel::CancelToken;
use mmprm_quant::adapter::is_adapter;
use mmprm_quant::convert::{WeightType, adapter};
use mmprm_quant::progress::no_progress;
use mmprm_quant::safetensors::{NewTensor, Values};
use serde_json::{Value, json};

use crate::loops::problems;
use crate::{Bench, checkpoint, tokenizer};

/// A bench whose model is the tiny checkpoint at 32 bits, so that merging rounds nothing.
pub fn bench(architecture: &str) -> Option<Bench> {
    let mut bench = Bench::new(&problems())?;
    let (stored, exact) = (checkpoint(architecture)?, bench.folder.path().join("base"));
    let layout = read_layout(&stored).unwrap();
    let parameters = read_parameters(&stored, &layout, |_| true).unwrap();
    prepare(&stored, &exact, StoredType::F32).unwrap();
    let tensor = |(number, values)| {
        let info: &TensorInfo = &layout.tensors()[number];
        NewTensor { name: info.name.clone(), shape: &info.shape, values: Values::F32(values), stored: StoredType::F32 }
    };
    save(&exact, &parameters.iter().map(tensor).collect::<Vec<_>>()).unwrap();
    bench.recipe.model = exact;
    bench.recipe.batch_samples = 4;
    bench.recipe.epochs = 2;
    bench.recipe.lr = 1e-2;
    bench.recipe.save_as = StoredType::F32;
    bench.recipe.lora = Some(LoraOptions { rank: 4, dropout: 0.1, ..LoraOptions::default() });
    Some(bench)
}

pub fn train(bench: &Bench, watch: &mut dyn FnMut(&Event)) -> Result<(Summary, LoraModel), RunError> {
    let (data, tokenizer) = (bench.data(), tokenizer(&bench.recipe.model));
    let mut lora = LoraModel::open(&bench.recipe, data.train.special, data.train.images.clone(), &tokenizer).unwrap();
    let summary = run(&mut lora, &data, &bench.recipe, watch, &CancelToken::new())?;
    Ok((summary, lora))
}

fn bits(lora: &LoraModel) -> Vec<u32> {
    lora.values().into_iter().flatten().map(|value| value.to_bits()).collect()
}

/// A learner's loss of the first sequence.
fn loss(bench: &Bench, learner: &mut dyn Learner) -> f64 {
    let data = bench.data();
    let packing = Packing::new(&data.train.samples, data.train.special.context, &bench.recipe.packing_limits(), 0);
    let sequence = packing.sequences(&data.train.samples, &packing.epoch(0)[0]).remove(0);
    learner.loss(&sequence, 1.0).unwrap().loss
}

pub fn merged(bench: &Bench) -> PathBuf {
    let target = bench.folder.path().join("merged");
    merge(&bench.recipe.output.join("last"), &bench.recipe.model, &target, &mut no_progress).unwrap();
    target
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_killed_run_of_adapters_resumes_bit_exactly() {
    for (kind, precision) in [(OptimizerKind::AdamW, Compute::F32), (OptimizerKind::Muon, Compute::F16)] {
        let Some(mut whole) = bench("internlm2") else { return };
        let mut broken = bench("internlm2").unwrap();
        for bench in [&mut whole, &mut broken] {
            bench.recipe.optimizer = kind;
            bench.recipe.precision = precision;
            bench.recipe.save_every = 2;
            bench.recipe.validation = 0.2;
        }
        let (summary, expected) = train(&whole, &mut |_| ()).unwrap();
        for stop in [1, 5] {
            let mut kill = |event: &Event| {
                assert!(!matches!(event, Event::Step(step) if step.step == stop), "killed");
            };
            assert!(catch_unwind(AssertUnwindSafe(|| train(&broken, &mut kill).map(|_| ()))).is_err());
        }
        let (again, found) = train(&broken, &mut |_| ()).unwrap();
        assert_eq!((again.steps, again.validation), (summary.steps, summary.validation));
        assert!(bits(&found) == bits(&expected), "{kind:?}: the adapters differ");
        let file = |bench: &Bench| fs::read(bench.recipe.output.join("best/adapter_model.safetensors")).unwrap();
        assert!(file(&whole) == file(&broken));
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn adapters_learn_and_leave_the_base_unchanged() {
    let Some(mut bench) = bench("internlm2") else { return };
    bench.recipe.epochs = 20;
    let mut losses = Vec::new();
    let mut watch = |event: &Event| {
        if let Event::Step(step) = event {
            losses.push(step.loss);
        }
    };
    let (_, lora) = train(&bench, &mut watch).unwrap();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.7 * first, "{first} to {last}");
    let layout = read_layout(&bench.recipe.model).unwrap();
    let base = read_parameters(&bench.recipe.model, &layout, |_| true).unwrap();
    for (number, values) in base.iter() {
        // Frozen matrices keep their stored type, here f32.
        assert!(lora.weights().get(number) == Some(values), "{}", base.name(number));
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn an_adapter_is_saved_in_the_form_of_peft() {
    for (architecture, [module, table, head]) in [
        ("internlm2", ["attention.wqkv", "tok_embeddings", "output"]),
        ("qwen2", ["self_attn.q_proj", "embed_tokens", "lm_head"]),
    ] {
        let Some(mut bench) = bench(architecture) else { return };
        bench.recipe.lora.as_mut().unwrap().projector = true;
        train(&bench, &mut |_| ()).unwrap();
        let last = bench.recipe.output.join("last");
        assert!(is_adapter(&last) && !last.join("config.json").exists());
        let config: Value = serde_json::from_slice(&fs::read(last.join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!((&config["r"], &config["lora_alpha"], &config["peft_type"]), (&json!(4), &json!(8), &json!("LORA")));
        assert_eq!(config["modules_to_save"], json!(["mlp1"]));
        let step = bench.data().train.special.steps.unwrap().mark.unwrap();
        assert_eq!(config["trainable_token_indices"], json!({table: [step], head: [step]}));
        let bytes = fs::read(last.join("adapter_model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let shape = |name: &str| file.tensor(&format!("base_model.model.{name}")).unwrap().shape().to_vec();
        let layout = read_layout(&bench.recipe.model).unwrap();
        let weight = format!("language_model.model.layers.1.{module}.weight");
        let [outputs, inputs] = *layout.tensors()[layout.index(&weight).unwrap()].shape else { panic!() };
        let module = weight.strip_suffix(".weight").unwrap();
        assert_eq!(shape(&format!("{module}.lora_A.weight")), [4, inputs]);
        assert_eq!(shape(&format!("{module}.lora_B.weight")), [outputs, 4]);
        assert_eq!(shape(&format!("language_model.model.{table}.token_adapter.trainable_tokens_delta")), [1, inputs]);
        assert_eq!(shape("mlp1.1.bias"), [inputs]);
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_merged_checkpoint_has_the_loss_of_base_and_adapter_and_the_base_s_form() {
    for architecture in ["internlm2", "qwen2"] {
        let Some(mut bench) = bench(architecture) else { return };
        bench.recipe.lora.as_mut().unwrap().projector = true;
        let (_, mut lora) = train(&bench, &mut |_| ()).unwrap();
        let wanted = loss(&bench, &mut lora);
        let merged = merged(&bench);
        let layout = read_layout(&merged).unwrap();
        assert_eq!(layout.tensors(), read_layout(&bench.recipe.model).unwrap().tensors());
        let mut full = Bench::new(&problems()).unwrap();
        full.recipe = bench.recipe.clone();
        full.recipe.lora = None;
        full.recipe.model.clone_from(&merged);
        let found = loss(&bench, &mut full.open(&bench.data()));
        let mut untrained = bench.recipe.clone();
        untrained.lora = None;
        full.recipe = untrained;
        let before = loss(&bench, &mut full.open(&bench.data()));
        assert!((found / wanted - 1.0).abs() < 1e-5, "{architecture}: {found} for {wanted}");
        assert!((before / wanted - 1.0).abs() > 1e-2, "{architecture}: training changed nothing");
        // Also into shards and half-precision types.
        let (stored, target) = (checkpoint(architecture).unwrap(), bench.folder.path().join("stored"));
        merge(&bench.recipe.output.join("last"), &stored, &target, &mut no_progress).unwrap();
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let mut expected = names(&stored);
        expected.push("mmprm.json".into());
        expected.sort();
        assert_eq!(names(&target), expected);
        for name in names(&target).into_iter().filter(|name| name.to_string_lossy().ends_with(".safetensors")) {
            let header = |path: &Path| {
                let bytes = fs::read(path.join(&name)).unwrap();
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                (bytes.len(), bytes[8..8 + length].to_vec())
            };
            assert!(header(&target) == header(&stored), "{name:?}");
        }
        full.recipe.model = target;
        let rounded = loss(&bench, &mut full.open(&bench.data()));
        assert!((rounded / wanted - 1.0).abs() < 2e-2, "{architecture}: {rounded} for {wanted}");
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn an_adapter_that_does_not_fit_is_refused_before_anything_is_written() {
    let (Some(bench), Some(other)) = (bench("internlm2"), checkpoint("qwen2")) else { return };
    train(&bench, &mut |_| ()).unwrap();
    let (last, target) = (bench.recipe.output.join("last"), bench.folder.path().join("merged"));
    let error = merge(&last, &other, &target, &mut no_progress).unwrap_err();
    assert!(error.to_string().contains("expected the adapter's base"), "{error}");
    assert!(!target.exists());
    let error = merge(&last, &bench.recipe.model, &bench.recipe.model, &mut no_progress).unwrap_err();
    assert!(matches!(error, MergeError::SameDirectory { .. }), "{error}");
    let error = adapter::plan(&last, &other, &target, WeightType::F16).unwrap_err();
    assert!(error.to_string().contains("not a matrix of the base's language model"), "{error}");
    let mut missing = bench.recipe.clone();
    missing.lora.as_mut().unwrap().targets = Some(vec!["q_proj".into()]);
    let data = bench.data();
    let tokenizer = tokenizer(&missing.model);
    let open = |recipe: &Recipe| LoraModel::open(recipe, data.train.special, Vec::new(), &tokenizer).unwrap_err();
    assert!(open(&missing).to_string().contains("`q_proj`, expected some of"), "{}", open(&missing));
    missing.lora = Some(LoraOptions { tokens: Some(vec!["two words".into()]), ..LoraOptions::default() });
    assert!(matches!(open(&missing), lora::OpenError::NoToken { .. }), "{}", open(&missing));
}
