//! `LoRA`: merged weights, gradients against those of merged matrices and finite differences,
//! dropout.

use std::sync::Arc;

use super::{VOCABULARY, config, model, relative, sequence, towers};
use crate::internvl::{
    ComputeOptions, Dropout, Gradients, Layout, LoraConfig, LoraError, Model, Packed, Parameters, Role, StepLoss,
    Targets, Trainable, Weights,
};
use crate::nn::testing::Random;

const LENGTH: usize = 22;
const RANK: usize = 3;
const SCALE: f32 = 1.7;
const TOKENS: [u32; 2] = [9, 4];

fn targets() -> [Targets; 2] {
    let (rows, labels, weights) = (vec![11, 15, 21], vec![0.37, 1.0, 0.0], vec![0.3, 0.5, 1.2]);
    [
        Targets::Steps { rows, labels, weights, yes: 4, no: 7, loss: StepLoss::CrossEntropy },
        Targets::Tokens { rows: vec![10, 11, 11, 20], ids: vec![3, 9, 0, 7], weights: vec![0.3, 0.5, 0.2, 1.0] },
    ]
}

/// For each architecture a layout with `LoRA`, the base parameters, parameters with random `LoRA`
/// values, and a sequence.
fn cases() -> impl Iterator<Item = (Arc<Layout>, Parameters, Parameters, Packed)> {
    let kinds = [("internlm2", false), ("qwen2", false), ("qwen2", true)];
    kinds.into_iter().enumerate().map(|(index, (language, tied))| {
        let layout = config(language, &towers()[0], tied);
        let (_, plain) = model(&layout, 40 + index as u64);
        let targets = layout.lora_targets();
        let lora = LoraConfig { rank: RANK, scale: SCALE, targets, tokens: TOKENS.to_vec() };
        let adapted = layout.with_lora(&lora).unwrap();
        let mut parameters = plain.clone().with_lora(&adapted, 5);
        let mut random = Random::new(7);
        for index in adapted.base_len()..adapted.tensors().len() {
            let values = parameters.get_mut(index).unwrap();
            for value in values {
                *value += 0.2 * random.normal();
            }
        }
        (adapted, plain, parameters, sequence(&mut Random::new(60 + index as u64), LENGTH))
    })
}

fn lora_only(layout: &Layout) -> Trainable {
    Trainable::only(layout, |index| index >= layout.base_len())
}

/// Merges `LoRA` into the base parameters.
fn merged(layout: &Layout, plain: &Parameters, adapted: &Parameters) -> Parameters {
    let mut merged = plain.clone();
    for index in 0..layout.base_len() {
        let Some(adapter) = layout.adapter(index) else { continue };
        let (down, up) = (adapted.get(adapter.down).unwrap(), adapted.get(adapter.up).unwrap());
        let (rows, cols) = layout.tensors()[index].matrix();
        let weight = merged.get_mut(index).unwrap();
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let product: f32 = (0..RANK).map(|inner| up[row * RANK + inner] * down[inner * cols + col]).sum();
            weight[row * cols + col] += SCALE * product;
        }
    }
    let rows = layout.token_rows().unwrap();
    for (table, index) in [(layout.embedding(), rows.embedding), (layout.head(), rows.head)] {
        let (width, new) = (layout.tensors()[table].matrix().1, adapted.get(index).unwrap());
        for (row, token) in new.chunks(width).zip(&rows.tokens) {
            merged.get_mut(table).unwrap()[*token as usize * width..][..width].copy_from_slice(row);
        }
    }
    merged
}

fn gradients(layout: &Arc<Layout>, weights: &Parameters, case: (&Packed, &Targets), trained: Trainable) -> Gradients {
    let mut found = Gradients::new(layout, trained);
    Model::new(layout).gradients(weights, case.0, case.1, ComputeOptions::default(), &mut found).unwrap();
    found
}

