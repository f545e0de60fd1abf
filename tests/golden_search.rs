//! Golden: `OmegaPRM` replayed from MM-PRM's rollouts gives its selections, trees and numbers.

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use mmprm::data::problem::Problem;
use mmprm::data::solution::Rollout;
use mmprm::data::tree::{file_stem, json};
use mmprm::judge::{OnUnjudged, Verdict, Verifier, VerifyError};
use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use mmprm::prompt::rollout_user;
use mmprm::search::pool::CandidatePool;
use mmprm::search::{Observer, SearchParams, Selection, search_observed};
use serde_json::Value;
use support::{assert_compared, golden, golden_text};

#[test]
fn golden_searches_repeat_the_references_selections_and_trees() {
    let Some(traces) = golden_text("mcts/traces.jsonl") else { return };
    let (mut searched, mut compared) = (0, 0);
    for line in traces.lines() {
        let trace: Value = serde_json::from_str(line).expect("a trace is a line of JSON");
        let name = text(&trace["name"]);
        if !trace["error"].is_null() {
            eprintln!("{name} is not replayed: MM-PRM itself failed");
            continue;
        }
        let tree = replay(&trace);
        searched += 1;
        if let Some(golden) = tree_file(name) {
            assert_eq!(tree, golden, "{name}: the tree differs");
            compared += 1;
        }
    }
    assert!(searched > 0, "no trace could be replayed");
    assert_compared(compared, "mcts/trees");
    eprintln!("{searched} traces replayed, {compared} trees compared");
}

#[test]
fn golden_tree_files_are_read_and_written_unchanged() {
    let mut count = 0;
    for path in tree_files() {
        let tree = json::read(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(json::to_string(&tree), fs::read_to_string(&path).unwrap(), "{}", path.display());
        count += 1;
    }
    assert_compared(count, "mcts/trees");
}

#[test]
fn golden_candidate_pool_keeps_the_order_of_heapq() {
    let Some(heap) = golden_text("mcts/heap.json") else { return };
    let heap: Value = serde_json::from_str(&heap).expect("heap.json is JSON");
    let mut visits = vec![0; number(&heap["n_states"])];
    let mut pool = CandidatePool::new();
    let mut names: HashMap<(usize, Rollout), usize> = HashMap::new();
    let operations = heap["ops"].as_array().expect("ops is a list");
    assert!(!operations.is_empty(), "no operation in heap.json");
    for (index, operation) in operations.iter().enumerate() {
        match text(&operation[0]) {
            "visit" => visits[number(&operation[1])] += 1,
            "update" => {
                let (state, rollout) = (number(&operation[1]), strings(&operation[2]));
                let new = || pool.add(state, rollout.clone().into());
                let candidate = *names.entry((state, rollout.clone())).or_insert_with(new);
                pool.push(candidate, operation[3].as_f64().expect("a priority"), &|state| visits[state]);
            }
            "pop" => {
                let popped = pool.pop(&|state| visits[state]).map(|candidate| {
                    let candidate = pool.candidate(candidate);
                    (candidate.state, candidate.rollout.to_vec())
                });
                let expected = operation[1].as_u64().map(|state| (state as usize, strings(&operation[2])));
                assert_eq!(popped, expected, "operation {index}");
            }
            other => panic!("operation {index}: unknown operation {other}"),
        }
    }
}

/// Replays a trace, compares everything that it records, and returns the text of its tree.
fn replay(trace: &Value) -> String {
    let name = text(&trace["name"]);
    let pool = strings(&trace["steps"]);
    let problem = problem(&trace["item"]);
    assert_eq!(file_stem(&problem), text(&trace["output_md5"]), "{name}: the file's name");

    let policy = Script { calls: list(&trace["calls"]), pool: &pool, done: Mutex::new(0) };
    let mut watch = Watch { name, expected: list(&trace["selections"]), pool: &pool, seen: 0, rollouts: 0 };
    let outcome = search_observed(&problem, &policy, &EndsWithAnswer, &params(&trace["params"]), &mut watch)
        .unwrap_or_else(|error| panic!("{name}: {error}"));

    let stats = outcome.stats;
    assert_eq!(*policy.done.lock().unwrap(), policy.calls.len(), "{name}: requests to the policy");
    assert_eq!(watch.seen, watch.expected.len(), "{name}: selections");
    assert_eq!(watch.rollouts, stats.rollouts, "{name}: rollouts seen by the observer");
    assert_eq!(stats.searches, number(&trace["search_count"]), "{name}: searches");
    assert_eq!(stats.rollouts, number(&trace["total_rollouts"]), "{name}: rollouts");
    assert_eq!(stats.pushes, number(&trace["n_priority_updates"]), "{name}: priorities given");
    assert_eq!(stats.ties, number(&trace["state_lt_calls"]), "{name}: ties between states");
    let sum = trace["priority_sum"].as_f64().expect("priority_sum is a number");
    assert_eq!(stats.priority_sum.to_bits(), sum.to_bits(), "{name}: {} against {sum}", stats.priority_sum);
    json::to_string(&outcome.tree)
}

/// Returns the recorded rollouts, in order, for the recorded prompts.
struct Script<'a> {
    calls: &'a [Value],
    pool: &'a [String],
    done: Mutex<usize>,
}

