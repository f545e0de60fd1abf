//! Samples → packed sequences and batches, without padding and with shared prefixes computed once.
//!
//! Samples of one problem share images and question, those of one search tree also steps. They are merged into a tree of
//! segments by their longest common token prefixes (images count as tokens). A target that several samples share occurs
//! once, with the sum of their weights, so that loss and gradients equal those of the separate samples. A sequence holds
//! several such trees side by side; [`crate::nn::attention`] masks attention by segments.
//!
//! ```
//! use mmprm::train::data::{Sample, Target, TargetValue};
//! use mmprm::train::pack::{Packing, PackingLimits};
//! let sample = |tokens: &[u32], labels: [f32; 2]| Sample {
//!     id: "0".into(),
//!     problem: 1,
//!     tokens: tokens.to_vec(),
//!     images: vec![],
//!     targets: [2, tokens.len() - 1]
//!         .into_iter()
//!         .zip(labels)
//!         .map(|(row, label)| Target::new(row, TargetValue::Label(label)))
//!         .collect(),
//!     right: None,
//!     prefixes: vec![],
//! };
//! let samples = [sample(&[1, 2, 9, 3, 9], [0.5, 1.0]), sample(&[1, 2, 9, 4, 4, 9], [0.5, 0.0])];
//! let packing = Packing::new(&samples, Some(7), &PackingLimits::default(), 0);
//! let batch = packing.epoch(0).remove(0);
//! let sequence = &packing.sequences(&samples, &batch)[0];
//! assert_eq!(sequence.tokens, [1, 2, 9, 3, 9, 4, 4, 9]); // 8 instead of 11 tokens
//! assert_eq!(sequence.segments, [(3, None), (2, Some(0)), (3, Some(0))]);
//! assert_eq!(sequence.rows, [2, 4, 7]);
//! assert_eq!(sequence.weights, [2.0, 1.0, 1.0]);
//! ```

mod sequence;
mod tree;

use std::collections::BTreeMap;

use crate::compat::random::Random;
use crate::train::data::{Sample, Target, TargetValue};
use crate::util::random::STEP;

pub use sequence::{LabelLoss, Sequence, SequenceTargets, WeightedPath};

/// Sizes of sequences and of optimiser steps, and what samples share in them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PackingLimits {
    /// Maximum tokens of a sequence; a longer sample becomes a sequence of its own.
    pub sequence_tokens: usize,
    /// Maximum samples of a sequence.
    pub sequence_samples: usize,
    /// Maximum tokens of a batch.
    pub batch_tokens: usize,
    /// Maximum samples of a batch.
    pub batch_samples: usize,
    /// Merges samples of one problem into trees.
    pub trees: bool,
    /// Shuffles each epoch instead of keeping the file's order.
    pub shuffle: bool,
    /// The loss of labelled steps, which decides what samples may share.
    pub label_loss: LabelLoss,
}

impl Default for PackingLimits {
    fn default() -> Self {
        Self {
            sequence_tokens: 4096,
            sequence_samples: usize::MAX,
            batch_tokens: usize::MAX,
            batch_samples: 32,
            trees: true,
            shuffle: true,
            label_loss: LabelLoss::CrossEntropy,
        }
    }
}

/// Divisor that turns a sum over targets of this total weight into a mean; 1 where nothing has weight.
pub fn divisor(weight: f64) -> f64 {
    if weight > 0.0 { weight } else { 1.0 }
}

/// Samples merged into one tree: one, or several of one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    /// Sorted by their tokens.
    samples: Vec<usize>,
    /// Tokens of the tree.
    tokens: usize,
}

/// The sequences of an optimiser step, as lists of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch(Vec<Vec<usize>>);

/// Divides samples into batches; see the [module](self).
#[derive(Debug, Clone)]
pub struct Packing {
    units: Vec<Unit>,
    limits: PackingLimits,
    seed: u64,
    context: Option<u32>,
    kind: TargetKind,
}

/// What the samples' targets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetKind {
    Labels,
    Tokens,
    Ranking,
    Ratio,
}