#[test]
fn initial_lora_does_not_change_the_output() {
    let layout = config("internlm2", &towers()[0], false);
    let (model, plain) = model(&layout, 3);
    let targets = layout.lora_targets();
    assert_eq!(targets, ["wqkv", "wo", "w1", "w3", "w2"]);
    let lora = LoraConfig { rank: RANK, scale: SCALE, targets, tokens: TOKENS.to_vec() };
    let adapted = layout.with_lora(&lora).unwrap();
    let parameters = plain.clone().with_lora(&adapted, 5);
    let packed = sequence(&mut Random::new(60), LENGTH);
    for targets in self::targets() {
        let before = model.loss(&plain, &packed, &targets, ComputeOptions::default()).unwrap().loss;
        let after = Model::new(&adapted).loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap().loss;
        assert!((after / before - 1.0).abs() < 1e-6, "{after} for {before}");
    }
    for (index, tensor) in adapted.tensors().iter().enumerate().skip(adapted.base_len()) {
        let values = parameters.get(index).unwrap();
        let bound = 1.0 / (tensor.matrix().1 as f32).sqrt();
        let peak = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        match tensor.role {
            Role::LoraA => assert!(peak < bound && peak > 0.8 * bound, "{}: {peak}", tensor.name),
            Role::LoraB => assert!(peak == 0.0),
            _ => {}
        }
    }
    let name = |index: usize| adapted.tensors()[index].name.as_str();
    assert_eq!(name(adapted.base_len()), "language_model.model.layers.0.attention.wqkv.lora_A.weight");
    assert_eq!(name(adapted.token_rows().unwrap().head), "language_model.output.token_adapter.trainable_tokens_delta");
}

#[test]
fn merged_weights_give_the_same_loss() {
    for (layout, plain, parameters, packed) in cases() {
        let merged = merged(&layout, &plain, &parameters);
        for targets in targets() {
            let expected =
                Model::new(plain.layout()).loss(&merged, &packed, &targets, ComputeOptions::default()).unwrap();
            let found = Model::new(&layout).loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap();
            assert!((found.loss / expected.loss - 1.0).abs() < 5e-6, "{} for {}", found.loss, expected.loss);
        }
    }
}

