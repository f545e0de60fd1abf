//! Recipes: all that a training run depends on, as a TOML file.
//!
//! TOML because recipes are written by hand and kept beside the models that they made: it has comments, and numbers such
//! as `2e-6` are what they look like. Unknown keys are refused with the nearest known one. Reading what a recipe names, and
//! running it, is left to [`super::data`] and [`super::run`].
//!
//! ```
//! use mmprm::train::recipe::Recipe;
//! let recipe = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\nout = 'prm'\nlr = 1e-4 # high").unwrap();
//! assert_eq!((recipe.lr, recipe.weight_decay), (1e-4, 0.05));
//! let error = Recipe::parse("model = 'policy'\nsamples = 'train.jsonl'\nout = 'prm'\nwarm_up = 1").unwrap_err();
//! assert!(error.to_string().starts_with("recipe: unknown key `warm_up`, did you mean `warmup`?"), "{error}");
//! assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
//! ```

mod check;
mod lora;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use super::data::Forms;
use super::optim::{AdamW, Decay, Kind, Muon, Options, Schedule};
use super::pack::Limits;
use super::tensors::Stored;

pub use lora::Lora;

/// Largest recipe that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a run learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aim {
    /// To judge steps.
    #[default]
    Prm,
    /// To write solutions.
    Policy,
}

/// The forms of a policy's solutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The rollout prompt.
    Rollout,
    /// What a PRM reads.
    Prm,
}

/// How products are computed. Values, sums and activations are `f32` in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// Exactly.
    F32,
    /// From weights and activations rounded to bf16.
    #[default]
    Bf16,
    /// From weights rounded to f16, with dynamic loss scaling.
    F16,
}

impl Compute {
    /// The name in recipes and in files keyed by arithmetic.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// Where weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// The checkpoint's.
    #[default]
    Checkpoint,
    /// Random ones for its configuration, by the seed.
    Random,
}

/// A recipe; see the [module](self). Keys that a file does not have take the values of [`Recipe::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a recipe's keys are switches of their own")]
pub struct Recipe {
    /// What is learnt.
    pub task: Aim,
    /// Hugging Face directory of the model to begin with.
    pub model: PathBuf,
    /// Whether its weights are used.
    pub init: Init,
    /// Training samples, JSON Lines.
    pub samples: PathBuf,
    /// Samples to validate on, instead of a part of those.
    pub validation_samples: Option<PathBuf>,
    /// Folder that image paths are relative and confined to; the samples' own if not given.
    pub data_root: Option<PathBuf>,
    /// Directory of the run.
    pub out: PathBuf,
    /// Where features of images are kept; `features` in the run's directory if not given.
    pub features: Option<PathBuf>,

    /// Forms of solutions (policy).
    pub forms: Vec<Form>,
    /// Most tiles of an image.
    pub max_tiles: usize,
    /// Most tokens of a sample; `sequence_tokens` if not given.
    pub max_tokens: Option<usize>,
    /// Whether longer samples are cut instead of refused.
    pub truncate: bool,
    /// Labels become 1 from here on and 0 below, instead of staying soft.
    pub hard_labels: Option<f32>,
    /// Policy, a Hugging Face directory, whose logprob of each token is learnt instead of the samples' labels (PRM).
    #[serde(alias = "likelihood_of")]
    pub logprob_of: Option<PathBuf>,
    /// Policy, a Hugging Face directory, whose likeliest token in the place of each is learnt there (PRM).
    pub expected_of: Option<PathBuf>,
    /// Share of the problems that is kept for validation.
    pub validation: f64,

    /// Passes over the samples.
    pub epochs: u64,
    /// Most optimiser steps.
    pub steps: Option<u64>,
    /// Most tokens that go through the model at once.
    pub sequence_tokens: usize,
    /// Most samples that do.
    pub sequence_samples: Option<usize>,
    /// Samples of an optimiser step.
    pub batch_samples: usize,
    /// Most tokens of an optimiser step.
    pub batch_tokens: Option<usize>,
    /// Whether samples of one problem are merged into trees.
    pub trees: bool,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Mean of the sequences' means, as the reference has it, instead of the mean over the whole batch.
    pub reference_loss: bool,

    /// Which rule updates the weights.
    pub optimizer: Kind,
    /// Learning rate of `AdamW`.
    pub lr: f64,
    /// Learning rate of Muon.
    pub muon_lr: f64,
    /// Muon's momentum.
    pub momentum: f64,
    /// Decay of `AdamW`'s first moment.
    pub beta1: f64,
    /// Decay of its second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// What it applies to.
    pub decay: Decay,
    /// Most length of the gradient; 0 leaves it as it is.
    pub clip: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Share of the steps that it rises in.
    pub warmup: f64,

    /// Beginnings of the names of tensors that are not trained.
    pub freeze: Vec<String>,
    /// How products are computed.
    pub precision: Compute,
    /// Whether layers are computed again in the backward pass to save memory.
    pub checkpointing: bool,
    /// Decides order, split and random weights.
    pub seed: u64,

    /// Steps between validations; 0 for one an epoch.
    pub evaluate_every: u64,
    /// Validations without a better loss after which the run stops.
    pub patience: Option<u64>,
    /// Steps between saves; 0 for one an epoch.
    pub save_every: u64,
    /// Type of the weights in checkpoints.
    pub save_as: Stored,

    /// Trains adapters instead of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
}

