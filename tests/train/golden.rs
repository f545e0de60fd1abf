use std::fs;
use std::path::{Path, PathBuf};

use mmprm::train::data::{Goal, Sample};
use mmprm::train::run::Event;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::{Bench, checkpoint, golden};

/// The architectures that the copy has training outputs and a checkpoint of.
fn architectures() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(golden().join("train")).into_iter().flatten().flatten();
    let mut found: Vec<(String, PathBuf)> = entries
        .filter(|entry| entry.path().join("data.safetensors").exists())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| checkpoint(name).is_some())
        .collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no cases in {}", golden().join("train").display());
    }
    found
}

/// The samples whose pictures the copy has, and their numbers.
fn samples() -> Vec<(usize, String)> {
    let text = fs::read_to_string(golden().join("train/samples.jsonl")).unwrap();
    let has_picture = |line: &&str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["image"].as_str().is_none_or(|image| golden().join("images").join(image).exists())
    };
    text.lines().enumerate().filter(|(_, line)| has_picture(line)).map(|(i, line)| (i, line.to_owned())).collect()
}

/// A bench that trains as the reference's script did.
fn bench(architecture: &str, lines: &[(usize, String)]) -> Bench {
    let text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    let mut bench = Bench::new(&text.join("\n")).unwrap();
    bench.recipe.model = checkpoint(architecture).unwrap();
    bench.recipe.data_root = Some(golden().join("images"));
    bench.recipe.trees = false;
    bench.recipe.shuffle = false;
    bench.recipe.reference_loss = true;
    bench.recipe.sequence_samples = Some(2);
    bench.recipe.batch_samples = 8;
    bench.recipe.epochs = 3;
    bench.recipe.warmup = 0.03;
    bench.recipe.weight_decay = 0.05;
    bench
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn integers(file: &SafeTensors<'_>, name: &str) -> Vec<i64> {
    let data = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
    data.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Labels as the reference lays them out: one a token, −100 where there is none.
fn laid_out(sample: &Sample) -> Vec<f32> {
    let mut labels = vec![-100.0; sample.tokens.len()];
    for target in &sample.targets {
        let Goal::Label(label) = target.goal else { panic!("a label") };
        labels[target.row] = label;
    }
    labels
}

#[test]
fn golden_train_token_ids_and_targets_are_the_references() {
    let mut compared = 0;
    for (architecture, folder) in architectures() {
        let bytes = read(&folder.join("data.safetensors"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let lines = samples();
        let data = bench(&architecture, &lines).data();
        for ((number, _), sample) in lines.iter().zip(&data.train.samples) {
            let name = |part: &str| format!("sample{number}.{part}");
            let ids: Vec<i64> = sample.tokens.iter().map(|token| i64::from(*token)).collect();
            assert_eq!(ids, integers(&file, &name("input_ids")), "{architecture}: sample {number}");
            assert_eq!(laid_out(sample), floats(&file, &name("labels")), "{architecture}: sample {number}");
            let positions: Vec<i64> = (0..ids.len() as i64).collect();
            assert_eq!(positions, integers(&file, &name("position_ids")));
            compared += 1;
        }
    }
    assert!(compared > 0 || architectures().is_empty(), "no golden case was found");
    println!("{compared} samples compared");
}

#[test]
fn golden_train_schedule_is_the_references() {
    use mmprm::train::optim::{Schedule, warmup_steps};
    for (_, folder) in architectures() {
        let info: Value = serde_json::from_slice(&read(&folder.join("info.json"))).unwrap();
        let example = &info["schedule_example"];
        let total = example["total"].as_u64().unwrap();
        let warmup = example["warmup"].as_u64().unwrap();
        assert_eq!(warmup_steps(0.03, total), warmup);
        for (step, expected) in example["factors"].as_array().unwrap().iter().enumerate() {
            let factor = Schedule::Cosine.factor(step as u64, warmup, total);
            assert!((factor - expected.as_f64().unwrap()).abs() < 1e-12, "step {step}: {factor}, expected {expected}");
        }
    }
}

#[test]
fn golden_train_three_steps_give_the_references_losses_and_parameters() {
    let mut compared = 0;
    for (architecture, folder) in architectures() {
        let lines = samples();
        let all = fs::read_to_string(golden().join("train/samples.jsonl")).unwrap().lines().count();
        let parameters = folder.join("params_after_3_steps_lr1e-3.safetensors");
        if lines.len() < all || !parameters.exists() {
            eprintln!("skipped: pictures or parameters of {architecture} are missing");
            continue;
        }
        let info: Value = serde_json::from_slice(&read(&folder.join("info.json"))).unwrap();
        let bench = bench(&architecture, &lines);
        let data = bench.data();
        let mut full = bench.open(&data);
        let mut steps = Vec::new();
        let mut watch = |event: &Event| {
            if let Event::Step(step) = event {
                steps.push(step.clone());
            }
        };
        mmprm::train::run::run(&mut full, &data, &bench.recipe, &mut watch, &false.into()).unwrap();
        for (step, expected) in steps.iter().zip(info["lr1e_3"]["steps"].as_array().unwrap()) {
            let losses: Vec<f64> =
                expected["micro_losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
            let loss = losses.iter().sum::<f64>() / losses.len() as f64;
            assert!((step.lr - expected["lr"].as_f64().unwrap()).abs() < 1e-12);
            assert!((step.loss - loss).abs() < 1e-5 * loss, "{architecture}: loss {} expected {loss}", step.loss);
            let norm = expected["grad_norm"].as_f64().unwrap();
            assert!((step.grad_norm - norm).abs() < 1e-5 * norm, "{architecture}: {} expected {norm}", step.grad_norm);
        }
        assert_eq!(steps.len(), 3);
        let bytes = read(&parameters);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let weights = full.weights();
        let bytes = read(&folder.join("grads.safetensors"));
        let gradients = SafeTensors::deserialize(&bytes).unwrap();
        // Gradients are asked to 1e-5 of their tensor, so a single one is known to about 1e-5 of the tensor's root mean
        // square r. Adam divides by it: over learning rates that sum to 1.5e-3, a value is known to 2e-5 only where its
        // gradient is at least 7.5e-4 r. Below that each value is held by its tensor as a whole.
        let (mut all, mut unsure, mut worst) = (0, 0, (0.0_f32, String::new()));
        for name in file.names() {
            let number = weights.index(name).unwrap_or_else(|| panic!("no tensor {name}"));
            let (ours, theirs, gradient) =
                (weights.get(number).unwrap(), floats(&file, name), floats(&gradients, name));
            let square = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            let known = 1e-3 * (square(&gradient) / gradient.len() as f64).sqrt();
            let apart: Vec<f32> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours - theirs).collect();
            let relative = (square(&apart) / square(&theirs)).sqrt();
            assert!(relative <= 2e-5, "{architecture}: {name} differs by {relative:e} of its length");
            for (apart, gradient) in apart.iter().zip(gradient) {
                all += 1;
                if gradient != 0.0 && f64::from(gradient.abs()) < known {
                    unsure += 1;
                } else if apart.abs() > worst.0 {
                    worst = (apart.abs(), name.to_owned());
                }
            }
        }
        let (difference, name) = &worst;
        println!("{architecture}: at most {difference:.1e}, in {name}; {unsure} of {all} values by their tensor only");
        assert!(*difference <= 2e-5, "{architecture}: a value of {name} differs by {difference:e}");
        assert!(unsure * 100 < all, "{architecture}: {unsure} of {all} values left to their tensor");
        compared += 1;
    }
    println!("{compared} architectures compared");
}
