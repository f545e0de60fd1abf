//! Samples → packed sequences and batches: no padding, and what samples of one problem share is computed once.
//!
//! Samples with the same images and question begin alike, and those from one search tree go on alike. They are merged
//! into a tree of segments by their longest common token prefixes (images count as tokens of their own); a target that
//! several samples have is there once, with the weight of all, so that loss and gradients are those of the samples one by
//! one. A sequence holds several such trees side by side. Which token sees which is told by its segments;
//! [`crate::nn::attention`] keeps to them.
//!
//! ```
//! use mmprm::train::data::{Goal, Sample, Target};
//! use mmprm::train::pack::{Limits, Packing};
//! let sample = |tokens: &[u32], labels: [f32; 2]| Sample {
//!     id: "0".into(),
//!     problem: 1,
//!     tokens: tokens.to_vec(),
//!     images: vec![],
//!     targets: [2, tokens.len() - 1].into_iter().zip(labels).map(|(row, label)| Target::new(row, Goal::Label(label))).collect(),
//! };
//! let samples = [sample(&[1, 2, 9, 3, 9], [0.5, 1.0]), sample(&[1, 2, 9, 4, 4, 9], [0.5, 0.0])];
//! let packing = Packing::new(&samples, 7, &Limits::default(), 0);
//! let batch = packing.epoch(0).remove(0);
//! let sequence = &packing.sequences(&samples, &batch)[0];
//! assert_eq!(sequence.tokens, [1, 2, 9, 3, 9, 4, 4, 9]); // 8 of 11 tokens
//! assert_eq!(sequence.segments, [(3, None), (2, Some(0)), (3, Some(0))]);
//! assert_eq!((sequence.rows.as_slice(), sequence.weights.as_slice()), ([2, 4, 7].as_slice(), [2.0, 1.0, 1.0].as_slice()));
//! ```

mod tree;

use std::collections::BTreeMap;

use crate::compat::random::Random;
use crate::train::data::{Goal, Placed, Sample};

/// How much goes through the model at once, and into an optimiser step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens of a sequence; a longer sample is a sequence of its own.
    pub sequence_tokens: usize,
    /// Most samples of a sequence.
    pub sequence_samples: usize,
    /// Tokens at which a batch is full.
    pub batch_tokens: usize,
    /// Samples at which a batch is full.
    pub batch_samples: usize,
    /// Whether samples of one problem are merged into trees.
    pub trees: bool,
    /// Whether each epoch has an order of its own; otherwise the file's.
    pub shuffle: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sequence_tokens: 4096,
            sequence_samples: usize::MAX,
            batch_tokens: usize::MAX,
            batch_samples: 32,
            trees: true,
            shuffle: true,
        }
    }
}

/// What the rows of a [`Sequence`] are to become.
#[derive(Debug, Clone, PartialEq)]
pub enum Aims {
    /// Labels of steps.
    Labels(Vec<f32>),
    /// Next tokens.
    Tokens(Vec<u32>),
}

/// What goes through the model at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Lengths and parents of its segments, in order (see [`Segments`](crate::nn::attention::Segments)).
    pub segments: Vec<(usize, Option<usize>)>,
    /// Its images, by place.
    pub images: Vec<Placed>,
    /// Rows with something to learn, ascending; a row may come several times, with other next tokens.
    pub rows: Vec<usize>,
    /// For each row, what.
    pub aims: Aims,
    /// For each row, how much it counts: the weights of all samples that want it.
    pub weights: Vec<f64>,
    /// Samples in it.
    pub paths: usize,
    /// Tokens of those samples one by one.
    pub effective: usize,
}

impl Sequence {
    fn new(labels: bool) -> Self {
        let aims = if labels { Aims::Labels(Vec::new()) } else { Aims::Tokens(Vec::new()) };
        Self {
            tokens: Vec::new(),
            segments: Vec::new(),
            images: Vec::new(),
            rows: Vec::new(),
            aims,
            weights: Vec::new(),
            paths: 0,
            effective: 0,
        }
    }

    /// Weight of all targets, those that samples share counted for each.
    pub fn weight(&self) -> f64 {
        self.weights.iter().sum()
    }
}

/// What to divide a sum over targets by for their mean, given their weight: where nothing weighs anything the mean is 0.
pub fn divisor(weight: f64) -> f64 {
    if weight > 0.0 { weight } else { 1.0 }
}

/// Samples that stay together: one, or some of one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    /// Sorted by their tokens.
    samples: Vec<usize>,
    /// Tokens of the tree.
    tokens: usize,
}

