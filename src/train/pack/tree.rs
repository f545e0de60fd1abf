use std::collections::BTreeMap;

use super::{Aims, Sequence};
use crate::train::data::{Goal, Placed, Sample};

/// What distinguishes the tokens of a sample: their ids, and for those of images which image and which row of it.
pub(super) fn keys(sample: &Sample, context: u32) -> Vec<u64> {
    let mut keys: Vec<u64> = sample.tokens.iter().map(|token| u64::from(*token)).collect();
    for placed in &sample.images {
        let rows = keys[placed.start..].iter_mut().take_while(|key| **key == u64::from(context));
        for (row, key) in rows.enumerate() {
            *key = 1 << 63 | (placed.image as u64) << 32 | row as u64;
        }
    }
    keys
}

/// Length of the common start.
pub(super) fn shared(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A sample and its keys.
pub(super) type Keyed<'a> = (&'a Sample, &'a [u64]);

/// Samples that are going to share a part of their path.
struct Branch {
    /// Of the sorted samples.
    samples: std::ops::Range<usize>,
    /// Tokens that are packed already.
    depth: usize,
    parent: Option<usize>,
}

/// Adds a tree of samples, which are sorted by their keys, to a sequence. Each stretch of tokens that some of them share is
/// there once; its targets count for each sample that has them.
pub(super) fn plant(samples: &[Keyed<'_>], into: &mut Sequence) {
    let mut open = vec![Branch { samples: 0..samples.len(), depth: 0, parent: None }];
    while let Some(Branch { samples: range, depth, parent }) = open.pop() {
        let (first, last) = (samples[range.start], samples[range.end - 1]);
        // Sorted samples share what the first and the last share.
        let end = shared(first.1, last.1);
        let parent = if end > depth {
            segment(&samples[range.clone()], depth..end, into);
            into.segments.push((end - depth, parent));
            Some(into.segments.len() - 1)
        } else {
            parent
        };
        // Samples that end here come first; the others go on, in branches by their next token. Branches are taken from the
        // end of the list, so the first is put there last.
        let going = range.start + samples[range.clone()].iter().take_while(|(_, keys)| keys.len() == end).count();
        let mut branches: Vec<Branch> = samples[going..range.end]
            .chunk_by(|a, b| a.1[end] == b.1[end])
            .scan(going, |start, branch| {
                let samples = *start..*start + branch.len();
                *start = samples.end;
                Some(Branch { samples, depth: end, parent })
            })
            .collect();
        branches.reverse();
        open.extend(branches);
    }
    into.paths += samples.len();
    into.effective += samples.iter().map(|(sample, _)| sample.tokens.len()).sum::<usize>();
}

/// Appends rows `rows` of samples that have them in common.
fn segment(samples: &[Keyed<'_>], rows: std::ops::Range<usize>, into: &mut Sequence) {
    let start = into.tokens.len();
    let place = |row: usize| start + row - rows.start;
    let first = samples[0].0;
    let images = first.images.iter().filter(|placed| rows.contains(&placed.start));
    into.images.extend(images.map(|placed| Placed { start: place(placed.start), image: placed.image }));
    into.tokens.extend(&first.tokens[rows.clone()]);
    // By row and next token: the weight of the samples that have the target, and the weighted sum of their labels. Cross
    // entropy is linear in the label, so the mean label with the weight of all gives the sum of their losses exactly.
    let mut goals: BTreeMap<(usize, u32), (f64, f64)> = BTreeMap::new();
    for (sample, _) in samples {
        for target in sample.targets.iter().filter(|target| rows.contains(&target.row)) {
            let (token, label) = match target.goal {
                Goal::Label(label) => (0, f64::from(label)),
                Goal::Token(token) => (token, 0.0),
            };
            let goal = goals.entry((place(target.row), token)).or_default();
            let weight = f64::from(target.weight);
            goal.0 += weight;
            goal.1 += label * weight;
        }
    }
    for ((row, token), (weight, labels)) in goals {
        into.rows.push(row);
        into.weights.push(weight);
        match &mut into.aims {
            // Labels without weight have no mean, and need none.
            Aims::Labels(all) => all.push(if weight > 0.0 { (labels / weight) as f32 } else { 0.5 }),
            Aims::Tokens(all) => all.push(token),
        }
    }
}
