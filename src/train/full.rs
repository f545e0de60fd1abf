//! Training a model's own weights, all or those that are not frozen.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm::train::data::Dataset;
//! use mmprm::train::full::Full;
//! use mmprm::train::recipe::Recipe;
//! # fn of(data: &Dataset) -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\nout = 'prm'")?;
//! let full = Full::open(&recipe, data.words, data.pictures.clone())?;
//! println!("{} trained values", full.trained());
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::checkpoint::{self, CheckpointError};
use super::data::{Picture, Words};
use super::features::Features;
use super::learner::{LearnError, Learner};
use super::optim::Parameter;
use super::pack::{Aims, Sequence};
use super::recipe::{Compute, Init, Recipe};
use super::tensors::{Stored, Tensor, Values};
use crate::image::{self, IMAGENET_MEAN, IMAGENET_STD, Tiling};
use crate::internvl::{
    self, Gradients, HalfFormat, Layout, Loss, Model, Packed, Parameters, Settings, Shadows, Store, Targets, Tiles,
    Trainable, Weights,
};
use crate::nn::attention::{Own, Segments};
use crate::nn::gemm::Precision;

/// Why training cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::CheckpointError),
    /// Nothing is left to train.
    #[error("`freeze` leaves no tensor to train, expected at least one")]
    Nothing,
    /// A tensor is asked to be frozen that there is not.
    #[error("`freeze` has `{prefix}`, with which no tensor's name begins")]
    NoTensor {
        /// The beginning.
        prefix: String,
    },
}

/// A model whose weights are trained.
#[derive(Debug)]
pub struct Full {
    model: Model,
    parameters: Parameters,
    shadows: Option<Shadows>,
    gradients: Gradients,
    settings: Settings,
    words: Words,
    pictures: Vec<Picture>,
    tiling: Tiling,
    /// Nothing where the tower is trained: its output then changes with every step.
    features: Option<Features>,
    base: PathBuf,
    stored: Stored,
}

/// How a recipe's pictures are cut for a model.
pub fn tiling(recipe: &Recipe, layout: &Layout) -> Tiling {
    Tiling { size: layout.config().vision.image, min_tiles: 1, max_tiles: recipe.max_tiles, thumbnail: true }
}

impl Full {
    /// The model of a recipe, for samples with these pictures.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(recipe: &Recipe, words: Words, pictures: Vec<Picture>) -> Result<Self, OpenError> {
        let layout = internvl::read_layout(&recipe.model)?;
        let begins = |number: usize, prefix: &String| layout.tensors()[number].name.starts_with(prefix.as_str());
        let all = 0..layout.tensors().len();
        if let Some(prefix) = recipe.freeze.iter().find(|prefix| !all.clone().any(|number| begins(number, prefix))) {
            return Err(OpenError::NoTensor { prefix: prefix.clone() });
        }
        let trainable = Trainable::only(&layout, |number| !recipe.freeze.iter().any(|prefix| begins(number, prefix)));
        if trainable.numbers().next().is_none() {
            return Err(OpenError::Nothing);
        }
        let parameters = match recipe.init {
            Init::Checkpoint => internvl::read_parameters(&recipe.model, &layout, |number| trainable.contains(number))?,
            Init::Random => Parameters::random(&layout, recipe.seed),
        };
        let (precision, half) = match recipe.precision {
            Compute::F32 => (Precision::Exact, None),
            Compute::Bf16 => (Precision::Bf16, Some(HalfFormat::Bf16)),
            Compute::F16 => (Precision::SplitBf16, Some(HalfFormat::F16)),
        };
        let learns_vision = trainable.numbers().any(|number| layout.is_vision(number));
        let settings = Settings { precision, checkpointing: recipe.checkpointing };
        let features = (!learns_vision).then(|| {
            let directory = recipe.features.clone().unwrap_or_else(|| recipe.out.join("features"));
            Features::new(directory, fingerprint(&layout, &parameters, recipe.precision))
        });
        Ok(Self {
            model: Model::new(&layout),
            shadows: half.map(|format| Shadows::new(&parameters, format)),
            gradients: Gradients::new(&layout, trainable),
            settings,
            words,
            pictures,
            tiling: tiling(recipe, &layout),
            features,
            base: recipe.model.clone(),
            stored: recipe.save_as,
            parameters,
        })
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        self.gradients.iter().map(|(_, gradient)| gradient.len()).sum()
    }

    /// The weights now.
    pub fn weights(&self) -> &Parameters {
        &self.parameters
    }

    /// A sequence as the model takes it.
    fn packed(&mut self, sequence: &Sequence) -> Result<Packed, LearnError> {
        let (mut values, mut tiles) = (Vec::new(), 0);
        // Pictures that occur several times share their tiles.
        let mut ranges: HashMap<usize, Range<usize>> = HashMap::new();
        let mut pictures = Vec::with_capacity(sequence.pictures.len());
        for placed in &sequence.pictures {
            let range = match ranges.entry(placed.picture) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => {
                    let start = tiles;
                    tiles += self.append(placed.picture, &mut values)?;
                    place.insert(start..tiles).clone()
                }
            };
            pictures.push(internvl::Picture { first: placed.start, tiles: range });
        }
        Ok(Packed {
            tokens: sequence.tokens.clone(),
            segments: Segments::new(&sequence.segments, Own::Causal),
            pictures,
            tiles: if self.features.is_some() { Tiles::Features(values) } else { Tiles::Pixels(values) },
        })
    }

    /// Appends a picture's features, or its pixel values where the tower is trained; returns its tiles.
    fn append(&mut self, picture: usize, values: &mut Vec<f32>) -> Result<usize, LearnError> {
        let picture = &self.pictures[picture];
        let (model, settings, tiling) = (&self.model, self.settings, &self.tiling);
        let weights = weights(&self.parameters, self.shadows.as_ref());
        match &mut self.features {
            Some(features) => {
                let config = model.layout().config();
                let count = picture.tiles * config.tokens_per_tile() * config.features();
                let make = || -> Result<_, LearnError> {
                    Ok(model.vision_features(weights, &pixels(picture, tiling)?, settings)?)
                };
                values.extend(features.get(&picture.digest, count, make)?.iter());
            }
            None => values.extend(pixels(picture, tiling)?),
        }
        Ok(picture.tiles)
    }

    /// A tensor as it is stored in a checkpoint.
    fn tensor(&self, number: usize) -> Tensor<'_> {
        let info = &self.model.layout().tensors()[number];
        let values = match self.parameters.store(number) {
            Store::F32(values) => Values::F32(values),
            Store::F16(values) => Values::F16(values),
            Store::Bf16(values) => Values::Bf16(values),
            _ => unreachable!("the weights of a checkpoint are read as floats"),
        };
        Tensor { name: info.name.clone(), shape: &info.shape, values, stored: self.stored }
    }

    fn targets(&self, sequence: &Sequence, factor: f64) -> Targets {
        let weights = sequence.counts.iter().map(|count| (f64::from(*count) * factor) as f32).collect();
        let rows = sequence.rows.clone();
        match &sequence.aims {
            Aims::Labels(labels) => {
                Targets::Steps { rows, labels: labels.clone(), weights, yes: self.words.yes, no: self.words.no }
            }
            Aims::Tokens(ids) => Targets::Tokens { rows, ids: ids.clone(), weights },
        }
    }
}

