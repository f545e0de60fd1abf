//! Timing of training steps without learning anything, for benchmarks.
//!
//! [`time_epoch`] runs an epoch of [`EpochBatches`] as the trainer does, but without logging, validation and saving, at a
//! learning rate of 0. A [`ModelShape`] is an untrained model of given sizes, since speed depends on shapes alone.
//!
//! ```
//! use mmprm::train::learner::Learner;
//! use mmprm::train::measure::{EpochBatches, ModelShape, time_epoch};
//! use mmprm::train::pack::PackingLimits;
//! use mmprm::train::recipe::Recipe;
//! let shape = ModelShape { width: 16, layers: 1, heads: 2, keys: 1, inner: 32, vocabulary: 50 };
//! let recipe = Recipe::parse("model = 'none'\nsamples = 'none'\noutput = 'none'").unwrap();
//! let (mut model, samples) = (shape.model(&recipe).unwrap(), shape.samples(3, 20));
//! let batches = EpochBatches::new(&samples, None, &PackingLimits::default(), 0);
//! let mut optimizer = mmprm::train::measure::optimizer(&recipe, &model);
//! let timing = time_epoch(&mut model, &mut optimizer, &batches).unwrap();
//! assert_eq!((timing.steps, timing.tokens, timing.effective_tokens), (1, 60, 60));
//! ```

use std::time::Instant;

use serde::Serialize;

use super::data::{Sample, SpecialTokens, StepTokens, Target, TargetValue};
use super::full::{FullModel, OpenError};
use super::learner::{Learner, LearnerError};
use super::optim::{Optimizer, clip_factor, global_norm};
use super::pack::{Packing, PackingLimits, Sequence, divisor};
use super::recipe::{Init, Recipe};
use crate::compat::random::Random;
use crate::util::io::FileError;
use crate::util::machine;

/// The batches of an epoch.
#[derive(Debug, Clone)]
pub struct EpochBatches<'a> {
    samples: &'a [Sample],
    packing: Packing,
}

impl<'a> EpochBatches<'a> {
    /// The batches of a run's first epoch; see [`Packing::new`].
    pub fn new(samples: &'a [Sample], context: Option<u32>, limits: &PackingLimits, seed: u64) -> Self {
        Self { samples, packing: Packing::new(samples, context, limits, seed) }
    }

    /// The same with each sample as a sequence of its own, without sharing.
    pub fn one_by_one(samples: &'a [Sample], context: Option<u32>, limits: &PackingLimits, seed: u64) -> Self {
        let alone = PackingLimits { trees: false, sequence_samples: 1, ..*limits };
        Self::new(samples, context, &alone, seed)
    }
}

/// The cost of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EpochTiming {
    /// Seconds.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences computed.
    pub sequences: usize,
    /// Tokens computed.
    pub tokens: usize,
    /// Tokens of the samples before sharing.
    pub effective_tokens: usize,
    /// Peak resident bytes of the process, if the system reports them.
    pub peak: Option<u64>,
}

/// The optimiser of a recipe for a learner.
pub fn optimizer(recipe: &Recipe, learner: &dyn Learner) -> Optimizer {
    let tensors = learner.tensors();
    let shapes = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
    Optimizer::new(recipe.optimizer_options(), shapes)
}

/// Runs and times one epoch at a learning rate of 0.
///
/// # Errors
/// [`LearnerError`].
pub fn time_epoch(
    learner: &mut dyn Learner,
    optimizer: &mut Optimizer,
    epoch: &EpochBatches<'_>,
) -> Result<EpochTiming, LearnerError> {
    let began = Instant::now();
    let fresh = machine::reset_peak();
    let mut timing = EpochTiming { seconds: 0.0, steps: 0, sequences: 0, tokens: 0, effective_tokens: 0, peak: None };
    for batch in epoch.packing.epoch(0) {
        let sequences = epoch.packing.sequences(epoch.samples, &batch);
        let weight: f64 = sequences.iter().map(Sequence::weight).sum();
        learner.zero_gradients();
        for sequence in &sequences {
            learner.accumulate(sequence, 1.0 / divisor(weight))?;
            timing.tokens += sequence.tokens.len();
            timing.effective_tokens += sequence.effective_tokens;
        }
        let clip = clip_factor(global_norm(learner.gradients()), 1.0);
        let mut update = optimizer.step(0.0, clip as f32);
        learner.for_each_parameter(&mut |index, parameter| update.update(index, parameter));
        learner.on_update();
        timing.steps += 1;
        timing.sequences += sequences.len();
    }
    timing.seconds = began.elapsed().as_secs_f64();
    timing.peak = machine::peak().filter(|_| fresh);
    Ok(timing)
}

