//! Processing many records with parallel workers, a journal and one output file: what generation
//! and scoring share.
//!
//! Beside the output lies `OUTPUT.settings.json`: the settings of the run, by which a later run knows
//! whether the output is its own, the indices of failed records, and the folder of the images.
//!
//! ```
//! use mmprm::eval::batch::{Batch, Outcome};
//! use mmprm::util::cancel::CancelToken;
//! use serde_json::{Map, json};
//! let directory = tempfile::tempdir().unwrap();
//! let output = directory.path().join("squares.json");
//! let (settings, cancel) = (json!({"command": "square"}), CancelToken::new());
//! let batch = Batch { workers: 2, ..Batch::new(&output, &settings, &cancel) };
//! let square = |index: usize| Outcome::Done(Map::from_iter([("square".to_owned(), json!(index * index))]));
//! assert_eq!(batch.run(3, &square).unwrap().done, 3);
//! let text = std::fs::read_to_string(&output).unwrap();
//! assert_eq!(text, "[\n{\"square\":0},\n{\"square\":1},\n{\"square\":4}\n]\n");
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::{self, AtomicFile};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::util::cancel::CancelToken;
use crate::util::io::{self, FileError};
use crate::util::journal::{Finished, Journal, JournalError};
use crate::util::pool;
use crate::util::settings::differences;

/// Why a run over records ended early. Records finished before are in the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file of an earlier run cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The output exists, and it is not known how it was made.
    #[error("{} exists, and without {} it is not known how it was made", path.display(), settings.display())]
    Exists {
        /// The output.
        path: PathBuf,
        /// The file of its settings, which is missing or of another form.
        settings: PathBuf,
    },
    /// The output is of a run with other settings.
    #[error("{} was made with other settings: {differences}", path.display())]
    OtherSettings {
        /// The output.
        path: PathBuf,
        /// The settings that differ, with both values.
        differences: String,
    },
    /// The output is not that of its settings' run.
    #[error("{} is not as the run wrote it that its settings name", path.display())]
    Changed {
        /// The output.
        path: PathBuf,
    },
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
    /// The journal of an earlier run had this many damaged lines, which were moved to
    /// `<journal>.damaged`; their records are processed again.
    Damaged(usize),
}

/// What to do about an output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// An output with the same settings is finished work; another one is refused.
    #[default]
    Keep,
    /// As `Keep`, and records that failed are processed again.
    RetryFailed,
    /// It is replaced, and so is the journal of an unfinished run with other settings.
    Replace,
}

/// What is stored beside an output.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    format: u32,
    /// The settings of the run.
    settings: Value,
    /// Indices of the records that failed.
    failed: Vec<usize>,
    /// Number of records.
    records: usize,
    /// The folder of the images, absolute.
    data_root: Option<PathBuf>,
}

impl Origin {
    const FORMAT: u32 = 1;
    const MAX_BYTES: u64 = 256 << 20;

    fn path(output: &Path) -> PathBuf {
        atomic::beside(output, ".settings.json")
    }

    /// The summary of a run that finds the output finished.
    fn summary(&self) -> Summary {
        let done = self.records;
        Summary { done, failed: self.failed.len(), resumed: done, cancelled: false }
    }

    /// Reads what is stored beside an output; `None` where nothing is, or nothing that this version
    /// knows.
    fn read(output: &Path) -> Result<Option<Self>, FileError> {
        let path = Self::path(output);
        if !path.exists() {
            return Ok(None);
        }
        let origin: Option<Self> = serde_json::from_slice(&io::read_text(&path, Self::MAX_BYTES)?).ok();
        Ok(origin.filter(|origin| origin.format == Self::FORMAT))
    }
}

/// Returns the folder of the images of an output's records, if the output was made by a [`Batch`]
/// that knew it and the folder is still there.
#[doc(hidden)]
pub fn data_root(output: &Path) -> Option<PathBuf> {
    Origin::read(output).ok()??.data_root.filter(|folder| folder.is_dir())
}

/// Returns the settings of the run that made an output, if they lie beside it.
#[doc(hidden)]
pub fn settings(output: &Path) -> Option<Value> {
    Origin::read(output).ok()?.map(|origin| origin.settings)
}

/// Maximum size in bytes of an output whose failed records are processed again.
const MAX_OUTPUT: u64 = 4 << 30;

