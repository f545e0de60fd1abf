use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::internvl::{ComparedStep, RankedCandidate, RatioPrefix, StepLoss};
use crate::nn::attention::{Mask, Segments};
use crate::train::data::{Placed, Prefix, Target};

const CONTEXT: u32 = 9;

/// A sample with a step end at each token 7.
fn sample(problem: u64, tokens: &[u32], label: f32) -> Sample {
    let rows = (0..tokens.len()).filter(|row| tokens[*row] == 7);
    let targets = rows.map(|row| Target::new(row, TargetValue::Label(label))).collect();
    let tokens = tokens.to_vec();
    Sample { id: "0".into(), problem, tokens, images: vec![], targets, right: None, prefixes: vec![] }
}

fn whole(samples: &[Sample], limits: &PackingLimits) -> Vec<Sequence> {
    let packing = Packing::new(samples, Some(CONTEXT), limits, 1);
    packing.epoch(0).iter().flat_map(|batch| packing.sequences(samples, batch)).collect()
}

/// Ids of the tokens that the token at `row` attends to, itself last, found by walking the segments.
fn path(sequence: &Sequence, row: usize) -> Vec<u32> {
    let mut starts = vec![0];
    for (length, _) in &sequence.segments {
        starts.push(starts[starts.len() - 1] + length);
    }
    let mut segment = (0..sequence.segments.len()).find(|index| row < starts[index + 1]).unwrap();
    let mut seen = sequence.tokens[starts[segment]..=row].to_vec();
    while let Some(parent) = sequence.segments[segment].1 {
        seen.splice(0..0, sequence.tokens[starts[parent]..starts[parent + 1]].iter().copied());
        segment = parent;
    }
    seen
}

#[test]
fn a_sample_that_ends_inside_another_keeps_its_labels() {
    let samples = [sample(1, &[1, 7], 0.25), sample(1, &[1, 7, 2, 7], 0.75)];
    let sequence = whole(&samples, &PackingLimits::default()).remove(0);
    assert_eq!(sequence.segments, [(2, None), (2, Some(0))]);
    assert_eq!(sequence.targets, SequenceTargets::Labels(vec![0.5, 0.75], StepLoss::CrossEntropy));
    assert_eq!(sequence.weights, [2.0, 1.0]);
    assert_eq!((sequence.tokens.len(), sequence.effective_tokens, sequence.samples, sequence.weight()), (4, 6, 2, 3.0));
}

#[test]
fn different_images_are_not_shared_although_their_tokens_are_equal() {
    let with_image = |image| {
        let mut sample = sample(1, &[1, CONTEXT, CONTEXT, 7], 0.5);
        sample.images = vec![Placed { start: 1, image }];
        sample
    };
    let sequence = whole(&[with_image(0), with_image(1), with_image(0)], &PackingLimits::default()).remove(0);
    assert_eq!(sequence.segments, [(1, None), (3, Some(0)), (3, Some(0))]);
    assert_eq!(sequence.images, [Placed { start: 1, image: 0 }, Placed { start: 4, image: 1 }]);
    assert_eq!(sequence.weights, [2.0, 1.0]);
}

#[test]
fn the_last_shared_token_predicts_the_first_of_each_branch() {
    let reply = |tokens: &[u32]| Sample {
        targets: (0..tokens.len() - 1).map(|row| Target::new(row, TargetValue::Token(tokens[row + 1]))).collect(),
        ..sample(1, tokens, 0.0)
    };
    let sequence =
        whole(&[reply(&[1, 2, 3]), reply(&[1, 2, 4]), reply(&[1, 2, 3])], &PackingLimits::default()).remove(0);
    assert_eq!(sequence.rows, [0, 1, 1]);
    assert_eq!(sequence.targets, SequenceTargets::Tokens(vec![2, 3, 4]));
    assert_eq!(sequence.weights, [3.0, 2.0, 1.0]);
}

#[test]
fn candidates_of_a_ranking_refer_to_the_tokens_they_share() {
    let candidate = |problem: u64, tokens: &[u32], right: bool| Sample {
        targets: (1..tokens.len() - 1).map(|row| Target::new(row, TargetValue::Token(tokens[row + 1]))).collect(),
        right: Some(right),
        ..sample(problem, tokens, 0.0)
    };
    let samples = [
        candidate(1, &[1, 2, 3, 4], true),
        candidate(1, &[1, 2, 3, 5], false),
        candidate(2, &[1, 2, 6], true),
        candidate(1, &[1, 2, 8], false),
        candidate(1, &[1, 2, 3, 4], true),
    ];
    let limits = PackingLimits { shuffle: false, ..PackingLimits::default() };
    let sequence = whole(&samples, &limits).remove(0);
    let SequenceTargets::Ranking(ids, problems) = &sequence.targets else { panic!("a ranking") };
    let tokens = |candidate: &RankedCandidate| candidate.targets.iter().map(|target| ids[*target]).collect::<Vec<_>>();
    let of = |problem: &Vec<RankedCandidate>| problem.iter().map(|it| (tokens(it), it.right)).collect::<Vec<_>>();
    let first = [(vec![3, 4], true), (vec![3, 4], true), (vec![3, 5], false), (vec![8], false)];
    assert_eq!(problems.iter().map(of).collect::<Vec<_>>(), [first.to_vec(), vec![(vec![6], true)]]);
    assert_eq!(sequence.weight(), 1.0, "a problem without a wrong candidate does not count");
    assert_eq!(ids.len(), sequence.rows.len());
    assert_eq!(problems[0][0].targets, problems[0][1].targets, "equal candidates are computed once");
}

