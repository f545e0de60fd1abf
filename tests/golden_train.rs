//! Losses, gradients, hidden states and scores against MM-PRM's, on its tiny golden checkpoints.

#[path = "golden_train/data.rs"]
mod data;
mod support;

use data::{Case, Samples};
use mmprm::internvl::{
    ComputeOptions, Gradients, HalfCopies, HalfFormat, StepLoss, Targets, Tiles, Trainable, Weights,
};
use mmprm::nn::gemm::Precision;
use support::tensors::{Tensors, relative};
use support::{cases, golden, json, numbers};

#[test]
fn golden_train_losses_agree_to_1e_6() {
    let mut compared = 0;
    for folder in cases("train") {
        let (case, samples) = (Case::open(&folder), Samples::open(&folder));
        let expected = numbers(&json(&folder.join("info.json"))["lr1e_3"]["steps"][0]["micro_losses"]);
        let mut found = Vec::new();
        for (number, batch) in samples.micro_batches().iter().enumerate() {
            let (packed, targets) = samples.pack(&case, batch, 1);
            let loss = case.model.loss(&case.parameters, &packed, &targets, ComputeOptions::default()).unwrap();
            let off = (loss.loss / expected[number] - 1.0).abs();
            println!("{} batch {number}: loss {} off by {off:.1e}", folder.display(), loss.loss);
            // Both sides round: MM-PRM's f32 losses deviate from the exact ones by up to 1.3e-6,
            // and so do ours (`internvl::tests::exact`). The deviations average out over the
            // micro-batches of a step.
            assert!(off <= 3e-6, "{} batch {number}: {} for {}", folder.display(), loss.loss, expected[number]);
            for (score, logits) in loss.outputs.iter().zip(samples.logits(number).chunks_exact(2)) {
                let expected = 1.0 / (1.0 + (f64::from(logits[1]) - f64::from(logits[0])).exp());
                assert!((f64::from(*score) - expected).abs() < 1e-5, "{score} for {expected}");
            }
            found.push(loss.loss);
            compared += 1;
        }
        let off = (found.iter().sum::<f64>() / expected.iter().sum::<f64>() - 1.0).abs();
        println!("{}: the step's loss is off by {off:.1e}", folder.display());
        assert!(off <= 1e-6, "{}: {found:?} for {expected:?}", folder.display());
    }
    assert!(compared > 0, "no golden case was found");
}

