//! Golden: MM-PRM's data pipeline from trees to training samples, and its splitting of problem
//! files (`golden/pipeline`).

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use mmprm::compat::json::dumps_indent;
use mmprm::data::samples::{self, Paths, Sample, SampleKind, is_skipped, sample_line};
use mmprm::data::tree::{Tree, json};
use serde_json::Value;
use support::{assert_compared, golden, golden_text};

#[test]
fn golden_traversal_gives_mm_prms_paths_and_draws() {
    let Some(cases) = read_json("pipeline/traverse.json") else { return };
    let hand_made = hand_made_trees();
    let mut count = 0;
    for case in list(&cases) {
        let name = text(&case["tree"]);
        // This copy may lack some of the trees.
        let Some(tree) = load(name, &hand_made) else { continue };
        let paths = Paths::of(&tree);
        assert_eq!(!is_skipped(&tree), case["used_by_main"].as_bool().unwrap(), "{name}: skipped");
        compare(&paths.negatives, &case["negative"], &tree, &format!("{name}: negatives"));
        compare(&paths.positives, &case["positive_all"], &tree, &format!("{name}: positives"));
        compare(&paths.sampled(0), &case["result_with_seed0"], &tree, &format!("{name}: sampled with seed 0"));
        count += 1;
    }
    assert!(count > 0, "no traversal could be compared");
}

#[test]
fn golden_sample_lines_equal_mm_prms_byte_for_byte() {
    let (Some(records), Some(lines)) =
        (read_json("pipeline/output_file.json"), golden_text("pipeline/prm_train.jsonl"))
    else {
        return;
    };
    assert!(!list(&records).is_empty(), "no record in output_file.json");
    let written: String = list(&records)
        .iter()
        .enumerate()
        .map(|(id, record)| sample_line(id, text(&record["question"]), &record["image_path"], &sample(record)) + "\n")
        .collect();
    assert!(written == lines, "first difference: {:?}", written.lines().zip(lines.lines()).find(|(a, b)| a != b));
}

#[test]
fn golden_trees_on_disk_become_the_training_file_of_their_draws() {
    let Some(cases) = read_json("pipeline/traverse.json") else { return };
    let here = |case: &&Value| golden().join("mcts/trees").join(text(&case["tree"])).is_file();
    let mut cases: Vec<&Value> = list(&cases).iter().filter(here).collect();
    cases.sort_by_key(|case| text(&case["tree"]));
    let files: Vec<PathBuf> = cases.iter().map(|case| golden().join("mcts/trees").join(text(&case["tree"]))).collect();
    assert_compared(files.len(), "mcts/trees");
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("prm.jsonl");
    let stats = samples::write_file(&files, SampleKind::States(samples::PathOptions::default()), &output)
        .unwrap_or_else(|error| panic!("{error}"));

    let mut expected = String::new();
    let mut id = 0;
    for record in
        cases.iter().filter(|case| case["used_by_main"] == true).flat_map(|case| list(&case["result_with_seed0"]))
    {
        let line = sample_line(id, text(&record["question"]), &record["image_path"], &sample(record));
        expected.extend([line.as_str(), "\n"]);
        id += 1;
    }
    assert!(fs::read_to_string(output).unwrap() == expected, "the training file differs");
    assert_eq!(stats.negatives + stats.positives, id);
    assert_eq!(stats.trees, files.len());
}

#[test]
fn golden_split_gives_mm_prms_parts() {
    let Some(input) = read_json("pipeline/split_input.json") else { return };
    let mut parts: Vec<PathBuf> =
        fs::read_dir(golden().join("pipeline/split")).expect("split/").map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    assert!(!parts.is_empty(), "no part in split/");
    // All parts have one size, rounded up, except the last ones, which may be shorter or empty.
    let size = list(&input).len().div_ceil(parts.len());
    let split = list(&input).chunks(size).chain(std::iter::repeat(&[][..]));
    for (part, path) in split.zip(&parts) {
        let part = Value::Array(part.to_vec());
        assert_eq!(dumps_indent(&part, 4, false), fs::read_to_string(path).unwrap(), "{}", path.display());
    }
}

fn compare(samples: &[Sample], expected: &Value, tree: &Tree, what: &str) {
    let expected: Vec<Sample> = list(expected)
        .iter()
        .map(|record| {
            assert_eq!(text(&record["question"]), tree.question, "{what}");
            assert_eq!(record["image_path"], tree.image_path, "{what}");
            sample(record)
        })
        .collect();
    assert_eq!(samples, expected, "{what}");
}

fn sample(record: &Value) -> Sample {
    let labels = list(&record["labels"]).iter().map(|label| label.as_f64().unwrap()).collect();
    let process = text(&record["process"]);
    let parts = process.strip_suffix("<prm>").unwrap().split("<prm>\n\n").map(str::to_owned).collect();
    Sample { parts, labels, weights: None }
}

fn load(name: &str, hand_made: &HashMap<String, Tree>) -> Option<Tree> {
    let path = golden().join("mcts/trees").join(name);
    if path.is_file() {
        return Some(json::read(&path).unwrap_or_else(|error| panic!("{error}")));
    }
    hand_made.get(name).cloned()
}

fn hand_made_trees() -> HashMap<String, Tree> {
    let Some(cases) = read_json("pipeline/traverse_hand_trees.json") else { return HashMap::new() };
    let tree = |case: &Value| {
        let name = text(&case["name"]);
        let tree = json::parse(case["tree"].to_string().as_bytes(), name).unwrap_or_else(|error| panic!("{error}"));
        (name.to_owned(), tree)
    };
    list(&cases).iter().map(tree).collect()
}

fn read_json(path: &str) -> Option<Value> {
    golden_text(path).map(|text| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}")))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
