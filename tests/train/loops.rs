//! Runs: resumption, interruption, checkpoints, refusals, and policies.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mmprm::internvl::{read_layout, read_parameters};
use mmprm::train::optim::OptimizerKind;
use mmprm::train::recipe::{Compute, SolutionForm, Task};
use mmprm::train::trainer::{Event, RunError};
use mmprm::util::cancel::CancelToken;

use crate::{Bench, sample, with_image};

/// Ten problems, each with a correct and an incorrect path.
pub(crate) fn problems() -> String {
    let both = |number: usize| {
        let question = format!("What is {number} plus 2?");
        let right = format!("Add: {number} + 2 = {}.", number + 2);
        let wrong = format!("Add: {number} + 2 = {}.", number + 3);
        sample(&question, &[(&right, 1.0), ("Answer", 0.75)]) + &sample(&question, &[(&wrong, 0.0)])
    };
    (0..10).map(both).collect()
}

fn bench() -> Option<Bench> {
    let mut bench = Bench::new(&problems())?;
    bench.recipe.batch_samples = 4;
    bench.recipe.epochs = 2;
    bench.recipe.validation = 0.2;
    Some(bench)
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_killed_run_resumes_bit_exactly() {
    for (kind, precision) in [(OptimizerKind::AdamW, Compute::F32), (OptimizerKind::Muon, Compute::F16)] {
        let Some(mut whole) = bench() else { return };
        let mut broken = bench().unwrap();
        for bench in [&mut whole, &mut broken] {
            bench.recipe.optimizer = kind;
            bench.recipe.precision = precision;
            bench.recipe.save_every = 2;
        }
        let (summary, expected) = whole.run(&mut |_| ()).unwrap();
        assert_eq!((summary.steps, summary.interrupted), (8, false));
        for stop in [1, 5] {
            // A panic ends the run within a step, before anything of it is saved.
            let mut kill = |event: &Event| {
                let is_last = matches!(event, Event::Step(step) if step.step == stop);
                assert!(!is_last, "killed");
            };
            assert!(catch_unwind(AssertUnwindSafe(|| broken.run(&mut kill))).is_err());
        }
        let mut resumed = None;
        let watch = &mut |event: &Event| {
            if let Event::Resumed { step } = event {
                resumed = Some(*step);
            }
        };
        let (again, values) = broken.run(watch).unwrap();
        assert_eq!(resumed, Some(4), "{kind:?}");
        assert_eq!(again.steps, 8);
        assert_eq!(again.validation, summary.validation);
        let bits = |values: &[Vec<f32>]| values.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(bits(&values) == bits(&expected), "{kind:?}: the parameters differ");
        let log = fs::read_to_string(broken.recipe.output.join("log.jsonl")).unwrap();
        let steps = log.lines().filter(|line| line.contains("\"grad_norm\"")).count();
        assert_eq!(steps, 8, "{log}");
    }
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn an_interrupted_run_saves_and_resumes() {
    let Some(bench) = bench() else { return };
    let cancel = CancelToken::new();
    let mut stop = |event: &Event| {
        if matches!(event, Event::Step(step) if step.step == 3) {
            cancel.cancel();
        }
    };
    let (summary, _) = bench.run_until(&mut stop, &cancel).unwrap();
    assert_eq!((summary.steps, summary.interrupted), (3, true));
    let (summary, values) = bench.run(&mut |_| ()).unwrap();
    assert_eq!((summary.steps, summary.interrupted), (8, false));
    let mut other = crate::loops::bench().unwrap();
    other.recipe.save_every = 1;
    assert_eq!(other.run(&mut |_| ()).unwrap().1, values);
    // A finished run has nothing left to do.
    let (again, same) = bench.run(&mut |_| ()).unwrap();
    assert_eq!((again.steps, again.loss), (8, None));
    assert_eq!(same, values);
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn the_last_and_the_best_checkpoint_have_the_form_of_the_initial_model() {
    let Some(mut bench) = bench() else { return };
    bench.recipe.save_as = mmprm_quant::safetensors::StoredType::F32;
    let (summary, values) = bench.run(&mut |_| ()).unwrap();
    let validation = summary.validation.unwrap();
    assert!(validation.accuracy.is_some() && validation.auc.is_some());
    assert!((validation.targets - 6.0).abs() < 1e-12);
    let out = &bench.recipe.output;
    for name in ["last", "best"] {
        let layout = read_layout(&out.join(name)).unwrap();
        assert_eq!(layout.tensors(), read_layout(&bench.recipe.model).unwrap().tensors());
        let saved = read_parameters(&out.join(name), &layout, |_| true).unwrap();
        assert!(out.join(name).join("tokenizer.model").exists());
        if name == "last" {
            let trained: Vec<Vec<f32>> = (0..layout.tensors().len())
                .filter(|number| !layout.is_vision(*number))
                .map(|number| saved.get(number).unwrap().to_vec())
                .collect();
            assert!(trained == values, "the last checkpoint has other values");
        }
    }
    let recipe = fs::read_to_string(out.join("recipe.toml")).unwrap();
    assert_eq!(mmprm::train::recipe::Recipe::parse(&recipe).unwrap(), bench.recipe);
    assert!(fs::read_dir(out).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("tfevents")));
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_directory_of_another_run_is_refused() {
    let Some(mut bench) = bench() else { return };
    bench.run(&mut |_| ()).unwrap();
    bench.recipe.lr = 2e-3;
    let error = bench.run(&mut |_| ()).unwrap_err();
    assert!(matches!(&error, RunError::OtherRun { key, .. } if key == "lr"), "{error}");
    bench.recipe.lr = 1e-3;
    fs::write(bench.folder.path().join("samples.jsonl"), problems() + &sample("More?", &[("Yes.", 1.0)])).unwrap();
    let error = bench.run(&mut |_| ()).unwrap_err();
    assert!(matches!(&error, RunError::OtherRun { key, .. } if key == "files"), "{error}");
}

#[test]
fn a_directory_in_use_is_refused_and_old_temporary_files_are_removed() {
    let Some(mut bench) = bench() else { return };
    bench.recipe.steps = Some(2);
    fs::create_dir_all(bench.recipe.output.join("state")).unwrap();
    let left = bench.recipe.output.join("state/.half.tmp");
    fs::write(&left, "half").unwrap();
    let mut refused = None;
    let recipe = bench.recipe.clone();
    bench
        .run(&mut |event| {
            if refused.is_none() && matches!(event, Event::Step(_)) {
                let other = Bench { folder: tempfile::TempDir::new().unwrap(), recipe: recipe.clone() };
                refused = Some(other.run(&mut |_| ()).unwrap_err());
            }
        })
        .unwrap();
    assert!(matches!(refused, Some(RunError::InUse { .. })), "{refused:?}");
    assert!(!left.exists());
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_checkpoint_that_cannot_be_written_ends_the_run_with_its_path() {
    let Some(mut bench) = bench() else { return };
    bench.recipe.save_every = 2;
    let out = bench.recipe.output.clone();
    let mut spoil = |event: &Event| {
        if matches!(event, Event::Saved { step: 2 }) {
            // A directory in place of the file makes writing fail, as a full disk does.
            fs::remove_file(out.join("last/model.safetensors")).unwrap();
            fs::create_dir_all(out.join("last/model.safetensors/full")).unwrap();
        }
    };
    let error = bench.run(&mut spoil).unwrap_err();
    assert!(error.to_string().contains("last/model.safetensors"), "{error}");
    // The earlier save is valid, and the run resumes from it once writing works.
    fs::remove_dir_all(out.join("last/model.safetensors")).unwrap();
    let (summary, values) = bench.run(&mut |_| ()).unwrap();
    assert_eq!(summary.steps, 8);
    let whole = crate::loops::bench().unwrap();
    assert_eq!(whole.run(&mut |_| ()).unwrap().1, values);
}

#[test]
fn non_finite_numbers_end_the_run_with_their_name() {
    let Some(mut bench) = bench() else { return };
    bench.recipe.lr = 1e30;
    bench.recipe.clip = 0.0;
    let error = bench.run(&mut |_| ()).unwrap_err();
    assert!(matches!(error, RunError::NotFinite { .. }), "{error}");
    assert!(error.to_string().starts_with("step 2: the "), "{error}");
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_run_stops_when_validation_does_not_improve() {
    let Some(mut bench) = bench() else { return };
    bench.recipe.epochs = 50;
    bench.recipe.lr = 0.0;
    bench.recipe.evaluate_every = 1;
    bench.recipe.patience = Some(3);
    let (summary, _) = bench.run(&mut |_| ()).unwrap();
    assert_eq!((summary.steps, summary.stopped_early), (4, true));
    assert_eq!(summary.best.unwrap().1, 1);
    // It stays stopped when it is resumed.
    let (summary, _) = bench.run(&mut |_| ()).unwrap();
    assert_eq!((summary.steps, summary.stopped_early), (4, true));
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn a_policy_overfits_its_solutions_in_both_forms() {
    let line = |number: usize| {
        let solution = [format!("We get {number} + 1 = {}.", number + 1), format!("Answer: {}", number + 1)];
        format!("{}\n", serde_json::json!({"id": number, "question": format!("{number} + 1?"), "solution": solution}))
    };
    let Some(mut bench) = Bench::new(&(1..4).map(line).collect::<String>()) else { return };
    bench.recipe.task = Task::Policy;
    bench.recipe.forms = vec![SolutionForm::Rollout, SolutionForm::Prm];
    bench.recipe.epochs = 120;
    bench.recipe.lr = 2e-3;
    let mut losses = Vec::new();
    bench
        .run(&mut |event| {
            if let Event::Step(step) = event {
                losses.push(step.loss);
            }
        })
        .unwrap();
    println!("loss {} to {}", losses[0], losses[losses.len() - 1]);
    assert!(losses[losses.len() - 1] < 0.05, "loss {:?}", losses.last());
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn an_implicit_prm_learns_to_rank_candidates() {
    let line = |number: usize| {
        let candidate = |answer: usize| [format!("We get {number} + 1 = {answer}."), format!("Answer: {answer}")];
        let candidates = [number + 1, number + 2, number + 1, number + 3].map(candidate);
        let record = serde_json::json!({
            "id": number, "question": format!("{number} + 1?"), "candidates": candidates, "labels": [1, 0, true, false],
        });
        format!("{record}\n")
    };
    let Some(mut bench) = Bench::new(&(1..5).map(line).collect::<String>()) else { return };
    bench.recipe.task = Task::ImplicitPrm;
    (bench.recipe.epochs, bench.recipe.lr) = (60, 2e-3);
    bench.recipe.validation_samples = Some(bench.recipe.samples.clone());
    let mut losses = Vec::new();
    let (summary, _) = bench
        .run(&mut |event| {
            if let Event::Step(step) = event {
                losses.push(step.loss);
            }
        })
        .unwrap();
    // With two of four candidates right, a model that does not tell them apart has a loss of ln 2.
    assert!(losses[0] > 0.4 && losses[losses.len() - 1] < 0.1, "{losses:?}");
    let validation = summary.validation.unwrap();
    assert_eq!((validation.best_of_n, validation.targets), (Some(1.0), 4.0));
    let origin = fs::read_to_string(bench.recipe.output.join("last/mmprm.json")).unwrap();
    assert_eq!(origin, "{\"task\":\"implicit-prm\"}\n");
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn images_are_encoded_once_and_their_features_cached() {
    let Some(mut bench) = bench() else { return };
    let root = bench.folder.path();
    fs::copy(crate::support::golden().join("images/img1.png"), root.join("a.png")).unwrap();
    let with_image = with_image(Some("a.png"), "See.", &[("It is.", 0.25)]);
    fs::write(&bench.recipe.samples, with_image.repeat(3)).unwrap();
    bench.recipe.validation = 0.0;
    let (_, first) = bench.run(&mut |_| ()).unwrap();
    let kept: Vec<_> = fs::read_dir(bench.recipe.output.join("features")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    bench.recipe.features = Some(bench.recipe.output.join("features"));
    bench.recipe.output = root.join("again");
    assert_eq!(bench.run(&mut |_| ()).unwrap().1, first);
}
