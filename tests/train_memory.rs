//! Planned memory against the peak of whole steps, each measured in a process of its own.
#![cfg(target_os = "linux")]

use std::process::Command;

use mmprm::internvl::{Config, Layout, Trainable};
use mmprm::train::measure::{EpochBatches, ModelShape, optimizer, time_epoch};
use mmprm::train::memory::{MemoryPlan, Workload};
use mmprm::train::pack::PackingLimits;
use mmprm::train::recipe::{Recipe, Task};
use mmprm::util::machine;

/// The environment variable with the number of the case, set in the measured process.
const CHILD: &str = "MMPRM_TRAIN_MEMORY_CHILD";
const NAME: &str = "plans_are_within_a_tenth_of_the_peak";

struct Case {
    shape: ModelShape,
    samples: usize,
    tokens: usize,
    settings: &'static str,
}

/// Different widths, lengths and precisions, with and without checkpointing: weights dominate in some, activations in others.
fn cases() -> Vec<Case> {
    let narrow = ModelShape { width: 256, layers: 6, heads: 4, keys: 2, inner: 768, vocabulary: 4000 };
    let wide = ModelShape { width: 640, layers: 4, heads: 10, keys: 5, inner: 1728, vocabulary: 8000 };
    let case = |shape, samples, tokens, settings| Case { shape, samples, tokens, settings };
    vec![
        case(narrow, 6, 512, ""),
        case(narrow, 6, 512, "checkpointing = true"),
        case(narrow, 3, 512, "precision = 'f32'"),
        case(wide, 2, 384, ""),
        case(wide, 3, 768, "checkpointing = true"),
    ]
}

fn recipe(case: &Case) -> Recipe {
    let sequence = case.samples * case.tokens;
    let places = "model = 'none'\nsamples = 'none'\noutput = 'none'";
    Recipe::parse(&format!("{places}\nsequence_tokens = {sequence}\n{}", case.settings)).unwrap()
}

/// Trains two steps; prints the planned memory and the peak.
fn train(case: &Case) {
    let recipe = recipe(case);
    let layout = Layout::new(&Config::from_json(&case.shape.config()).unwrap());
    let samples = case.shape.samples(case.samples, case.tokens);
    let mut workload = Workload::of(&recipe, &layout, None);
    workload.targets = samples.iter().map(|sample| sample.targets.len()).sum();
    workload.image_tokens = 0;
    let mut tokens: Vec<u32> = samples.iter().flat_map(|sample| sample.tokens.clone()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    workload.distinct_tokens = tokens.len();
    let planned = MemoryPlan::of(&workload);
    let mut model = case.shape.model(&recipe).unwrap();
    let mut optimizer = optimizer(&recipe, &model);
    let limits = PackingLimits { sequence_tokens: recipe.sequence_tokens, ..PackingLimits::default() };
    let epoch = EpochBatches::new(&samples, None, &limits, 0);
    let peak = [0; 2].map(|_| time_epoch(&mut model, &mut optimizer, &epoch).unwrap().peak).into_iter().flatten().max();
    // The peak of the whole process where the system cannot restart it.
    let peak = peak.or_else(machine::peak).unwrap();
    println!("planned and peak: {} {peak} {:?}", planned.total(), planned.parts);
}

#[test]
#[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn plans_are_within_a_tenth_of_the_peak() {
    let cases = cases();
    if let Ok(number) = std::env::var(CHILD) {
        return train(&cases[number.parse::<usize>().unwrap()]);
    }
    for number in 0..cases.len() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, number.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find_map(|line| line.split("planned and peak: ").nth(1)).expect("the child reports");
        let mut words = line.splitn(3, ' ');
        let mut bytes = || words.next().unwrap().parse::<u64>().unwrap() as f64;
        let (planned, peak) = (bytes(), bytes());
        let deviation = planned / peak - 1.0;
        eprintln!(
            "case {number}: planned {:.0} MiB, took {:.0}, {deviation:+.3}: {line}",
            planned / 1048576.0,
            peak / 1048576.0
        );
        assert!(deviation.abs() <= 0.1, "case {number}: planned {planned}, took {peak}");
    }
}

#[test]
fn a_model_of_8_billion_parameters_is_planned_from_its_shapes() {
    // The language model of InternVL2.5-8B.
    let shape = ModelShape { width: 4096, layers: 32, heads: 32, keys: 8, inner: 14336, vocabulary: 92_553 };
    let layout = Layout::new(&Config::from_json(&shape.config()).unwrap());
    let workload = Workload { task: Task::Prm, ..Workload::new(&layout, &Trainable::all(&layout), 4096) };
    // 7.7 billion weights at 16 bytes.
    let total = MemoryPlan::of(&workload).total() as f64 / f64::from(1 << 30);
    assert!((115.0..160.0).contains(&total), "{total} GiB");
}
