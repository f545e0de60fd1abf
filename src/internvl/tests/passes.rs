//! Losses and gradients of plain sequences.

use super::naive::NaiveModel;
use super::{TILE, VOCABULARY, config, model, relative, sequence, towers};
use crate::internvl::{
    ComparedStep, ComputeOptions, Gradients, HalfCopies, HalfFormat, ImageSpan, InputError, Layout, Loss, Model,
    Packed, Parameters, RankedCandidate, RatioPath, RatioPrefix, StepLoss, Store, Targets, Tiles, Trainable, Weights,
};
use crate::nn::gemm::{Precision, RowSource};
use crate::nn::testing::Random;

const LENGTH: usize = 22;

fn step_targets() -> Targets {
    let (rows, labels, weights) = (vec![11, 15, 21], vec![0.37, 1.0, 0.0], vec![0.3, 0.5, 1.2]);
    Targets::Steps { rows, labels, weights, yes: 4, no: 9, loss: StepLoss::CrossEntropy }
}

/// Steps with each of the other losses; two solutions share their first step.
fn compared_targets() -> [Targets; 3] {
    let step = |target: usize, label: f32, weight: f32| ComparedStep { target, label, weight };
    let solutions = vec![vec![step(0, 1.0, 1.0), step(1, 1.0, 2.0), step(2, 0.0, 0.5)], vec![step(0, 0.0, 1.0)]];
    let problems = vec![vec![step(0, 0.37, 1.0), step(1, 1.0, 0.5), step(2, 0.0, 1.0), step(3, 0.37, 1.0)]];
    let of = |weights: Vec<f32>, loss| {
        let (rows, labels) = (vec![11, 15, 15, 21], vec![0.37, 1.0, 0.0, 0.37]);
        Targets::Steps { rows, labels, weights, yes: 4, no: 9, loss }
    };
    [
        of(vec![0.3, 0.5, 0.2, 1.2], StepLoss::SquaredError),
        of(vec![0.3, 1.2], StepLoss::QValues { margin: 0.5, solutions }),
        of(vec![1.2], StepLoss::Pairs { problems }),
    ]
}

/// Two solutions that share their first token.
fn ratio_targets() -> Targets {
    let prefix = |targets: usize, reference: f64, label: f32| RatioPrefix { targets, reference, label };
    let paths = vec![
        RatioPath { targets: vec![0, 1, 3], prefixes: vec![prefix(1, -2.0, 0.25), prefix(3, -9.0, 1.0)] },
        RatioPath { targets: vec![0, 2], prefixes: vec![prefix(2, -4.0, 0.0)] },
    ];
    let (rows, ids) = (vec![10, 11, 11, 20], vec![3, 12, 0, 7]);
    Targets::Ratio { rows, ids, paths, beta: 0.5, weights: vec![0.3, 1.2, 0.5] }
}

fn all_targets() -> impl Iterator<Item = Targets> {
    let others = [step_targets(), token_targets(), ranking_targets(), ratio_targets()];
    others.into_iter().chain(compared_targets())
}

fn token_targets() -> Targets {
    Targets::Tokens { rows: vec![10, 11, 11, 20], ids: vec![3, 12, 0, 7], weights: vec![0.3, 0.5, 0.2, 1.0] }
}

fn ranking_targets() -> Targets {
    let candidate = |targets: &[usize], right| RankedCandidate { targets: targets.to_vec(), right };
    let problems = vec![
        vec![candidate(&[0, 1], true), candidate(&[0, 2], false), candidate(&[0, 3], true)],
        vec![candidate(&[4], false), candidate(&[4, 5], true)],
    ];
    let (rows, ids) = (vec![10, 11, 11, 11, 14, 20], vec![3, 12, 0, 7, 5, 7]);
    Targets::Ranking { rows, ids, problems, weights: vec![0.75, 0.5] }
}

fn naive_loss(naive: &NaiveModel<'_>, packed: &Packed, targets: &Targets) -> f64 {
    let Tiles::Pixels(pixels) = &packed.tiles else { panic!("the naive model requires pixel values") };
    let features = naive.features(pixels);
    let mut tokens: Vec<(u32, Option<&Vec<f64>>)> = packed.tokens.iter().map(|token| (*token, None)).collect();
    for ImageSpan { first, tiles } in &packed.images {
        for (row, feature) in (tiles.start * TILE..tiles.end * TILE).enumerate() {
            tokens[first + row].1 = Some(&features[feature]);
        }
    }
    naive.loss(&naive.path(&tokens), targets)
}

fn gradients(
    (model, parameters): (&Model, &Parameters),
    packed: &Packed,
    targets: &Targets,
    options: ComputeOptions,
    trainable: Trainable,
) -> (Loss, Gradients) {
    let mut gradients = Gradients::new(model.layout(), trainable);
    let loss = model.gradients(parameters, packed, targets, options, &mut gradients).unwrap();
    (loss, gradients)
}

