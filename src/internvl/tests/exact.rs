//! Losses of the golden samples against the naive `f64` model, which uses the `f32` convolution
//! because that is bit-identical to MM-PRM's. MM-PRM's own losses deviate from it by up to
//! 1.3·10⁻⁶, and these here may deviate no more.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::hf::vocabulary::Vocabulary;
use safetensors::SafeTensors;
use serde_json::Value;

use super::naive::{NaiveModel, Rows};
use crate::image::{IMAGENET_MEAN, IMAGENET_STD, Limits, Tiling, load, normalise, tiles};
use crate::internvl::pass::Pass;
use crate::internvl::vision::convolve_patches;
use crate::internvl::{ComputeOptions, Layout, Model, Packed, StepLoss, Targets, Tiles, read_layout, read_parameters};
use crate::nn::attention::{Mask, Segments};

fn golden() -> PathBuf {
    let committed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os("MMPRM_GOLDEN").map_or_else(committed, PathBuf::from)
}

struct Sample {
    tokens: Vec<u32>,
    image: Option<String>,
    /// Rows and labels.
    steps: Vec<(usize, f32)>,
}

/// The samples of an architecture, tokenised by MM-PRM.
fn samples(architecture: &str) -> Vec<Sample> {
    let bytes = std::fs::read(golden().join("train").join(architecture).join("data.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let lines = std::fs::read_to_string(golden().join("train/samples.jsonl")).unwrap();
    let sample = |(number, line): (usize, &str)| {
        let record: Value = serde_json::from_str(line).unwrap();
        let data = |part: &str| file.tensor(&format!("sample{number}.{part}")).unwrap().data().to_vec();
        let tokens = data("input_ids").as_chunks().0.iter().map(|id| i64::from_le_bytes(*id) as u32).collect();
        let labels = data("labels").as_chunks().0.iter().map(|label| f32::from_le_bytes(*label)).collect::<Vec<_>>();
        let steps = labels.into_iter().enumerate().filter(|(_, label)| *label >= 0.0).collect();
        Sample { tokens, image: record["image"].as_str().map(str::to_owned), steps }
    };
    lines.lines().enumerate().map(sample).collect()
}

/// Pixel values of the images of samples.
fn pixels(samples: &[Sample], layout: &Layout) -> HashMap<String, Vec<f32>> {
    let tiling =
        Tiling { size: layout.config().vision.as_ref().unwrap().image, min_tiles: 1, max_tiles: 6, thumbnail: true };
    let of = |image: &String| {
        let decoded = load(&golden().join("images").join(image), &Limits::default()).unwrap();
        let values = tiles(&decoded, &tiling).iter().flat_map(|t| normalise(t, IMAGENET_MEAN, IMAGENET_STD)).collect();
        (image.clone(), values)
    };
    samples.iter().filter_map(|sample| sample.image.as_ref()).map(of).collect()
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn golden_train_losses_match_f64_within_f32_rounding() {
    let mut compared = 0;
    for architecture in ["internlm2", "qwen2"] {
        let directory = golden().join("ckpt").join(architecture);
        if !golden().join("train").join(architecture).is_dir() {
            continue;
        }
        let layout = read_layout(&directory).unwrap();
        let parameters = read_parameters(&directory, &layout, |_| true).unwrap();
        let vocabulary = Vocabulary::read(&directory, &ModelConfig::read(&directory).unwrap().language).unwrap();
        let token = |text: &str| vocabulary.tokens.iter().position(|token| token.text == text).unwrap() as u32;
        let (context, yes, no) = (token("<IMG_CONTEXT>"), token("Yes"), token("No"));
        let (model, naive) = (Model::new(&layout), NaiveModel::new(&parameters));
        let samples = samples(architecture);
        let pixels = pixels(&samples, &layout);
        let pass = Pass { weights: (&parameters).into(), precision: ComputeOptions::default().precision };
        let (tensors, vision) = layout.tower().unwrap();
        let features = |pixels: &[f32]| -> Rows {
            let patches = convolve_patches(&pass, tensors.patch, vision, pixels);
            let patches: Rows =
                patches.chunks(vision.hidden).map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect();
            patches.chunks(vision.side().pow(2)).flat_map(|tile| naive.convolved_tile(&tile.to_vec())).collect()
        };
        let features: HashMap<&String, Rows> = pixels.iter().map(|(image, values)| (image, features(values))).collect();
        for pair in samples.chunks(2) {
            let count = pair.iter().map(|sample| sample.steps.len()).sum::<usize>();
            let targets = |steps: &[(usize, f32)]| {
                let (rows, labels): (Vec<usize>, Vec<f32>) = steps.iter().copied().unzip();
                let weights = vec![1.0 / count as f32; rows.len()];
                Targets::Steps { rows, labels, weights, yes, no, loss: StepLoss::CrossEntropy }
            };
            let exact = pair.iter().map(|sample| {
                let mut rows = sample.image.iter().flat_map(|image| &features[image]);
                let given = |token: &u32| (*token, (*token == context).then(|| rows.next().unwrap()));
                let hidden = naive.path(&sample.tokens.iter().map(given).collect::<Vec<_>>());
                naive.loss(&hidden, &targets(&sample.steps))
            });
            let exact: f64 = exact.sum();
            let tokens: Vec<u32> = pair.iter().flat_map(|sample| sample.tokens.clone()).collect();
            let images = pair.iter().filter_map(|sample| sample.image.as_ref());
            let lengths: Vec<usize> = pair.iter().map(|sample| sample.tokens.len()).collect();
            let packed = Packed {
                images: Packed::images_at(&tokens, context, layout.config().tokens_per_tile()).unwrap(),
                tokens,
                segments: Segments::plain(&lengths, Mask::Causal),
                tiles: Tiles::Pixels(images.flat_map(|image| pixels[image].clone()).collect()),
            };
            let second = pair[1].steps.iter().map(|(row, label)| (row + lengths[0], *label));
            let steps: Vec<(usize, f32)> = pair[0].steps.iter().copied().chain(second).collect();
            let found = model.loss(&parameters, &packed, &targets(&steps), ComputeOptions::default()).unwrap().loss;
            let off = found / exact - 1.0;
            println!("{architecture}: {found} for {exact}, off by {off:.1e}");
            assert!(off.abs() <= 1.5e-6, "{architecture}: {found} for {exact}");
            compared += 1;
        }
    }
    assert!(compared > 0, "no golden case was found");
}
