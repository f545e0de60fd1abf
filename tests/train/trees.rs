use std::sync::atomic::AtomicBool;

use mmprm::train::learner::Learner;
use mmprm::train::pack::{Limits, Packing};
use mmprm::train::run::{Data, Event};

use crate::{Bench, sample};

/// Four paths of one problem with shared steps, one of another, one twice.
fn paths() -> String {
    let shared = ("The sides are 3 and 4.", 0.6);
    [
        sample("Find the area.", &[shared, ("Multiply: 3 * 4 = 12.", 0.9), ("Answer: 12", 1.0)]),
        sample("Find the area.", &[shared, ("Multiply: 3 * 4 = 12.", 0.9), ("Answer: 13", 0.0)]),
        sample("Find the sum.", &[("1 + 1 = 2.", 0.37)]),
        sample("Find the area.", &[shared, ("Add: 3 + 4 = 7.", 0.1)]),
        sample("Find the area.", &[("The sides are 5 and 4.", 0.0)]),
        sample("Find the sum.", &[("1 + 1 = 2.", 0.37)]),
    ]
    .concat()
}

/// Mean loss, tokens and gradients over all samples.
fn gradients(bench: &Bench, data: &Data, trees: bool) -> (f64, usize, Vec<Vec<f32>>) {
    let mut full = bench.open(data);
    let limits = Limits { trees, sequence_samples: if trees { usize::MAX } else { 1 }, ..Limits::default() };
    let packing = Packing::new(&data.train.samples, data.train.words.context, &limits, 0);
    let sequences: Vec<_> =
        packing.epoch(0).iter().flat_map(|batch| packing.sequences(&data.train.samples, batch)).collect();
    let weight: u64 = sequences.iter().map(mmprm::train::pack::Sequence::weight).sum();
    let loss = sequences.iter().map(|sequence| full.gradients(sequence, 1.0 / weight as f64).unwrap().loss).sum();
    let tokens = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
    (loss, tokens, full.sums().into_iter().map(<[f32]>::to_vec).collect())
}

fn assert_alike(bench: &Bench) {
    let data = bench.data();
    let (tree_loss, tree_tokens, tree) = gradients(bench, &data, true);
    let (path_loss, path_tokens, paths) = gradients(bench, &data, false);
    println!("{tree_tokens} tokens as trees, {path_tokens} as paths; losses {tree_loss} and {path_loss}");
    assert!(tree_tokens * 2 < path_tokens);
    assert!((tree_loss - path_loss).abs() < 1e-5 * path_loss);
    for (index, (tree, path)) in tree.iter().zip(&paths).enumerate() {
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let difference = norm(&mut tree.iter().zip(path).map(|(a, b)| a - b));
        let length = norm(&mut path.iter().copied());
        assert!(difference <= 1e-5 * length, "tensor {index}: {difference} of {length}");
    }
}

#[test]
fn a_tree_of_steps_has_the_loss_and_gradients_of_its_paths() {
    let Some(bench) = Bench::new(&paths()) else { return };
    assert_alike(&bench);
}

#[test]
fn a_tree_of_replies_has_the_loss_and_gradients_of_its_paths() {
    let reply = |answer: &str| {
        let solution = ["Read the numbers 3 and 4.", "So we get 3 * 4 = 12.", answer];
        format!("{}\n", serde_json::json!({"id": 1, "question": "What is 3 times 4?", "solution": solution}))
    };
    let samples = [reply("Answer: 12"), reply("Answer: 13"), reply("Answer: 12"), reply("Answer: no")].concat();
    let Some(mut bench) = Bench::new(&samples) else { return };
    bench.recipe.task = mmprm::train::recipe::Aim::Policy;
    bench.recipe.forms = vec![mmprm::train::recipe::Form::Rollout, mmprm::train::recipe::Form::Prm];
    // The tiny vocabulary has no step tags; their pieces do as well.
    assert_alike(&bench);
}

#[test]
fn soft_labels_stay_what_they_are() {
    let Some(mut bench) = Bench::new(&paths()) else { return };
    bench.recipe.epochs = 150;
    bench.recipe.schedule = mmprm::train::optim::Schedule::Linear;
    let data = bench.data();
    let mut full = bench.open(&data);
    let mut losses = Vec::new();
    let mut watch = |event: &Event| {
        if let Event::Step(step) = event {
            losses.push(step.loss);
        }
    };
    mmprm::train::run::run(&mut full, &data, &bench.recipe, &mut watch, &AtomicBool::new(false)).unwrap();
    let packing = Packing::new(&data.train.samples, data.train.words.context, &bench.recipe.limits(), 0);
    for sequence in packing.sequences(&data.train.samples, &packing.epoch(0)[0]) {
        let scores = full.loss(&sequence, 1.0).unwrap().rows;
        let mmprm::train::pack::Aims::Labels(labels) = &sequence.aims else { panic!("labels") };
        println!("labels {labels:?}\nscores {scores:?}");
        for (label, score) in labels.iter().zip(&scores) {
            assert!((label - score).abs() < 0.02, "a label of {label} became {score}");
        }
    }
    assert!(losses[losses.len() - 1] < losses[0]);
}