#[test]
fn compared_steps_are_those_of_solutions_or_of_problems() {
    let labelled = |problem: u64, tokens: &[u32], labels: &[f32]| {
        let mut sample = sample(problem, tokens, 0.0);
        sample.targets.iter_mut().zip(labels).for_each(|(target, label)| target.value = TargetValue::Label(*label));
        sample
    };
    let mut samples = [
        labelled(1, &[1, 7, 2, 7], &[1.0, 0.0]),
        labelled(2, &[1, 7], &[1.0]),
        labelled(1, &[1, 7, 3, 7], &[0.5, 1.0]),
    ];
    samples[2].targets[0].weight = 3.0;
    let with = |label_loss, trees| {
        let limits = PackingLimits { shuffle: false, label_loss, trees, ..PackingLimits::default() };
        let sequence = whole(&samples, &limits).remove(0);
        let SequenceTargets::Labels(labels, loss) = &sequence.targets else { panic!("labels") };
        let own = |step: &ComparedStep| (sequence.rows[step.target], step.label, step.weight);
        let groups = loss.groups().iter().map(|group| group.iter().map(own).collect::<Vec<_>>()).collect::<Vec<_>>();
        (sequence.rows.clone(), labels.clone(), sequence.weight(), groups)
    };
    let q_values = LabelLoss::QValues { margin: 4.0 };
    // Rows 1, 3 and 5 are of the first problem, whose samples share row 1; row 7 is of the second.
    let solutions = [vec![(1, 1.0, 1.0), (3, 0.0, 1.0)], vec![(1, 0.5, 3.0), (5, 1.0, 1.0)], vec![(7, 1.0, 1.0)]];
    assert_eq!(with(q_values, true), (vec![1, 3, 5, 7], vec![0.625, 0.0, 1.0, 1.0], 3.0, solutions.to_vec()));
    let problems = [vec![(1, 0.625, 2.0), (3, 0.0, 1.0), (5, 1.0, 1.0)], vec![(7, 1.0, 1.0)]];
    assert_eq!(with(LabelLoss::Pairs, true), (vec![1, 3, 5, 7], vec![0.625, 0.0, 1.0, 1.0], 1.0, problems.to_vec()));
    let (rows, labels, weight, _) = with(LabelLoss::SquaredError, true);
    assert_eq!((rows, labels, weight), (vec![1, 1, 3, 5, 7], vec![0.5, 1.0, 0.0, 1.0, 1.0], 7.0));
    let apart = with(q_values, false);
    assert_eq!((apart.0, apart.2), (vec![1, 3, 5, 7, 9], 3.0));
}

#[test]
fn solutions_of_a_ratio_refer_to_the_tokens_they_share() {
    let solution = |problem: u64, tokens: &[u32], prefixes: &[(usize, f32)]| {
        let mut sample = sample(problem, tokens, 0.0);
        let targets = (1..tokens.len() - 1).map(|row| Target::new(row, TargetValue::Token(tokens[row + 1])));
        sample.targets = targets.collect();
        sample.targets.iter_mut().zip([-0.5, -0.25, -4.0]).for_each(|(target, reference)| target.reference = reference);
        let prefix = |(targets, label): &(usize, f32)| Prefix { targets: *targets, label: *label, weight: 2.0 };
        sample.prefixes = prefixes.iter().map(prefix).collect();
        sample
    };
    let samples = [
        solution(1, &[1, 2, 3, 5], &[(1, 0.5), (2, 1.0)]),
        solution(2, &[1, 2, 6], &[(1, 0.25)]),
        solution(1, &[1, 2, 3, 4], &[(2, 0.0)]),
    ];
    let limits = PackingLimits { shuffle: false, ..PackingLimits::default() };
    let packing = Packing::new(&samples, Some(CONTEXT), &limits, 1);
    let batch = packing.epoch(0).remove(0);
    assert_eq!(packing.members(&batch), [[2, 0, 1]]);
    let sequence = packing.sequences(&samples, &batch).remove(0);
    let SequenceTargets::Ratio(ids, problems) = &sequence.targets else { panic!("a ratio") };
    let of = |solution: &WeightedPath| {
        let tokens: Vec<u32> = solution.path.targets.iter().map(|target| ids[*target]).collect();
        let prefix = |prefix: &RatioPrefix| (prefix.targets, prefix.reference, prefix.label);
        (tokens, solution.path.prefixes.iter().map(prefix).collect::<Vec<_>>())
    };
    let found: Vec<Vec<_>> = problems.iter().map(|problem| problem.iter().map(of).collect()).collect();
    let first = vec![(vec![3, 4], vec![(2, -0.75, 0.0)]), (vec![3, 5], vec![(1, -0.5, 0.5), (2, -0.75, 1.0)])];
    assert_eq!(found, [first, vec![(vec![6], vec![(1, -0.5, 0.25)])]]);
    assert_eq!((sequence.weight(), ids.len()), (8.0, sequence.rows.len()));
}