/// A run over records.
pub struct Batch<'a> {
    /// The output file: a JSON array with one record per line, in order.
    pub output: &'a Path,
    /// Identifies the run: settings and input. A journal or an output with other settings is refused.
    pub settings: &'a Value,
    /// The folder of the images, stored for commands that read the output.
    pub data_root: Option<&'a Path>,
    /// What to do about an output that exists.
    pub existing: Existing,
    /// Number of records processed in parallel.
    pub workers: usize,
    /// Cancels the run.
    pub cancel: &'a CancelToken,
    /// Receives progress.
    pub progress: &'a (dyn Fn(Event<'_>) + Sync),
}

/// A record and whether it failed; `None` before it is processed.
type Slot = Option<(Value, bool)>;

impl<'a> Batch<'a> {
    /// Returns a run with one worker and without progress that keeps an output that exists.
    pub fn new(output: &'a Path, settings: &'a Value, cancel: &'a CancelToken) -> Self {
        let existing = Existing::default();
        Self { output, settings, data_root: None, existing, workers: 1, cancel, progress: &|_| () }
    }

    /// Checks, before any model is loaded, that [`run`](Self::run) will not refuse the output and can
    /// write it; returns the summary of an output that is finished, for which nothing needs to run.
    ///
    /// # Errors
    /// [`BatchError`].
    pub fn check(&self) -> Result<Option<Summary>, BatchError> {
        if let Some(origin) = self.finished()?.filter(|origin| !self.retries(origin)) {
            return Ok(Some(origin.summary()));
        }
        atomic::check_file(self.output)?;
        if atomic::is_written_through(self.output) {
            return Ok(None);
        }
        match Journal::check(self.output, self.settings) {
            Err(JournalError::OtherRun { .. }) if self.existing == Existing::Replace => Ok(None),
            checked => Ok(checked.map(|()| None)?),
        }
    }

    /// Whether records of a finished output are processed again.
    fn retries(&self, origin: &Origin) -> bool {
        self.existing == Existing::RetryFailed && !origin.failed.is_empty()
    }

    /// The output's origin, if there is an output with the same settings.
    fn finished(&self) -> Result<Option<Origin>, BatchError> {
        // An unfinished run with these settings goes on, whatever the output.
        let replaces = self.existing == Existing::Replace;
        // A directory is refused where it is written.
        let is_file = !atomic::is_written_through(self.output) && self.output.exists() && !self.output.is_dir();
        if replaces || !is_file {
            return Ok(None);
        }
        let path = self.output.to_owned();
        let Some(origin) = Origin::read(self.output)? else {
            // It may have ended between the output and its settings.
            if Journal::is_begun(self.output, self.settings)? {
                return Ok(None);
            }
            return Err(BatchError::Exists { settings: Origin::path(&path), path });
        };
        let differences = differences(&origin.settings, self.settings);
        if differences.is_empty() { Ok(Some(origin)) } else { Err(BatchError::OtherSettings { path, differences }) }
    }

    /// The records of a finished output that need not be processed again.
    fn kept(&self, origin: &Origin) -> Result<Vec<Slot>, BatchError> {
        let changed = || BatchError::Changed { path: self.output.to_owned() };
        let bytes = io::read(self.output, MAX_OUTPUT)?;
        let records: Vec<Value> = serde_json::from_slice(&bytes).map_err(|_| changed())?;
        if records.len() != origin.records {
            return Err(changed());
        }
        let mut slots: Vec<Slot> = records.into_iter().map(|record| Some((record, false))).collect();
        for &index in &origin.failed {
            *slots.get_mut(index).ok_or_else(changed)? = None;
        }
        Ok(slots)
    }

    fn journal(&self) -> Result<(Option<Journal>, Finished), BatchError> {
        // Beside a device or a pipe there is no place for one.
        if atomic::is_written_through(self.output) {
            return Ok((None, Finished::default()));
        }
        let open = if self.existing == Existing::Replace { Journal::replace } else { Journal::open };
        let (journal, finished) = open(self.output, self.settings)?;
        Ok((Some(journal), finished))
    }

