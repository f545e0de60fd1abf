//! Log-probabilities of a reference model, which an implicit PRM is trained against (arXiv 2412.01981).
//!
//! They are computed once, before the first step, with shared prefixes computed once as in training, and kept in the run's
//! directory. A resumed run reads them from there: [`label`] computes nothing if the file is of the same samples, the same
//! reference and the same arithmetic.

use std::path::{Path, PathBuf};

use mmprm_quant::safetensors::{Checkpoint, NewTensor, StoredType, Values, WriteError, write};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::data::{Image, Sample, SpecialTokens, Tokenizer};
use super::full::{self, FullModel};
use super::learner::{Learner, LearnerError};
use super::lora::{self, LoraModel};
use super::pack::{Packing, Sequence, SequenceTargets};
use super::recipe::{Init, Recipe};
use crate::internvl::{self, WeightsError};
use crate::util::io::{self, FileError};

/// The file in a run's directory.
const FILE: &str = "reference.safetensors";
/// The tensor of log-probabilities, sample by sample.
const LOGPROBS: &str = "logprobs";
/// The digest of what they depend on.
const DIGEST: &str = "digest";
/// Maximum bytes of a tokenizer's file.
const MAX_FILE: u64 = 256 << 20;

/// An error of using a reference model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Its configuration cannot be read.
    #[error("the reference model: {0}")]
    Model(#[from] WeightsError),
    /// It cannot be opened.
    #[error("the reference model: {0}")]
    Open(#[from] full::OpenError),
    /// The initial model cannot be opened as the reference.
    #[error("the reference model: {0}")]
    OpenLora(#[from] lora::OpenError),
    /// It cannot compute the samples.
    #[error("the reference model: {0}")]
    Compute(#[from] LearnerError),
    /// A tokenizer's file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The vocabularies differ.
    #[error(
        "`reference` {} has another vocabulary than `model` {} ({difference}), expected a model with the same tokens",
        reference.display(), model.display()
    )]
    Vocabulary {
        /// The reference.
        reference: PathBuf,
        /// The model.
        model: PathBuf,
        /// In what they differ.
        difference: String,
    },
    /// The log-probabilities cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Checks that the reference of a recipe, if it is another model, has the vocabulary of the initial model.
///
/// # Errors
/// [`ReferenceError`].
pub fn check(recipe: &Recipe) -> Result<(), ReferenceError> {
    let Some(reference) = &recipe.reference else { return Ok(()) };
    let differ = |difference: String| ReferenceError::Vocabulary {
        reference: reference.clone(),
        model: recipe.model.clone(),
        difference,
    };
    let size = |directory: &Path| internvl::read_layout(directory).map(|layout| layout.config().language.vocabulary);
    let sizes = (size(reference)?, size(&recipe.model)?);
    if sizes.0 != sizes.1 {
        return Err(differ(format!("{} and {} tokens", sizes.0, sizes.1)));
    }
    let mut compared = false;
    for name in ["tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer.json"] {
        let paths = [reference, &recipe.model].map(|directory| directory.join(name));
        if paths.iter().all(|path| path.exists()) {
            let [one, other] = [tokens(&paths[0])?, tokens(&paths[1])?];
            if one != other {
                return Err(differ(format!("their {name} differ")));
            }
            compared = true;
        }
    }
    if compared { Ok(()) } else { Err(differ("they have no file of a tokenizer in common".to_owned())) }
}

/// What a tokenizer's file says of its tokens: all of it, or the parts of a `tokenizer.json` that do.
fn tokens(path: &Path) -> Result<Vec<u8>, FileError> {
    let bytes = io::read(path, MAX_FILE)?;
    let parsed = if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_slice::<Value>(&bytes).ok()
    } else {
        None
    };
    Ok(match parsed {
        Some(value) if value["model"]["vocab"].is_object() => {
            json!([value["model"]["vocab"], value["model"]["merges"], value["added_tokens"]]).to_string().into_bytes()
        }
        Some(value) => value.to_string().into_bytes(),
        None => bytes,
    })
}

/// Sets the reference log-probability of every target of samples, from the run's directory or by the reference model.
/// `fingerprints` are those of the files that the samples and the reference came from.
///
/// # Errors
/// [`ReferenceError`]; the samples are then unchanged.
pub fn label(
    samples: &mut [&mut Vec<Sample>],
    recipe: &Recipe,
    special: SpecialTokens,
    images: &[Image],
    tokenizer: &dyn Tokenizer,
    fingerprints: &Value,
) -> Result<(), ReferenceError> {
    let path = recipe.output.join(FILE);
    let digest = digest(samples, recipe, fingerprints);
    let count = samples.iter().flat_map(|samples| samples.iter()).map(|sample| sample.targets.len()).sum();
    let logprobs = if let Some(logprobs) = saved(&path, &digest, count) {
        logprobs
    } else {
        let mut model = open(recipe, special, images, tokenizer)?;
        let mut logprobs = Vec::with_capacity(count);
        for samples in samples.iter() {
            logprobs.extend(compute(samples, &mut *model, recipe, special)?);
        }
        std::fs::create_dir_all(&recipe.output).map_err(FileError::writing(&recipe.output))?;
        let (shape, values) = ([logprobs.len()], Values::F32(&logprobs));
        let tensor = NewTensor { name: LOGPROBS.into(), shape: &shape, values, stored: StoredType::F32 };
        write(&path, &[tensor], &[(DIGEST, digest.as_slice())])?;
        logprobs
    };
    let targets = samples.iter_mut().flat_map(|samples| samples.iter_mut()).flat_map(|sample| &mut sample.targets);
    targets.zip(logprobs).for_each(|(target, logprob)| target.reference = logprob);
    Ok(())
}

/// The initial model, before its first step, or the other one that the recipe names.
fn open(
    recipe: &Recipe,
    special: SpecialTokens,
    images: &[Image],
    tokenizer: &dyn Tokenizer,
) -> Result<Box<dyn Learner>, ReferenceError> {
    Ok(match (&recipe.reference, &recipe.lora) {
        (Some(reference), _) => {
            let defaults = Recipe::default();
            let (model, lora, init, freeze) = (reference.clone(), None, Init::Checkpoint, defaults.freeze);
            let recipe = Recipe { model, init, freeze, lora, ..recipe.clone() };
            Box::new(FullModel::open(&recipe, special, images.to_vec())?)
        }
        // New adapters change nothing.
        (None, Some(_)) => Box::new(LoraModel::open(recipe, special, images.to_vec(), tokenizer)?),
        (None, None) => Box::new(FullModel::open(recipe, special, images.to_vec())?),
    })
}

/// The log-probability of every target, sample by sample.
fn compute(
    samples: &[Sample],
    model: &mut dyn Learner,
    recipe: &Recipe,
    special: SpecialTokens,
) -> Result<Vec<f32>, LearnerError> {
    let packing = Packing::new(samples, special.context, &recipe.packing_limits(), 0);
    let mut logprobs: Vec<Vec<f32>> = vec![Vec::new(); samples.len()];
    for batch in packing.epoch(0) {
        for (sequence, members) in packing.sequences(samples, &batch).into_iter().zip(packing.members(&batch)) {
            let SequenceTargets::Ratio(ids, problems) = &sequence.targets else { continue };
            let query = Sequence { targets: SequenceTargets::Tokens(ids.clone()), ..sequence.clone() };
            let outputs = model.loss(&query, 1.0)?.outputs;
            for (member, solution) in members.into_iter().zip(problems.iter().flatten()) {
                logprobs[member] = solution.path.targets.iter().map(|target| outputs[*target]).collect();
            }
        }
    }
    Ok(logprobs.into_iter().flatten().collect())
}

/// A digest of all that the log-probabilities depend on.
fn digest(samples: &[&mut Vec<Sample>], recipe: &Recipe, fingerprints: &Value) -> [u8; 32] {
    let mut hasher = Sha256::new();
    // What is computed together changes the last bits.
    let limits = recipe.packing_limits();
    hasher.update(format!("{fingerprints} {} {limits:?} {:?} {}", recipe.precision.name(), recipe.init, recipe.seed));
    for sample in samples.iter().flat_map(|samples| samples.iter()) {
        for token in &sample.tokens {
            hasher.update(token.to_le_bytes());
        }
        for target in &sample.targets {
            hasher.update((target.row as u64).to_le_bytes());
        }
        hasher.update(json!([sample.problem, sample.tokens.len(), sample.targets.len()]).to_string());
    }
    hasher.finalize().into()
}

/// The log-probabilities in a file, if it has so many of this digest.
fn saved(path: &Path, digest: &[u8], count: usize) -> Option<Vec<f32>> {
    let file = Checkpoint::open_file(path).ok()?;
    if file.data(file.get(DIGEST)?) != digest {
        return None;
    }
    let (bytes, _) = file.data(file.get(LOGPROBS)?).as_chunks::<4>();
    let logprobs: Vec<f32> = bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    (logprobs.len() == count && logprobs.iter().all(|logprob| logprob.is_finite())).then_some(logprobs)
}
