//! Inputs of a report, recognised by what is in them.
//!
//! ```
//! use mmprm::report::input::{Content, read};
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("any name");
//! std::fs::write(&file, r#"{"question": "1+1?", "solutions_splits": [["Answer: 2"]], "labels": [1]}"#)?;
//! let inputs = read(&file).unwrap();
//! assert!(matches!(&inputs[0].content, Content::Candidates(sets) if sets.len() == 1));
//! std::fs::write(&file, "[1, 2]")?;
//! assert!(read(&file).unwrap_err().to_string().contains("understood are"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::path::{Path, PathBuf};

use mmprm_quant::atomic;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::sections::evaluations::Kind;
use crate::data::candidates::{self, CandidateSet, CandidatesError};
use crate::data::samples::{self, SamplesError};
use crate::data::tree::json::TreeError;
use crate::data::tree::{self, Tree};
use crate::util::io::{self, FileError};

/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 4 << 30;

/// Maximum size of a file of settings in bytes.
const MAX_SETTINGS: u64 = 256 << 20;

/// What a report can be made of.
pub const UNDERSTOOD: &str = "files of candidates (generate, score), trees and directories of trees (annotate), training samples \
                              (samples), directories and logs of training runs (train), results of benchmarks (bench --json) and of evaluations \
                              (eval, ablate)";

/// Why an input cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of candidates is malformed.
    #[error(transparent)]
    Candidates(#[from] CandidatesError),
    /// A tree is malformed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A directory cannot be listed.
    #[error(transparent)]
    Directory(#[from] SamplesError),
    /// A line of a file of JSON Lines is malformed.
    #[error("{}: line {line}: expected {expected}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// The input is nothing that a report can be made of.
    #[error("{}: {found}, which a report cannot show; understood are {UNDERSTOOD}", path.display())]
    Unknown {
        /// The input.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
}

/// An input.
#[derive(Debug)]
pub struct Input {
    /// The file or directory.
    pub path: PathBuf,
    /// SHA-256 of the file in hexadecimal; of a directory of trees over the files in order of their names.
    pub sha256: String,
    /// What is in it.
    pub content: Content,
    /// The settings of the run that made it, where they are stored beside it.
    pub settings: Option<Value>,
}

/// What is in an input.
#[derive(Debug)]
pub enum Content {
    /// Candidates, scored or not.
    Candidates(Vec<CandidateSet>),
    /// Search trees.
    Trees(Vec<Tree>),
    /// Training samples.
    Samples(TrainingSamples),
    /// A training run.
    Training(Training),
    /// The result of a benchmark of speed.
    Bench(Value),
    /// The result of an evaluation.
    Evaluation(Kind, Value),
}

/// What training samples have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingSamples {
    /// Lines.
    pub count: usize,
    /// Of steps (PRM samples): the label of each. Of candidates (ranking samples): 0 or 1.
    pub labels: Vec<f64>,
    /// Whether the labels are of candidates.
    pub is_ranking: bool,
}

/// The log of a training run and its recipe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Training {
    /// The lines of `log.jsonl`.
    pub log: Vec<Map<String, Value>>,
    /// `recipe.toml` as key and value, in order.
    pub recipe: Vec<(String, String)>,
}

/// Reads an input; a directory may hold both trees and a training run.
///
/// # Errors
/// [`InputError`], which names the file.
pub fn read(path: &Path) -> Result<Vec<Input>, InputError> {
    if path.is_dir() { read_directory(path) } else { Ok(vec![read_file(path)?]) }
}