#[test]
fn packing_without_trees_shares_nothing_and_respects_the_limits() {
    let samples: Vec<Sample> = (0..7).map(|_| sample(1, &[1, 2, 7], 1.0)).collect();
    let limits = PackingLimits {
        trees: false,
        sequence_tokens: 7,
        batch_samples: 5,
        shuffle: false,
        ..PackingLimits::default()
    };
    let packing = Packing::new(&samples, Some(CONTEXT), &limits, 1);
    let batches: Vec<Vec<usize>> = packing
        .epoch(0)
        .iter()
        .map(|batch| packing.sequences(&samples, batch).iter().map(|s| s.samples).collect())
        .collect();
    assert_eq!(batches, [vec![2, 2, 1], vec![2]]);
    assert_eq!(packing.unique_tokens(), 21);
}

#[test]
fn a_sample_longer_than_a_sequence_is_a_sequence_of_its_own() {
    let samples = [sample(1, &[1, 7], 1.0), sample(2, &[1, 2, 3, 4, 5, 7], 1.0), sample(3, &[2, 7], 1.0)];
    let limits = PackingLimits { sequence_tokens: 4, shuffle: false, ..PackingLimits::default() };
    let sequences = whole(&samples, &limits);
    assert_eq!(sequences.iter().map(|sequence| sequence.tokens.len()).collect::<Vec<_>>(), [4, 6]);
}

#[test]
fn epochs_differ_in_order_and_are_reproducible() {
    let samples: Vec<Sample> = (0..50).map(|index| sample(index, &[index as u32 + 10, 7], 1.0)).collect();
    let packing = |seed| Packing::new(&samples, Some(CONTEXT), &PackingLimits::default(), seed);
    assert_eq!(packing(3).epoch(1), packing(3).epoch(1));
    assert_ne!(packing(3).epoch(1), packing(3).epoch(2));
    assert_ne!(packing(3).epoch(1), packing(4).epoch(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_sample_keeps_its_context_and_its_targets(
        texts in prop::collection::vec((0..3_u64, prop::collection::vec(1..4_u32, 1..12), 0.0..=1.0_f32, 0.25..4.0_f32), 1..20),
        budget in 1..60_usize,
        trees: bool,
    ) {
        let samples: Vec<Sample> = texts.iter().map(|(problem, tokens, label, weight)| {
            let mut tokens: Vec<u32> = tokens.iter().map(|t| if *t == 3 { 7 } else { *t }).collect();
            tokens.push(7);
            let mut sample = sample(*problem, &tokens, *label);
            sample.targets.iter_mut().for_each(|target| target.weight = *weight);
            sample
        }).collect();
        let limits = PackingLimits { sequence_tokens: budget, batch_samples: 8, trees, ..PackingLimits::default() };
        let sequences = whole(&samples, &limits);
        // For each context: total weight, and weighted sum of labels.
        let mut wanted: BTreeMap<Vec<u32>, (f64, f64)> = BTreeMap::new();
        let mut found = wanted.clone();
        for sample in &samples {
            for target in &sample.targets {
                let TargetValue::Label(label) = target.value else { unreachable!() };
                let entry = wanted.entry(sample.tokens[..=target.row].to_vec()).or_default();
                entry.0 += f64::from(target.weight);
                entry.1 += f64::from(label) * f64::from(target.weight);
            }
        }
        for sequence in &sequences {
            let segments = Segments::new(&sequence.segments, Mask::Causal);
            prop_assert_eq!(segments.tokens(), sequence.tokens.len());
            let SequenceTargets::Labels(labels, _) = &sequence.targets else { unreachable!() };
            for ((row, label), weight) in sequence.rows.iter().zip(labels).zip(&sequence.weights) {
                let seen = path(sequence, *row);
                prop_assert_eq!(segments.positions()[*row] as usize, seen.len() - 1);
                let entry = found.entry(seen).or_default();
                entry.0 += *weight;
                entry.1 += f64::from(*label) * weight;
            }
            prop_assert!(sequence.tokens.len() <= budget || sequence.samples == 1);
            prop_assert!(sequence.rows.windows(2).all(|pair| pair[0] <= pair[1]));
        }
        prop_assert_eq!(sequences.iter().map(|s| s.samples).sum::<usize>(), samples.len());
        prop_assert_eq!(wanted.keys().collect::<HashSet<_>>(), found.keys().collect::<HashSet<_>>());
        for (key, (weight, sum)) in &wanted {
            prop_assert!((weight - found[key].0).abs() < 1e-5);
            prop_assert!((sum - found[key].1).abs() < 1e-5);
        }
    }
}
