//! Trees → training samples for the PRM: the paths of a tree as texts with a soft label after every state.
//!
//! A sample is one path from the root of a tree: the steps of each state, then `<prm>`, and as its label the state's Monte
//! Carlo value. A path that ends at a state without right rollouts is *negative* (the first wrong step is its last), one
//! that ends at a leaf is *positive*. All negatives are kept and as many positives drawn by chance, so that the two balance.
//! Trees whose root is always or never solved teach nothing about steps and are skipped.
//!
//! Samples are exactly the reference's, its habits included: a text may occur once in each class, one text may be a
//! prefix of another with other labels. As in the goldens the generator is seeded anew for each tree, so that
//! a tree's samples do not depend on what other trees there are.
//!
//! [`every_rollout`] makes other samples of the same trees: not paths of states but whole rollouts, with a label after each step,
//! and [`relative()`] compares these with the problem's own success rate.
//!
//! ```
//! use mmprm::data::samples::{Paths, sample_line};
//! use mmprm::data::solution::Continue;
//! use mmprm::data::tree::{Node, Tree};
//! let leaf = |step: &str, mc_value| Node { partial_solution: vec![step.into()], mc_value, ..Node::default() };
//! let tree = Tree {
//!     question: "What is 1 + 1?".into(),
//!     answer: "2".into(),
//!     image_path: "sum.png".into(),
//!     id: 1.into(),
//!     root: Node {
//!         mc_value: 0.5,
//!         children: vec![
//!             leaf("We have to add one to one, which as everybody knows gives two.", 1.0),
//!             leaf("We have to multiply one by one, and that gives one once more.", 0.0),
//!         ],
//!         ..Node::default()
//!     },
//!     continues: Continue::User,
//! };
//! let paths = Paths::of(&tree);
//! assert_eq!((paths.negatives.len(), paths.positives.len()), (1, 1));
//! let samples = paths.sampled(0);
//! assert_eq!(samples[0].labels, [0.0]);
//! let line = sample_line(7, &tree.question, &tree.image_path, &samples[0]);
//! assert!(line.starts_with(r#"{"id": 7, "image": "sum.png", "conversations": [{"from": "human", "value": "Question: What"#));
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::AtomicFile;
use serde_json::{Value, json};

use crate::compat;
use crate::data::tree::json::TreeError;
use crate::data::tree::{self, Tree};

mod paths;
mod relative;
mod rollouts;

pub use paths::{Paths, Sample};
pub use relative::relative;
pub use rollouts::every_rollout;

/// What becomes a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Paths of states, as the reference makes them; `seed` is that of Python's `random`.
    States {
        /// Draws the positives.
        seed: u64,
    },
    /// Every recorded rollout, of all trees: one that is always or never solved still shows right or wrong steps.
    Rollouts {
        /// Whether labels are [`relative()`] to the problem's success rate; trees that are always or never solved are then
        /// skipped.
        relative: bool,
    },
}

/// Why samples could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplesError {
    /// A tree file is bad.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A directory of trees cannot be listed.
    #[error("cannot list {}: {source}", directory.display())]
    List {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The samples cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// What became of the trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct SampleStats {
    /// Trees read.
    pub trees: usize,
    /// Trees skipped because their root's Monte Carlo value is 0 or 1.
    pub skipped: usize,
    /// Negative samples written.
    pub negatives: usize,
    /// Positive samples written.
    pub positives: usize,
    /// Positive paths that the draw left out.
    pub not_drawn: usize,
    /// Paths dropped because their text is too short.
    pub short: usize,
    /// Paths dropped because their class had their text already.
    pub repeated: usize,
}

/// Whether the reference skips a tree: its root is always or never solved.
pub fn is_skipped(tree: &Tree) -> bool {
    tree.root.mc_value <= 0.0 || tree.root.mc_value >= 1.0
}

/// The tree files (`*.json`) of a directory, sorted by name, which is the order in which samples are numbered.
///
/// # Errors
/// [`SamplesError::List`] if the directory cannot be read.
pub fn tree_files(directory: &Path) -> Result<Vec<PathBuf>, SamplesError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut files = fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .filter(|path| path.as_ref().map_or(true, |path| is_tree_name(path)))
            .collect::<io::Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    };
    list().map_err(|source| SamplesError::List { directory: directory.to_owned(), source })
}

