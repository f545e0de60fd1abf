//! How fast training is: whole steps over all samples, timed, without anything being learnt.
//!
//! A [`Course`] is the samples in their batches; a [`lap`] over it does all that an epoch of [`super::run`] does but log,
//! validate and save, at a learning rate of 0. [`Shape`]s are models that nobody has trained, for speed depends on shapes alone.
//!
//! ```
//! use mmprm::train::measure::{Course, Shape, lap};
//! use mmprm::train::optim::Optimizer;
//! use mmprm::train::pack::Limits;
//! use mmprm::train::learner::Learner;
//! use mmprm::train::recipe::Recipe;
//! let shape = Shape { width: 16, layers: 1, heads: 2, keys: 1, inner: 32, vocabulary: 50 };
//! let recipe = Recipe::parse("model = 'none'\nsamples = 'none'\nout = 'none'").unwrap();
//! let (mut model, samples) = (shape.model(&recipe).unwrap(), shape.samples(3, 20));
//! let course = Course::new(&samples, 0, &Limits::default(), 0);
//! let tensors = model.tensors();
//! let mut optimizer = Optimizer::new(recipe.optim(), tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())));
//! let lap = lap(&mut model, &mut optimizer, &course).unwrap();
//! assert_eq!((lap.steps, lap.tokens, lap.effective), (1, 60, 60));
//! ```

use std::time::Instant;

use serde::Serialize;

use super::data::{Goal, Sample, SpecialTokens, Target};
use super::full::{Full, OpenError};
use super::learner::{LearnError, Learner};
use super::optim::{Optimizer, clip_factor, global_norm};
use super::pack::{Limits, Packing, Sequence, divisor};
use super::plan::machine;
use super::recipe::{Init, Recipe};
use crate::compat::random::Random;

/// Samples in the batches of an epoch.
#[derive(Debug, Clone)]
pub struct Course<'a> {
    samples: &'a [Sample],
    packing: Packing,
}

impl<'a> Course<'a> {
    /// The batches that a run would have in its first epoch; see [`Packing::new`].
    pub fn new(samples: &'a [Sample], context: u32, limits: &Limits, seed: u64) -> Self {
        Self { samples, packing: Packing::new(samples, context, limits, seed) }
    }

    /// The same with each sample a sequence of its own, that shares nothing.
    pub fn one_by_one(samples: &'a [Sample], context: u32, limits: &Limits, seed: u64) -> Self {
        let alone = Limits { trees: false, sequence_samples: 1, ..*limits };
        Self::new(samples, context, &alone, seed)
    }
}

/// What a lap took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lap {
    /// Seconds.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences that went through the model.
    pub sequences: usize,
    /// Tokens that did.
    pub tokens: usize,
    /// Tokens of the samples one by one.
    pub effective: usize,
    /// Bytes that the process held at most meanwhile, if the system tells.
    pub peak: Option<u64>,
}

/// One epoch. Weights stay as they are.
///
/// # Errors
/// [`LearnError`].
pub fn lap(learner: &mut dyn Learner, optimizer: &mut Optimizer, course: &Course<'_>) -> Result<Lap, LearnError> {
    let began = Instant::now();
    let fresh = machine::reset_peak();
    let mut lap = Lap { seconds: 0.0, steps: 0, sequences: 0, tokens: 0, effective: 0, peak: None };
    for batch in course.packing.epoch(0) {
        let sequences = course.packing.sequences(course.samples, &batch);
        let weight: f64 = sequences.iter().map(Sequence::weight).sum();
        learner.clear();
        for sequence in &sequences {
            learner.gradients(sequence, 1.0 / divisor(weight))?;
            lap.tokens += sequence.tokens.len();
            lap.effective += sequence.effective;
        }
        let clip = clip_factor(global_norm(learner.sums()), 1.0);
        let mut update = optimizer.step(0.0, clip as f32);
        learner.each(&mut |index, parameter| update.update(index, parameter));
        learner.updated();
        lap.steps += 1;
        lap.sequences += sequences.len();
    }
    lap.seconds = began.elapsed().as_secs_f64();
    lap.peak = machine::peak().filter(|_| fresh);
    Ok(lap)
}

/// The shape of an `InternLM2` language model; its vision tower is as small as can be, for it has no part in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Width of the stream.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub keys: usize,
    /// Width of the feed-forward layers.
    pub inner: usize,
    /// Rows of the embedding.
    pub vocabulary: usize,
}

/// Tokens of a shape's vocabulary with a role.
const WORDS: SpecialTokens = SpecialTokens { context: 0, step: 3, yes: 1, no: 2 };

impl Shape {
    /// A model of this shape with random weights, to be trained as a recipe says, whose paths do not matter.
    ///
    /// # Errors
    /// [`OpenError`]: the shape is none of a model, or the system's folder for temporary files cannot be written to.
    pub fn model(&self, recipe: &Recipe) -> Result<Full, OpenError> {
        let folder = tempfile::tempdir().map_err(|source| self.unwritable(source))?;
        let path = folder.path().join("config.json");
        std::fs::write(&path, self.config().to_string()).map_err(|source| self.unwritable(source))?;
        let (model, out) = (folder.path().to_owned(), folder.path().to_owned());
        Full::open(&Recipe { model, out, init: Init::Random, ..recipe.clone() }, WORDS, Vec::new())
    }

    #[expect(clippy::unused_self, reason = "the error is one of opening this shape")]
    fn unwritable(&self, source: std::io::Error) -> OpenError {
        OpenError::Model(crate::internvl::WeightsError::Read { path: std::env::temp_dir(), source })
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

    /// Samples of random tokens that share nothing, each with a step at every 64th token and at its end.
    ///
    /// # Panics
    /// If the vocabulary has no token without a role, or `tokens` is 0.
    pub fn samples(&self, count: usize, tokens: usize) -> Vec<Sample> {
        const STEP: usize = 64;
        let roles = WORDS.step + 1;
        let free = u32::try_from(self.vocabulary).unwrap_or(u32::MAX).checked_sub(roles).filter(|free| *free > 0);
        let free = u64::from(free.expect("a vocabulary with tokens to draw"));
        let mut random = Random::new(0);
        let mut sample = |number: usize| {
            let mut ids: Vec<u32> = (0..tokens).map(|_| roles + (random.random() * free as f64) as u32).collect();
            let rows = (0..tokens).filter(|row| row % STEP == STEP - 1 || row + 1 == tokens);
            let targets: Vec<Target> = rows.map(|row| Target::new(row, Goal::Label(random.random() as f32))).collect();
            for target in &targets {
                ids[target.row] = WORDS.step;
            }
            Sample { id: number.to_string(), problem: number as u64, tokens: ids, images: Vec::new(), targets }
        };
        (0..count).map(&mut sample).collect()
    }
}
