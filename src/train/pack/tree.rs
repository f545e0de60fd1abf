//! Merges samples into a tree of segments by their common prefixes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::sequence::{Sequence, SequenceTargets};
use crate::internvl::RankedCandidate;
use crate::train::data::{Placed, Sample, TargetValue};

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
/// the sum of the samples' weights. For a ranking the samples become the candidates of a problem.
pub(super) fn append(samples: &[Keyed<'_>], into: &mut Sequence) {
    if let SequenceTargets::Ranking(_, problems) = &mut into.targets {
        let candidate = |(sample, _): &Keyed<'_>| RankedCandidate {
            targets: Vec::with_capacity(sample.targets.len()),
            right: sample.right == Some(true),
        };
        problems.push(samples.iter().map(candidate).collect());
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

/// Appends rows `rows`, which the samples `sharers` share.
fn segment(samples: &[Keyed<'_>], sharers: Range<usize>, rows: Range<usize>, into: &mut Sequence) {
    let start = into.tokens.len();
    let place = |row: usize| start + row - rows.start;
    let first = samples[sharers.start].0;
    let images = first.images.iter().filter(|placed| rows.contains(&placed.start));
    into.images.extend(images.map(|placed| Placed { start: place(placed.start), image: placed.image }));
    into.tokens.extend(&first.tokens[rows.clone()]);
    // For each row and next token: the total weight, and the weighted sum of labels. Cross entropy is linear in the label,
    // so the mean label with the total weight gives exactly the sum of the samples' losses.
    let mut merged: BTreeMap<(usize, u32), (f64, f64)> = BTreeMap::new();
    for (sample, _) in &samples[sharers.clone()] {
        for target in sample.targets.iter().filter(|target| rows.contains(&target.row)) {
            let label = match target.value {
                TargetValue::Label(label) => f64::from(label),
                TargetValue::Token(_) => 0.0,
            };
            let sums = merged.entry(key(place(target.row), target.value)).or_default();
            let weight = f64::from(target.weight);
            sums.0 += weight;
            sums.1 += label * weight;
        }
    }
    if let SequenceTargets::Ranking(_, problems) = &mut into.targets {
        let index: BTreeMap<(usize, u32), usize> = merged.keys().copied().zip(into.rows.len()..).collect();
        let candidates = problems.last_mut().expect("a problem is open while its samples are appended");
        for (candidate, (sample, _)) in candidates[sharers.clone()].iter_mut().zip(&samples[sharers]) {
            let targets = sample.targets.iter().filter(|target| rows.contains(&target.row));
            candidate.targets.extend(targets.map(|target| index[&key(place(target.row), target.value)]));
        }
    }
    for ((row, token), (weight, labels)) in merged {
        into.rows.push(row);
        into.weights.push(weight);
        match &mut into.targets {
            // Labels of weight 0 have no mean and do not count.
            SequenceTargets::Labels(all) => all.push(if weight > 0.0 { (labels / weight) as f32 } else { 0.5 }),
            SequenceTargets::Tokens(all) | SequenceTargets::Ranking(all, _) => all.push(token),
        }
    }
}

/// What targets at a row are merged by: the next token, if it is what is predicted.
fn key(row: usize, value: TargetValue) -> (usize, u32) {
    match value {
        TargetValue::Label(_) => (row, 0),
        TargetValue::Token(token) => (row, token),
    }
}