/// Units of each sequence of an optimiser step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch(Vec<Vec<usize>>);

/// How a set of samples becomes batches; see the [module](self).
#[derive(Debug, Clone)]
pub struct Packing {
    units: Vec<Unit>,
    limits: Limits,
    seed: u64,
    context: u32,
    labels: bool,
}

impl Packing {
    /// Decides which samples stay together. `context` is the token in the place of images; `seed` decides the order of the
    /// epochs.
    ///
    /// # Panics
    /// If a batch or a sequence may hold nothing.
    pub fn new(samples: &[Sample], context: u32, limits: &Limits, seed: u64) -> Self {
        let nothing = [limits.sequence_tokens, limits.sequence_samples, limits.batch_tokens, limits.batch_samples];
        assert!(!nothing.contains(&0), "every limit is at least 1: {limits:?}");
        let mut problems: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
        let mut first: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, sample) in samples.iter().enumerate() {
            // In the file's order, whatever the hash of the problem.
            let place = if limits.trees { *first.entry(sample.problem).or_insert(index) } else { index };
            problems.entry((place, sample.problem)).or_default().push(index);
        }
        let units = problems.into_values().flat_map(|problem| split(samples, problem, context, limits)).collect();
        let labels =
            samples.iter().flat_map(|sample| &sample.targets).any(|target| matches!(target.goal, Goal::Label(_)));
        Self { units, limits: *limits, seed, context, labels }
    }

    /// Tokens that an epoch computes.
    pub fn unique_tokens(&self) -> usize {
        self.units.iter().map(|unit| unit.tokens).sum()
    }

    /// The batches of an epoch; they depend on samples, limits, seed and epoch alone.
    pub fn epoch(&self, epoch: u64) -> Vec<Batch> {
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        if self.limits.shuffle {
            Random::new(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(epoch)).shuffle(&mut order);
        }
        let mut batches = Vec::new();
        let mut filling = Filling::default();
        for index in order {
            let unit = &self.units[index];
            if !filling.takes(unit, &self.limits) {
                batches.push(std::mem::take(&mut filling).batch());
            }
            filling.put(index, unit, &self.limits);
        }
        if !filling.sequences.is_empty() {
            batches.push(filling.batch());
        }
        batches
    }

    /// The sequences of a batch.
    ///
    /// # Panics
    /// If the samples are not those that the packing was made of.
    pub fn sequences(&self, samples: &[Sample], batch: &Batch) -> Vec<Sequence> {
        let sequence = |units: &Vec<usize>| {
            let mut sequence = Sequence::new(self.labels);
            for unit in units {
                let samples: Vec<&Sample> = self.units[*unit].samples.iter().map(|index| &samples[*index]).collect();
                let keys: Vec<Vec<u64>> = samples.iter().map(|sample| tree::keys(sample, self.context)).collect();
                let keyed: Vec<tree::Keyed<'_>> = samples.into_iter().zip(keys.iter().map(Vec::as_slice)).collect();
                tree::plant(&keyed, &mut sequence);
            }
            sequence
        };
        batch.0.iter().map(sequence).collect()
    }
}

/// Trees of a problem's samples, each within the limits; neighbours in the order of tokens share most.
fn split(samples: &[Sample], problem: Vec<usize>, context: u32, limits: &Limits) -> Vec<Unit> {
    let mut keyed: Vec<(Vec<u64>, usize)> =
        problem.into_iter().map(|index| (tree::keys(&samples[index], context), index)).collect();
    keyed.sort();
    let most = limits.sequence_samples.min(limits.batch_samples);
    let mut units: Vec<Unit> = Vec::new();
    let mut last: &[u64] = &[];
    for (keys, index) in &keyed {
        let more = keys.len() - tree::shared(last, keys);
        let fits = |unit: &&mut Unit| unit.tokens + more <= limits.sequence_tokens && unit.samples.len() < most;
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

/// A batch being filled.
#[derive(Debug, Default)]
struct Filling {
    sequences: Vec<Vec<usize>>,
    /// Tokens and samples of each.
    sizes: Vec<(usize, usize)>,
    tokens: usize,
    samples: usize,
}

impl Filling {
    fn takes(&self, unit: &Unit, limits: &Limits) -> bool {
        let tokens = self.tokens.saturating_add(unit.tokens) <= limits.batch_tokens;
        self.sequences.is_empty() || (tokens && self.samples + unit.samples.len() <= limits.batch_samples)
    }

    /// Into the first sequence that has room.
    fn put(&mut self, index: usize, unit: &Unit, limits: &Limits) {
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
