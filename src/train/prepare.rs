//! Reads the samples of a recipe: training and validation sets, and hashes of their files.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::data::{DataError, Dataset, DatasetOptions, Image, Length, Sample, SampleKind, Tokenizer};
use super::network::tiling;
use super::pack::Packing;
use super::recipe::{LossKind, Recipe, RecipeError, Task};
use super::validation::hold_out;
use crate::internvl;
use crate::util::identity::identity;
use crate::util::io::FileError;

/// The data of a run.
#[derive(Debug)]
pub struct TrainingData {
    /// The training set.
    pub train: Dataset,
    /// The validation set, possibly empty.
    pub held_out: Vec<Sample>,
    /// SHA-256 of the files the data came from, by their use.
    pub fingerprints: Value,
}

/// An error of reading the data of a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The model's layout cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// The PRM form cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Another task than scoring steps for a text model.
    #[error("{}: a text model, which `task = \"prm\"` trains; policies and implicit PRMs need InternVL2.5's chat template", path.display())]
    TextModel {
        /// The model.
        path: PathBuf,
    },
    /// Samples cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file could not be read again to hash it.
    #[error(transparent)]
    File(#[from] FileError),
    /// No problem has something to compare.
    #[error("{}: nothing to compare: no problem has solutions or steps with different labels", path.display())]
    NothingToCompare {
        /// The samples.
        path: PathBuf,
    },
    /// Validation holds out every problem.
    #[error("{}: no training samples are left: {held} are held out (`validation`), {left_out} have nothing to learn within `max_tokens`", path.display())]
    NothingLeft {
        /// The samples.
        path: PathBuf,
        /// Number of held-out samples.
        held: usize,
        /// Number of samples left out because of their length.
        left_out: usize,
    },
}

/// Reads and splits the samples of a recipe.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(recipe: &Recipe, tokenizer: &dyn Tokenizer) -> Result<TrainingData, PrepareError> {
    let layout = internvl::read_layout(&recipe.model)?;
    if layout.config().vision.is_none() && recipe.task != Task::Prm {
        return Err(PrepareError::TextModel { path: recipe.model.clone() });
    }
    let form = recipe.form()?;
    if let Some(form) = form.as_ref().filter(|form| form.reads_at_end() && recipe.loss == Some(LossKind::Pqm)) {
        let problem = "each step has a text of its own, expected one text for the steps of a solution, which `loss = \"pqm\"` compares";
        return Err(DataError::Form { form: form.to_string(), problem }.into());
    }
    let options = DatasetOptions {
        form: form.as_ref(),
        kind: match recipe.task {
            Task::Prm => SampleKind::Prm,
            Task::Policy => SampleKind::Policy(recipe.solution_forms()),
            Task::ImplicitPrm => match recipe.loss {
                Some(LossKind::Outcome) => SampleKind::Outcome,
                Some(LossKind::Steps) => SampleKind::Steps,
                _ => SampleKind::Ranking,
            },
        },
        tiling: tiling(recipe, &layout),
        tokens_per_tile: layout.config().tokens_per_tile(),
        length: Length { tokens: recipe.max_tokens.unwrap_or(recipe.sequence_tokens), truncate: recipe.truncate },
        token_labels: recipe.distills(),
        image_token_weight: recipe.image_token_weight,
        reference_special_tokens: recipe.reference_special_tokens,
    };
    let read = |path: &Path| -> Result<Dataset, PrepareError> {
        let mut data = Dataset::read(path, &recipe.image_root(path), tokenizer, &options)?;
        if let Some(threshold) = recipe.hard_labels {
            data.harden(|label| label >= threshold);
        }
        if let Some(threshold) = recipe.right_above() {
            data.harden(|label| label > threshold);
        }
        Ok(data)
    };
    let mut train = read(&recipe.samples)?;
    let mut fingerprints = Map::new();
    fingerprints.insert("samples".into(), fingerprint(&recipe.samples)?);
    if recipe.model.is_dir() {
        fingerprints.insert("config".into(), fingerprint(&recipe.model.join("config.json"))?);
    }
    if let Some(form) = &form {
        fingerprints.insert("prm_form".into(), form.record().into());
    }
    fingerprints.insert("weights".into(), weights(recipe)?);
    if let Some(reference) = &recipe.reference {
        fingerprints.insert("reference".into(), identities(&weights_of(reference)?)?);
    }
    let mut held_out = if let Some(path) = &recipe.validation_samples {
        fingerprints.insert("validation_samples".into(), fingerprint(path)?);
        train.adopt(read(path)?)
    } else {
        let (kept, held) = hold_out(std::mem::take(&mut train.samples), recipe.validation, recipe.seed);
        train.samples = kept;
        held
    };
    // Validation measures step scores, also where training has a target at every token.
    Dataset::steps_only(&mut held_out, train.special);
    fingerprints.insert("images".into(), image_fingerprint(&train.images).into());
    if train.samples.is_empty() {
        let (path, held, left_out) = (recipe.samples.clone(), held_out.len(), train.left_out);
        return Err(PrepareError::NothingLeft { path, held, left_out });
    }
    if recipe.compares_problems() && !has_comparison(recipe, &train) {
        return Err(PrepareError::NothingToCompare { path: recipe.samples.clone() });
    }
    Ok(TrainingData { train, held_out, fingerprints: fingerprints.into() })
}

/// Whether any packed sequence of the training samples has problems with something to compare.
fn has_comparison(recipe: &Recipe, data: &Dataset) -> bool {
    let packing = Packing::new(&data.samples, data.special.context, &recipe.packing_limits(), recipe.seed);
    let has_weight = |batch| packing.sequences(&data.samples, batch).iter().any(|sequence| sequence.weight() > 0.0);
    packing.epoch(0).iter().any(has_weight)
}

/// The identities of the files with the model's weights: of the checkpoint, and of a quantised base.
fn weights(recipe: &Recipe) -> Result<Value, PrepareError> {
    let mut files = weights_of(&recipe.model)?;
    files.extend(recipe.lora.as_ref().and_then(|lora| lora.base.clone()));
    identities(&files)
}

/// The files with the weights of a checkpoint, or the GGUF file of a text model.
fn weights_of(checkpoint: &Path) -> Result<Vec<PathBuf>, PrepareError> {
    if checkpoint.is_file() {
        return Ok(vec![checkpoint.to_owned()]);
    }
    let list = std::fs::read_dir(checkpoint).map_err(FileError::reading(checkpoint))?;
    let is_weights =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "safetensors" || extension == "bin");
    let mut files: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).filter(is_weights).collect();
    files.sort();
    Ok(files)
}

fn identities(files: &[PathBuf]) -> Result<Value, PrepareError> {
    Ok(files.iter().map(|file| identity(file)).collect::<Result<Vec<_>, _>>()?.into())
}

/// SHA-256 over the images of all samples, in hexadecimal.
fn image_fingerprint(images: &[Image]) -> String {
    let mut hasher = Sha256::new();
    for image in images {
        hasher.update(image.digest);
    }
    format!("{:x}", hasher.finalize())
}

/// SHA-256 of a file, in hexadecimal.
fn fingerprint(path: &Path) -> Result<Value, PrepareError> {
    let fail = FileError::reading(path);
    let mut hasher = Sha256::new();
    io::copy(&mut mmprm_quant::read::open(path).map_err(&fail)?, &mut hasher).map_err(&fail)?;
    Ok(format!("{:x}", hasher.finalize()).into())
}
