//! The log of a run: `log.jsonl` with a line for each step and validation, and a `TensorBoard` event file.
//!
//! A resumed run drops the lines of steps that it repeats. Event files only grow; `TensorBoard` shows the last value of a
//! step.
//!
//! ```
//! use mmprm::train::log::Log;
//! use serde_json::json;
//! let folder = tempfile::tempdir().unwrap();
//! let mut log = Log::open(folder.path(), 0).unwrap();
//! log.write(1, &json!({"loss": 0.7})).unwrap();
//! log.write(2, &json!({"loss": 0.6})).unwrap();
//! drop(log);
//! let mut log = Log::open(folder.path(), 1).unwrap(); // the run was killed after saving step 1
//! log.write(2, &json!({"loss": 0.6})).unwrap();
//! let lines = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
//! assert_eq!(lines, "{\"step\":1,\"loss\":0.7}\n{\"step\":2,\"loss\":0.6}\n");
//! ```

pub mod tensorboard;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::util::io::FileError;
use crate::util::jsonl::{self, Found, JsonLines, Line};
use tensorboard::Events;

/// An open log; see the [module](self).
#[derive(Debug)]
pub struct Log {
    lines: JsonLines,
    /// Opened with the first value.
    events: Option<Events<File>>,
}

impl Log {
    /// Opens the log of a run in `directory` after `step` steps, or starts it.
    ///
    /// # Errors
    /// Any input/output error, with the path in its message.
    pub fn open(directory: &Path, step: u64) -> io::Result<Self> {
        let path = directory.join("log.jsonl");
        let is_kept = |line: Line<'_>| {
            line.json::<Value>().is_some_and(|values| values["step"].as_u64().is_some_and(|done| done <= step))
        };
        jsonl::retain(&path, is_kept)?;
        let lines = JsonLines::scan(&path, |_| Ok::<_, FileError>(Found::Sound))?.open()?;
        Ok(Self { lines, events: None })
    }

    /// Writes the fields of `values` as a line, and its numbers as scalars of the step.
    ///
    /// # Errors
    /// Any input/output error, with the path in its message.
    pub fn write(&mut self, step: u64, values: &Value) -> io::Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        line.extend(values.as_object().cloned().unwrap_or_default());
        let scalars: Vec<(&str, f32)> =
            line.iter().skip(1).filter_map(|(name, value)| Some((name.as_str(), value.as_f64()? as f32))).collect();
        let written = self.events().and_then(|events| events.scalars(step, &scalars));
        written.map_err(FileError::writing(self.lines.path()))?;
        Ok(self.lines.append_plain(&line)?)
    }

    fn events(&mut self) -> io::Result<&mut Events<File>> {
        let events = if let Some(events) = self.events.take() {
            events
        } else {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // `TensorBoard` finds files by this name; the process id keeps names within a second distinct.
            let name = format!("events.out.tfevents.{}.mmprm.{}", time.as_secs(), std::process::id());
            Events::start(append(&self.lines.path().with_file_name(name))?)?
        };
        Ok(self.events.insert(events))
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_repeated_steps_and_broken_lines_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "{\"step\":1}\n{\"step\":3}\n{\"step\":2}\n{\"st").unwrap();
        let mut log = Log::open(folder.path(), 2).unwrap();
        log.write(3, &json!({"x": 1})).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"x\":1}\n");
    }

    #[test]
    fn an_unwritable_directory_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = Log::open(&folder.path().join("file"), 0).unwrap_err();
        assert!(error.to_string().contains("log.jsonl"), "{error}");
    }
}