fn is_tree_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// Turns tree files into lines of training samples, one tree in memory at a time.
///
/// # Errors
/// [`SamplesError`] at the first bad file or failed write.
pub fn write(files: &[PathBuf], form: Form, output: &mut impl Write) -> Result<SampleStats, SamplesError> {
    let mut stats = SampleStats::default();
    let mut id = 0;
    for file in files {
        let tree = tree::json::read(file)?;
        stats.trees += 1;
        let samples = match form {
            Form::States { .. } | Form::Rollouts { relative: true } if is_skipped(&tree) => {
                stats.skipped += 1;
                continue;
            }
            Form::States { seed } => of_states(&tree, seed, &mut stats),
            Form::Rollouts { relative } => of_rollouts(&tree, relative, &mut stats),
        };
        for sample in &samples {
            writeln!(output, "{}", sample_line(id, &tree.question, &tree.image_path, sample))?;
            id += 1;
        }
    }
    Ok(stats)
}

fn of_states(tree: &Tree, seed: u64, stats: &mut SampleStats) -> Vec<Sample> {
    let paths = Paths::of(tree);
    let (negatives, positives) = (paths.negatives.len(), paths.positives.len());
    stats.short += paths.short;
    stats.repeated += paths.repeated;
    let samples = paths.sampled(seed);
    let drawn = samples.len() - negatives;
    stats.negatives += negatives;
    stats.positives += drawn;
    stats.not_drawn += positives - drawn;
    samples
}

fn of_rollouts(tree: &Tree, compared: bool, stats: &mut SampleStats) -> Vec<Sample> {
    let mut samples = every_rollout(tree);
    if compared {
        relative(&mut samples, tree.root.mc_value);
    }
    let wrong = samples.iter().filter(|sample| sample.labels.last().is_some_and(|&label| label <= 0.0)).count();
    stats.negatives += wrong;
    stats.positives += samples.len() - wrong;
    samples
}

/// [`write()`] to a file that appears whole or not at all.
///
/// # Errors
/// [`SamplesError`]; the destination is then untouched.
pub fn write_file(files: &[PathBuf], form: Form, destination: &Path) -> Result<SampleStats, SamplesError> {
    let mut output = AtomicFile::create(destination)?;
    let stats = write(files, form, &mut output)?;
    output.commit()?;
    Ok(stats)
}

/// One line of the training file, as `json.dumps(…, ensure_ascii=False)` writes it, without the newline.
///
/// `image` is the tree's: a string, an array of several, or null for none, and then the key is left out.
pub fn sample_line(id: usize, question: &str, image: &Value, sample: &Sample) -> String {
    let image = match image {
        Value::Null => String::new(),
        Value::Array(several) => {
            let several: Vec<String> = several.iter().map(Value::to_string).collect();
            format!("\"image\": [{}], ", several.join(", "))
        }
        one => format!("\"image\": {one}, "),
    };
    // A string is written alike by serde_json and by Python; numbers are not.
    let human = json!(format!("Question: {question}\nProcess: {}", sample.process));
    let labels = compat::json::dumps(&json!(sample.labels));
    let weights =
        sample.weights.as_ref().map(|weights| format!(", \"weights\": {}", compat::json::dumps(&json!(weights))));
    let weights = weights.unwrap_or_default();
    format!(
        r#"{{"id": {id}, {image}"conversations": [{{"from": "human", "value": {human}}}, {{"from": "gpt", "value": {labels}}}]{weights}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_without_image_has_no_image_key() {
        let sample = Sample { process: "a \"b\"\n\u{1}é<prm>".into(), labels: vec![1.0, 0.0625], weights: None };
        assert_eq!(
            sample_line(0, "Q", &Value::Null, &sample),
            r#"{"id": 0, "conversations": [{"from": "human", "value": "Question: Q\nProcess: a \"b\"\n\u0001é<prm>"}, {"from": "gpt", "value": [1.0, 0.0625]}]}"#
        );
        let weighted = Sample { weights: Some(vec![0.5, 1.0]), ..sample.clone() };
        assert!(
            sample_line(0, "Q", &Value::Null, &weighted)
                .ends_with(r#""value": [1.0, 0.0625]}], "weights": [0.5, 1.0]}"#)
        );
        let several = sample_line(0, "Q", &json!(["a.png", "b.png"]), &sample);
        assert!(several.starts_with(r#"{"id": 0, "image": ["a.png", "b.png"], "conversations""#));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = tree_files(Path::new("nowhere")).unwrap_err();
        assert!(error.to_string().starts_with("cannot list nowhere: "), "{error}");
    }
}
