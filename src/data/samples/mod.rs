//! Training samples for the PRM, made from search trees: the paths of a tree as text, with a soft
//! label (MC value) after every state.
//!
//! A sample is one path from the root of a tree: the steps of each state, then `<prm>`, with the
//! state's Monte Carlo value as the label. A path that ends at a state without correct rollouts is
//! *negative* (its last step is the first incorrect one); one that ends at any other leaf is
//! *positive*. All negatives are kept and as many positives are drawn at random. Trees whose root
//! is always or never solved carry no information about steps and are skipped (MM-PRM, arXiv
//! 2505.13427).
//!
//! Samples equal MM-PRM's exactly: a text may occur once in each class, and one text may be a
//! prefix of another with different labels. The random generator is seeded anew for each tree, so a
//! tree's samples do not depend on the other trees.
//!
//! [`every_rollout`] makes another kind of sample from the same trees: whole rollouts with a label
//! after each step. [`make_relative`] then compares the labels with the problem's own success rate.
//!
//! ```
//! use mmprm::data::samples::{Paths, sample_line};
//! use mmprm::data::{Continue, Node, Tree};
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

use super::tree::json::TreeError;
use super::tree::{self, Tree};

mod options;
mod paths;
mod ranking;
mod relative;
mod rollouts;
mod sample;

pub use options::PathOptions;
pub use paths::Paths;
pub use ranking::RankingSample;
pub use relative::make_relative;
pub use rollouts::every_rollout;
pub(crate) use sample::PROCESS;
pub use sample::{STEP_TOKEN, Sample, sample_line};

/// Which samples to make of a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SampleKind {
    /// Paths of searched states, by default those of MM-PRM.
    States(PathOptions),
    /// Every recorded rollout, also of trees that are always or never solved: their steps are still
    /// examples of correct or incorrect ones.
    Rollouts {
        /// Whether labels are [made relative](make_relative) to the problem's success rate; trees
        /// that are always or never solved are then skipped.
        relative: bool,
    },
}

/// Why samples cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplesError {
    /// A tree file cannot be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A directory of trees cannot be listed.
    #[error("cannot list {}: {source}", directory.display())]
    List {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Agreement with a judge was asked for, but no state was judged.
    #[error("no state of the trees has `llm_as_a_judge`")]
    NotJudged,
    /// The samples cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Counts of trees and samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct SampleStats {
    /// Trees read.
    pub trees: usize,
    /// Trees skipped because their root's MC value is 0 or 1.
    pub skipped: usize,
    /// Negative samples written.
    pub negatives: usize,
    /// Positive samples written.
    pub positives: usize,
    /// Positive paths that were not drawn.
    pub not_drawn: usize,
    /// Paths dropped because their text has too few words.
    pub short: usize,
    /// Paths dropped because their text occurred before in the same class.
    pub repeated: usize,
    /// Paths dropped because the judge and the MC values disagree on a state.
    pub disagreed: usize,
    /// Paths dropped because the tree has more than the maximum.
    pub beyond: usize,
}

/// Returns whether a tree's root is always or never solved: MM-PRM skips such trees.
pub fn is_skipped(tree: &Tree) -> bool {
    tree.root.mc_value <= 0.0 || tree.root.mc_value >= 1.0
}

/// The files of a directory of trees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeFiles {
    /// Trees (`*.json`), sorted by name; samples are numbered in this order.
    pub trees: Vec<PathBuf>,
    /// What has such a name but is no tree, sorted: hidden files (those that macOS writes beside others),
    /// directories, pipes, and JSON without any field of a tree.
    pub strays: Vec<PathBuf>,
}

/// Lists the files of a directory of trees. A damaged tree is listed as a tree, so that reading it
/// fails with its name.
///
/// # Errors
/// [`SamplesError::List`] if the directory cannot be read.
pub fn tree_files(directory: &Path) -> Result<TreeFiles, SamplesError> {
    let list = || -> io::Result<TreeFiles> {
        let mut files = TreeFiles::default();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                if is_stray(&path) { files.strays.push(path) } else { files.trees.push(path) }
            }
        }
        files.trees.sort();
        files.strays.sort();
        Ok(files)
    };
    list().map_err(|source| SamplesError::List { directory: directory.to_owned(), source })
}

/// Fields of which every tree has some.
const TREE_FIELDS: [&str; 4] = ["question", "mc_value", "children", "correct_rollouts"];