impl Default for Recipe {
    /// The reference's script where it has a value, for one workstation where it has not.
    fn default() -> Self {
        let (optim, limits) = (Options::default(), Limits::default());
        Self {
            task: Aim::Prm,
            model: PathBuf::new(),
            init: Init::Checkpoint,
            samples: PathBuf::new(),
            validation_samples: None,
            data_root: None,
            out: PathBuf::new(),
            features: None,
            forms: vec![Form::Rollout],
            max_tiles: 6,
            max_tokens: None,
            truncate: false,
            hard_labels: None,
            logprob_of: None,
            expected_of: None,
            validation: 0.0,
            epochs: 1,
            steps: None,
            sequence_tokens: limits.sequence_tokens,
            sequence_samples: None,
            batch_samples: limits.batch_samples,
            batch_tokens: None,
            trees: limits.trees,
            shuffle: limits.shuffle,
            reference_loss: false,
            optimizer: optim.kind,
            lr: optim.rate,
            muon_lr: optim.muon_rate,
            momentum: optim.muon.momentum,
            beta1: optim.adamw.beta1,
            beta2: optim.adamw.beta2,
            epsilon: optim.adamw.epsilon,
            weight_decay: optim.decay,
            decay: optim.decays,
            clip: 1.0,
            schedule: Schedule::Cosine,
            warmup: 0.03,
            freeze: default_freeze(),
            precision: Compute::Bf16,
            checkpointing: false,
            seed: 0,
            evaluate_every: 0,
            patience: None,
            save_every: 0,
            save_as: Stored::Bf16,
            lora: None,
        }
    }
}

/// What is not trained unless a recipe says otherwise: the vision tower.
fn default_freeze() -> Vec<String> {
    vec!["vision_model.".into()]
}

/// A recipe that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key is unknown, or its value is not what is expected.
    #[error("{place}: {problem}")]
    Invalid {
        /// The file, or `recipe`.
        place: String,
        /// The key, and what was expected.
        problem: String,
    },
}

impl RecipeError {
    fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid { place: "recipe".into(), problem: problem.into() }
    }
}

impl Recipe {
    /// The recipe of a file (or of nothing), with other values in the place of the file's: those that `overrides` has, a
    /// struct of some of a recipe's keys, and those of `settings`, each `key=value`.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn read(path: Option<&Path>, overrides: &impl Serialize, settings: &[String]) -> Result<Self, RecipeError> {
        let mut table = path.map_or_else(|| Ok(Table::new()), read_table)?;
        lay_over(&mut table, Table::try_from(overrides).map_err(|error| RecipeError::invalid(error.to_string()))?);
        for setting in settings {
            lay_over(&mut table, one_setting(setting)?);
        }
        Self::from_table(table)
    }

    fn from_table(table: Table) -> Result<Self, RecipeError> {
        check::keys(&table)?;
        let recipe: Self = table.try_into().map_err(|error| RecipeError::invalid(one_line(&error)))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe of a text, checked.
    ///
    /// # Errors
    /// [`RecipeError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        Self::from_table(text.parse().map_err(|error| RecipeError::invalid(one_line(&error)))?)
    }

    /// The recipe as a file, every key that has a value written out.
    ///
    /// # Panics
    /// Never: every value is of a type that TOML has.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is a table of plain values and a table of such")
    }

    /// The optimiser's settings.
    pub fn optim(&self) -> Options {
        Options {
            kind: self.optimizer,
            rate: self.lr,
            muon_rate: self.muon_lr,
            decay: self.weight_decay,
            decays: self.decay,
            adamw: AdamW { beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon },
            muon: Muon { momentum: self.momentum },
        }
    }

    /// How samples are packed.
    pub fn limits(&self) -> Limits {
        Limits {
            sequence_tokens: self.sequence_tokens,
            sequence_samples: self.sequence_samples.unwrap_or(usize::MAX),
            batch_tokens: self.batch_tokens.unwrap_or(usize::MAX),
            batch_samples: self.batch_samples,
            trees: self.trees,
            shuffle: self.shuffle,
        }
    }

    /// Forms of the policy's solutions.
    pub fn forms(&self) -> Forms {
        Forms { rollout: self.forms.contains(&Form::Rollout), prm: self.forms.contains(&Form::Prm) }
    }

    /// Folder that image paths of `samples` are relative to.
    pub fn root(&self, samples: &Path) -> PathBuf {
        match (&self.data_root, samples.parent()) {
            (Some(given), _) => given.clone(),
            (None, Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
            (None, _) => PathBuf::from("."),
        }
    }
}

fn read_table(path: &Path) -> Result<Table, RecipeError> {
    let fail = |source| RecipeError::Read { path: path.to_owned(), source };
    let invalid = |problem| RecipeError::Invalid { place: path.display().to_string(), problem };
    let length = std::fs::metadata(path).map_err(fail)?.len();
    if length > MAX_FILE {
        return Err(invalid(format!("{length} bytes, expected at most {MAX_FILE}")));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    text.parse().map_err(|error: toml::de::Error| invalid(one_line(&error)))
}

/// A line of TOML whose value may be a bare word.
fn one_setting(text: &str) -> Result<Table, RecipeError> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(RecipeError::invalid(format!("`{text}`: expected `key=value`")));
    };
    let word = || {
        let entry = |key: &str, value: toml::Value| Table::from_iter([(key.to_owned(), value)]);
        match key.trim().split_once('.') {
            Some((table, key)) => entry(table, entry(key, value.trim().into()).into()),
            None => entry(key.trim(), value.trim().into()),
        }
    };
    Ok(text.parse().unwrap_or_else(|_| word()))
}

/// Puts the values of `other` in the place of a table's own, in tables within it too.
fn lay_over(table: &mut Table, other: Table) {
    for (key, value) in other {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => lay_over(inner, value),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// TOML's messages show the place over several lines.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