impl Packing {
    /// Merges samples into units. `context` is the placeholder token of images; `seed` determines the order of each epoch.
    ///
    /// # Panics
    /// If a limit is 0.
    pub fn new(samples: &[Sample], context: Option<u32>, limits: &PackingLimits, seed: u64) -> Self {
        let counts = [limits.sequence_tokens, limits.sequence_samples, limits.batch_tokens, limits.batch_samples];
        assert!(!counts.contains(&0), "every limit is at least 1: {limits:?}");
        let mut problems: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
        let mut first: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, sample) in samples.iter().enumerate() {
            // Ordered by first occurrence in the file, not by hash.
            let place = if limits.trees { *first.entry(sample.problem).or_insert(index) } else { index };
            problems.entry((place, sample.problem)).or_default().push(index);
        }
        let units = problems.into_values().flat_map(|problem| split(samples, problem, context, limits)).collect();
        let is_label = |target: &Target| matches!(target.value, TargetValue::Label(_));
        let kind = if samples.iter().any(|sample| !sample.prefixes.is_empty()) {
            TargetKind::Ratio
        } else if samples.iter().any(|sample| sample.right.is_some()) {
            TargetKind::Ranking
        } else if samples.iter().flat_map(|sample| &sample.targets).any(is_label) {
            TargetKind::Labels
        } else {
            TargetKind::Tokens
        };
        Self { units, limits: *limits, seed, context, kind }
    }

    /// Tokens computed in an epoch.
    pub fn unique_tokens(&self) -> usize {
        self.units.iter().map(|unit| unit.tokens).sum()
    }

    /// The batches of an epoch, a function of samples, limits, seed and epoch.
    pub fn epoch(&self, epoch: u64) -> Vec<Batch> {
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        if self.limits.shuffle {
            Random::new(self.seed.wrapping_mul(STEP).wrapping_add(epoch)).shuffle(&mut order);
        }
        let mut batches = Vec::new();
        let mut builder = BatchBuilder::default();
        for index in order {
            let unit = &self.units[index];
            if !builder.accepts(unit, &self.limits) {
                batches.push(std::mem::take(&mut builder).batch());
            }
            builder.push(index, unit, &self.limits);
        }
        if !builder.sequences.is_empty() {
            batches.push(builder.batch());
        }
        batches
    }

    /// The samples of each sequence of a batch, in the order of its solutions.
    pub fn members(&self, batch: &Batch) -> Vec<Vec<usize>> {
        let of = |units: &Vec<usize>| units.iter().flat_map(|unit| self.units[*unit].samples.iter().copied()).collect();
        batch.0.iter().map(of).collect()
    }

    /// Packs the sequences of a batch.
    ///
    /// # Panics
    /// If `samples` are not those given to [`Packing::new`].
    pub fn sequences(&self, samples: &[Sample], batch: &Batch) -> Vec<Sequence> {
        let sequence = |units: &Vec<usize>| {
            let mut sequence = Sequence::new(match self.kind {
                TargetKind::Labels => SequenceTargets::Labels(Vec::new(), self.limits.label_loss.without_steps()),
                TargetKind::Tokens => SequenceTargets::Tokens(Vec::new()),
                TargetKind::Ranking => SequenceTargets::Ranking(Vec::new(), Vec::new()),
                TargetKind::Ratio => SequenceTargets::Ratio(Vec::new(), Vec::new()),
            });
            for unit in units {
                let samples: Vec<&Sample> = self.units[*unit].samples.iter().map(|index| &samples[*index]).collect();
                let keys: Vec<Vec<u64>> = samples.iter().map(|sample| tree::keys(sample, self.context)).collect();
                let keyed: Vec<tree::Keyed<'_>> = samples.into_iter().zip(keys.iter().map(Vec::as_slice)).collect();
                tree::append(&keyed, &mut sequence);
            }
            sequence
        };
        batch.0.iter().map(sequence).collect()
    }
}

/// Splits the samples of a problem into trees within the limits. Sorted by tokens, neighbours share the longest prefixes.
fn split(samples: &[Sample], problem: Vec<usize>, context: Option<u32>, limits: &PackingLimits) -> Vec<Unit> {
    let mut keyed: Vec<(Vec<u64>, usize)> =
        problem.into_iter().map(|index| (tree::keys(&samples[index], context), index)).collect();
    keyed.sort();
    let max_samples = limits.sequence_samples.min(limits.batch_samples);
    let mut units: Vec<Unit> = Vec::new();
    let mut last: &[u64] = &[];
    for (keys, index) in &keyed {
        let more = keys.len() - tree::shared(last, keys);
        let fits = |unit: &&mut Unit| unit.tokens + more <= limits.sequence_tokens && unit.samples.len() < max_samples;
        match units.last_mut().filter(fits) {
            Some(unit) => {
                unit.samples.push(*index);
                unit.tokens += more;
            }
            None => units.push(Unit { samples: vec![*index], tokens: keys.len() }),
        }
        last = keys;
    }
    units
}

/// A batch under construction.
#[derive(Debug, Default)]
struct BatchBuilder {
    sequences: Vec<Vec<usize>>,
    /// Tokens and samples of each sequence.
    sizes: Vec<(usize, usize)>,
    tokens: usize,
    samples: usize,
}

impl BatchBuilder {
    fn accepts(&self, unit: &Unit, limits: &PackingLimits) -> bool {
        let tokens = self.tokens.saturating_add(unit.tokens) <= limits.batch_tokens;
        self.sequences.is_empty() || (tokens && self.samples + unit.samples.len() <= limits.batch_samples)
    }

    /// Adds a unit to the first sequence with room for it.
    fn push(&mut self, index: usize, unit: &Unit, limits: &PackingLimits) {
        let room = |(tokens, samples): &(usize, usize)| {
            tokens.saturating_add(unit.tokens) <= limits.sequence_tokens
                && samples + unit.samples.len() <= limits.sequence_samples
        };
        let place = self.sizes.iter().position(room).unwrap_or_else(|| {
            self.sequences.push(Vec::new());
            self.sizes.push((0, 0));
            self.sizes.len() - 1
        });
        self.sequences[place].push(index);
        self.sizes[place].0 += unit.tokens;
        self.sizes[place].1 += unit.samples.len();
        self.tokens += unit.tokens;
        self.samples += unit.samples.len();
    }

    fn batch(self) -> Batch {
        Batch(self.sequences)
    }
}

#[cfg(test)]
mod tests;
