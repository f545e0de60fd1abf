//! A model with its weights, gradients and image features, computing packed sequences.
//!
//! The part that all learners share. A [`TrainableModel`] owns a network and decides which tensors are trained, where
//! values come from and what is saved: [`super::full`] trains a model's weights, [`super::lora`] adapters.
//!
//! ```no_run
//! use mmprm::internvl::{self, Trainable};
//! use mmprm::train::data::Dataset;
//! use mmprm::train::network::Network;
//! use mmprm::train::recipe::Recipe;
//! # fn of(recipe: &Recipe, data: &Dataset) -> Result<(), Box<dyn std::error::Error>> {
//! let layout = internvl::read_layout(&recipe.model)?;
//! let only_the_head = Trainable::only(&layout, |number| number == layout.head());
//! let parameters = internvl::read_parameters(&recipe.model, &layout, |number| only_the_head.contains(number))?;
//! let network = Network::new(recipe, parameters, only_the_head, data.special, data.images.clone());
//! println!("{} trained values", network.trained());
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::checkpoint::CheckpointError;
use super::data::{Image, SpecialTokens, StepTokens};
use super::features::Features;
use super::learner::{Learner, LearnerError};
use super::optim::Parameter;
use super::pack::{Sequence, SequenceTargets};
use super::recipe::{Compute, Recipe};

use mmprm_quant::safetensors::{NewTensor, StoredType, Values};

use crate::image::{self, IMAGENET_MEAN, IMAGENET_STD, Tiling};
use crate::internvl::{
    self, ComputeOptions, Dropout, Gradients, HalfCopies, HalfFormat, InputError, Layout, Loss, Model, Packed,
    Parameters, Store, Targets, Tiles, Trainable, VisionConfig, Weights,
};
use crate::nn::attention::{Mask, Segments};
use crate::nn::gemm::Precision;

/// A model with gradients; see the [module](self).
#[derive(Debug)]
pub struct Network {
    model: Model,
    parameters: Parameters,
    half_copies: Option<HalfCopies>,
    gradients: Gradients,
    settings: ComputeOptions,
    special: SpecialTokens,
    images: Vec<Image>,
    /// `None` for a text model.
    tiling: Option<Tiling>,
    /// `None` for a text model, and if the vision tower is trained, since its output then changes with every step.
    features: Option<Features>,
    dropout: DropoutState,
    /// Factor of log-probability ratios.
    beta: f64,
}

/// The key of the next dropout mask: seed, step, and sequences of the step so far.
#[derive(Debug, Clone, Copy)]
struct DropoutState {
    rate: f32,
    seed: u64,
    step: u64,
    sequence: u64,
}

impl DropoutState {
    fn next(&mut self) -> Option<Dropout> {
        self.sequence += 1;
        (self.rate > 0.0).then(|| Dropout::new(self.rate, self.seed, self.step, self.sequence))
    }
}

/// How images are cut into tiles for a recipe and a model; `None` for a text model.
pub fn tiling(recipe: &Recipe, layout: &Layout) -> Option<Tiling> {
    let vision = layout.config().vision.as_ref()?;
    Some(Tiling { size: vision.image, min_tiles: 1, max_tiles: recipe.max_tiles, thumbnail: true })
}

impl Network {
    /// A model with these values, of which `trainable` are trained, for samples with these images.
    ///
    /// # Panics
    /// If a trained tensor is not [`Store::F32`].
    pub fn new(
        recipe: &Recipe,
        parameters: Parameters,
        trainable: Trainable,
        special: SpecialTokens,
        images: Vec<Image>,
    ) -> Self {
        let layout = parameters.layout();
        assert!(trainable.indices().all(|number| parameters.get(number).is_some()), "{TRAINED}");
        let (precision, half) = match recipe.precision {
            Compute::F32 => (Precision::Exact, None),
            // Products round the master values while they pack them, at no extra cost.
            Compute::Bf16 => (Precision::Bf16, None),
            Compute::F16 => (Precision::SplitBf16, Some(HalfFormat::F16)),
        };
        let learns_vision = trainable.indices().any(|number| layout.is_vision(number));
        let vision = layout.config().vision.as_ref().filter(|_| !learns_vision);
        let features = vision.map(|vision| {
            let directory = recipe.features.clone().unwrap_or_else(|| recipe.output.join("features"));
            Features::new(directory, fingerprint(vision, layout, &parameters, recipe.precision))
        });
        let rate = recipe.lora.as_ref().map_or(0.0, |lora| lora.dropout as f32);
        Self {
            model: Model::new(layout),
            half_copies: half.map(|format| HalfCopies::new(&parameters, format)),
            gradients: Gradients::new(layout, trainable),
            settings: ComputeOptions { precision, checkpointing: recipe.checkpointing },
            special,
            images,
            tiling: tiling(recipe, layout),
            features,
            dropout: DropoutState { rate, seed: recipe.seed, step: 0, sequence: 0 },
            beta: recipe.beta(),
            parameters,
        }
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        self.gradients.iter().map(|(_, gradient)| gradient.len()).sum()
    }

