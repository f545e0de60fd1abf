//! The keys of a recipe: their types and default values.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::documented::documented;
use super::error::RecipeError;
use super::lora::LoraOptions;
use crate::prm::form;
use crate::prompt::{PrmForm, PrmTemplate};
use crate::train::data::SolutionForms;
use crate::train::optim::{AdamW, Decay, Muon, OptimizerKind, OptimizerOptions, Schedule};
use crate::train::pack::{LabelLoss, PackingLimits};
use mmprm_quant::safetensors::StoredType;

/// What the model is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Scoring steps.
    #[default]
    Prm,
    /// Scoring steps by their log-probability: candidates of a problem are ranked by it.
    ImplicitPrm,
    /// Writing solutions.
    Policy,
}

/// The loss of a reward model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossKind {
    /// PRM: cross entropy of each step's score with its soft label.
    Soft,
    /// PRM: cross entropy with 1 for a right step and 0 for another (Math-Shepherd's hard estimation, arXiv 2312.08935).
    Hard,
    /// PRM: squared difference of each step's score and its soft label.
    Mse,
    /// PRM: the comparative loss of the Process Q-value Model (arXiv 2410.11287, equation 10) over the steps of each solution.
    Pqm,
    /// PRM: −ln σ of the difference of logits, over the pairs of steps of a problem with different labels (Bradley-Terry).
    Pairwise,
    /// Implicit PRM: −ln Σ right eˢ / Σ all eˢ over the candidates of a problem, with s the log-probability of one.
    Ranking,
    /// Implicit PRM: cross entropy of σ(β · Σ (log π − log π of the reference)) with whether a candidate is right
    /// (arXiv 2412.01981, equation 5).
    Outcome,
    /// Implicit PRM: the same for the tokens up to each step, with the step's soft label.
    Steps,
}

impl LossKind {
    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
            Self::Mse => "mse",
            Self::Pqm => "pqm",
            Self::Pairwise => "pairwise",
            Self::Ranking => "ranking",
            Self::Outcome => "outcome",
            Self::Steps => "steps",
        }
    }

    /// The task that it trains for.
    pub fn task(self) -> Task {
        match self {
            Self::Soft | Self::Hard | Self::Mse | Self::Pqm | Self::Pairwise => Task::Prm,
            Self::Ranking | Self::Outcome | Self::Steps => Task::ImplicitPrm,
        }
    }
}

/// A form of a policy's solutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SolutionForm {
    /// The rollout prompt, and `<step>…</step>…<answer>…</answer>` to predict.
    Rollout,
    /// The text that a PRM reads, with the steps to predict.
    Prm,
}

/// Arithmetic of matrix products. Values, sums and activations are f32 in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// f32 operands.
    F32,
    /// Weights and activations rounded to bf16.
    #[default]
    Bf16,
    /// Weights rounded to f16, with dynamic loss scaling.
    F16,
}

impl Compute {
    /// The name in recipes and in cache keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// The source of the initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// The checkpoint.
    #[default]
    Checkpoint,
    /// Random weights for its configuration, drawn by the seed.
    Random,
}