fn read_directory(path: &Path) -> Result<Vec<Input>, InputError> {
    let mut inputs = Vec::new();
    let (log, recipe) = (path.join("log.jsonl"), path.join("recipe.toml"));
    if log.is_file() {
        let bytes = io::read_text(&log, MAX_BYTES)?;
        let recipe = if recipe.is_file() { read_recipe(&recipe)? } else { Vec::new() };
        let content = Content::Training(Training { log: objects(&log, &bytes)?, recipe });
        inputs.push(Input { path: path.to_owned(), sha256: hash(&bytes), content, settings: None });
    }
    let files = samples::tree_files(path)?.trees;
    if !files.is_empty() {
        let (mut trees, mut digest) = (Vec::new(), Sha256::new());
        for file in &files {
            let bytes = io::read_text(file, tree::json::MAX_FILE_BYTES)?;
            digest.update(&bytes);
            trees.push(tree::json::parse(&bytes, &file.display().to_string())?);
        }
        let sha256 = format!("{:x}", digest.finalize());
        let settings = last_settings(&path.join("annotate.settings.jsonl"))?;
        inputs.push(Input { path: path.to_owned(), sha256, content: Content::Trees(trees), settings });
    }
    if inputs.is_empty() {
        let found = "a directory with neither trees nor the log of a training run".to_owned();
        return Err(InputError::Unknown { path: path.to_owned(), found });
    }
    Ok(inputs)
}

/// The last line of the settings of a directory of trees.
fn last_settings(path: &Path) -> Result<Option<Value>, InputError> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = io::read_text(path, MAX_SETTINGS)?;
    let last = bytes.split(|byte| *byte == b'\n').rfind(|line| !line.trim_ascii().is_empty());
    Ok(last.and_then(|line| serde_json::from_slice(line).ok()))
}

fn read_recipe(path: &Path) -> Result<Vec<(String, String)>, InputError> {
    let text = io::read_to_string(path, MAX_SETTINGS)?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| InputError::Unknown {
        path: path.to_owned(),
        found: format!("a recipe that is not TOML ({})", error.message()),
    })?;
    Ok(table.into_iter().map(|(key, value)| (key, value.to_string())).collect())
}

fn read_file(path: &Path) -> Result<Input, InputError> {
    let bytes = io::read_text(path, MAX_BYTES)?;
    let unknown = |found: &str| InputError::Unknown { path: path.to_owned(), found: found.to_owned() };
    let text = bytes.trim_ascii();
    let content = match text.first() {
        None => return Err(unknown("an empty file")),
        Some(b'[') => match first_of_array(text) {
            Some(first) if is_candidates(&first) => Content::Candidates(candidates::parse(path, &bytes)?),
            _ => return Err(unknown("a JSON array of something else than candidates")),
        },
        Some(b'{') => read_objects(path, &bytes, &unknown)?,
        Some(_) => return Err(unknown("neither a JSON object, nor an array, nor JSON Lines")),
    };
    Ok(Input { path: path.to_owned(), sha256: hash(&bytes), content, settings: settings_beside(path)? })
}

/// Reads a file that begins with an object: one object, or one a line.
fn read_objects(path: &Path, bytes: &[u8], unknown: &dyn Fn(&str) -> InputError) -> Result<Content, InputError> {
    let first_line = bytes.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let Ok(first) = serde_json::from_slice::<Map<String, Value>>(first_line) else {
        // An object over several lines; a tree may nest deeper than other JSON.
        if let Ok(object) = serde_json::from_slice::<Map<String, Value>>(bytes) {
            return single(path, bytes, object, unknown);
        }
        let is_tree = [&b"\"mc_value\""[..], b"\"children\""].iter().all(|key| has(bytes, key));
        return if is_tree { one_tree(path, bytes) } else { Err(unknown("JSON that is cut off or malformed")) };
    };
    let is_log = || ["loss", "lr", "validation_loss", "grad_norm"].iter().any(|key| first.contains_key(*key));
    if is_candidates(&first) {
        Ok(Content::Candidates(candidates::parse(path, bytes)?))
    } else if first.contains_key("conversations") || first.contains_key("candidates") {
        Ok(Content::Samples(training_samples(path, bytes)?))
    } else if first.contains_key("step") && is_log() {
        Ok(Content::Training(Training { log: objects(path, bytes)?, recipe: Vec::new() }))
    } else {
        single(path, bytes, first, unknown)
    }
}

