//! Losses besides soft cross entropy: packed trees, training, resumption, reference models, and what is refused.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use mmprm::train::learner::Learner;
use mmprm::train::optim::Schedule;
use mmprm::train::pack::{Packing, PackingLimits, Sequence, SequenceTargets};
use mmprm::train::prepare::{PrepareError, prepare};
use mmprm::train::recipe::{LoraOptions, LossKind, Task};
use mmprm::train::{Event, TrainError, train_with};
use mmprm::util::cancel::CancelToken;
use serde_json::json;

use crate::trees::{assert_alike, one_by_one, paths, sums};
use crate::{ARCHITECTURES, Bench, sample, tokenizer};

/// Three problems with candidates that share steps, as `mmprm samples --ranking` writes them.
fn candidates() -> String {
    let one = |number: usize| {
        let first = format!("Add: {number} + 2 = {}.", number + 2);
        let answers = [number + 2, number + 3, number + 2, number];
        let candidates: Vec<_> = answers.iter().map(|answer| json!([first, format!("Answer: {answer}")])).collect();
        let question = format!("What is {number} plus 2?");
        format!("{}\n", json!({"id": number, "question": question, "candidates": candidates, "labels": [1, 0, 1, 0]}))
    };
    (0..3).map(one).collect()
}

fn bench(architecture: &str, loss: LossKind) -> Option<Bench> {
    let samples = if matches!(loss, LossKind::Outcome | LossKind::Ranking) { candidates() } else { paths() };
    let mut bench = Bench::of(architecture, &samples)?;
    (bench.recipe.task, bench.recipe.loss) = (loss.task(), Some(loss));
    Some(bench)
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn trees_have_the_loss_and_gradients_of_their_paths_with_every_loss_of_solutions() {
    for architecture in ARCHITECTURES {
        for loss in [LossKind::Hard, LossKind::Mse, LossKind::Pqm, LossKind::Outcome, LossKind::Steps] {
            let Some(mut bench) = bench(architecture, loss) else { continue };
            bench.recipe.beta = matches!(loss, LossKind::Outcome | LossKind::Steps).then_some(0.5);
            let mut data = bench.data();
            for (index, target) in data.train.samples.iter_mut().flat_map(|sample| &mut sample.targets).enumerate() {
                target.reference = -1.0 - (index % 7) as f32 / 4.0;
            }
            let limits = bench.recipe.packing_limits();
            let (trees, apart) = (sums(&bench, &data, limits), one_by_one(&bench, &data));
            assert!(trees.tokens < apart.tokens);
            assert_alike(&format!("{architecture}, {loss:?}"), &trees, &apart);
        }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn pairs_are_of_the_distinct_steps_of_a_tree() {
    let Some(bench) = bench("internlm2", LossKind::Pairwise) else { return };
    let (data, limits) = (bench.data(), bench.recipe.packing_limits());
    let mut full = bench.open(&data);
    let packing = Packing::new(&data.train.samples, data.train.special.context, &limits, 0);
    let batch = packing.epoch(0).remove(0);
    let sequence = packing.sequences(&data.train.samples, &batch).remove(0);
    let found = full.loss(&sequence, 1.0).unwrap();
    let SequenceTargets::Labels(labels, _) = &sequence.targets else { panic!("labels") };
    // All steps but the single one of the second problem, which has no other label.
    let mut steps: Vec<(f32, f64)> = labels.iter().copied().zip(found.outputs.iter().map(|p| f64::from(*p))).collect();
    let before = steps.len();
    steps.retain(|(label, _)| (label - 0.37).abs() > 1e-6);
    assert_eq!((before - steps.len(), steps.len(), sequence.weight()), (1, 6, 1.0));
    let logit = |score: f64| (score / (1.0 - score)).ln();
    let mut terms = Vec::new();
    for (label, score) in &steps {
        for (_, lower) in steps.iter().filter(|(other, _)| other < label) {
            terms.push((1.0 + (logit(*lower) - logit(*score)).exp()).ln());
        }
    }
    let expected = terms.iter().sum::<f64>() / terms.len() as f64;
    assert!((found.loss / expected - 1.0).abs() < 1e-4, "{} for {expected}", found.loss);
}

/// Mean loss over the training samples.
fn loss_of(bench: &Bench, full: &mut dyn Learner, limits: &PackingLimits) -> f64 {
    let data = bench.data();
    let packing = Packing::new(&data.train.samples, data.train.special.context, limits, 0);
    let sequences: Vec<Sequence> =
        packing.epoch(0).iter().flat_map(|batch| packing.sequences(&data.train.samples, batch)).collect();
    let weight: f64 = sequences.iter().map(Sequence::weight).sum();
    sequences.iter().map(|sequence| full.loss(sequence, 1.0 / weight).unwrap().loss).sum()
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn every_loss_of_steps_is_learnt() {
    for loss in [LossKind::Hard, LossKind::Mse, LossKind::Pqm, LossKind::Pairwise] {
        let Some(mut bench) = bench("internlm2", loss) else { return };
        (bench.recipe.epochs, bench.recipe.lr, bench.recipe.schedule) = (60, 3e-4, Schedule::Linear);
        let (data, limits) = (bench.data(), bench.recipe.packing_limits());
        let mut full = bench.open(&data);
        let before = loss_of(&bench, &mut full, &limits);
        mmprm::train::trainer::run(&mut full, &data, &bench.recipe, &mut |_| (), &CancelToken::new()).unwrap();
        let after = loss_of(&bench, &mut full, &limits);
        println!("{loss:?}: {before} → {after}");
        assert!(after < 0.7 * before, "{loss:?}: {before} → {after}");
    }
}

/// Trains by the whole job; returns the losses of its steps and the last weights.
fn train(bench: &Bench, stop: Option<u64>) -> (Vec<f64>, Option<Vec<u8>>) {
    let mut losses = Vec::new();
    let mut on_event = |event: &Event| {
        if let Event::Step(step) = event {
            losses.push(step.loss);
            assert!(stop != Some(step.step), "killed");
        }
    };
    let tokenizer = tokenizer(&bench.recipe.model);
    let mut run = || train_with(&bench.recipe, &tokenizer, &mut on_event, &CancelToken::new()).unwrap();
    if stop.is_some() {
        assert!(catch_unwind(AssertUnwindSafe(&mut run)).is_err());
    } else {
        run();
    }
    let weights =
        ["model.safetensors", "adapter_model.safetensors"].map(|name| bench.recipe.output.join("last").join(name));
    (losses, weights.iter().find_map(|path| fs::read(path).ok()))
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn killed_runs_of_every_loss_resume_bit_exactly() {
    let all = [LossKind::Mse, LossKind::Pqm, LossKind::Pairwise, LossKind::Ranking, LossKind::Outcome, LossKind::Steps];
    for loss in all {
        for lora in [None, Some(LoraOptions { rank: 2, ..LoraOptions::default() })] {
            if lora.is_some() && loss != LossKind::Outcome {
                continue;
            }
            let make = || {
                let mut bench = bench("internlm2", loss)?;
                (bench.recipe.epochs, bench.recipe.save_every, bench.recipe.lora) = (4, 2, lora.clone());
                bench.recipe.batch_samples = 12;
                Some(bench)
            };
            let (Some(whole), Some(broken)) = (make(), make()) else { return };
            let expected = train(&whole, None).1.expect("a checkpoint");
            train(&broken, Some(3));
            let reference = broken.recipe.output.join("reference.safetensors");
            let written = || fs::metadata(&reference).and_then(|file| file.modified()).ok();
            let before = written();
            assert_eq!(before.is_some(), matches!(loss, LossKind::Outcome | LossKind::Steps), "{loss:?}");
            assert!(train(&broken, None).1.as_deref() == Some(&expected[..]), "{loss:?}: the weights differ");
            assert_eq!(written(), before, "{loss:?}: the reference was computed again");
        }
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_ratio_begins_at_one_half_and_is_to_the_reference_that_is_named() {
    for loss in [LossKind::Outcome, LossKind::Steps] {
        let Some(mut bench) = bench("internlm2", loss) else { return };
        (bench.recipe.epochs, bench.recipe.beta, bench.recipe.lr) = (8, Some(0.5), 5e-5);
        let (losses, _) = train(&bench, None);
        // σ(0) = 0.5, whatever the label.
        assert!((losses[0] - 2.0_f64.ln()).abs() < 1e-5, "{loss:?}: {losses:?}");
        assert!(losses[losses.len() - 1] < 0.95 * losses[0], "{loss:?}: {losses:?}");
        let origin = fs::read_to_string(bench.recipe.output.join("last/mmprm.json")).unwrap();
        assert!(
            ["implicit-prm", "logprob-ratio", "beta = 0.5", "cumulative = true"]
                .iter()
                .all(|part| origin.contains(part)),
            "{origin}"
        );
        // A run from what was trained, against the same initial model, begins where the other one ended.
        let trained = bench.recipe.output.join("last");
        let initial = std::mem::replace(&mut bench.recipe.model, trained);
        bench.recipe.output = bench.folder.path().join("second");
        bench.recipe.reference = Some(initial);
        let (again, _) = train(&bench, None);
        assert!(again[0] < 0.95 * losses[0], "{loss:?}: {again:?} after {losses:?}");
        bench.recipe.output = bench.folder.path().join("third");
        bench.recipe.reference = None;
        assert!((train(&bench, None).0[0] - 2.0_f64.ln()).abs() < 1e-5);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn references_with_another_vocabulary_are_refused() {
    let Some(mut bench) = bench("internlm2", LossKind::Outcome) else { return };
    let tokenizer = tokenizer(&bench.recipe.model);
    let refused = |bench: &Bench, parts: &[&str]| {
        let error = train_with(&bench.recipe, &tokenizer, &mut |_| (), &CancelToken::new()).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, TrainError::Reference(_)) && error.is_bad_input(), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)) && !message.contains('\n'), "{message}");
    };
    let other = bench.folder.path().join("other");
    bench.recipe.reference = Some(other.clone());
    refused(&bench, &["reference", "other"]);
    copy(&bench.recipe.model, &other);
    let config = fs::read_to_string(other.join("config.json")).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&config).unwrap();
    let size = changed["llm_config"]["vocab_size"].as_u64().unwrap();
    changed["llm_config"]["vocab_size"] = json!(size + 1);
    fs::write(other.join("config.json"), changed.to_string()).unwrap();
    refused(&bench, &["other", "another vocabulary", &format!("{} and {size} tokens", size + 1)]);
    fs::write(other.join("config.json"), config).unwrap();
    let name = ["tokenizer.model", "vocab.json", "tokenizer.json"].into_iter().find(|name| other.join(name).exists());
    let path = other.join(name.expect("a tokenizer"));
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(b' ');
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    refused(&bench, &["other", "another vocabulary", name.unwrap_or_default()]);
}

#[test]
fn samples_without_anything_to_compare_are_refused() {
    let same = sample("What is 1 plus 1?", &[("It is 2.", 0.5), ("Answer: 2", 0.5)]);
    let elsewhere = sample("What is 1 plus 2?", &[("It is 3.", 1.0)]);
    let right = |labels: [u8; 2]| {
        format!("{}\n", json!({"id": 1, "question": "q", "candidates": [["a"], ["b"]], "labels": labels}))
    };
    for (task, loss, samples) in [
        (Task::Prm, Some(LossKind::Pairwise), same + &elsewhere),
        (Task::ImplicitPrm, None, right([1, 1])),
        (Task::ImplicitPrm, Some(LossKind::Ranking), right([0, 0])),
    ] {
        let Some(mut bench) = Bench::new(&samples) else { return };
        (bench.recipe.task, bench.recipe.loss) = (task, loss);
        let error = prepare(&bench.recipe, &tokenizer(&bench.recipe.model)).unwrap_err();
        assert!(matches!(error, PrepareError::NothingToCompare { .. }), "{error}");
        bench.recipe.loss = (task == Task::ImplicitPrm).then_some(LossKind::Outcome);
        assert!(prepare(&bench.recipe, &tokenizer(&bench.recipe.model)).is_ok());
    }
}