/// Returns the largest relative deviation of a tensor's gradient, and the tensor.
fn worst_gradient(gradients: &Gradients, expected: &Tensors) -> (f64, String) {
    let mut worst = (0.0, String::new());
    let names = expected.names();
    assert_eq!(names.len(), gradients.iter().count(), "as many gradients as trained tensors");
    for name in names {
        let number = gradients.layout().index(&name).unwrap();
        let off = relative(gradients.get(number).unwrap(), &expected.floats(&name));
        assert!(off.is_finite(), "{name}");
        if off > worst.0 {
            worst = (off, name);
        }
    }
    worst
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn golden_train_gradients_agree_to_1e_5_with_and_without_checkpointing() {
    let mut compared = 0;
    for folder in cases("train") {
        let (case, samples) = (Case::open(&folder), Samples::open(&folder));
        let expected = Tensors::read(&folder.join("grads.safetensors"));
        for checkpointing in [false, true] {
            let options = ComputeOptions { checkpointing, ..ComputeOptions::default() };
            let layout = case.model.layout();
            let mut gradients = Gradients::new(layout, Trainable::without_vision(layout));
            let batches = samples.micro_batches();
            for batch in &batches {
                let (packed, targets) = samples.pack(&case, batch, batches.len());
                case.model.gradients(&case.parameters, &packed, &targets, options, &mut gradients).unwrap();
            }
            let (off, name) = worst_gradient(&gradients, &expected);
            println!("{}: {name} is off by {off:.1e}", folder.display());
            assert!(off <= 1e-5, "{}: {name} is off by {off:e}", folder.display());
            compared += 1;
        }
    }
    assert!(compared > 0, "no golden case was found");
}

/// Relative deviations of half-precision values from single-precision ones.
#[derive(Debug)]
struct Deviations {
    /// Root mean square.
    rms: f64,
    max: f64,
}

impl Deviations {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let squares: Vec<f64> = values.map(|value| value * value).collect();
        let rms = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        Self { rms, max: squares.iter().copied().fold(0.0, f64::max).sqrt() }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn golden_train_half_precision_is_as_accurate_as_the_references() {
    let mut compared = 0;
    for folder in cases("train") {
        let (case, samples) = (Case::open(&folder), Samples::open(&folder));
        let info = json(&folder.join("info.json"));
        let single = numbers(&info["lr1e_3"]["steps"][0]["micro_losses"]);
        let theirs =
            Deviations::of(numbers(&info["bf16"]["micro_losses"]).iter().zip(&single).map(|(a, b)| a / b - 1.0));
        let expected = Tensors::read(&folder.join("grads.safetensors"));
        let names = expected.names();
        let their_gradients =
            Deviations::of(names.iter().map(|name| info["bf16"]["grad_rel_l2"][name].as_f64().unwrap()));
        for (format, precision) in [(HalfFormat::Bf16, Precision::Bf16), (HalfFormat::F16, Precision::SplitBf16)] {
            let options = ComputeOptions { precision, ..ComputeOptions::default() };
            let half_copies = HalfCopies::new(&case.parameters, format);
            let weights = Weights::with_half_copies(&case.parameters, &half_copies);
            let layout = case.model.layout();
            let mut gradients = Gradients::new(layout, Trainable::without_vision(layout));
            let batches = samples.micro_batches();
            let losses = batches.iter().map(|batch| {
                let (packed, targets) = samples.pack(&case, batch, batches.len());
                let loss = case.model.gradients(weights, &packed, &targets, options, &mut gradients).unwrap().loss;
                loss * batches.len() as f64
            });
            let losses: Vec<f64> = losses.collect();
            let losses = Deviations::of(losses.iter().zip(&single).map(|(a, b)| a / b - 1.0));
            let off =
                |name: &String| relative(gradients.get(layout.index(name).unwrap()).unwrap(), &expected.floats(name));
            let gradients = Deviations::of(names.iter().map(off));
            println!("{} {format:?}: losses {losses:?}, the reference's {theirs:?}", folder.display());
            println!("{} {format:?}: gradients {gradients:?}, the reference's {their_gradients:?}", folder.display());
            // Four losses are a small sample of rounding errors, gradients of many tensors a large
            // one.
            assert!(losses.rms <= 2.0 * theirs.rms, "{} {format:?}: {losses:?} {theirs:?}", folder.display());
            assert!(gradients.rms <= their_gradients.rms, "{} {format:?}: {gradients:?}", folder.display());
            assert!(gradients.max <= 1.2 * their_gradients.max, "{} {format:?}: {gradients:?}", folder.display());
            compared += 1;
        }
    }
    assert!(compared > 0, "no golden case was found");
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn golden_train_gradients_of_one_pack_with_precomputed_features_agree_to_1e_5() {
    let mut compared = 0;
    for folder in cases("train") {
        let (case, samples) = (Case::open(&folder), Samples::open(&folder));
        let batches = samples.micro_batches();
        let (mut packed, mut targets) = samples.pack(&case, &batches.concat(), 1);
        let Tiles::Pixels(pixels) = &packed.tiles else { unreachable!() };
        let features = case.model.vision_features(&case.parameters, pixels, ComputeOptions::default()).unwrap();
        packed.tiles = Tiles::Features(features);
        if let Targets::Steps { weights, .. } = &mut targets {
            weights.clear();
            for batch in &batches {
                let (_, targets) = samples.pack(&case, batch, batches.len());
                weights.extend_from_slice(targets.weights());
            }
        }
        let layout = case.model.layout();
        let mut gradients = Gradients::new(layout, Trainable::without_vision(layout));
        let options = ComputeOptions::default();
        case.model.gradients(&case.parameters, &packed, &targets, options, &mut gradients).unwrap();
        let (off, name) = worst_gradient(&gradients, &Tensors::read(&folder.join("grads.safetensors")));
        assert!(off <= 1e-5, "{}: {name} is off by {off:e}", folder.display());
        compared += 1;
    }
    assert!(compared > 0, "no golden case was found");
}

#[test]
fn golden_train_hidden_states_agree_layer_by_layer() {
    let mut compared = 0;
    for folder in cases("score") {
        let path = folder.join("layers_img0_prompt1.safetensors");
        if !path.exists() {
            continue;
        }
        let (case, expected) = (Case::open(&folder), Tensors::read(&path));
        let packed = case.pack(&[expected.ids("input_ids")], &[Some("img0.png".into())]);
        let states = case.model.hidden_states(&case.parameters, &packed, ComputeOptions::default()).unwrap();
        for (number, state) in states.vision.iter().enumerate() {
            let reference = expected.floats(&format!("vit_hidden_{number}"));
            let off = relative(&state[..reference.len()], &reference);
            println!("{} vit_hidden_{number}: {off:.1e}", folder.display());
            assert!(off <= 2e-6, "{} vit_hidden_{number} is off by {off:e}", folder.display());
        }
        for (number, state) in states.language.iter().enumerate() {
            let off = relative(state, &expected.floats(&format!("llm_hidden_{number}")));
            println!("{} llm_hidden_{number}: {off:.1e}", folder.display());
            assert!(off <= 5e-6, "{} llm_hidden_{number} is off by {off:e}", folder.display());
        }
        let layers = case.model.layout().config();
        assert_eq!(states.vision.len(), layers.vision.as_ref().unwrap().layers + 1);
        assert_eq!(states.language.len(), layers.language.layers + 1);
        compared += 1;
    }
    assert!(compared > 0, "no golden case was found in {}", golden().display());
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn golden_train_scores_of_whole_solutions_agree_with_the_references_reward_model() {
    let mut compared = 0;
    for folder in cases("score") {
        let case = Case::open(&folder);
        for golden in json(&folder.join("cases.json")).as_array().unwrap() {
            let ids = golden["input_ids"].as_array().unwrap().iter();
            let ids: Vec<u32> = ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
            let step = case.token("<prm>");
            let rows: Vec<usize> = (0..ids.len()).filter(|row| ids[*row] == step).collect();
            let count = rows.len();
            let image = format!("{}.png", golden["image"].as_str().unwrap());
            let packed = case.pack(&[ids], &[Some(image)]);
            let (labels, weights) = (vec![1.0; count], vec![1.0; count]);
            let (yes, no) = (case.token("Yes"), case.token("No"));
            let targets = Targets::Steps { rows, labels, weights, yes, no, loss: StepLoss::CrossEntropy };
            let scores =
                case.model.loss(&case.parameters, &packed, &targets, ComputeOptions::default()).unwrap().outputs;
            let expected = golden["scores_float32"].as_array().unwrap();
            assert_eq!(scores.len(), expected.len());
            for (score, expected) in scores.iter().zip(expected) {
                let off = (f64::from(*score) - expected.as_f64().unwrap()).abs();
                assert!(off <= 1e-5, "{}: {score} for {expected}", folder.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "no golden case was found");
}
