//! Training a model's own weights, all of them or those that are not frozen.
//!
//! ```no_run
//! use mmprm::train::data::Dataset;
//! use mmprm::train::full::FullModel;
//! use mmprm::train::recipe::Recipe;
//! # fn of(data: &Dataset) -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\noutput = 'prm'")?;
//! let model = FullModel::open(&recipe, data.special, data.images.clone())?;
//! println!("{} trained values", model.trained());
//! # Ok(())
//! # }
//! ```

use std::path::{Path, PathBuf};

use mmprm_quant::hf::origin::Origin;
use mmprm_quant::safetensors::{NewTensor, StoredType};

use super::checkpoint::{self, CheckpointError};
use super::data::{Image, SpecialTokens};
use super::network::{Network, TrainableModel};
use super::recipe::{Init, Recipe};
use crate::internvl::{self, Parameters, Trainable};

/// An error of opening a model to train.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// A file that checkpoints get a copy of cannot be copied.
    #[error(transparent)]
    Companion(#[from] CheckpointError),
    /// All tensors are frozen.
    #[error("`freeze` leaves no tensor to train, expected at least one")]
    NothingToTrain,
    /// A prefix in `freeze` matches no tensor.
    #[error("`freeze` has `{prefix}`, expected a prefix of a tensor's name")]
    NoTensor {
        /// The prefix.
        prefix: String,
    },
}

/// A model whose weights are trained.
#[derive(Debug)]
pub struct FullModel {
    network: Network,
    base: PathBuf,
    stored: StoredType,
    origin: Origin,
}

impl FullModel {
    /// Opens the model of a recipe for samples with these images.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(recipe: &Recipe, special: SpecialTokens, images: Vec<Image>) -> Result<Self, OpenError> {
        let layout = internvl::read_layout(&recipe.model)?;
        let has_prefix = |number: usize, prefix: &String| layout.tensors()[number].name.starts_with(prefix.as_str());
        let all = 0..layout.tensors().len();
        if let Some(prefix) = recipe.freeze.iter().find(|prefix| !all.clone().any(|number| has_prefix(number, prefix)))
        {
            return Err(OpenError::NoTensor { prefix: prefix.clone() });
        }
        let trainable =
            Trainable::only(&layout, |number| !recipe.freeze.iter().any(|prefix| has_prefix(number, prefix)));
        if trainable.indices().next().is_none() {
            return Err(OpenError::NothingToTrain);
        }
        // Checked before the run, not at its first checkpoint.
        checkpoint::companions(&recipe.model)?;
        let parameters = match recipe.init {
            Init::Checkpoint => internvl::read_parameters(&recipe.model, &layout, |number| trainable.contains(number))?,
            Init::Random => Parameters::random(&layout, recipe.seed),
        };
        let network = Network::new(recipe, parameters, trainable, special, images);
        Ok(Self { network, base: recipe.model.clone(), stored: recipe.save_as, origin: checkpoint::origin(recipe) })
    }

    /// Number of trained values.
    pub fn trained(&self) -> usize {
        self.network.trained()
    }

    /// The current weights.
    pub fn weights(&self) -> &Parameters {
        self.network.weights()
    }
}

impl TrainableModel for FullModel {
    fn network(&self) -> &Network {
        &self.network
    }

    fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    fn write(&self, directory: &Path) -> Result<(), CheckpointError> {
        if !directory.join("model.safetensors").exists() {
            checkpoint::prepare(&self.base, directory, self.stored)?;
            checkpoint::write_origin(directory, &self.origin)?;
        }
        let tensors = self.weights().layout().tensors().iter().enumerate();
        let tensors: Vec<NewTensor<'_>> =
            tensors.map(|(number, info)| self.network.tensor(number, info.name.clone(), self.stored)).collect();
        Ok(checkpoint::save(directory, &tensors)?)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_companion_that_leaves_the_model_is_refused_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::copy("tests/golden/ckpt/internlm2/config.json", model.join("config.json")).unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", model.join("modeling.py")).unwrap();
        let text = format!("model = '{}'\nsamples = 's.jsonl'\noutput = 'prm'\ninit = 'random'", model.display());
        let recipe = Recipe::parse(&text).unwrap();
        let special = SpecialTokens { context: 1, step: 2, yes: 3, no: 4 };
        let error = FullModel::open(&recipe, special, Vec::new()).unwrap_err();
        assert!(matches!(error, OpenError::Companion(_)) && error.to_string().contains("modeling.py"), "{error}");
    }
}
