use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mmprm::engine::{Chunk, Engine, EngineOptions, LoraAdapter, Model, ModelOptions, Prompt};
use mmprm::internvl::{
    Additions, Parameters, Store, TensorInfo, Trainable, read_layout, read_parameters, read_quantised,
};
use mmprm::train::checkpoint::{CheckpointError, prepare, save};
use mmprm::train::learner::Learner;
use mmprm::train::lora::{self, Lora, MergeError, merge};
use mmprm::train::network::{Network, Trains};
use mmprm::train::optim::Kind;
use mmprm::train::pack::Packing;
use mmprm::train::recipe::{self, Compute, Recipe};
use mmprm::train::run::{Event, RunError, Summary, run};
use mmprm::train::tensors::{Stored, Tensor, Values};
use mmprm::train::vocabulary::Vocabulary;
use mmprm::util::cancel::CancelToken;
use mmprm_quant::adapter::{Adapter, is_adapter};
use mmprm_quant::convert::{ConvertOptions, WeightType, adapter, plan};
use mmprm_quant::progress::unwatched;
use serde_json::{Value, json};

use crate::loops::problems;
use crate::{Bench, checkpoint};

/// A bench whose model is the tiny checkpoint at 32 bits, so that merging rounds nothing.
fn bench(architecture: &str) -> Option<Bench> {
    let mut bench = Bench::new(&problems())?;
    let (stored, exact) = (checkpoint(architecture)?, bench.folder.path().join("base"));
    let layout = read_layout(&stored).unwrap();
    let parameters = read_parameters(&stored, &layout, |_| true).unwrap();
    prepare(&stored, &exact, Stored::F32).unwrap();
    let tensor = |(number, values)| {
        let info: &TensorInfo = &layout.tensors()[number];
        Tensor { name: info.name.clone(), shape: &info.shape, values: Values::F32(values), stored: Stored::F32 }
    };
    save(&exact, &parameters.iter().map(tensor).collect::<Vec<_>>()).unwrap();
    bench.recipe.model = exact;
    bench.recipe.batch_samples = 4;
    bench.recipe.epochs = 2;
    bench.recipe.lr = 1e-2;
    bench.recipe.save_as = Stored::F32;
    bench.recipe.lora = Some(recipe::Lora { rank: 4, dropout: 0.1, ..recipe::Lora::default() });
    Some(bench)
}

fn train(bench: &Bench, watch: &mut dyn FnMut(&Event)) -> Result<(Summary, Lora), RunError> {
    let (data, vocabulary) = (bench.data(), Vocabulary::open(&bench.recipe.model).unwrap());
    let mut lora = Lora::open(&bench.recipe, data.train.words, data.train.images.clone(), &vocabulary).unwrap();
    let summary = run(&mut lora, &data, &bench.recipe, watch, &CancelToken::new())?;
    Ok((summary, lora))
}

fn bits(lora: &Lora) -> Vec<u32> {
    lora.values().into_iter().flatten().map(|value| value.to_bits()).collect()
}

/// Loss of the first sequence by a learner.
fn loss(bench: &Bench, learner: &mut dyn Learner) -> f64 {
    let data = bench.data();
    let packing = Packing::new(&data.train.samples, data.train.words.context, &bench.recipe.limits(), 0);
    let sequence = packing.sequences(&data.train.samples, &packing.epoch(0)[0]).remove(0);
    learner.loss(&sequence, 1.0).unwrap().loss
}

fn merged(bench: &Bench) -> PathBuf {
    let target = bench.folder.path().join("merged");
    merge(&bench.recipe.out.join("last"), &bench.recipe.model, &target, &mut unwatched).unwrap();
    target
}

#[test]
fn a_killed_run_of_adapters_goes_on_to_the_same_bits() {
    for (kind, precision) in [(Kind::AdamW, Compute::F32), (Kind::Muon, Compute::F16)] {
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
        let file = |bench: &Bench| fs::read(bench.recipe.out.join("best/adapter_model.safetensors")).unwrap();
        assert!(file(&whole) == file(&broken));
    }
}

#[test]
fn adapters_learn_and_do_not_touch_the_base() {
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
        // Frozen matrices are as they are stored; these are stored as f32.
        assert!(lora.weights().get(number) == Some(values), "{}", base.name(number));
    }
}

