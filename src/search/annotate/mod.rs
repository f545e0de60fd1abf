//! Search over a data set: many problems at once, every finished one kept.
//!
//! Each problem's tree goes to `<md5 of its record>.json` in the output directory, as the reference names it. A tree that
//! is there is done, so that a rerun goes on where the last one stopped, and with a policy that draws the same rollouts
//! again the directory ends with the same bytes as after an uninterrupted run. What happened to each problem is a line of
//! `annotate.log.jsonl` beside the trees; a problem that failed stands there with its cause and is tried again on request
//! only. One process works in a directory at a time.
//!
//! Problems are taken in their order, [`AnnotateOptions::parallel`] at a time, and each has one request under way (and, where
//! it [speculates](SearchParams::speculative), guesses that give way): however long a problem is, it holds up one worker, and
//! the others take the problems behind it. What the searches of a run depend on is left in `annotate.settings.jsonl`; a run
//! with other settings is refused unless they are meant to be [mixed](AnnotateOptions::mixed).
//!
//! How problems are read, where rollouts come from and how progress is shown is the caller's business.
//!
//! ```
//! use mmprm::util::cancel::CancelToken;
//! # use mmprm::answer::{Verdict, Verifier, VerifyError};
//! # use mmprm::policy::{RolloutModel, PolicyError, RolloutRequest};
//! # use mmprm::data::problem::Problem;
//! use mmprm::search::annotate::{AnnotateOptions, annotate};
//! # struct Script;
//! # impl RolloutModel for Script {
//! #     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<Vec<String>>, PolicyError> {
//! #         Ok((0..request.count).map(|index| vec![format!("It is {}.", index % 2)]).collect())
//! #     }
//! # }
//! # impl Verifier for Script {
//! #     fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
//! #         let right = answer.ends_with(&format!("is {}.", problem.answer));
//! #         Ok(if right { Verdict::Correct } else { Verdict::Incorrect })
//! #     }
//! # }
//! # let record = serde_json::json!({"id": "p"}).as_object().unwrap().clone();
//! # let problems =
//! #     [Problem { record, id: "p".into(), question: "1?".into(), answer: "1".into(), images: vec![] }];
//! let directory = tempfile::tempdir().unwrap();
//! let run = || {
//!     let options = AnnotateOptions::default();
//!     annotate(&problems, directory.path(), &options, &Script, &Script, &(), &CancelToken::new()).unwrap()
//! };
//! assert_eq!(run().done, 1);
//! assert_eq!(run().already_done, 1);
//! ```

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::data::problem::Problem;
use crate::search::{Outcome, ParamsError, SearchParams};
use crate::util::io::FileError;

mod directory;
mod log;
mod run;
mod settings;
mod slots;

pub use directory::{LOCK_NAME, LOG_NAME};
pub use run::annotate;
pub use settings::SETTINGS_NAME;

/// How to annotate.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotateOptions {
    /// Parameters of every search.
    pub params: SearchParams,
    /// Problems searched at once; each has a thread that mostly waits for the policy.
    pub parallel: NonZeroUsize,
    /// Whether problems that failed before are tried again.
    pub retry_failed: bool,
    /// Rollouts that the policy draws at once: [speculative](SearchParams::speculative) searches ask for no more ahead than
    /// have room in this beside all that is needed.
    pub slots: usize,
    /// What else the trees depend on: the policy, how it draws, who judges. An object, left in the directory for later runs.
    pub settings: Value,
    /// Whether the directory may have trees of other settings.
    pub mixed: bool,
}

impl Default for AnnotateOptions {
    fn default() -> Self {
        Self {
            params: SearchParams::default(),
            parallel: NonZeroUsize::MIN,
            retry_failed: false,
            slots: usize::MAX,
            settings: Value::Null,
            mixed: false,
        }
    }
}

