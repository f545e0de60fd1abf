//! Statistics of the mini policy's rollouts: success rates and Monte Carlo values against those
//! measured with MM-PRM's code.
//!
//! The whole test set takes a command instead of a test; its results are in `benches/records`.

mod support;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmprm::data::problem::{Problem, Problems};
use mmprm::engine::{Engine, EngineOptions, Sampling};
use mmprm::judge::{RuleVerifier, Verdict, Verifier};
use mmprm::policy::{GenerationOptions, LocalPolicy, RolloutModel, RolloutRequest};
use mmprm::vision::prompts::{PromptEncoder, PromptEncoderOptions};
use mmprm_quant::convert::WeightType;
use serde_json::Value;
use support::{convert, load, numbers, repository};

fn data() -> PathBuf {
    std::env::var_os("MMPRM_MINI_K12").map_or_else(|| repository().join("demo/mini-k12"), PathBuf::from)
}

/// The mini policy in f16, sampling as in the given measurements, on the fixed schedule.
fn policy(data_root: PathBuf) -> (LocalPolicy, support::Pair) {
    let pair = convert(&repository().join("demo/checkpoints/mini-mm-policy"), WeightType::F16);
    let model = load(&pair);
    let encoder = PromptEncoder::load(Arc::clone(&model), Some(&pair.mmproj), PromptEncoderOptions::default()).unwrap();
    let engine = Engine::start(&model, EngineOptions { deterministic: true, ..EngineOptions::default() }).unwrap();
    let options = GenerationOptions {
        sampling: Sampling { repetition_penalty: 1.0, ..Sampling::default() },
        max_tokens: 400,
        seed: 1,
        data_root,
        ..GenerationOptions::default()
    };
    (LocalPolicy::new(engine, encoder, options).unwrap().keep_prompts(true), pair)
}

fn records(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The fraction of `count` rollouts after `prefix` whose final answer is correct.
fn success(policy: &LocalPolicy, problem: &Problem, prefix: &[String], count: usize) -> f64 {
    let request = RolloutRequest::new(problem, prefix, count, prefix.len() as u64);
    let rollouts = policy.rollouts(&request).unwrap();
    let right = rollouts.iter().filter(|sampled| {
        sampled.rollout.last().is_some_and(|answer| RuleVerifier.verify(problem, answer).unwrap() == Verdict::Correct)
    });
    right.count() as f64 / count as f64
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let count = pairs.len() as f64;
    let (mean_x, mean_y) =
        (pairs.iter().map(|pair| pair.0).sum::<f64>() / count, pairs.iter().map(|pair| pair.1).sum::<f64>() / count);
    let sum = |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|&(x, y)| f(x - mean_x, y - mean_y)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[test]
fn golden_success_rates_agree() {
    let folder = data().join("test");
    let problems = Problems::load(&folder.join("test.json"), None).unwrap();
    let expected: HashMap<String, f64> = records(&folder.join("rollouts.jsonl"))
        .iter()
        .map(|record| {
            let rollouts = record["rollouts"].as_array().unwrap();
            let right = rollouts.iter().filter(|rollout| rollout["correct"] == true).count();
            (record["id"].as_str().unwrap().to_owned(), right as f64 / rollouts.len() as f64)
        })
        .collect();
    let (policy, _pair) = policy(problems.root.clone());
    let every_fifth: Vec<&Problem> = problems.items.iter().step_by(5).collect();
    let (mut ours, mut theirs) = (0.0, 0.0);
    for problem in &every_fifth {
        ours += success(&policy, problem, &[], 8);
        theirs += expected[&problem.id];
    }
    let count = every_fifth.len() as f64;
    let (ours, theirs) = (ours / count, theirs / count);
    println!("pass@1 on {count} problems: {ours:.3}, expected {theirs:.3}");
    // 800 rollouts against 1,600 on the same problems: the standard error of the difference is
    // 0.02.
    assert!((ours - theirs).abs() < 0.06, "{ours} {theirs}");
}

#[test]
fn golden_monte_carlo_values_correlate() {
    let folder = data().join("train");
    let problems = Problems::load(&folder.join("problems.json"), None).unwrap();
    let by_id: HashMap<&str, &Problem> = problems.items.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let (policy, _pair) = policy(problems.root.clone());
    let mut seen = HashSet::new();
    let mut pairs = Vec::new();
    for record in records(&folder.join("mc_labels.jsonl")) {
        let id = record["id"].as_str().unwrap();
        if seen.len() == 50 || !seen.insert(id.to_owned()) {
            continue;
        }
        let steps: Vec<String> = serde_json::from_value(record["steps"].clone()).unwrap();
        let labels = numbers(&record["labels"]);
        // The last step is the answer, which is judged without rollouts and would inflate the
        // correlation.
        for (end, label) in (1..steps.len()).zip(labels) {
            pairs.push((success(&policy, by_id[id], &steps[..end], 8), label));
        }
    }
    let correlation = correlation(&pairs);
    println!("{} problems, {} steps: correlation {correlation:.3}", seen.len(), pairs.len());
    assert!(correlation >= 0.85, "{correlation}");
}