fn is_stray(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if stem.starts_with('.') || !path.is_file() {
        return true;
    }
    // Trees are named by a hash; only files of other names are read twice.
    if stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    let text = crate::util::io::read_text(path, tree::json::MAX_FILE_BYTES).unwrap_or_default();
    match serde_json::from_slice::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(fields)) => !TREE_FIELDS.iter().any(|field| fields.contains_key(*field)),
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Writes the training samples of tree files as JSON Lines, with one tree in memory at a time.
///
/// # Errors
/// [`SamplesError`] at the first bad file or failed write.
pub fn write(files: &[PathBuf], kind: SampleKind, output: &mut impl Write) -> Result<SampleStats, SamplesError> {
    let mut stats = SampleStats::default();
    let (mut id, mut judged) = (0, false);
    for file in files {
        let tree = tree::json::read(file)?;
        stats.trees += 1;
        let (question, image) = (tree.question.clone(), tree.image_path.clone());
        let samples = match kind {
            SampleKind::States(_) | SampleKind::Rollouts { relative: true } if is_skipped(&tree) => {
                stats.skipped += 1;
                continue;
            }
            SampleKind::States(options) => of_states(tree, &options, &mut judged, &mut stats),
            SampleKind::Rollouts { relative } => of_rollouts(&tree, relative, &mut stats),
        };
        for sample in &samples {
            writeln!(output, "{}", sample_line(id, &question, &image, sample))?;
            id += 1;
        }
    }
    if matches!(kind, SampleKind::States(PathOptions { consensus: true, .. })) && !judged && stats.skipped < stats.trees
    {
        return Err(SamplesError::NotJudged);
    }
    Ok(stats)
}

fn of_states(mut tree: Tree, options: &PathOptions, judged: &mut bool, stats: &mut SampleStats) -> Vec<Sample> {
    if options.pools {
        options::pool(&mut tree);
    }
    let mut paths = Paths::of(&tree);
    if options.consensus {
        *judged |= options::is_judged(&tree.root);
        stats.disagreed += options::keep_agreed(&mut paths, &tree);
    }
    stats.short += paths.short;
    stats.repeated += paths.repeated;
    let (negatives, positives) = (paths.negatives.len(), paths.positives.len());
    let drawn = paths.drawn(options.seed, options.positives);
    stats.not_drawn += positives - (drawn.len() - negatives);
    let mut samples = options.capped(drawn);
    stats.beyond += samples.1;
    for sample in &mut samples.0 {
        let is_negative = sample.labels.last().is_some_and(|label| *label <= 0.0);
        *(if is_negative { &mut stats.negatives } else { &mut stats.positives }) += 1;
        if options.hard {
            sample.labels.iter_mut().for_each(|label| *label = f64::from(u8::from(*label > 0.0)));
        }
    }
    samples.0
}

fn of_rollouts(tree: &Tree, is_relative: bool, stats: &mut SampleStats) -> Vec<Sample> {
    let mut samples = every_rollout(tree);
    if is_relative {
        make_relative(&mut samples, tree.root.mc_value);
    }
    let negatives = samples.iter().filter(|sample| sample.labels.last().is_some_and(|&label| label <= 0.0)).count();
    stats.negatives += negatives;
    stats.positives += samples.len() - negatives;
    samples
}

/// Counts of problems in a file of ranking samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct RankingStats {
    /// Problems written.
    pub problems: usize,
    /// Problems skipped because their candidates are not labelled, all right or all wrong.
    pub skipped: usize,
    /// Candidates written.
    pub candidates: usize,
    /// Candidates with a right answer among them.
    pub right: usize,
}

/// Writes the [ranking samples](RankingSample) of problems to a file atomically, with one in memory at a time. Without any
/// sample no file is written.
///
/// # Errors
/// [`SamplesError`] at the first bad problem or failed write; the destination is then unchanged.
pub fn write_ranking(
    problems: impl IntoIterator<Item = Result<Option<RankingSample>, SamplesError>>,
    destination: &Path,
) -> Result<RankingStats, SamplesError> {
    let mut output = AtomicFile::create(destination)?;
    let mut stats = RankingStats::default();
    for sample in problems {
        let Some(sample) = sample? else {
            stats.skipped += 1;
            continue;
        };
        stats.problems += 1;
        stats.candidates += sample.labels.len();
        stats.right += sample.labels.iter().filter(|label| **label).count();
        writeln!(output, "{}", sample.line())?;
    }
    if stats.problems > 0 {
        output.commit()?;
    }
    Ok(stats)
}

/// [Writes](write()) samples to a file atomically.
///
/// # Errors
/// [`SamplesError`]; the destination is then unchanged.
pub fn write_file(files: &[PathBuf], kind: SampleKind, destination: &Path) -> Result<SampleStats, SamplesError> {
    let mut output = AtomicFile::create(destination)?;
    let stats = write(files, kind, &mut output)?;
    output.commit()?;
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_named() {
        let error = tree_files(Path::new("nowhere")).unwrap_err();
        assert!(error.to_string().starts_with("cannot list nowhere: "), "{error}");
    }

    #[test]
    fn stray_files_are_no_trees() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("0123456789abcdef0123456789abcdef.json", "damaged");
        write("tree.json", r#"{"question": "q"}"#);
        write("damaged.json", r#"{"question": "#);
        write("._tree.json", "\0\u{5}\u{16}\u{7}");
        write("package.json", r#"{"name": "x"}"#);
        write("list.json", "[]");
        write("notes.txt", "");
        fs::create_dir(folder.path().join("folder.json")).unwrap();
        let names = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        let files = tree_files(folder.path()).unwrap();
        assert_eq!(names(&files.trees), ["0123456789abcdef0123456789abcdef.json", "damaged.json", "tree.json"]);
        assert_eq!(names(&files.strays), ["._tree.json", "folder.json", "list.json", "package.json"]);
    }
}
