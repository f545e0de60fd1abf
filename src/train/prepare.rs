//! From a recipe to what a run learns from: samples read and checked, some held out, all of it named by hashes.
//!
//! ```no_run
//! use mmprm::train::{full::Full, prepare::prepare, recipe::Recipe, run::run, vocabulary::Vocabulary};
//! use mmprm::util::cancel::CancelToken;
//! # fn train(recipe: &Recipe) -> Result<(), Box<dyn std::error::Error>> {
//! let data = prepare(recipe, &Vocabulary::open(&recipe.model)?)?;
//! let mut full = Full::open(recipe, data.train.words, data.train.images.clone())?;
//! let summary = run(&mut full, &data, recipe, &mut |event| println!("{event:?}"), &CancelToken::new())?;
//! println!("{} steps", summary.steps);
//! # Ok(())
//! # }
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::data::{DataError, Dataset, Length, Options, Task, Tokenizer};
use super::network::tiling;
use super::recipe::{Aim, Recipe};
use super::run::Data;
use super::validation::hold_out;
use crate::internvl;

/// Why there is nothing to learn from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// Samples cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file changed its mind about being readable.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// All problems were held out.
    #[error("{}: no problem is left to learn from once {held} samples are held out; lower `validation`", path.display())]
    Nothing {
        /// The samples.
        path: PathBuf,
        /// How many were held out.
        held: usize,
    },
}

/// Reads and splits the samples of a recipe.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(recipe: &Recipe, tokenizer: &dyn Tokenizer) -> Result<Data, PrepareError> {
    let layout = internvl::read_layout(&recipe.model)?;
    let options = Options {
        task: match recipe.task {
            Aim::Prm => Task::Prm,
            Aim::Policy => Task::Policy(recipe.forms()),
        },
        tiling: tiling(recipe, &layout),
        tokens_per_tile: layout.config().tokens_per_tile(),
        length: Length { tokens: recipe.max_tokens.unwrap_or(recipe.sequence_tokens), truncate: recipe.truncate },
        token_labels: recipe.logprob_of.is_some() || recipe.expected_of.is_some(),
    };
    let read = |path: &Path| -> Result<Dataset, PrepareError> {
        let mut data = Dataset::read(path, &recipe.root(path), tokenizer, &options)?;
        if let Some(threshold) = recipe.hard_labels {
            data.harden(threshold);
        }
        Ok(data)
    };
    let mut train = read(&recipe.samples)?;
    let mut fingerprints = Map::new();
    fingerprints.insert("samples".into(), fingerprint(&recipe.samples)?);
    fingerprints.insert("config".into(), fingerprint(&recipe.model.join("config.json"))?);
    let mut held_out = if let Some(path) = &recipe.validation_samples {
        fingerprints.insert("validation_samples".into(), fingerprint(path)?);
        train.adopt(read(path)?)
    } else {
        let (kept, held) = hold_out(std::mem::take(&mut train.samples), recipe.validation, recipe.seed);
        train.samples = kept;
        held
    };
    // What counts in the end are the scores of steps.
    Dataset::steps_only(&mut held_out, train.words);
    if train.samples.is_empty() {
        return Err(PrepareError::Nothing { path: recipe.samples.clone(), held: held_out.len() });
    }
    Ok(Data { train, held_out, fingerprints: fingerprints.into() })
}

/// SHA-256 of a file, in hexadecimal.
fn fingerprint(path: &Path) -> Result<Value, PrepareError> {
    let fail = |source| PrepareError::Read { path: path.to_owned(), source };
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path).map_err(fail)?, &mut hasher).map_err(fail)?;
    Ok(format!("{:x}", hasher.finalize()).into())
}
