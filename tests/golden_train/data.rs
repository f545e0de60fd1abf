//! Golden checkpoints, and golden samples as packed sequences.

use std::path::Path;

use mmprm::image::{IMAGENET_MEAN, IMAGENET_STD, Limits, Tiling, load, normalise, tiles};
use mmprm::internvl::{Model, Packed, Parameters, StepLoss, Targets, Tiles, read_layout, read_parameters};
use mmprm::nn::attention::{Mask, Segments};
use mmprm_quant::hf::config::ModelConfig;
use mmprm_quant::hf::vocabulary::Vocabulary;
use serde_json::Value;

use crate::support::golden;
use crate::support::tensors::Tensors;

/// A golden checkpoint.
pub struct Case {
    pub model: Model,
    pub parameters: Parameters,
    vocabulary: Vocabulary,
    tiling: Tiling,
}

impl Case {
    /// Reads the checkpoint of an architecture as `f32`.
    pub fn open(architecture: &Path) -> Self {
        let directory = golden().join("ckpt").join(architecture.file_name().unwrap());
        let layout = read_layout(&directory).unwrap();
        let parameters = read_parameters(&directory, &layout, |_| true).unwrap();
        let config = ModelConfig::read(&directory).unwrap();
        let vision = config.vision.as_ref().unwrap();
        let (max_tiles, size) = (vision.max_tiles as usize, vision.image_size as usize);
        let tiling = Tiling::new(size, vision.min_tiles as usize, max_tiles, vision.thumbnail).unwrap();
        let vocabulary = Vocabulary::read(&directory, &config.language).unwrap();
        Self { model: Model::new(&layout), parameters, vocabulary, tiling }
    }

    pub fn token(&self, text: &str) -> u32 {
        self.vocabulary.tokens.iter().position(|token| token.text == text).expect(text) as u32
    }

    /// Returns the pixel values of all tiles of a golden image.
    pub fn pixels(&self, image: &str) -> Vec<f32> {
        let image = load(&golden().join("images").join(image), &Limits::default()).unwrap();
        let tiles = tiles(&image, &self.tiling);
        tiles.iter().flat_map(|tile| normalise(tile, IMAGENET_MEAN, IMAGENET_STD)).collect()
    }

    /// Packs independent sequences with their images.
    pub fn pack(&self, sequences: &[Vec<u32>], images: &[Option<String>]) -> Packed {
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let tokens: Vec<u32> = sequences.concat();
        let per_tile = self.model.layout().config().tokens_per_tile();
        let places = Packed::images_at(&tokens, self.token("<IMG_CONTEXT>"), per_tile).unwrap();
        let pixels = images.iter().flatten().flat_map(|image| self.pixels(image)).collect();
        Packed {
            tokens,
            segments: Segments::plain(&lengths, Mask::Causal),
            images: places,
            tiles: Tiles::Pixels(pixels),
        }
    }
}

/// Golden training samples.
pub struct Samples {
    tensors: Tensors,
    images: Vec<Option<String>>,
}

impl Samples {
    pub fn open(architecture: &Path) -> Self {
        let lines = std::fs::read_to_string(golden().join("train/samples.jsonl")).unwrap();
        let image = |line: &str| {
            let sample: Value = serde_json::from_str(line).unwrap();
            sample["image"].as_str().map(str::to_owned)
        };
        Self {
            tensors: Tensors::read(&architecture.join("data.safetensors")),
            images: lines.lines().map(image).collect(),
        }
    }

    /// Returns the sample indices of each micro-batch.
    pub fn micro_batches(&self) -> Vec<Vec<usize>> {
        (0..self.images.len()).step_by(2).map(|first| vec![first, first + 1]).collect()
    }

    /// Returns MM-PRM's Yes and No logits of a micro-batch.
    pub fn logits(&self, batch: usize) -> Vec<f32> {
        self.tensors.floats(&format!("batch{batch}.prm_logits"))
    }

    /// Packs samples, with their steps as targets weighted by 1 / (steps · `parts`).
    pub fn pack(&self, case: &Case, samples: &[usize], parts: usize) -> (Packed, Targets) {
        let ids = |sample: &usize| self.tensors.ids(&format!("sample{sample}.input_ids"));
        let sequences: Vec<Vec<u32>> = samples.iter().map(ids).collect();
        let images: Vec<Option<String>> = samples.iter().map(|sample| self.images[*sample].clone()).collect();
        let (mut rows, mut labels, mut first) = (Vec::new(), Vec::new(), 0);
        for sample in samples {
            let targets = self.tensors.floats(&format!("sample{sample}.labels"));
            let steps = targets.iter().enumerate().filter(|(_, label)| **label >= 0.0);
            steps.for_each(|(row, label)| {
                rows.push(first + row);
                labels.push(*label);
            });
            first += targets.len();
        }
        let weights = vec![1.0 / (labels.len() * parts) as f32; labels.len()];
        let (yes, no) = (case.token("Yes"), case.token("No"));
        (
            case.pack(&sequences, &images),
            Targets::Steps { rows, labels, weights, yes, no, loss: StepLoss::CrossEntropy },
        )
    }
}