documented! {
    /// A recipe; see the [module](super). Keys absent from a file take the values of [`Recipe::default`].
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Recipe {
        /// What the model is trained for.
        pub task: Task,
        /// Hugging Face directory of the initial model: InternVL2.5, or for a PRM also a text model (Llama, Mistral, Qwen2,
        /// `InternLM2`). With `lora` also the GGUF file of a text model.
        pub model: PathBuf,
        /// The source of the initial weights.
        pub init: Init,
        /// Training samples, JSON Lines.
        pub samples: PathBuf,
        /// Validation samples, instead of a fraction of `samples`.
        pub validation_samples: Option<PathBuf>,
        /// Root of image paths, which may not leave it. Default: the samples' folder.
        pub data_root: Option<PathBuf>,
        /// The run's directory (formerly `out`).
        pub output: PathBuf,
        /// Cache of image features. Default: `features` in the run's directory.
        pub features: Option<PathBuf>,

        /// How a PRM reads solutions: a built-in PRM form whose scores are the logits of two tokens, or a TOML file
        /// (docs/prm-forms.md). Default: `internvl2_5-training`.
        pub prm_form: Option<String>,
        /// Forms of solutions (policy).
        pub forms: Vec<SolutionForm>,
        /// Maximum tiles of an image.
        pub max_tiles: usize,
        /// Maximum tokens of a sample. Default: `sequence_tokens`.
        pub max_tokens: Option<usize>,
        /// Cuts longer samples instead of refusing them; leaves out those with nothing to learn within the limit.
        pub truncate: bool,
        /// Recognises special tokens that questions and solutions spell out, as MM-PRM's code does; otherwise they are text.
        pub reference_special_tokens: bool,
        /// Weight of what each image token learns (policy; `image_tokens` of samples) against a token of the text.
        pub image_token_weight: f32,
        /// Loss of a PRM: soft (cross entropy with the labels), hard (with 1 for right steps and 0 for others), mse (squared error
        /// of the probability), pqm (right steps above earlier and wrong ones of a solution) or pairwise (steps of a problem with
        /// higher labels above others). Default: soft. Loss of an implicit PRM: ranking (right candidates of a problem above others
        /// by log-probability), outcome (log-probability ratio of a candidate to the reference) or steps (of each step). Default:
        /// ranking.
        pub loss: Option<LossKind>,
        /// Hugging Face directory of the reference model (outcome, steps). Default: the initial model.
        pub reference: Option<PathBuf>,
        /// Factor β of log-probability ratios (outcome, steps). Default: 0.05, as in the paper on implicit PRMs.
        pub beta: Option<f64>,
        /// A step is right if its label is above this (hard, pqm). Default: 0, so that one right rollout suffices.
        pub right_above: Option<f32>,
        /// Margin between the logits of right and wrong steps (pqm). Default: 4, as in its paper.
        pub margin: Option<f32>,
        /// Replaces labels of at least this value by 1 and others by 0 (soft, mse, pairwise).
        pub hard_labels: Option<f32>,
        /// Distillation (PRM): a policy's Hugging Face directory, whose probability of each token replaces the labels (formerly
        /// `likelihood_of`).
        pub logprob_of: Option<PathBuf>,
        /// Distillation (PRM): a policy's Hugging Face directory, whose most probable token in place of each is the target.
        pub expected_of: Option<PathBuf>,
        /// Fraction of problems held out for validation.
        pub validation: f64,

        /// Passes over the samples. Default: 1; for a recipe with `steps` alone, as many as these take.
        pub epochs: u64,
        /// Maximum optimiser steps.
        pub steps: Option<u64>,
        /// Maximum tokens of a packed sequence.
        pub sequence_tokens: usize,
        /// Maximum samples of a packed sequence.
        pub sequence_samples: Option<usize>,
        /// Samples of an optimiser step.
        pub batch_samples: usize,
        /// Maximum tokens of an optimiser step.
        pub batch_tokens: Option<usize>,
        /// Merges samples of one problem into trees.
        pub trees: bool,
        /// Shuffles each epoch.
        pub shuffle: bool,
        /// Uses the mean of the sequences' means, as MM-PRM, instead of the mean over the whole batch.
        pub reference_loss: bool,

        /// The optimiser.
        pub optimizer: OptimizerKind,
        /// Peak learning rate of `AdamW`.
        pub lr: f64,
        /// Peak learning rate of Muon.
        pub muon_lr: f64,
        /// Muon's momentum.
        pub momentum: f64,
        /// Decay rate of `AdamW`'s first moment.
        pub beta1: f64,
        /// Decay rate of `AdamW`'s second moment.
        pub beta2: f64,
        /// Added to the root of the second moment (ε).
        pub epsilon: f64,
        /// Decoupled weight decay.
        pub weight_decay: f64,
        /// Tensors that decay.
        pub decay: Decay,
        /// Gradient-clipping norm; 0 turns clipping off.
        pub clip: f64,
        /// Learning-rate schedule.
        pub schedule: Schedule,
        /// Warm-up, as a fraction of all steps.
        pub warmup: f64,

        /// Name prefixes of frozen tensors.
        pub freeze: Vec<String>,
        /// Arithmetic of matrix products.
        pub precision: Compute,
        /// Recomputes activations in the backward pass to save memory.
        pub checkpointing: bool,
        /// Random seed of order, split, dropout and initial weights.
        pub seed: u64,

        /// Steps between validations; 0 for one each epoch.
        pub evaluate_every: u64,
        /// Validations without improvement after which the run stops.
        pub patience: Option<u64>,
        /// Steps between saves; 0 for one each epoch.
        pub save_every: u64,
        /// Type of the weights in checkpoints.
        pub save_as: StoredType,

        /// Trains adapters instead of the weights.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub lora: Option<LoraOptions>,
    }
}

impl Default for Recipe {
    /// MM-PRM's training script where it has a value, otherwise values for one workstation.
    fn default() -> Self {
        let (optim, limits) = (OptimizerOptions::default(), PackingLimits::default());
        Self {
            task: Task::Prm,
            model: PathBuf::new(),
            init: Init::Checkpoint,
            samples: PathBuf::new(),
            validation_samples: None,
            data_root: None,
            output: PathBuf::new(),
            features: None,
            prm_form: None,
            forms: vec![SolutionForm::Rollout],
            max_tiles: 6,
            max_tokens: None,
            truncate: false,
            reference_special_tokens: false,
            image_token_weight: 1.0,
            loss: None,
            reference: None,
            beta: None,
            right_above: None,
            margin: None,
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
            lr: optim.lr,
            muon_lr: optim.muon_lr,
            momentum: optim.muon.momentum,
            beta1: optim.adamw.beta1,
            beta2: optim.adamw.beta2,
            epsilon: optim.adamw.epsilon,
            weight_decay: optim.weight_decay,
            decay: optim.decay,
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
            save_as: StoredType::Bf16,
            lora: None,
        }
    }
}