/// With the gradient `d_W` of the merged matrix, `d_A = s · Bᵀ · d_W` and `d_B = s · d_W · Aᵀ`.
#[test]
fn adapter_gradients_follow_from_that_of_the_merged_matrix() {
    for (layout, plain, parameters, packed) in cases() {
        let merged = merged(&layout, &plain, &parameters);
        for targets in targets() {
            let whole =
                gradients(plain.layout(), &merged, (&packed, &targets), Trainable::without_vision(plain.layout()));
            let found = gradients(&layout, &parameters, (&packed, &targets), lora_only(&layout));
            for index in (0..layout.base_len()).filter(|index| layout.adapter(*index).is_some()) {
                let adapter = layout.adapter(index).unwrap();
                let (down, up) = (parameters.get(adapter.down).unwrap(), parameters.get(adapter.up).unwrap());
                let (rows, cols) = layout.tensors()[index].matrix();
                let d_weight = whole.get(index).unwrap();
                let (mut d_down, mut d_up) = (vec![0.0; RANK * cols], vec![0.0; rows * RANK]);
                for (place, d) in d_weight.iter().enumerate() {
                    for inner in 0..RANK {
                        d_down[inner * cols + place % cols] += SCALE * up[place / cols * RANK + inner] * d;
                        d_up[place / cols * RANK + inner] += SCALE * down[inner * cols + place % cols] * d;
                    }
                }
                let name = &layout.tensors()[index].name;
                for (which, expected) in [(adapter.down, d_down), (adapter.up, d_up)] {
                    let off = relative(found.get(which).unwrap(), &expected);
                    assert!(off < 1e-4, "{name}: {off}");
                }
            }
            let rows = layout.token_rows().unwrap();
            for (table, index) in [(layout.embedding(), rows.embedding), (layout.head(), rows.head)] {
                let (width, d_table) = (layout.tensors()[table].matrix().1, whole.get(table).unwrap());
                let expected = rows.tokens.iter().flat_map(|token| &d_table[*token as usize * width..][..width]);
                let expected: Vec<f32> = expected.copied().collect();
                let off = relative(found.get(index).unwrap(), &expected);
                assert!(off < 1e-4, "{}: {off}", layout.tensors()[index].name);
            }
        }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn gradients_match_finite_differences_with_dropout() {
    for (layout, _, mut parameters, packed) in cases() {
        let model = Model::new(&layout);
        let dropout = Dropout::new(0.3, 1, 2, 3);
        for checkpointing in [false, true] {
            let options = ComputeOptions { checkpointing, ..ComputeOptions::default() };
            let [_, targets] = targets();
            let mut found = Gradients::new(&layout, lora_only(&layout));
            let weights = Weights::from(&parameters).with_dropout(dropout);
            model.gradients(weights, &packed, &targets, options, &mut found).unwrap();
            let mut random = Random::new(5);
            for (index, gradient) in found.iter() {
                // Finite differences along the gradient, with some noise, are largest relative to
                // their rounding.
                let direction: Vec<f32> = gradient.iter().map(|d| d * (1.0 + 0.3 * random.normal())).collect();
                let length = direction.iter().map(|d| d * d).sum::<f32>().sqrt();
                if length == 0.0 {
                    continue;
                }
                let before = parameters.get(index).unwrap().to_vec();
                let mut moved = |by: f32| {
                    let values = parameters.get_mut(index).unwrap();
                    for ((value, before), d) in values.iter_mut().zip(&before).zip(&direction) {
                        *value = before + by * d / length;
                    }
                    let weights = Weights::from(&parameters).with_dropout(dropout);
                    model.loss(weights, &packed, &targets, options).unwrap().loss
                };
                let step = 3e-3;
                let expected = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                moved(0.0);
                let slope: f64 =
                    gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum::<f64>()
                        / f64::from(length);
                let name = &layout.tensors()[index].name;
                assert!(
                    (slope - expected).abs() < 1e-2 * expected.abs() + 5e-4,
                    "{name}: {slope}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn dropout_drops_at_its_rate_and_depends_only_on_its_arguments() {
    let ones = vec![1.0; 100 * 64];
    let dropped =
        |step, sequence, matrix| Dropout::new(0.25, 9, step, sequence).applied(matrix, &ones, 64).into_owned();
    let mask = dropped(1, 1, 4);
    let remaining = mask.iter().filter(|value| **value != 0.0).count() as f64 / mask.len() as f64;
    assert!((remaining - 0.75).abs() < 0.02, "{remaining}");
    assert!(mask.iter().all(|value| *value == 0.0 || (*value - 4.0 / 3.0).abs() < 1e-6));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| dropped(1, 1, 4)), mask);
    for other in [dropped(2, 1, 4), dropped(1, 2, 4), dropped(1, 1, 5)] {
        assert_ne!(other, mask);
    }
    assert_eq!(*Dropout::new(0.0, 9, 1, 1).applied(4, &ones, 64), ones);
}

#[test]
fn invalid_configurations_are_rejected() {
    let layout = config("qwen2", &towers()[0], false);
    let refusal = |change: &dyn Fn(&mut LoraConfig)| {
        let mut lora = LoraConfig { rank: 2, scale: 1.0, targets: vec!["q_proj".into()], tokens: vec![1] };
        change(&mut lora);
        layout.with_lora(&lora).unwrap_err()
    };
    assert_eq!(refusal(&|lora| lora.rank = 0), LoraError::Rank);
    let token = refusal(&|lora| lora.tokens = vec![VOCABULARY as u32]);
    assert_eq!(token, LoraError::Token { token: VOCABULARY as u32, vocabulary: VOCABULARY });
    let error = refusal(&|lora| lora.targets = vec!["wqkv".into()]).to_string();
    assert!(error.starts_with("no matrix of the language model is called `wqkv`, expected some of q_proj, k_proj"));
}