fn single(
    path: &Path,
    bytes: &[u8],
    object: Map<String, Value>,
    unknown: &dyn Fn(&str) -> InputError,
) -> Result<Content, InputError> {
    if is_candidates(&object) {
        let sets = candidates::parse(path, &[b"[", bytes, b"]"].concat())?;
        Ok(Content::Candidates(sets))
    } else if object.contains_key("mc_value") && object.contains_key("children") {
        one_tree(path, bytes)
    } else if object.contains_key("bench") && object.get("rows").is_some_and(Value::is_array) {
        Ok(Content::Bench(Value::Object(object)))
    } else if let Some(kind) = Kind::of(&object) {
        Ok(Content::Evaluation(kind, Value::Object(object)))
    } else if object.contains_key("conversations") || object.contains_key("candidates") {
        Ok(Content::Samples(training_samples(path, &serde_json::to_vec(&object).unwrap_or_default())?))
    } else {
        let keys: Vec<&str> = object.keys().take(4).map(String::as_str).collect();
        Err(unknown(&format!("a JSON object with the keys {}", keys.join(", "))))
    }
}

fn one_tree(path: &Path, bytes: &[u8]) -> Result<Content, InputError> {
    Ok(Content::Trees(vec![tree::json::parse(bytes, &path.display().to_string())?]))
}

