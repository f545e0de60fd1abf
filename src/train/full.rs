//! Training a model's own weights, all or those that are not frozen.
//!
//! ```no_run
//! use std::path::Path;
//! use mmprm::train::data::Dataset;
//! use mmprm::train::full::Full;
//! use mmprm::train::recipe::Recipe;
//! # fn of(data: &Dataset) -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\nout = 'prm'")?;
//! let full = Full::open(&recipe, data.words, data.images.clone())?;
//! println!("{} trained values", full.trained());
//! # Ok(())
//! # }
//! ```

use std::path::{Path, PathBuf};

use super::checkpoint::{self, CheckpointError};
use super::data::{Image, SpecialTokens};
use super::network::{Network, Trains};
use super::recipe::{Init, Recipe};
use super::tensors::{Stored, Tensor};
use crate::internvl::{self, Parameters, Trainable};

/// Why training cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
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
    network: Network,
    base: PathBuf,
    stored: Stored,
}

impl Full {
    /// The model of a recipe, for samples with these images.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(recipe: &Recipe, words: SpecialTokens, images: Vec<Image>) -> Result<Self, OpenError> {
        let layout = internvl::read_layout(&recipe.model)?;
        let begins = |number: usize, prefix: &String| layout.tensors()[number].name.starts_with(prefix.as_str());
        let all = 0..layout.tensors().len();
        if let Some(prefix) = recipe.freeze.iter().find(|prefix| !all.clone().any(|number| begins(number, prefix))) {
            return Err(OpenError::NoTensor { prefix: prefix.clone() });
        }
        let trainable = Trainable::only(&layout, |number| !recipe.freeze.iter().any(|prefix| begins(number, prefix)));
        if trainable.indices().next().is_none() {
            return Err(OpenError::Nothing);
        }
        let parameters = match recipe.init {
            Init::Checkpoint => internvl::read_parameters(&recipe.model, &layout, |number| trainable.contains(number))?,
            Init::Random => Parameters::random(&layout, recipe.seed),
        };
        let network = Network::new(recipe, parameters, trainable, words, images);
        Ok(Self { network, base: recipe.model.clone(), stored: recipe.save_as })
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        self.network.trained()
    }

    /// The weights now.
    pub fn weights(&self) -> &Parameters {
        self.network.weights()
    }
}

impl Trains for Full {
    fn network(&self) -> &Network {
        &self.network
    }

    fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    fn write(&self, directory: &Path) -> Result<(), CheckpointError> {
        if !directory.join("model.safetensors").exists() {
            checkpoint::prepare(&self.base, directory, self.stored)?;
        }
        let tensors = self.weights().layout().tensors().iter().enumerate();
        let tensors: Vec<Tensor<'_>> =
            tensors.map(|(number, info)| self.network.tensor(number, info.name.clone(), self.stored)).collect();
        Ok(checkpoint::save(directory, &tensors)?)
    }
}