/// Every architecture, with a sequence longer than the trained context.
fn cases() -> impl Iterator<Item = (std::sync::Arc<Layout>, Packed)> {
    let [first, second] = towers();
    let layouts = [("internlm2", first.clone(), false), ("qwen2", first, false), ("qwen2", second, true)];
    layouts.into_iter().enumerate().map(|(index, (language, vision, tied))| {
        (config(language, &vision, tied), sequence(&mut Random::new(90 + index as u64), LENGTH))
    })
}

#[test]
fn losses_match_the_naive_model() {
    for (layout, packed) in cases() {
        let (model, parameters) = model(&layout, 7);
        let naive = NaiveModel::new(&parameters);
        for targets in all_targets() {
            let loss = model.loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap();
            let expected = naive_loss(&naive, &packed, &targets);
            assert!((loss.loss / expected - 1.0).abs() < 1e-5, "{} for {expected}", loss.loss);
            let sum: f64 = loss.losses.iter().zip(targets.weights()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((sum - loss.loss).abs() < 1e-5);
        }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn gradients_match_finite_differences_of_the_naive_model() {
    for (layout, packed) in cases() {
        let (model, parameters) = model(&layout, 8);
        let mut naive = NaiveModel::new(&parameters);
        let mut random = Random::new(5);
        for targets in all_targets() {
            let all = Trainable::all(&layout);
            let (_, found) = gradients((&model, &parameters), &packed, &targets, ComputeOptions::default(), all);
            for (index, gradient) in found.iter() {
                let largest = gradient.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                for _ in 0..3 {
                    let place = random.below(gradient.len());
                    let (at, step) = (naive.values[index][place], 1e-4);
                    let mut moved = |by: f64| {
                        naive.values[index][place] = at + by;
                        naive_loss(&naive, &packed, &targets)
                    };
                    let expected = (moved(step) - moved(-step)) / (2.0 * step);
                    naive.values[index][place] = at;
                    let off = (f64::from(gradient[place]) - expected).abs();
                    let name = parameters.name(index);
                    assert!(
                        off < 1e-4 * f64::from(largest) + 1e-8,
                        "{name}[{place}]: {} for {expected}",
                        gradient[place]
                    );
                }
            }
        }
    }
}

#[test]
fn checkpointing_gives_bit_identical_results() {
    for (layout, packed) in cases() {
        let (model, parameters) = model(&layout, 9);
        let of = |checkpointing| {
            let options = ComputeOptions { checkpointing, ..ComputeOptions::default() };
            gradients((&model, &parameters), &packed, &token_targets(), options, Trainable::all(&layout))
        };
        let ((kept, all), (again, recomputed)) = (of(false), of(true));
        assert_eq!(kept, again);
        assert!(all.iter().zip(recomputed.iter()).all(|(a, b)| a == b));
    }
}

#[test]
fn gradients_do_not_depend_on_which_tensors_are_trained() {
    for (layout, packed) in cases() {
        let (model, parameters) = model(&layout, 10);
        let targets = step_targets();
        let of =
            |trainable| gradients((&model, &parameters), &packed, &targets, ComputeOptions::default(), trainable).1;
        let all = of(Trainable::all(&layout));
        let parts = [
            "language_model.model.layers.1",
            "norm",
            "mlp1.0.bias",
            "vision_model.encoder.layers.0",
            "language_model.model.norm",
        ];
        for part in parts {
            let some = of(Trainable::only(&layout, |index| layout.tensors()[index].name.contains(part)));
            assert!(some.iter().count() > 0, "{part}");
            assert!(some.iter().all(|(index, gradient)| all.get(index) == Some(gradient)), "{part}");
        }
    }
}

#[test]
fn gradients_accumulate_until_cleared() {
    let (layout, packed) = cases().next().unwrap();
    let (model, parameters) = model(&layout, 11);
    let trainable = Trainable::without_vision(&layout);
    let (_, once) = gradients((&model, &parameters), &packed, &step_targets(), ComputeOptions::default(), trainable);
    let mut sum = once.clone();
    model.gradients(&parameters, &packed, &step_targets(), ComputeOptions::default(), &mut sum).unwrap();
    assert!((sum.norm() / once.norm() - 2.0).abs() < 1e-6);
    sum.scale(0.5);
    assert!(sum.iter().zip(once.iter()).all(|(a, b)| relative(a.1, b.1) < 1e-6));
    sum.clear();
    assert!(sum.norm() == 0.0 && sum.not_finite().is_none());
    sum.get_mut(layout.head()).unwrap()[3] = f32::NAN;
    assert_eq!(sum.not_finite(), Some(layout.head()));
}

#[test]
fn precomputed_features_give_the_same_result_as_pixel_values() {
    for (layout, mut packed) in cases() {
        let (model, parameters) = model(&layout, 12);
        let of = |packed: &Packed| {
            let frozen = Trainable::without_vision(&layout);
            gradients((&model, &parameters), packed, &step_targets(), ComputeOptions::default(), frozen)
        };
        let expected = of(&packed);
        let Tiles::Pixels(pixels) = &packed.tiles else { panic!("no pixels") };
        let features = model.vision_features(&parameters, pixels, ComputeOptions::default()).unwrap();
        packed.tiles = Tiles::Features(features);
        let found = of(&packed);
        assert_eq!(found.0, expected.0);
        assert!(found.1.iter().zip(expected.1.iter()).all(|(a, b)| a == b));
        let mut all = Gradients::new(&layout, Trainable::all(&layout));
        let error =
            model.gradients(&parameters, &packed, &step_targets(), ComputeOptions::default(), &mut all).unwrap_err();
        assert_eq!(error, InputError::FrozenFeatures);
    }
}

#[test]
fn half_precision_copies_deviate_by_their_rounding_only() {
    for (layout, packed) in cases() {
        let (model, parameters) = model(&layout, 13);
        let targets = token_targets();
        let exact = model.loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap().loss;
        let rounded = ComputeOptions { precision: Precision::Bf16, ..ComputeOptions::default() };
        for (format, options, bound) in [
            (HalfFormat::F16, ComputeOptions::default(), 2e-3),
            (HalfFormat::Bf16, ComputeOptions::default(), 2e-2),
            (HalfFormat::Bf16, rounded, 3e-2),
        ] {
            let half_copies = HalfCopies::new(&parameters, format);
            let weights = Weights::with_half_copies(&parameters, &half_copies);
            let mut found = Gradients::new(&layout, Trainable::all(&layout));
            let loss = model.gradients(weights, &packed, &targets, options, &mut found).unwrap().loss;
            let apart = (loss / exact - 1.0).abs();
            assert!(apart > 0.0 && apart < bound, "{format:?}: {loss} for {exact}");
            assert_eq!(found.not_finite(), None);
        }
    }
}

#[test]
fn refreshed_copies_have_the_changed_values() {
    let (layout, packed) = cases().next().unwrap();
    let (model, mut parameters) = model(&layout, 14);
    let mut half_copies = HalfCopies::new(&parameters, HalfFormat::Bf16);
    let index = layout.index("language_model.model.layers.0.feed_forward.w1.weight").unwrap();
    parameters.get_mut(index).unwrap().iter_mut().for_each(|value| *value *= -0.5);
    let of = |half_copies: &HalfCopies| {
        let weights = Weights::with_half_copies(&parameters, half_copies);
        model.loss(weights, &packed, &step_targets(), ComputeOptions::default()).unwrap()
    };
    let stale = of(&half_copies);
    half_copies.refresh(&parameters, |changed| changed == index);
    assert_ne!(of(&half_copies), stale);
    assert_eq!(of(&half_copies), of(&HalfCopies::new(&parameters, HalfFormat::Bf16)));
}

/// Rows generated on demand.
struct Rows(Vec<f32>, usize);

impl RowSource for Rows {
    fn rows(&self) -> usize {
        self.0.len() / self.1
    }

    fn cols(&self) -> usize {
        self.1
    }

    fn write_row(&self, row: usize, columns: std::ops::Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.0[row * self.1..][columns]);
    }
}

#[test]
fn frozen_matrices_may_be_generated_on_demand() {
    for (layout, packed) in cases() {
        let (model, parameters) = model(&layout, 15);
        let on_demand = Parameters::load(&layout, |index| {
            let tensor = &layout.tensors()[index];
            let values = parameters.get(index).unwrap().to_vec();
            let cols = tensor.matrix().1;
            let rows = || Store::Rows(std::sync::Arc::new(Rows(values.clone(), cols)));
            Ok::<_, std::convert::Infallible>(if tensor.is_matrix() { rows() } else { Store::F32(values.clone()) })
        });
        let on_demand = on_demand.unwrap();
        for targets in [step_targets(), token_targets()] {
            let expected = model.loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap().loss;
            let found = model.loss(&on_demand, &packed, &targets, ComputeOptions::default()).unwrap().loss;
            assert!((found / expected - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn invalid_input_is_rejected() {
    let (layout, packed) = cases().next().unwrap();
    let (model, parameters) = model(&layout, 16);
    let refusal = |change: &dyn Fn(&mut Packed, &mut Targets)| {
        let (mut packed, mut targets) = (packed.clone(), step_targets());
        change(&mut packed, &mut targets);
        model.loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap_err()
    };
    let vocabulary = VOCABULARY;
    let long = refusal(&|packed, _| packed.tokens.push(1));
    assert_eq!(long, InputError::Segments { tokens: LENGTH + 1, segments: LENGTH });
    let unknown = refusal(&|packed, _| packed.tokens[5] = 13);
    assert_eq!(unknown, InputError::Token { row: 5, token: 13, vocabulary });
    let far = refusal(&|packed, _| packed.images[0].first = 15);
    assert_eq!(far, InputError::Image { image: 0, start: 15, end: 23, after: 0, tokens: LENGTH });
    let tiles = refusal(&|packed, _| packed.images[0].tiles = 1..3);
    assert_eq!(tiles, InputError::Tiles { image: 0, start: 1, end: 3, tiles: 2 });
    let values = refusal(&|packed, _| packed.tiles = Tiles::Pixels(vec![0.0; 5]));
    assert_eq!(values, InputError::TileValues { found: 5, tile: 3 * 28 * 28 });
    let steps = |rows: Vec<usize>, labels: Vec<f32>, weights: Vec<f32>, yes| {
        refusal(&move |_, targets| {
            let (rows, labels, weights) = (rows.clone(), labels.clone(), weights.clone());
            *targets = Targets::Steps { rows, labels, weights, yes, no: 0, loss: StepLoss::CrossEntropy };
        })
    };
    let count = steps(vec![1, 2], vec![0.5], vec![1.0, 1.0], 1);
    assert_eq!(count, InputError::Lengths { rows: 2, targets: 1, weights: 2 });
    let order = steps(vec![3, 2], vec![0.5; 2], vec![1.0; 2], 1);
    assert_eq!(order, InputError::Row { target: 1, row: 2, tokens: LENGTH });
    let outside = steps(vec![LENGTH], vec![0.5], vec![1.0], 1);
    assert_eq!(outside, InputError::Row { target: 0, row: LENGTH, tokens: LENGTH });
    for label in [f32::NAN, -0.1, 1.1] {
        let error = steps(vec![1], vec![label], vec![1.0], 1);
        assert!(matches!(error, InputError::Label { target: 0, .. }), "{error}");
    }
    let compared = |change: &dyn Fn(&mut ComparedStep)| {
        refusal(&move |_, targets| {
            let mut step = ComparedStep { target: 0, label: 1.0, weight: 1.0 };
            change(&mut step);
            let (rows, labels, loss) = (vec![1], vec![0.5], StepLoss::Pairs { problems: vec![vec![step]] });
            *targets = Targets::Steps { rows, labels, weights: vec![1.0], yes: 1, no: 0, loss };
        })
    };
    let changes: [&dyn Fn(&mut ComparedStep); 4] =
        [&|step| step.target = 1, &|step| step.label = 1.5, &|step| step.weight = f32::NAN, &|step| step.weight = -1.0];
    for change in changes {
        assert_eq!(compared(change), InputError::ComparedStep { group: 0, step: 0, targets: 1 });
    }
    let path = |targets: usize, reference: f64, label: f32| {
        refusal(&move |_, targets_of| {
            let path = RatioPath { targets: vec![0], prefixes: vec![RatioPrefix { targets, reference, label }] };
            let (rows, ids, weights) = (vec![1], vec![0], vec![1.0]);
            *targets_of = Targets::Ratio { rows, ids, paths: vec![path], beta: 0.5, weights };
        })
    };
    for error in [path(2, 0.0, 1.0), path(1, f64::NAN, 1.0), path(1, 0.0, 2.0)] {
        assert_eq!(error, InputError::RatioPath { path: 0, targets: 1 });
    }
    let token = steps(vec![1], vec![0.5], vec![1.0], 99);
    assert_eq!(token, InputError::TargetToken { target: 0, token: 99, vocabulary });
}

#[test]
fn a_sequence_without_targets_has_no_loss() {
    let (layout, packed) = cases().next().unwrap();
    let (model, parameters) = model(&layout, 17);
    let targets = Targets::Tokens { rows: Vec::new(), ids: Vec::new(), weights: Vec::new() };
    assert_eq!(model.loss(&parameters, &packed, &targets, ComputeOptions::default()).unwrap(), Loss::default());
}

#[test]
fn random_initialisation_depends_on_the_seed_only() {
    let (layout, _) = cases().next().unwrap();
    let (one, again, other) =
        (Parameters::random(&layout, 1), Parameters::random(&layout, 1), Parameters::random(&layout, 2));
    assert!(one.iter().zip(again.iter()).all(|(a, b)| a == b));
    let head = one.get(layout.head()).unwrap();
    assert_ne!(head, other.get(layout.head()).unwrap());
    let spread = (head.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / head.len() as f64).sqrt();
    assert!((spread / 0.02 - 1.0).abs() < 0.15, "{spread}");
}