impl RolloutModel for Script<'_> {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        let mut done = self.done.lock().unwrap();
        assert_eq!(request.node, *done as u64, "requests are numbered in order");
        let call = self.calls.get(*done).ok_or_else(|| PolicyError::Model("the trace has no further call".into()))?;
        *done += 1;
        assert_eq!(rollout_user(&request.problem.question, request.prefix), text(&call["prompt"]), "prompt {done}");
        assert_eq!(request.count, number(&call["num_copies"]));
        Ok(list(&call["rollouts"]).iter().map(|rollout| pooled(self.pool, rollout).into()).collect())
    }
}

/// The answer check of the traces.
struct EndsWithAnswer;

impl Verifier for EndsWithAnswer {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        let right = answer.trim().ends_with(&format!("The final answer is {}", problem.answer));
        Ok(if right { Verdict::Correct } else { Verdict::Incorrect })
    }
}

/// Compares every selection with the recorded one.
struct Watch<'a> {
    name: &'a str,
    expected: &'a [Value],
    pool: &'a [String],
    seen: usize,
    rollouts: usize,
}

impl Observer for Watch<'_> {
    fn rollouts_sampled(&mut self, count: usize) {
        self.rollouts += count;
    }

    fn selected(&mut self, selection: &Selection<'_>) {
        let place = format!("{}: selection {}", self.name, self.seen);
        let expected = self.expected.get(self.seen).unwrap_or_else(|| panic!("{place}: one too many"));
        self.seen += 1;
        assert_eq!(selection.rollout, pooled(self.pool, &expected["rollout"]), "{place}");
        assert_eq!(selection.prefix, pooled(self.pool, &expected["prefix"]), "{place}");
        assert_eq!(Some(selection.mc_value), expected["mc_value"].as_f64(), "{place}");
        assert_eq!(Some(selection.visit_count), expected["visit_count"].as_u64(), "{place}");
        for (key, value) in [
            ("search_count", selection.searches),
            ("total_rollouts", selection.rollouts),
            ("heap_size", selection.heap_size),
            ("n_entries", selection.candidates),
        ] {
            assert_eq!(value, number(&expected[key]), "{place}: {key}");
        }
    }
}

fn problem(item: &Value) -> Problem {
    Problem {
        record: item.as_object().expect("an item is an object").clone(),
        id: text(&item["id"]).into(),
        question: text(&item["question"]).into(),
        answer: text(&item["correct_answer"]).into(),
        images: vec![text(&item["image_path"]).into()],
    }
}

fn params(value: &Value) -> SearchParams {
    let float = |key: &str| value[key].as_f64().expect("a parameter is a number");
    SearchParams {
        c_puct: float("c_puct"),
        alpha: float("alpha"),
        beta: float("beta"),
        length_scale: float("length_scale"),
        rollouts: number(&value["num_rollouts"]),
        max_searches: number(&value["max_search_count"]),
        rollout_budget: number(&value["rollout_budget"]),
        unjudged: OnUnjudged::Incorrect,
        ..SearchParams::default()
    }
}

fn tree_files() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(golden().join("mcts/trees")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// The golden tree `NN_name.json`, if it exists.
fn tree_file(name: &str) -> Option<String> {
    let is_named = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        stem.split_once('_').is_some_and(|(_, rest)| rest == name)
    };
    tree_files().into_iter().find(is_named).map(|path| fs::read_to_string(path).unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a whole number") as usize
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(|item| text(item).to_owned()).collect()
}

fn pooled(pool: &[String], indices: &Value) -> Vec<String> {
    list(indices).iter().map(|index| pool[number(index)].clone()).collect()
}