/// The margin of the Process Q-value Model, as in its paper.
const PQM_MARGIN: f32 = 4.0;

/// β of the paper on implicit PRMs (arXiv 2412.01981, section 4.1).
const BETA: f64 = 0.05;

/// The default of `freeze`: the vision tower.
pub(super) fn default_freeze() -> Vec<String> {
    vec!["vision_model.".into()]
}

impl Recipe {
    /// Whether targets come from a policy instead of the samples' labels (see [`Recipe::logprob_of`] and
    /// [`Recipe::expected_of`]).
    pub fn distills(&self) -> bool {
        self.logprob_of.is_some() || self.expected_of.is_some()
    }

    /// The PRM form that is trained; `None` for MM-PRM's own.
    ///
    /// # Errors
    /// [`RecipeError::Form`] for an unknown name, or a file that is no form.
    pub(crate) fn form(&self) -> Result<Option<PrmForm>, RecipeError> {
        let named = |name: &String| form::named(name).map_err(|problem| RecipeError::Form { problem });
        let form = self.prm_form.as_ref().map(named).transpose()?;
        Ok(form.filter(|form| form != PrmTemplate::Training.form()))
    }

    /// The loss of labelled steps.
    fn label_loss(&self) -> LabelLoss {
        match self.loss {
            Some(LossKind::Mse) => LabelLoss::SquaredError,
            Some(LossKind::Pqm) => LabelLoss::QValues { margin: self.margin.unwrap_or(PQM_MARGIN) },
            Some(LossKind::Pairwise) => LabelLoss::Pairs,
            // The samples of an implicit PRM have no labelled rows.
            None | Some(LossKind::Soft | LossKind::Hard | LossKind::Ranking | LossKind::Outcome | LossKind::Steps) => {
                LabelLoss::CrossEntropy
            }
        }
    }

    /// The label above which a step is right, for a loss that only knows right and wrong ones.
    pub(crate) fn right_above(&self) -> Option<f32> {
        let is_hard = matches!(self.loss, Some(LossKind::Hard | LossKind::Pqm));
        is_hard.then(|| self.right_above.unwrap_or(0.0))
    }

    /// Whether the loss compares samples of one problem.
    pub(crate) fn compares_problems(&self) -> bool {
        self.loss == Some(LossKind::Pairwise) || (self.task == Task::ImplicitPrm && !self.has_reference())
    }

    /// Whether the loss is of log-probability ratios to a reference model.
    pub(crate) fn has_reference(&self) -> bool {
        matches!(self.loss, Some(LossKind::Outcome | LossKind::Steps))
    }

    /// Factor of log-probability ratios.
    pub(crate) fn beta(&self) -> f64 {
        self.beta.unwrap_or(BETA)
    }

    /// The optimiser's hyper-parameters.
    pub(crate) fn optimizer_options(&self) -> OptimizerOptions {
        OptimizerOptions {
            kind: self.optimizer,
            lr: self.lr,
            muon_lr: self.muon_lr,
            weight_decay: self.weight_decay,
            decay: self.decay,
            adamw: AdamW { beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon },
            muon: Muon { momentum: self.momentum },
        }
    }

    /// How samples are packed.
    #[doc(hidden)]
    pub fn packing_limits(&self) -> PackingLimits {
        PackingLimits {
            sequence_tokens: self.sequence_tokens,
            sequence_samples: self.sequence_samples.unwrap_or(usize::MAX),
            batch_tokens: self.batch_tokens.unwrap_or(usize::MAX),
            batch_samples: self.batch_samples,
            trees: self.trees,
            shuffle: self.shuffle,
            label_loss: self.label_loss(),
        }
    }

    /// Forms of the policy's solutions.
    pub(crate) fn solution_forms(&self) -> SolutionForms {
        SolutionForms {
            rollout: self.forms.contains(&SolutionForm::Rollout),
            prm: self.forms.contains(&SolutionForm::Prm),
        }
    }

    /// Root of the image paths in `samples`.
    pub(crate) fn image_root(&self, samples: &Path) -> PathBuf {
        match (&self.data_root, samples.parent()) {
            (Some(given), _) => given.clone(),
            (None, Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
            (None, _) => PathBuf::from("."),
        }
    }
}