    /// The current weights.
    pub fn weights(&self) -> &Parameters {
        &self.parameters
    }

    /// Numbers of the trained tensors.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.gradients.trainable().indices()
    }

    /// A sequence in the model's input form.
    fn packed(&mut self, sequence: &Sequence) -> Result<Packed, LearnerError> {
        let (mut values, mut tiles) = (Vec::new(), 0);
        // Repeated images share their tiles.
        let mut ranges: HashMap<usize, Range<usize>> = HashMap::new();
        let mut images = Vec::with_capacity(sequence.images.len());
        for placed in &sequence.images {
            let range = match ranges.entry(placed.image) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => {
                    let start = tiles;
                    tiles += self.append(placed.image, &mut values)?;
                    place.insert(start..tiles).clone()
                }
            };
            images.push(internvl::ImageSpan { first: placed.start, tiles: range });
        }
        Ok(Packed {
            tokens: sequence.tokens.clone(),
            segments: Segments::new(&sequence.segments, Mask::Causal),
            images,
            tiles: if self.features.is_some() { Tiles::Features(values) } else { Tiles::Pixels(values) },
        })
    }

    /// Appends an image's features, or its pixel values where the tower is trained; returns its tiles.
    fn append(&mut self, image: usize, values: &mut Vec<f32>) -> Result<usize, LearnerError> {
        let image = &self.images[image];
        let (model, settings) = (&self.model, self.settings);
        let (Some(tiling), Some(config)) = (&self.tiling, &model.layout().config().vision) else {
            return Err(InputError::TextModel.into());
        };
        let weights = weights(&self.parameters, self.half_copies.as_ref());
        match &mut self.features {
            Some(features) => {
                let count = image.tiles * config.tokens_per_tile() * config.features();
                let compute = || -> Result<_, LearnerError> {
                    Ok(model.vision_features(weights, &pixels(image, tiling)?, settings)?)
                };
                values.extend(features.get(&image.digest, count, compute)?.iter());
            }
            None => values.extend(pixels(image, tiling)?),
        }
        Ok(image.tiles)
    }

    /// A tensor to store in a checkpoint under a name.
    ///
    /// # Panics
    /// If it is quantised ([`Store::Rows`]).
    pub fn tensor(&self, number: usize, name: String, stored: StoredType) -> NewTensor<'_> {
        let values = match self.parameters.store(number) {
            Store::F32(values) => Values::F32(values),
            Store::F16(values) => Values::F16(values),
            Store::Bf16(values) => Values::Bf16(values),
            Store::Rows(_) => panic!("{name} is not stored as floats"),
        };
        NewTensor { name, shape: &self.model.layout().tensors()[number].shape, values, stored }
    }

    fn targets(&self, sequence: &Sequence, factor: f64) -> Targets {
        let weights = sequence.weights.iter().map(|weight| (weight * factor) as f32).collect();
        let rows = sequence.rows.clone();
        match &sequence.targets {
            SequenceTargets::Labels(labels, loss) => {
                let weights = if loss.compares() { vec![factor as f32; loss.groups().len()] } else { weights };
                let StepTokens { yes, no, .. } = self.special.steps.expect("labels are those of a PRM's samples");
                Targets::Steps { rows, labels: labels.clone(), weights, yes, no, loss: loss.clone() }
            }
            SequenceTargets::Tokens(ids) => Targets::Tokens { rows, ids: ids.clone(), weights },
            SequenceTargets::Ranking(ids, problems) => {
                let problems = problems.clone();
                Targets::Ranking { rows, ids: ids.clone(), weights: vec![factor as f32; problems.len()], problems }
            }
            SequenceTargets::Ratio(ids, problems) => {
                let solutions = || problems.iter().flatten();
                let weights = solutions().flat_map(|solution| &solution.weights);
                let weights = weights.map(|weight| (f64::from(*weight) * factor) as f32).collect();
                let paths = solutions().map(|solution| solution.path.clone()).collect();
                Targets::Ratio { rows, ids: ids.clone(), paths, beta: self.beta, weights }
            }
        }
    }
}

/// Why a trained tensor has f32 values.
const TRAINED: &str = "trained tensors are read as f32";

