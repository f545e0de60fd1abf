//! Files of problems as a whole: what is in them, dividing them into parts, and choosing what is worth training or testing on.
//!
//! [`stats`] counts, [`split`](mod@split) divides a file without letting equal problems into different parts,
//! [`curate`](mod@curate) drops what cannot be verified or occurs twice. Records are kept as they are, with the fields that this project does not know.
//! Reading and writing single records is left to [`data`](crate::data).
//!
//! ```
//! use mmprm::data::records::Records;
//! use mmprm::dataset::stats::stats;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("problems.jsonl");
//! std::fs::write(&path, r#"{"question": "1 + 1?", "correct_answer": "2"}"#)?;
//! let stats = stats(&Records::load(&path, None)?);
//! assert_eq!((stats.records, stats.answers["number"]), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod curate;
mod images;
mod output;
mod similar;
pub mod split;
pub mod stats;

pub use output::OutputError;
pub use similar::normalised;
