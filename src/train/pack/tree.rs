//! Merges samples into a tree of segments by their common prefixes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::sequence::{Sequence, SequenceTargets, WeightedPath};
use crate::internvl::{ComparedStep, RankedCandidate, RatioPath, RatioPrefix, StepLoss};
use crate::train::data::{Placed, Prefix, Sample, Target, TargetValue};

/// Keys that identify the tokens of a sample: their ids, and for context tokens the image and the row in it.
pub(super) fn keys(sample: &Sample, context: Option<u32>) -> Vec<u64> {
    let mut keys: Vec<u64> = sample.tokens.iter().map(|token| u64::from(*token)).collect();
    for placed in &sample.images {
        let rows = keys[placed.start..]
            .iter_mut()
            .take_while(|key| context.is_some_and(|context| **key == u64::from(context)));
        for (row, key) in rows.enumerate() {
            *key = 1 << 63 | (placed.image as u64) << 32 | row as u64;
        }
    }
    keys
}

/// Length of the common prefix.
pub(super) fn shared(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A sample and its keys.
pub(super) type Keyed<'a> = (&'a Sample, &'a [u64]);

/// Samples that share a part of their path.
struct Branch {
    /// Range of the sorted samples.
    samples: Range<usize>,
    /// Tokens already packed.
    depth: usize,
    parent: Option<usize>,
}

/// Appends a tree of samples, sorted by their keys, to a sequence. Tokens that samples share occur once; their targets get
/// the sum of the samples' weights. For a ranking the samples become the candidates of a problem; where steps are compared, a sample
/// is a solution.
pub(super) fn append(samples: &[Keyed<'_>], into: &mut Sequence) {
    match &mut into.targets {
        SequenceTargets::Ranking(_, problems) => {
            let candidate = |(sample, _): &Keyed<'_>| RankedCandidate {
                targets: Vec::with_capacity(sample.targets.len()),
                right: sample.right == Some(true),
            };
            problems.push(samples.iter().map(candidate).collect());
        }
        SequenceTargets::Labels(_, StepLoss::QValues { solutions, .. }) => {
            solutions.extend(samples.iter().map(|(sample, _)| Vec::with_capacity(sample.targets.len())));
        }
        SequenceTargets::Labels(_, StepLoss::Pairs { problems }) => problems.push(Vec::new()),
        SequenceTargets::Ratio(_, problems) => problems.push(samples.iter().map(|(sample, _)| path(sample)).collect()),
        SequenceTargets::Labels(..) | SequenceTargets::Tokens(_) => {}
    }
    let mut open = vec![Branch { samples: 0..samples.len(), depth: 0, parent: None }];
    while let Some(Branch { samples: range, depth, parent }) = open.pop() {
        let (first, last) = (samples[range.start], samples[range.end - 1]);
        // The common prefix of sorted samples is that of the first and the last.
        let end = shared(first.1, last.1);
        let parent = if end > depth {
            segment(samples, range.clone(), depth..end, into);
            into.segments.push((end - depth, parent));
            Some(into.segments.len() - 1)
        } else {
            parent
        };
        // Samples that end here come first; the others branch by their next token. Branches are popped from the end of the
        // list, so the first one is pushed last.
        let first_branch =
            range.start + samples[range.clone()].iter().take_while(|(_, keys)| keys.len() == end).count();
        let mut branches: Vec<Branch> = samples[first_branch..range.end]
            .chunk_by(|a, b| a.1[end] == b.1[end])
            .scan(first_branch, |start, branch| {
                let samples = *start..*start + branch.len();
                *start = samples.end;
                Some(Branch { samples, depth: end, parent })
            })
            .collect();
        branches.reverse();
        open.extend(branches);
    }
    into.samples += samples.len();
    into.effective_tokens += samples.iter().map(|(sample, _)| sample.tokens.len()).sum::<usize>();
}

/// A sample's prefixes, as yet without targets.
fn path(sample: &Sample) -> WeightedPath {
    let sum = |targets: usize| sample.targets[..targets].iter().map(|target| f64::from(target.reference)).sum();
    let prefix =
        |prefix: &Prefix| RatioPrefix { targets: prefix.targets, reference: sum(prefix.targets), label: prefix.label };
    let prefixes = sample.prefixes.iter().map(prefix).collect();
    let path = RatioPath { targets: Vec::with_capacity(sample.targets.len()), prefixes };
    WeightedPath { path, weights: sample.prefixes.iter().map(|prefix| prefix.weight).collect() }
}

/// Appends rows `rows`, which the samples `sharers` share.
fn segment(samples: &[Keyed<'_>], sharers: Range<usize>, rows: Range<usize>, into: &mut Sequence) {
    let start = into.tokens.len();
    let place = |row: usize| start + row - rows.start;
    let first = samples[sharers.start].0;
    let images = first.images.iter().filter(|placed| rows.contains(&placed.start));
    into.images.extend(images.map(|placed| Placed { start: place(placed.start), image: placed.image }));
    into.tokens.extend(&first.tokens[rows.clone()]);
    // The squared error is not linear in the label: steps with different labels have targets of their own.
    let is_split = matches!(into.targets, SequenceTargets::Labels(_, StepLoss::SquaredError));
    let key = |target: &Target| match target.value {
        TargetValue::Label(label) => (place(target.row), if is_split { label.to_bits() } else { 0 }),
        TargetValue::Token(token) => (place(target.row), token),
    };
    let mut merged: BTreeMap<(usize, u32), Merged> = BTreeMap::new();
    for (sample, _) in &samples[sharers.clone()] {
        for target in sample.targets.iter().filter(|target| rows.contains(&target.row)) {
            merged.entry(key(target)).or_default().add(target);
        }
    }
    let index: BTreeMap<(usize, u32), usize> = merged.keys().copied().zip(into.rows.len()..).collect();
    match &mut into.targets {
        SequenceTargets::Ranking(_, problems) => {
            let candidates = problems.last_mut().expect("a problem is open while its samples are appended");
            for (candidate, (sample, _)) in candidates[sharers.clone()].iter_mut().zip(&samples[sharers]) {
                let targets = sample.targets.iter().filter(|target| rows.contains(&target.row));
                candidate.targets.extend(targets.map(|target| index[&key(target)]));
            }
        }
        SequenceTargets::Labels(_, StepLoss::QValues { solutions, .. }) => {
            let first = solutions.len() - samples.len();
            for (solution, (sample, _)) in solutions[first..][sharers.clone()].iter_mut().zip(&samples[sharers]) {
                let targets = sample.targets.iter().filter(|target| rows.contains(&target.row));
                solution.extend(targets.map(|target| {
                    let own = Merged::of(target);
                    ComparedStep { target: index[&key(target)], label: own.label(), weight: target.weight }
                }));
            }
        }
        SequenceTargets::Labels(_, StepLoss::Pairs { problems }) => {
            let steps = problems.last_mut().expect("a problem is open while its samples are appended");
            steps.extend(index.iter().map(|(key, target)| {
                let step = &merged[key];
                ComparedStep { target: *target, label: step.label(), weight: (step.weight / step.count) as f32 }
            }));
        }
        SequenceTargets::Ratio(_, problems) => {
            let paths = problems.last_mut().expect("a problem is open while its samples are appended");
            for (path, (sample, _)) in paths[sharers.clone()].iter_mut().zip(&samples[sharers]) {
                let targets = sample.targets.iter().filter(|target| rows.contains(&target.row));
                path.path.targets.extend(targets.map(|target| index[&key(target)]));
            }
        }
        SequenceTargets::Labels(..) | SequenceTargets::Tokens(_) => {}
    }
    for ((row, token), step) in merged {
        into.rows.push(row);
        into.weights.push(step.weight);
        match &mut into.targets {
            SequenceTargets::Labels(all, _) => all.push(step.label()),
            SequenceTargets::Tokens(all) | SequenceTargets::Ranking(all, _) | SequenceTargets::Ratio(all, _) => {
                all.push(token);
            }
        }
    }
}

/// What samples have to learn at a row that they share.
#[derive(Debug, Default)]
struct Merged {
    /// Total weight.
    weight: f64,
    /// Weighted sum of the labels. Cross entropy is linear in the label, so the mean label with the total weight gives exactly the
    /// sum of the samples' losses.
    labels: f64,
    /// Number of samples.
    count: f64,
}

impl Merged {
    fn of(target: &Target) -> Self {
        let mut merged = Self::default();
        merged.add(target);
        merged
    }

    fn add(&mut self, target: &Target) {
        let label = match target.value {
            TargetValue::Label(label) => f64::from(label),
            TargetValue::Token(_) => 0.0,
        };
        let weight = f64::from(target.weight);
        self.weight += weight;
        self.labels += label * weight;
        self.count += 1.0;
    }

    /// The mean label. Labels of weight 0 have none and do not count.
    fn label(&self) -> f32 {
        if self.weight > 0.0 { (self.labels / self.weight) as f32 } else { 0.5 }
    }
}