#[test]
fn an_adapter_is_a_directory_as_peft_has_it() {
    for (architecture, [module, table, head]) in [
        ("internlm2", ["attention.wqkv", "tok_embeddings", "output"]),
        ("qwen2", ["self_attn.q_proj", "embed_tokens", "lm_head"]),
    ] {
        let Some(mut bench) = bench(architecture) else { return };
        bench.recipe.lora.as_mut().unwrap().projector = true;
        train(&bench, &mut |_| ()).unwrap();
        let last = bench.recipe.out.join("last");
        assert!(is_adapter(&last) && !last.join("config.json").exists());
        let config: Value = serde_json::from_slice(&fs::read(last.join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!((&config["r"], &config["lora_alpha"], &config["peft_type"]), (&json!(4), &json!(8), &json!("LORA")));
        assert_eq!(config["modules_to_save"], json!(["mlp1"]));
        let step = bench.data().train.words.step;
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
fn a_merged_checkpoint_gives_the_loss_of_base_and_adapter_and_keeps_the_base_s_form() {
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
        // Into shards and half-precision types as well.
        let (stored, target) = (checkpoint(architecture).unwrap(), bench.folder.path().join("stored"));
        merge(&bench.recipe.out.join("last"), &stored, &target, &mut unwatched).unwrap();
        let names = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&target), names(&stored));
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
fn an_adapter_that_does_not_fit_is_refused_before_anything_is_written() {
    let (Some(bench), Some(other)) = (bench("internlm2"), checkpoint("qwen2")) else { return };
    train(&bench, &mut |_| ()).unwrap();
    let (last, target) = (bench.recipe.out.join("last"), bench.folder.path().join("merged"));
    let error = merge(&last, &other, &target, &mut unwatched).unwrap_err();
    assert!(error.to_string().contains("expected the adapter's base"), "{error}");
    assert!(!target.exists());
    let error = merge(&last, &bench.recipe.model, &bench.recipe.model, &mut unwatched).unwrap_err();
    assert!(matches!(error, MergeError::SameDirectory { .. }), "{error}");
    let error = adapter::plan(&last, &other, &target, WeightType::F16).unwrap_err();
    assert!(error.to_string().contains("not a matrix of the base's language model"), "{error}");
    let mut missing = bench.recipe.clone();
    missing.lora.as_mut().unwrap().targets = Some(vec!["q_proj".into()]);
    let data = bench.data();
    let vocabulary = Vocabulary::open(&missing.model).unwrap();
    let open = |recipe: &Recipe| Lora::open(recipe, data.train.words, Vec::new(), &vocabulary).unwrap_err();
    assert!(open(&missing).to_string().contains("`q_proj`, expected some of"), "{}", open(&missing));
    missing.lora = Some(recipe::Lora { tokens: Some(vec!["two words".into()]), ..recipe::Lora::default() });
    assert!(matches!(open(&missing), lora::OpenError::NoToken { .. }), "{}", open(&missing));
}

/// Logits of some tokens at every step mark of a prompt.
fn logits(model: &std::sync::Arc<Model>) -> Vec<f32> {
    let options = EngineOptions { context: Some(1024), deterministic: true, ..EngineOptions::default() };
    let engine = Engine::start(model, options).unwrap();
    let step = model.token("<prm>").unwrap();
    let text = "Question: What is 3 plus 2?\nProcess: Add: 3 + 2 = 5.<prm>\n\nAnswer<prm>";
    let prompt = Prompt::new([Chunk::Tokens(model.tokenize(text, true).unwrap())]).unwrap();
    let read: Vec<i32> = (0..40).chain([step]).collect();
    engine.probe(vec![prompt], step, &read).unwrap().remove(0).concat()
}

#[test]
fn a_gguf_adapter_beside_its_base_gives_the_logits_of_the_merged_checkpoint() {
    for architecture in ["internlm2", "qwen2"] {
        let Some(mut bench) = bench(architecture) else { return };
        // Two new tokens, so that alpha over their number is no rank of an adapter.
        bench.recipe.lora.as_mut().unwrap().tokens = Some(vec!["<prm>".into(), "Yes".into()]);
        let (_, lora) = train(&bench, &mut |_| ()).unwrap();
        assert!(lora.trained() > 0);
        let folder = bench.folder.path();
        let base = |checkpoint: &Path| {
            let plan = plan(checkpoint, &folder.join("gguf"), &ConvertOptions::new(WeightType::F32)).unwrap();
            plan.write(&mut unwatched).unwrap();
            plan.files[0].path.clone()
        };
        let last = bench.recipe.out.join("last");
        let (own, merged) = (base(&bench.recipe.model), base(&merged(&bench)));
        let load = |path: &Path| Model::load(path, ModelOptions::default()).unwrap();
        let adapted = |adapter: &Path| {
            let adapters = vec![LoraAdapter::new(adapter)];
            Model::load(&own, ModelOptions { adapters, ..ModelOptions::default() })
        };
        let wanted = logits(&load(&merged));
        let apart = |found: &[f32]| {
            assert_eq!(found.len(), wanted.len());
            found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max)
        };
        let without = apart(&logits(&load(&own)));
        assert!(without > 0.02, "{architecture}: the adapter changes nothing: {without}");
        for (weight_type, bound) in [(WeightType::F32, 1e-4), (WeightType::F16, 0.02 * without)] {
            let plan = adapter::plan(&last, &bench.recipe.model, folder, weight_type).unwrap();
            assert!(plan.notes.is_empty());
            plan.write().unwrap();
            let model = adapted(&plan.path).unwrap();
            let off = apart(&logits(&model));
            assert!(off < bound, "{architecture}: {off}, without the adapter {without}");
            println!("{architecture} {weight_type:?}: logits within {off:e}; without the adapter {without:e}");
        }
        let error = adapted(&own).unwrap_err();
        assert!(error.to_string().contains("key 'general.type': 'model', expected 'adapter'"), "{error}");
        let adapter = Adapter::open(&last).unwrap();
        assert_eq!(adapter.rows.len(), 2);
    }
}

/// The same values with every matrix unpacked.
fn unpacked(parameters: &Parameters) -> Parameters {
    let layout = parameters.layout();
    let load = |number: usize| {
        let (rows, cols) = layout.tensors()[number].matrix();
        Ok::<_, std::convert::Infallible>(match parameters.store(number) {
            Store::Rows(source) => {
                let mut values = vec![0.0; rows * cols];
                values.chunks_mut(cols).enumerate().for_each(|(row, out)| source.write_row(row, 0..cols, out));
                Store::F32(values)
            }
            other => other.clone(),
        })
    };
    Parameters::load(layout, load).unwrap()
}

#[test]
fn a_quantised_base_gives_the_losses_and_gradients_of_the_unpacked_one() {
    for architecture in ["internlm2", "qwen2"] {
        let Some(mut bench) = bench(architecture) else { return };
        let folder = bench.folder.path().to_owned();
        let gguf = |weight_type| {
            let plan = plan(&bench.recipe.model, &folder, &ConvertOptions::new(weight_type)).unwrap();
            plan.write(&mut unwatched).unwrap();
            plan.files[0].path.clone()
        };
        let data = bench.data();
        let layout = read_layout(&bench.recipe.model).unwrap();
        let own = read_parameters(&bench.recipe.model, &layout, |_| true).unwrap();
        // Unpacked from 32 bits, the fused matrices and all others are the checkpoint's, bit for bit.
        let [exact, packed] = [WeightType::F32, WeightType::Q8_0].map(gguf);
        let read = |gguf: &Path| read_quantised(&bench.recipe.model, gguf, &layout, |_| false).unwrap();
        let same = unpacked(&read(&exact));
        for (number, values) in own.iter() {
            assert!(same.get(number) == Some(values), "{architecture}: {}", own.name(number));
        }
        let quantised = read(&packed);
        assert!((0..layout.tensors().len()).any(|number| matches!(quantised.store(number), Store::Rows(_))));
        let additions =
            Additions { rank: 4, scale: 2.0, targets: layout.target_names(), tokens: vec![data.train.words.step] };
        let adapted = layout.with_additions(&additions).unwrap();
        let trainable = Trainable::only(&adapted, |number| number >= adapted.own());
        let (mut losses, mut sums) = (Vec::new(), Vec::new());
        let limits = bench.recipe.limits();
        let packing = Packing::new(&data.train.samples, data.train.words.context, &limits, 0);
        let sequence = packing.sequences(&data.train.samples, &packing.epoch(0)[0]).remove(0);
        for parameters in [unpacked(&quantised), quantised] {
            let parameters = parameters.with_additions(&adapted, 3);
            let words = data.train.words;
            let network = Network::new(&bench.recipe, parameters, trainable.clone(), words, Vec::new());
            let mut learner = Bare(network);
            losses.push(learner.gradients(&sequence, 1.0).unwrap().loss);
            sums.push(learner.sums().concat());
        }
        assert!((losses[0] / losses[1] - 1.0).abs() < 1e-6, "{architecture}: {losses:?}");
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
        let off = square(&mut sums[0].iter().zip(&sums[1]).map(|(a, b)| a - b));
        let off = (off / square(&mut sums[0].iter().copied())).sqrt();
        assert!(off < 1e-5, "{architecture}: gradients apart by {off}");
        // A run over it learns.
        bench.recipe.lora.as_mut().unwrap().base = Some(packed);
        let mut losses = Vec::new();
        let mut watch = |event: &Event| {
            if let Event::Step(step) = event {
                losses.push(step.loss);
            }
        };
        bench.recipe.epochs = 10;
        train(&bench, &mut watch).unwrap();
        assert!(losses[losses.len() - 1] < 0.9 * losses[0], "{architecture}: {losses:?}");
    }
}

/// A network that saves nothing.
struct Bare(Network);

impl Trains for Bare {
    fn network(&self) -> &Network {
        &self.0
    }

    fn network_mut(&mut self) -> &mut Network {
        &mut self.0
    }

    fn write(&self, _: &Path) -> Result<(), CheckpointError> {
        Ok(())
    }
}

#[test]
fn a_base_of_another_model_is_refused_by_its_tensor() {
    let (Some(bench), Some(other)) = (bench("internlm2"), checkpoint("qwen2")) else { return };
    let folder = bench.folder.path();
    let plan = plan(&other, folder, &ConvertOptions::new(WeightType::Q8_0)).unwrap();
    plan.write(&mut unwatched).unwrap();
    let layout = read_layout(&bench.recipe.model).unwrap();
    let error = read_quantised(&bench.recipe.model, &plan.files[0].path, &layout, |_| false).unwrap_err();
    assert!(error.to_string().ends_with("'qwen2', expected 'internlm2' by config.json"), "{error}");
}