/// Why a trained tensor has master values.
const TRAINED: &str = "trained tensors are read as f32";

fn weights<'a>(parameters: &'a Parameters, shadows: Option<&'a Shadows>) -> Weights<'a> {
    match shadows {
        Some(shadows) => Weights::with_shadows(parameters, shadows),
        None => parameters.into(),
    }
}

/// Pixel values of a picture's tiles.
fn pixels(picture: &Picture, tiling: &Tiling) -> Result<Vec<f32>, LearnError> {
    let tiles = picture.load(tiling)?;
    if image::content_hash(&tiles) != picture.digest {
        return Err(LearnError::Changed { path: picture.path.clone() });
    }
    Ok(tiles.iter().flat_map(|tile| image::normalise(tile, IMAGENET_MEAN, IMAGENET_STD)).collect())
}

/// Hash of all that the vision tower's output depends on.
fn fingerprint(layout: &Layout, parameters: &Parameters, precision: Compute) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(format!("{:?} {} {precision:?}", layout.config().vision, layout.config().shuffle));
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

impl Learner for Full {
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let tensors = self.model.layout().tensors();
        let numbers = self.gradients.trainable().numbers();
        numbers.map(|number| (tensors[number].name.clone(), tensors[number].shape.clone())).collect()
    }

    fn values(&self) -> Vec<&[f32]> {
        let numbers = self.gradients.trainable().numbers();
        numbers.map(|number| self.parameters.get(number).expect(TRAINED)).collect()
    }

    fn sums(&self) -> Vec<&[f32]> {
        self.gradients.iter().map(|(_, gradient)| gradient).collect()
    }

    fn each(&mut self, work: &mut dyn FnMut(usize, Parameter<'_>)) {
        for (place, (number, gradient)) in self.gradients.iter().enumerate() {
            let values = self.parameters.get_mut(number).expect(TRAINED);
            work(place, Parameter { values, gradient });
        }
    }

    fn clear(&mut self) {
        self.gradients.clear();
    }

    fn gradients(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnError> {
        let (packed, targets) = (self.packed(sequence)?, self.targets(sequence, factor));
        let weights = weights(&self.parameters, self.shadows.as_ref());
        Ok(self.model.gradients(weights, &packed, &targets, self.settings, &mut self.gradients)?)
    }

    fn loss(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnError> {
        let (packed, targets) = (self.packed(sequence)?, self.targets(sequence, factor));
        let weights = weights(&self.parameters, self.shadows.as_ref());
        Ok(self.model.loss(weights, &packed, &targets, self.settings)?)
    }

    fn updated(&mut self) {
        if let Some(shadows) = &mut self.shadows {
            shadows.refresh(&self.parameters, |number| self.gradients.trainable().contains(number));
        }
    }

    fn save(&self, directory: &Path) -> Result<(), CheckpointError> {
        if !directory.join("model.safetensors").exists() {
            checkpoint::prepare(&self.base, directory, self.stored)?;
        }
        let count = self.model.layout().tensors().len();
        let tensors: Vec<Tensor<'_>> = (0..count).map(|number| self.tensor(number)).collect();
        Ok(checkpoint::save(directory, &tensors)?)
    }
}
