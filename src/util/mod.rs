//! Helpers for every room: cancellation, reading files, crash-safe JSON Lines, worker threads.
//!
//! | module | gives |
//! |---|---|
//! | [`auc`] | the area under the ROC curve |
//! | [`cancel`] | the one token that cancels long work |
//! | [`io`] | reading a file up to a maximum size, and the one error for files |
//! | [`jsonl`] | a JSON Lines file that survives a crash in the middle of a line |
//! | [`journal`] | finished records of a long run, on top of [`jsonl`] |
//! | `nesting` | limits on the structure of JSON before it is parsed (crate-internal) |
//! | `own_file` | opening and locking a file that only this program writes (crate-internal) |
//! | [`printable`] | text from elsewhere, made safe for terminals and logs |
//! | `pool` | the same work on many items, by scoped threads (crate-internal) |

#[doc(hidden)]
pub mod auc;
pub mod cancel;
#[doc(hidden)]
pub mod guard;
pub mod identity;
pub mod io;
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod jsonl;
pub mod machine;
pub(crate) mod nesting;
pub(crate) mod own_file;
pub(crate) mod pool;
#[doc(hidden)]
pub mod printable;
pub mod random;
#[doc(hidden)]
pub mod settings;
#[cfg(test)]
#[path = "../../tests/support/skips.rs"]
pub(crate) mod skips;
