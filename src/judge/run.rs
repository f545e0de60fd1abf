//! Judging many trees, from one directory into another. Files are written atomically; existing ones
//! are kept.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::util::cancel::CancelToken;
use mmprm_quant::atomic;

use super::trees::{JudgedStates, TreeFailure, judge_tree};
use super::{JudgeError, StepJudge};
use crate::data::tree::json;
use crate::util::pool;

/// Trees in progress at once: enough that the end of one does not leave the judge idle.
const TREES_AT_ONCE: usize = 4;

/// How to judge trees.
#[derive(Clone, Copy)]
pub struct TreesOptions<'a> {
    /// Folder that image paths are relative to and confined to.
    pub data_root: &'a Path,
    /// Cancels the run; trees in progress are abandoned.
    pub cancel: &'a CancelToken,
    /// Receives progress, from several threads.
    pub progress: &'a (dyn Fn(TreeEvent<'_>) + Sync),
}

/// Progress of a run over trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeEvent<'a> {
    /// Number of trees that an earlier run had judged.
    Resumed(usize),
    /// A tree was judged and written.
    Done(JudgedStates),
    /// A tree could not be judged.
    Failed {
        /// Its file.
        file: &'a Path,
        /// Why.
        cause: &'a str,
    },
}

/// The result of a run over trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct TreesSummary {
    /// Trees judged and written.
    pub done: usize,
    /// Trees that an earlier run had judged.
    pub already_done: usize,
    /// Trees that failed; the next run tries them again.
    pub failed: usize,
    /// States judged.
    pub states: usize,
    /// Of those, states at which neither Yes nor No was among the judge's most likely tokens; their
    /// `llm_as_a_judge` is null.
    pub unjudged: usize,
    /// Whether the run was cancelled before the end.
    pub cancelled: bool,
}

impl TreesSummary {
    fn add(&mut self, tree: JudgedStates) {
        self.done += 1;
        self.states += tree.states;
        self.unjudged += tree.unjudged;
    }
}

/// Why a run over trees ended early. Trees written before are kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreesError {
    /// Input and output are the same directory.
    #[error("{}: expected another directory for the judged trees than that of the input", _0.display())]
    SameDirectory(PathBuf),
    /// The judge cannot be used.
    #[error(transparent)]
    Judge(JudgeError),
    /// A judged tree cannot be written.
    #[error(transparent)]
    Write(std::io::Error),
}

/// State shared by the workers.
#[derive(Default)]
struct Shared {
    summary: TreesSummary,
    /// The first error that ended the run.
    error: Option<TreesError>,
}

/// Judges the tree files `files` and writes each, with the judge's scores added, to a file of the
/// same name in `output`.
///
/// Trees that exist in `output` are skipped, so that the same call resumes an interrupted run. A
/// tree that cannot be read or judged fails without ending the run.
///
/// # Errors
/// [`TreesError`] where the run cannot continue.
pub fn judge_trees(
    files: &[PathBuf],
    output: &Path,
    judge: &StepJudge,
    options: &TreesOptions<'_>,
) -> Result<TreesSummary, TreesError> {
    let real = |path: &Path| path.canonicalize().ok();
    if let Some(input) = files.first().and_then(|file| file.parent())
        && real(output).is_some_and(|output| real(input) == Some(output))
    {
        return Err(TreesError::SameDirectory(output.to_owned()));
    }
    let destination = |file: &Path| file.file_name().map(|name| output.join(name));
    let todo: Vec<(&PathBuf, PathBuf)> = files
        .iter()
        .filter_map(|file| Some((file, destination(file)?)))
        .filter(|(_, destination)| !destination.is_file())
        .collect();
    let already_done = files.len() - todo.len();
    (options.progress)(TreeEvent::Resumed(already_done));

    let shared = Mutex::new(Shared::default());
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let stop = |error| {
        lock().error.get_or_insert(error);
    };
    pool::map(&todo, TREES_AT_ONCE, |(file, destination)| {
        if options.cancel.is_cancelled() || lock().error.is_some() {
            return;
        }
        match judged(file, judge, options.data_root) {
            Ok((text, counts)) => {
                if let Err(error) = atomic::write(destination, text.as_bytes()) {
                    return stop(TreesError::Write(error));
                }
                lock().summary.add(counts);
                (options.progress)(TreeEvent::Done(counts));
            }
            Err(TreeFailure::Judge(JudgeError::Cancelled)) => {}
            Err(TreeFailure::Judge(error)) if error.ends_the_run() => stop(TreesError::Judge(error)),
            Err(failure) => {
                lock().summary.failed += 1;
                (options.progress)(TreeEvent::Failed { file, cause: &failure.to_string() });
            }
        }
    });

    let Shared { summary, error } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    match error {
        Some(error) => Err(error),
        None => Ok(TreesSummary { already_done, cancelled: summary.done + summary.failed < todo.len(), ..summary }),
    }
}

/// The text of a tree file with scores.
fn judged(file: &Path, judge: &StepJudge, data_root: &Path) -> Result<(String, JudgedStates), TreeFailure> {
    let mut tree = json::read_value(file)?;
    let counts = judge_tree(&mut tree, judge, data_root)?;
    Ok((json::value_to_string(&tree), counts))
}