    /// Calls `work` for each index below `count` that no earlier run finished, then writes the
    /// output. A finished output with the same settings is left as it is.
    ///
    /// # Errors
    /// [`BatchError`].
    pub fn run(&self, count: usize, work: &(dyn Fn(usize) -> Outcome + Sync)) -> Result<Summary, BatchError> {
        let finished = |origin: &Origin| {
            (self.progress)(Event::Resumed(origin.records));
            Ok(origin.summary())
        };
        if let Some(origin) = self.finished()?.filter(|origin| !self.retries(origin)) {
            return finished(&origin);
        }
        atomic::check_file(self.output)?;
        let (mut journal, Finished { pieces, damaged }) = self.journal()?;
        // Another process may have finished the output before the journal was locked.
        let mut records: Vec<Slot> = match self.finished()? {
            None => vec![None; count],
            Some(origin) if self.retries(&origin) => self.kept(&origin)?,
            Some(origin) => {
                if let Some(journal) = journal {
                    journal.remove()?;
                }
                return finished(&origin);
            }
        };
        if records.len() != count {
            return Err(BatchError::Changed { path: self.output.to_owned() });
        }
        if damaged > 0 {
            (self.progress)(Event::Damaged(damaged));
        }
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
            if let Some(journal) = &mut journal {
                journal.append(&json!({"index": index, "failed": failed, "record": record}))?;
            }
            records[index] = Some((record, failed));
            Ok::<(), BatchError>(())
        };
        pool::run(&todo, self.workers, self.cancel, |&index| work(index), keep)?;
        let done = records.iter().flatten().count();
        let has_failed = |index: &usize| matches!(records[*index], Some((_, true)));
        let failed: Vec<usize> = (0..count).filter(has_failed).collect();
        let summary = Summary { done, failed: failed.len(), resumed, cancelled: done < count };
        if summary.cancelled {
            return Ok(summary);
        }
        self.write(records.iter().flatten().map(|(record, _)| record))?;
        if let Some(journal) = journal {
            let data_root = self.data_root.and_then(|folder| std::path::absolute(folder).ok());
            let settings = self.settings.clone();
            let origin = Origin { format: Origin::FORMAT, settings, failed, records: count, data_root };
            let text = serde_json::to_string(&origin).map_err(std::io::Error::from)?;
            atomic::write(&Origin::path(self.output), format!("{text}\n").as_bytes())?;
            journal.remove()?;
        }
        Ok(summary)
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
        Batch { workers: 3, ..Batch::new(output, &json!({"seed": 1}), cancel) }.run(10, work).unwrap()
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
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "the journals are gone");
    }

    #[test]
    fn a_run_that_could_not_store_its_settings_resumes() {
        let dir = tempfile::tempdir().unwrap();
        let (output, never) = (dir.path().join("x.json"), CancelToken::new());
        let done = |index: usize| Outcome::Done(record(index));
        std::fs::create_dir(Origin::path(&output)).unwrap();
        Batch::new(&output, &json!({"seed": 1}), &never).run(10, &done).unwrap_err();
        std::fs::remove_dir(Origin::path(&output)).unwrap();
        let bytes = std::fs::read(&output).unwrap();
        let other = Batch::new(&output, &json!({"seed": 2}), &never).check().unwrap_err().to_string();
        assert!(other.contains("it is not known how it was made"), "{other}");
        assert_eq!(Batch::new(&output, &json!({"seed": 1}), &never).check().unwrap(), None);
        let summary = run(&output, &never, &done);
        assert_eq!((summary.resumed, std::fs::read(&output).unwrap()), (10, bytes));
        assert_eq!(Origin::read(&output).unwrap().unwrap().settings, json!({"seed": 1}));
    }

    #[test]
    fn an_output_is_kept_by_the_same_settings_and_refused_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let (output, never) = (dir.path().join("x.json"), CancelToken::new());
        let run = |settings: &Value, existing, work: &(dyn Fn(usize) -> Outcome + Sync)| {
            let data_root = Some(dir.path());
            Batch { data_root, existing, ..Batch::new(&output, settings, &never) }.run(3, work)
        };
        let (one, two) = (json!({"seed": 1}), json!({"seed": 2}));
        std::fs::write(&output, "mine").unwrap();
        let done = |index: usize| Outcome::Done(record(index));
        assert!(matches!(run(&one, Existing::Keep, &done), Err(BatchError::Exists { .. })));
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "mine");
        let fails = |index: usize| match index {
            1 => Outcome::Failed(record(index), "broken".into()),
            _ => Outcome::Done(record(index)),
        };
        assert_eq!(run(&one, Existing::Replace, &fails).unwrap().failed, 1);
        assert_eq!(data_root(&output).as_deref(), Some(dir.path()));
        let text = std::fs::read_to_string(&output).unwrap();
        let nothing = |_| panic!("the work is done");
        let found = Batch::new(&output, &one, &never).check().unwrap();
        let again = run(&one, Existing::Keep, &nothing).unwrap();
        assert_eq!(found, Some(again));
        assert_eq!(again, Summary { done: 3, failed: 1, resumed: 3, cancelled: false });
        let error = run(&two, Existing::Keep, &nothing).unwrap_err().to_string();
        assert!(error.ends_with("x.json was made with other settings: seed (1 there, 2 here)"), "{error}");
        assert_eq!(std::fs::read_to_string(&output).unwrap(), text);
        let batch = Batch { existing: Existing::RetryFailed, ..Batch::new(&output, &one, &never) };
        assert_eq!(batch.check().unwrap(), None, "there is something to retry");
        let retried = run(&one, Existing::RetryFailed, &|index| {
            assert_eq!(index, 1, "records that did not fail are kept");
            done(index)
        });
        assert_eq!(retried.unwrap(), Summary { done: 3, failed: 0, resumed: 2, cancelled: false });
        assert_eq!(run(&two, Existing::Replace, &done).unwrap().failed, 0);
    }

    #[test]
    fn a_damaged_record_is_counted_and_processed_again() {
        let dir = tempfile::tempdir().unwrap();
        let (output, never, settings) = (dir.path().join("x.json"), CancelToken::new(), json!({"seed": 1}));
        run(&output, &never, &|index| if index < 5 { Outcome::Done(record(index)) } else { Outcome::Cancelled });
        let journal = dir.path().join("x.json.journal");
        let text = std::fs::read_to_string(&journal).unwrap();
        std::fs::write(&journal, text.replace("{\"n\":3}", "{\"n\":0}")).unwrap();
        let (damaged, worked) = (std::sync::Mutex::new(0), std::sync::Mutex::new(Vec::new()));
        let progress = |event: Event<'_>| {
            if let Event::Damaged(count) = event {
                *damaged.lock().unwrap() += count;
            }
        };
        let batch = Batch { progress: &progress, ..Batch::new(&output, &settings, &never) };
        let summary = batch.run(10, &|index| {
            worked.lock().unwrap().push(index);
            Outcome::Done(record(index))
        });
        assert_eq!(summary.unwrap(), Summary { done: 10, failed: 0, resumed: 4, cancelled: false });
        assert_eq!((*damaged.lock().unwrap(), worked.into_inner().unwrap()), (1, vec![3, 5, 6, 7, 8, 9]));
        assert!(dir.path().join("x.json.journal.damaged").exists() && !journal.exists());
    }

    #[test]
    fn a_second_run_is_refused_before_its_work() {
        let dir = tempfile::tempdir().unwrap();
        let (output, never, settings) = (dir.path().join("x.json"), CancelToken::new(), json!({"seed": 1}));
        let second = |existing| {
            let batch = Batch { existing, ..Batch::new(&output, &settings, &never) };
            let in_use = |error| matches!(error, BatchError::Journal(JournalError::InUse { .. }));
            in_use(batch.check().unwrap_err()) && in_use(batch.run(1, &|_| panic!("nothing may start")).unwrap_err())
        };
        run(&output, &never, &|index| {
            assert!(second(Existing::Keep) && second(Existing::Replace));
            Outcome::Done(record(index))
        });
        let text = std::fs::read_to_string(&output).unwrap();
        assert_eq!(text.lines().count(), 12);
    }

    #[cfg(unix)]
    #[test]
    fn beside_a_device_there_is_no_journal() {
        let never = CancelToken::new();
        let settings = json!({});
        let run = |path: &str| Batch::new(Path::new(path), &settings, &never).run(2, &|i| Outcome::Done(record(i)));
        assert_eq!(run("/dev/null").unwrap().done, 2);
        assert!(!Path::new("/dev/null.settings.json").exists());
        if Path::new("/dev/full").exists() {
            assert!(run("/dev/full").is_err());
        }
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