/// Why a run stopped. Everything finished before is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotateError {
    /// The search parameters make no sense.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// Another process works in the output directory.
    #[error("{} is in use by another annotation: expected no other process to hold {LOCK_NAME}", directory.display())]
    InUse {
        /// The output directory.
        directory: PathBuf,
    },
    /// The trees in the output directory were made in another way.
    #[error("the trees in {} were made with other settings: {differences}", directory.display())]
    OtherSettings {
        /// The output directory.
        directory: PathBuf,
        /// What differs, with both values.
        differences: String,
    },
    /// The record of the directory's settings is damaged.
    #[error("{}: expected one JSON object a line", path.display())]
    Settings {
        /// The record.
        path: PathBuf,
    },
    /// The output directory, its lock or its log cannot be opened, read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tree cannot be written.
    #[error(transparent)]
    Write(std::io::Error),
    /// The log is damaged in its midst.
    #[error("{}: line {line}: expected an object with stem and status (done or failed)", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Summary {
    /// Problems searched to the end.
    pub done: usize,
    /// Problems whose tree was there before.
    pub already_done: usize,
    /// Problems that failed in this run.
    pub failed: usize,
    /// Problems left alone because they failed in an earlier run.
    pub failed_before: usize,
    /// Problems whose record occurs earlier in the data set.
    pub repeated: usize,
    /// Of those done, problems that no rollout from the start solved: they give no samples.
    pub never_solved: usize,
    /// Of those done, problems that every rollout from the start solved: they give no samples either.
    pub always_solved: usize,
    /// Rollouts drawn, those of failed and abandoned problems included.
    pub rollouts: usize,
    /// Of those, rollouts that nobody could judge.
    pub unjudged: usize,
    /// Searches of the problems done.
    pub searches: usize,
    /// Probes that the problems done asked for ahead.
    pub guesses: usize,
    /// Of those, probes that were not needed and dropped with their rollouts, which are not counted above.
    pub guesses_dropped: usize,
    /// Whether the run was cancelled before all problems were tried.
    pub cancelled: bool,
}

/// What there is to do, known before the first search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Problems to search.
    pub pending: usize,
    /// Problems whose tree is there.
    pub already_done: usize,
    /// Problems left alone because they failed in an earlier run.
    pub failed_before: usize,
    /// Problems whose record occurs earlier in the data set.
    pub repeated: usize,
}

/// Something that happened in a run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run begins.
    Planned(Plan),
    /// The search of a problem begins.
    Started {
        /// The problem.
        problem: &'a Problem,
    },
    /// Rollouts were drawn and judged.
    Rollouts {
        /// The problem.
        problem: &'a Problem,
        /// How many.
        count: usize,
    },
    /// A problem was searched and its tree written.
    Finished {
        /// The problem.
        problem: &'a Problem,
        /// Its tree and counts.
        outcome: &'a Outcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// A problem failed and its cause was logged.
    Failed {
        /// The problem.
        problem: &'a Problem,
        /// Why.
        cause: &'a str,
    },
}

/// Is told what happens in a run, from several threads. Any function of an [`Event`] is one; `()` does not listen.
pub trait Progress: Sync {
    /// `event` happened.
    fn event(&self, event: Event<'_>);
}

impl<F: Fn(Event<'_>) + Sync> Progress for F {
    fn event(&self, event: Event<'_>) {
        self(event);
    }
}

impl Progress for () {
    fn event(&self, _: Event<'_>) {}
}

/// Part `index` (from 0) of `items` cut into `count` parts as the reference cuts a problem file: all of one size, rounded
/// up, but the last ones, which may be shorter or empty.
///
/// ```
/// use mmprm::search::annotate::shard;
/// assert_eq!(shard(&[1, 2, 3, 4, 5], 2, 4), [5]);
/// assert_eq!(shard(&[1, 2, 3, 4, 5], 3, 4), [0; 0]);
/// ```
///
/// # Panics
/// If `count` is 0.
pub fn shard<T>(items: &[T], index: usize, count: usize) -> &[T] {
    let size = items.len().div_ceil(count);
    let start = index.saturating_mul(size).min(items.len());
    &items[start..(start + size).min(items.len())]
}
