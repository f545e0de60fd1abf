//! Search over a data set: many problems in parallel, every finished one kept.
//!
//! Each problem's tree is written to `<md5 of its record>.json` in the output directory, MM-PRM's
//! file name. An existing tree is not searched again, so that a rerun resumes an interrupted run;
//! with a policy that samples the same rollouts again, the directory ends up with the same bytes as
//! after an uninterrupted run. Each problem adds a line to `annotate.log.jsonl`, just before its tree
//! is moved into place; a failed one is logged with its cause and tried again on request only. A lock
//! keeps a second process out of the directory.
//!
//! Problems are taken in order, [`AnnotateOptions::parallel`] at a time, each with one request in
//! flight (and, where it [speculates](crate::search::SearchParams::speculative), probes that give
//! way to needed requests): a long problem occupies one worker while the others continue. The
//! settings that the trees depend on are stored in `annotate.settings.jsonl`; a run with other
//! settings is refused unless [mixing](AnnotateOptions::mixed) is allowed.
//!
//! Reading problems, opening the policy and showing progress are left to the caller.
//!
//! ```
//! use mmprm::data::problem::Problem;
//! # use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
//! use mmprm::judge::RuleVerifier;
//! use mmprm::search::annotate::{AnnotateOptions, annotate};
//! use mmprm::util::cancel::CancelToken;
//! # struct Script;
//! # impl RolloutModel for Script {
//! #     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
//! #         Ok((0..request.count).map(|index| vec![format!("The final answer is {}", index % 2)].into()).collect())
//! #     }
//! # }
//! # let policy = Script;
//! let problems = [Problem::new("1?").answer("1")];
//! let directory = tempfile::tempdir().unwrap();
//! let run = || {
//!     let options = AnnotateOptions::default();
//!     annotate(&problems, directory.path(), &options, &policy, &RuleVerifier, &(), &CancelToken::new()).unwrap()
//! };
//! assert_eq!(run().done, 1);
//! assert_eq!(run().already_done, 1);
//! ```

mod directory;
mod error;
mod log;
mod options;
mod progress;
mod run;
mod settings;
mod shard;
mod slots;

pub use directory::LOG_NAME;
pub use error::AnnotateError;
pub use options::AnnotateOptions;
pub use progress::{Event, Plan, Progress, Summary};
pub use run::{annotate, check};
pub use settings::SETTINGS_NAME;
pub use shard::{Shard, ShardError};