/// The sizes of an `InternLM2` language model, with a minimal vision tower that text does not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModelShape {
    /// Hidden size.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads.
    pub keys: usize,
    /// Width of the feed-forward layers.
    pub inner: usize,
    /// Vocabulary size.
    pub vocabulary: usize,
}

/// Special tokens of a shape's vocabulary.
const SPECIAL: SpecialTokens =
    SpecialTokens { context: Some(0), steps: Some(StepTokens { mark: Some(STEP), yes: 1, no: 2 }) };
/// The mark.
const STEP: u32 = 3;

impl ModelShape {
    /// A model of this shape with random weights, trained by a recipe whose paths are ignored.
    ///
    /// # Errors
    /// [`OpenError`] if no model has this shape, or the folder for temporary files is not writable.
    pub fn model(&self, recipe: &Recipe) -> Result<FullModel, OpenError> {
        let unwritable = |source| OpenError::Model(FileError::writing(&std::env::temp_dir())(source).into());
        let folder = tempfile::tempdir().map_err(unwritable)?;
        let path = folder.path().join("config.json");
        std::fs::write(&path, self.config().to_string()).map_err(unwritable)?;
        let (model, output) = (folder.path().to_owned(), folder.path().to_owned());
        FullModel::open(&Recipe { model, output, init: Init::Random, ..recipe.clone() }, SPECIAL, Vec::new())
    }

    /// Its `config.json`.
    pub fn config(&self) -> serde_json::Value {
        serde_json::json!({
            "ps_version": "v2",
            "vision_config": {
                "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
                "image_size": 28, "patch_size": 7, "norm_type": "layer_norm", "qk_normalization": false, "qkv_bias": true
            },
            "llm_config": {
                "model_type": "internlm2", "hidden_size": self.width, "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads, "num_key_value_heads": self.keys, "intermediate_size": self.inner,
                "vocab_size": self.vocabulary, "rms_norm_eps": 1e-5, "rope_theta": 1e6
            }
        })
    }

    /// Samples of random tokens without common prefixes, with a step end at every 64th token and at the last.
    ///
    /// # Panics
    /// If the vocabulary has only special tokens, or `tokens` is 0.
    pub fn samples(&self, count: usize, tokens: usize) -> Vec<Sample> {
        const SPACING: usize = 64;
        let first_free = STEP + 1;
        let free = u32::try_from(self.vocabulary).unwrap_or(u32::MAX).checked_sub(first_free).filter(|free| *free > 0);
        let free = u64::from(free.expect("a vocabulary with tokens to draw"));
        let mut random = Random::new(0);
        let mut sample = |number: usize| {
            let mut ids: Vec<u32> = (0..tokens).map(|_| first_free + (random.random() * free as f64) as u32).collect();
            let rows = (0..tokens).filter(|row| row % SPACING == SPACING - 1 || row + 1 == tokens);
            let targets: Vec<Target> =
                rows.map(|row| Target::new(row, TargetValue::Label(random.random() as f32))).collect();
            for target in &targets {
                ids[target.row] = STEP;
            }
            Sample {
                id: number.to_string(),
                problem: number as u64,
                tokens: ids,
                images: Vec::new(),
                targets,
                right: None,
                prefixes: Vec::new(),
            }
        };
        (0..count).map(&mut sample).collect()
    }
}
