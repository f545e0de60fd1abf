//! Processing many records with parallel workers, a journal and one output file: what generation
//! and scoring share.
//!
//! ```
//! use mmprm::eval::batch::{Batch, Outcome};
//! use mmprm::util::cancel::CancelToken;
//! use serde_json::{Map, json};
//! let directory = tempfile::tempdir().unwrap();
//! let output = directory.path().join("squares.json");
//! let (settings, cancel) = (json!({"command": "square"}), CancelToken::new());
//! let batch = Batch { output: &output, settings: &settings, workers: 2, cancel: &cancel, progress: &|_| () };
//! let square = |index: usize| Outcome::Done(Map::from_iter([("square".to_owned(), json!(index * index))]));
//! assert_eq!(batch.run(3, &square).unwrap().done, 3);
//! let text = std::fs::read_to_string(&output).unwrap();
//! assert_eq!(text, "[\n{\"square\":0},\n{\"square\":1},\n{\"square\":4}\n]\n");
//! ```

use std::io::Write;
use std::path::Path;

use crate::util::cancel::CancelToken;
use mmprm_quant::atomic::AtomicFile;
use serde_json::{Map, Value, json};

use crate::util::journal::{Journal, JournalError};
use crate::util::pool;

/// Why a run over records ended early. Records finished before are in the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] std::io::Error),
}

/// The result of one record.
#[derive(Debug)]
pub enum Outcome {
    /// The record for the output.
    Done(Map<String, Value>),
    /// The record for the output, and why it failed.
    Failed(Map<String, Value>, String),
    /// The run was cancelled; nothing is written.
    Cancelled,
}

/// The result of a run over records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Summary {
    /// Records finished, including those of earlier, interrupted runs.
    pub done: usize,
    /// Of those, records that failed.
    pub failed: usize,
    /// Of those, records finished by earlier runs.
    pub resumed: usize,
    /// Whether the run was cancelled before the end; it leaves a journal instead of an output then.
    pub cancelled: bool,
}

/// Progress of a run over records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Number of records finished by earlier runs.
    Resumed(usize),
    /// A record is finished.
    Done,
    /// A record failed, with its cause.
    Failed(&'a str),
}

/// A run over records.
pub struct Batch<'a> {
    /// The output file: a JSON array with one record per line, in order.
    pub output: &'a Path,
    /// Identifies the run: settings and input. A journal with other settings is refused.
    pub settings: &'a Value,
    /// Number of records processed in parallel.
    pub workers: usize,
    /// Cancels the run.
    pub cancel: &'a CancelToken,
    /// Receives progress.
    pub progress: &'a (dyn Fn(Event<'_>) + Sync),
}

impl Batch<'_> {
    /// Calls `work` for each index below `count` that no earlier run finished, then writes the
    /// output.
    ///
    /// # Errors
    /// [`BatchError`].
    pub fn run(&self, count: usize, work: &(dyn Fn(usize) -> Outcome + Sync)) -> Result<Summary, BatchError> {
        let (mut journal, pieces) = Journal::open(self.output, self.settings)?;
        let mut records: Vec<Option<(Value, bool)>> = vec![None; count];
        for piece in pieces {
            if let Some(place) = piece["index"].as_u64().and_then(|index| records.get_mut(index as usize)) {
                *place = Some((piece["record"].clone(), piece["failed"] == json!(true)));
            }
        }
        let resumed = records.iter().flatten().count();
        (self.progress)(Event::Resumed(resumed));
        let todo: Vec<usize> = (0..count).filter(|&index| records[index].is_none()).collect();
        let keep = |place: usize, outcome: Outcome| {
            let (record, failed) = match outcome {
                Outcome::Cancelled => return Ok(()),
                Outcome::Done(record) => {
                    (self.progress)(Event::Done);
                    (Value::Object(record), false)
                }
                Outcome::Failed(record, cause) => {
                    (self.progress)(Event::Failed(&cause));
                    (Value::Object(record), true)
                }
            };
            let index = todo[place];
            journal.append(&json!({"index": index, "failed": failed, "record": record}))?;
            records[index] = Some((record, failed));
            Ok::<(), BatchError>(())
        };
        pool::run(&todo, self.workers, self.cancel, |&index| work(index), keep)?;
        let done = records.iter().flatten().count();
        let failed = records.iter().flatten().filter(|(_, failed)| *failed).count();
        if done < count {
            return Ok(Summary { done, failed, resumed, cancelled: true });
        }
        self.write(records.iter().flatten().map(|(record, _)| record))?;
        journal.remove()?;
        Ok(Summary { done, failed, resumed, cancelled: false })
    }

    fn write<'r>(&self, records: impl Iterator<Item = &'r Value>) -> Result<(), BatchError> {
        let mut file = AtomicFile::create(self.output)?;
        file.write_all(b"[")?;
        for (index, record) in records.enumerate() {
            file.write_all(if index == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut file, record).map_err(std::io::Error::from)?;
        }
        file.write_all(b"\n]\n")?;
        Ok(file.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: usize) -> Map<String, Value> {
        Map::from_iter([("n".to_owned(), json!(index))])
    }

    fn run(output: &Path, cancel: &CancelToken, work: &(dyn Fn(usize) -> Outcome + Sync)) -> Summary {
        let batch = Batch { output, settings: &json!("s"), workers: 3, cancel, progress: &|_| () };
        batch.run(10, work).unwrap()
    }

    #[test]
    fn an_interrupted_run_resumes_to_the_same_output() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, parts) = (dir.path().join("whole.json"), dir.path().join("parts.json"));
        let never = CancelToken::new();
        let all = |index: usize| match index {
            3 => Outcome::Failed(record(index), "broken".into()),
            _ => Outcome::Done(record(index)),
        };
        let summary = run(&whole, &never, &all);
        assert_eq!(summary, Summary { done: 10, failed: 1, resumed: 0, cancelled: false });

        let first = run(&parts, &never, &|index| if index % 2 == 0 { all(index) } else { Outcome::Cancelled });
        assert_eq!(first, Summary { done: 5, failed: 0, resumed: 0, cancelled: true });
        assert!(!parts.exists());
        let second = run(&parts, &never, &|index| {
            assert_eq!(index % 2, 1, "finished records are not processed again");
            all(index)
        });
        assert_eq!(second, Summary { done: 10, failed: 1, resumed: 5, cancelled: false });
        assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&parts).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the journals are gone");
    }

    #[test]
    fn a_cancelled_run_starts_nothing_new() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancelToken::new();
        cancel.cancel();
        let summary = run(&dir.path().join("x.json"), &cancel, &|_| panic!("nothing may start"));
        assert!(summary.cancelled);
    }
}
