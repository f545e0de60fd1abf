//! Labels: a model trained long enough outputs them.

use mmprm::train::learner::Learner;
use mmprm::train::optim::Schedule;
use mmprm::train::pack::{Packing, SequenceTargets};

use crate::trees::paths;
use crate::{ARCHITECTURES, Bench, sample};

/// The labels of the samples, and the trained model's scores for them.
fn learnt(bench: &Bench) -> Vec<(f32, f32)> {
    let data = bench.data();
    let mut full = bench.open(&data);
    mmprm::train::trainer::run(&mut full, &data, &bench.recipe, &mut |_| (), &mmprm::util::cancel::CancelToken::new())
        .unwrap();
    let packing = Packing::new(&data.train.samples, data.train.special.context, &bench.recipe.packing_limits(), 0);
    let mut pairs = Vec::new();
    for batch in packing.epoch(0) {
        for sequence in packing.sequences(&data.train.samples, &batch) {
            let scores = full.loss(&sequence, 1.0).unwrap().outputs;
            let SequenceTargets::Labels(labels, _) = &sequence.targets else { panic!("labels") };
            pairs.extend(labels.iter().copied().zip(scores));
        }
    }
    pairs
}

/// 32 sums, every other one correct, each with two steps labelled 0 or 1.
fn sums() -> String {
    let one = |number: usize| {
        let right = number.is_multiple_of(2);
        let sum = if right { number + 7 } else { number + 6 };
        let label = f32::from(u8::from(right));
        sample(
            &format!("What is {number} plus 7?"),
            &[(&format!("We add: {number} + 7 = {sum}."), label), (&format!("Answer: {sum}"), label)],
        )
    };
    (0..32).map(one).collect()
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn thirty_two_samples_with_hard_labels_are_overfitted() {
    for architecture in ARCHITECTURES {
        let Some(mut bench) = Bench::of(architecture, &sums()) else { continue };
        bench.recipe.epochs = 20;
        bench.recipe.batch_samples = 8;
        bench.recipe.lr = 2e-3;
        let pairs = learnt(&bench);
        assert_eq!(pairs.len(), 64);
        let losses = pairs.iter().map(|(label, score)| -f64::from((1.0 - (label - score).abs()).ln()));
        let loss = losses.sum::<f64>() / pairs.len() as f64;
        println!("{architecture}: mean loss {loss:.1e}");
        assert!(loss < 0.01, "{architecture}: mean loss {loss}");
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn soft_labels_are_reproduced() {
    for architecture in ARCHITECTURES {
        let Some(mut bench) = Bench::of(architecture, &paths()) else { continue };
        bench.recipe.epochs = 150;
        bench.recipe.schedule = Schedule::Linear;
        let pairs = learnt(&bench);
        println!("{architecture}: labels and scores {pairs:?}");
        assert!(pairs.iter().any(|(label, _)| (label - 0.37).abs() < 1e-6));
        for (label, score) in pairs {
            assert!((label - score).abs() < 0.02, "{architecture}: a label of {label} became {score}");
        }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn contradictory_labels_become_their_mean() {
    for architecture in ARCHITECTURES {
        let both = [("2 + 2 = 4.", 1.0), ("2 + 2 = 4.", 0.0), ("2 + 2 = 4.", 0.5)];
        let samples: String = both.map(|step| sample("What is 2 plus 2?", &[step])).concat();
        for trees in [true, false] {
            let Some(mut bench) = Bench::of(architecture, &samples) else { continue };
            bench.recipe.epochs = 100;
            bench.recipe.trees = trees;
            bench.recipe.schedule = Schedule::Linear;
            for (_, score) in learnt(&bench) {
                assert!((score - 0.5).abs() < 0.02, "{architecture}, trees {trees}: {score}");
            }
        }
    }
}