fn is_candidates(record: &Map<String, Value>) -> bool {
    let has = |name: &str| record.contains_key(name);
    // Verdicts alone are a pool of answers.
    has("solutions_splits") || has("prm_scores") || has("labels") && !has("candidates") && !has("conversations")
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The first element of an array, read without the others, if it is an object.
fn first_of_array(text: &[u8]) -> Option<Map<String, Value>> {
    let mut values = serde_json::Deserializer::from_slice(text.get(1..)?).into_iter::<Map<String, Value>>();
    values.next()?.ok()
}

/// The settings in `PATH.settings.json`, with what else is stored there.
fn settings_beside(path: &Path) -> Result<Option<Value>, InputError> {
    let beside = atomic::beside(path, ".settings.json");
    if !beside.is_file() {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&io::read_text(&beside, MAX_SETTINGS)?).ok())
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The objects of a file of JSON Lines; a last line that is cut off is left out, as of a run that still writes.
fn objects(path: &Path, bytes: &[u8]) -> Result<Vec<Map<String, Value>>, InputError> {
    let is_whole = bytes.ends_with(b"\n");
    let lines: Vec<(usize, &[u8])> =
        bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
    let mut found = Vec::with_capacity(lines.len());
    for (position, (number, line)) in lines.iter().enumerate() {
        match serde_json::from_slice(line) {
            Ok(object) => found.push(object),
            Err(_) if !is_whole && position + 1 == lines.len() => {}
            Err(_) => {
                let (path, line) = (path.to_owned(), number + 1);
                return Err(InputError::Line { path, line, expected: "a JSON object" });
            }
        }
    }
    Ok(found)
}

fn training_samples(path: &Path, bytes: &[u8]) -> Result<TrainingSamples, InputError> {
    let mut all = TrainingSamples::default();
    for (index, line) in objects(path, bytes)?.into_iter().enumerate() {
        let numbers = |value: &Value| value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
        let found = match (line.get("conversations"), line.get("labels")) {
            (Some(turns), _) => {
                // The labels of a PRM's samples are the reply; the reply of a policy's samples is text.
                let reply = turns.get(1).and_then(|turn| turn.get("value"));
                reply.map(|reply| if reply.is_string() { Some(Vec::new()) } else { numbers(reply) })
            }
            (None, Some(labels)) => {
                all.is_ranking = true;
                Some(numbers(labels))
            }
            (None, None) => None,
        };
        let labels = found.flatten().ok_or(InputError::Line {
            path: path.to_owned(),
            line: index + 1,
            expected: "a training sample with labels",
        })?;
        all.count += 1;
        all.labels.extend(labels);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        std::fs::write(&path, text).unwrap();
        match read(&path) {
            Ok(inputs) => match &inputs[0].content {
                Content::Candidates(sets) => format!("{} candidates", sets.len()),
                Content::Trees(trees) => format!("{} trees", trees.len()),
                Content::Samples(samples) => format!("{} samples", samples.count),
                Content::Training(training) => format!("{} steps", training.log.len()),
                Content::Bench(_) => "bench".to_owned(),
                Content::Evaluation(kind, _) => format!("{kind:?}"),
            },
            Err(error) => error.to_string().replace(&format!("{}", path.display()), "input"),
        }
    }

    const SET: &str = r#"{"question": "q", "solutions_splits": [["a"]]}"#;
    const TREE: &str = r#"{"question": "q", "answer": "1", "mc_value": 0.5, "visit_count": 0, "correct_rollouts": [], "incorrect_rollouts": [], "children": []}"#;

    #[test]
    fn every_kind_is_recognised_by_its_content() {
        assert_eq!(kind(&format!("[{SET},{SET}]")), "2 candidates");
        assert_eq!(kind(&format!("{SET}\n{SET}\n")), "2 candidates");
        assert_eq!(kind(&SET.replace(", ", ",\n")), "1 candidates");
        assert_eq!(kind(TREE), "1 trees");
        assert_eq!(kind(&TREE.replace(", ", ",\n")), "1 trees");
        assert_eq!(kind(r#"{"id": 0, "conversations": [{"value": "q"}, {"value": [1.0, 0.5]}]}"#), "1 samples");
        assert_eq!(kind(r#"{"id": 0, "candidates": [["a"], ["b"]], "labels": [1, 0]}"#), "1 samples");
        assert_eq!(kind("{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"lo"), "1 steps");
        assert_eq!(kind(r#"{"bench": "infer", "rows": []}"#), "bench");
        assert_eq!(kind("{\n  \"bench\": \"mathvista\",\n  \"rules\": {}\n}"), "Benchmark");
        assert_eq!(kind(r#"{"problems": 1, "aggregators": {}}"#), "Selection");
    }

    #[test]
    fn other_inputs_are_named_with_what_is_understood() {
        for (text, found) in [
            ("", "input: an empty file, which a report cannot show; understood are files of candidates"),
            ("hello", "input: neither a JSON object"),
            ("[1]", "input: a JSON array of something else"),
            ("[]", "input: a JSON array of something else"),
            (r#"{"a": 1, "b": 2}"#, "input: a JSON object with the keys a, b,"),
            ("{\"a\":", "input: JSON that is cut off or malformed"),
            ("{\"step\": 1, \"loss\": 0.5}\nx\n", "input: line 2: expected a JSON object"),
            (r#"{"conversations": []}"#, "input: line 1: expected a training sample"),
        ] {
            assert!(kind(text).starts_with(found), "{text}: {}", kind(text));
        }
        assert!(kind(&TREE.replace("0.5", "7")).contains("at mc_value: expected a number from 0 to 1"));
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("a directory with neither trees nor the log"), "{error}");
    }

    #[test]
    fn a_directory_may_hold_trees_and_a_training_run() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("log.jsonl", "{\"step\": 1, \"loss\": 0.5}\n");
        write("recipe.toml", "task = \"prm\"\nlr = 0.1\n");
        write(&format!("{}.json", "a".repeat(32)), TREE);
        write("annotate.settings.jsonl", "{\"seed\": 1}\n{\"seed\": 2}\n");
        let inputs = read(folder.path()).unwrap();
        let Content::Training(training) = &inputs[0].content else { panic!("{inputs:?}") };
        assert!(training.recipe.contains(&("lr".to_owned(), "0.1".to_owned())));
        assert!(matches!(&inputs[1].content, Content::Trees(trees) if trees.len() == 1));
        assert_eq!(inputs[1].settings.as_ref().unwrap()["seed"], 2);
    }
}
