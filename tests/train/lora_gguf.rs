//! Adapters with GGUF files: as GGUF adapters in llama.cpp, and over a quantised base.

use std::path::Path;

use mmprm::engine::{Chunk, Engine, EngineOptions, LoraAdapter, Model, ModelOptions, Prompt};
use mmprm::internvl::{LoraConfig, Parameters, Store, Trainable, read_layout, read_parameters, read_quantised};
use mmprm::train::checkpoint::CheckpointError;
use mmprm::train::learner::Learner;
use mmprm::train::network::{Network, TrainableModel};
use mmprm::train::pack::Packing;
use mmprm::train::trainer::Event;
use mmprm_quant::adapter::Adapter;
use mmprm_quant::convert::{ConvertOptions, WeightType, adapter, plan};
use mmprm_quant::progress::no_progress;

use crate::checkpoint;
use crate::lora::{bench, merged, train};

/// Logits of some tokens at every step token of a prompt.
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
fn a_gguf_adapter_on_its_base_gives_the_logits_of_the_merged_checkpoint() {
    for architecture in ["internlm2", "qwen2"] {
        let Some(mut bench) = bench(architecture) else { return };
        // Two new tokens: alpha over their number must not be taken for an adapter's scale.
        bench.recipe.lora.as_mut().unwrap().tokens = Some(vec!["<prm>".into(), "Yes".into()]);
        let (_, lora) = train(&bench, &mut |_| ()).unwrap();
        assert!(lora.trained() > 0);
        let folder = bench.folder.path();
        let base = |checkpoint: &Path| {
            let plan = plan(checkpoint, &folder.join("gguf"), &ConvertOptions::new(WeightType::F32)).unwrap();
            plan.write(&mut no_progress).unwrap();
            plan.files[0].path.clone()
        };
        let last = bench.recipe.output.join("last");
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

/// The same values with every matrix dequantised.
fn dequantised(parameters: &Parameters) -> Parameters {
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
fn a_quantised_base_gives_the_losses_and_gradients_of_the_dequantised_one() {
    for architecture in ["internlm2", "qwen2"] {
        let Some(mut bench) = bench(architecture) else { return };
        let folder = bench.folder.path().to_owned();
        let gguf = |weight_type| {
            let plan = plan(&bench.recipe.model, &folder, &ConvertOptions::new(weight_type)).unwrap();
            plan.write(&mut no_progress).unwrap();
            plan.files[0].path.clone()
        };
        let data = bench.data();
        let layout = read_layout(&bench.recipe.model).unwrap();
        let own = read_parameters(&bench.recipe.model, &layout, |_| true).unwrap();
        // Read from an f32 GGUF, all matrices, the fused ones too, equal the checkpoint's bit for bit.
        let [exact, packed] = [WeightType::F32, WeightType::Q8_0].map(gguf);
        let read = |gguf: &Path| read_quantised(&bench.recipe.model, gguf, &layout, |_| false).unwrap();
        let same = dequantised(&read(&exact));
        for (number, values) in own.iter() {
            assert!(same.get(number) == Some(values), "{architecture}: {}", own.name(number));
        }
        let quantised = read(&packed);
        assert!((0..layout.tensors().len()).any(|number| matches!(quantised.store(number), Store::Rows(_))));
        let additions = LoraConfig {
            rank: 4,
            scale: 2.0,
            targets: layout.lora_targets(),
            tokens: vec![data.train.special.steps.unwrap().mark.unwrap()],
        };
        let adapted = layout.with_lora(&additions).unwrap();
        let trainable = Trainable::only(&adapted, |number| number >= adapted.base_len());
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        let limits = bench.recipe.packing_limits();
        let packing = Packing::new(&data.train.samples, data.train.special.context, &limits, 0);
        let sequence = packing.sequences(&data.train.samples, &packing.epoch(0)[0]).remove(0);
        for parameters in [dequantised(&quantised), quantised] {
            let parameters = parameters.with_lora(&adapted, 3);
            let special = data.train.special;
            let network = Network::new(&bench.recipe, parameters, trainable.clone(), special, Vec::new());
            let mut learner = Bare(network);
            losses.push(learner.accumulate(&sequence, 1.0).unwrap().loss);
            gradients.push(learner.gradients().concat());
        }
        assert!((losses[0] / losses[1] - 1.0).abs() < 1e-6, "{architecture}: {losses:?}");
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
        let off = square(&mut gradients[0].iter().zip(&gradients[1]).map(|(a, b)| a - b));
        let off = (off / square(&mut gradients[0].iter().copied())).sqrt();
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

/// A network without a way to save.
struct Bare(Network);

impl TrainableModel for Bare {
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
    plan.write(&mut no_progress).unwrap();
    let layout = read_layout(&bench.recipe.model).unwrap();
    let error = read_quantised(&bench.recipe.model, &plan.files[0].path, &layout, |_| false).unwrap_err();
    assert!(error.to_string().ends_with("'qwen2', expected 'internlm2' by config.json"), "{error}");
}