fn weights<'a>(parameters: &'a Parameters, half_copies: Option<&'a HalfCopies>) -> Weights<'a> {
    match half_copies {
        Some(half_copies) => Weights::with_half_copies(parameters, half_copies),
        None => parameters.into(),
    }
}

/// Pixel values of an image's tiles.
fn pixels(image: &Image, tiling: &Tiling) -> Result<Vec<f32>, LearnerError> {
    let tiles = image.load(tiling)?;
    if image::content_hash(&tiles) != image.digest {
        return Err(LearnerError::Changed { path: image.path.clone() });
    }
    Ok(tiles.iter().flat_map(|tile| image::normalise(tile, IMAGENET_MEAN, IMAGENET_STD)).collect())
}

/// Hash of all that the vision tower's output depends on. The text is part of the cache's key on disk: it must not change.
fn fingerprint(vision: &VisionConfig, layout: &Layout, parameters: &Parameters, precision: Compute) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let VisionConfig { hidden, layers, heads, feed_forward, image, patch, qkv_bias, norm, epsilon, qk_norm, shuffle } =
        *vision;
    hasher.update(format!(
        "hidden {hidden} layers {layers} heads {heads} feed_forward {feed_forward} image {image} patch {patch} \
         qkv_bias {qkv_bias} norm {} epsilon {epsilon} qk_norm {qk_norm} shuffle {shuffle} precision {}",
        norm.name(),
        precision.name(),
    ));
    for number in (0..layout.tensors().len()).filter(|number| layout.is_vision(*number)) {
        let mut add = |bytes: &[u8]| hasher.update(bytes);
        match parameters.store(number) {
            Store::F32(values) => values.iter().for_each(|value| add(&value.to_le_bytes())),
            Store::F16(values) => values.iter().for_each(|value| add(&value.to_le_bytes())),
            Store::Bf16(values) => values.iter().for_each(|value| add(&value.to_le_bytes())),
            _ => add(parameters.name(number).as_bytes()),
        }
    }
    hasher.finalize().into()
}

/// A model whose [`Network`] is trained: a [`Learner`] given a way to save.
pub trait TrainableModel {
    /// The network.
    fn network(&self) -> &Network;

    /// The network, mutably.
    fn network_mut(&mut self) -> &mut Network;

    /// Writes the trained tensors, replacing an earlier save.
    ///
    /// # Errors
    /// [`CheckpointError`].
    fn write(&self, directory: &Path) -> Result<(), CheckpointError>;
}

impl<T: TrainableModel> Learner for T {
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let network = self.network();
        let tensors = network.model.layout().tensors();
        network.numbers().map(|number| (tensors[number].name.clone(), tensors[number].shape.clone())).collect()
    }

    fn values(&self) -> Vec<&[f32]> {
        let network = self.network();
        network.numbers().map(|number| network.parameters.get(number).expect(TRAINED)).collect()
    }

    fn gradients(&self) -> Vec<&[f32]> {
        self.network().gradients.iter().map(|(_, gradient)| gradient).collect()
    }

    fn for_each_parameter(&mut self, work: &mut dyn FnMut(usize, Parameter<'_>)) {
        let Network { parameters, gradients, .. } = self.network_mut();
        for (place, (number, gradient)) in gradients.iter().enumerate() {
            let values = parameters.get_mut(number).expect(TRAINED);
            work(place, Parameter { values, gradient });
        }
    }

    fn zero_gradients(&mut self) {
        self.network_mut().gradients.clear();
    }

    fn begin_step(&mut self, step: u64) {
        let network = self.network_mut();
        network.gradients.clear();
        network.dropout = DropoutState { step, sequence: 0, ..network.dropout };
    }

    fn accumulate(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnerError> {
        let network = self.network_mut();
        let (packed, targets) = (network.packed(sequence)?, network.targets(sequence, factor));
        let mut weights = weights(&network.parameters, network.half_copies.as_ref());
        if let Some(dropout) = network.dropout.next() {
            weights = weights.with_dropout(dropout);
        }
        Ok(network.model.gradients(weights, &packed, &targets, network.settings, &mut network.gradients)?)
    }

    fn loss(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnerError> {
        let network = self.network_mut();
        let (packed, targets) = (network.packed(sequence)?, network.targets(sequence, factor));
        let weights = weights(&network.parameters, network.half_copies.as_ref());
        Ok(network.model.loss(weights, &packed, &targets, network.settings)?)
    }

    fn on_update(&mut self) {
        let Network { half_copies, parameters, gradients, .. } = self.network_mut();
        if let Some(half_copies) = half_copies {
            half_copies.refresh(parameters, |number| gradients.trainable().contains(number));
        }
    }

    fn save(&self, directory: &Path) -> Result<(), CheckpointError> {
        self.write(directory)
    }
}
