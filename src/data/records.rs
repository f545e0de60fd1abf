//! Files of records as a whole, whatever they are about: problems, candidates or training samples, each with its question and images.
//!
//! For what treats a file as a set of records (counting them, dividing them into parts) and keeps every record as it is. The kind is
//! recognised by the fields of the first record; all records are validated as that kind's own reader does.
//!
//! ```
//! use mmprm::data::records::{Form, RecordKind, Records};
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("problems.jsonl");
//! std::fs::write(&path, r#"{"id": 7, "question": "1 + 1?", "correct_answer": "2"}"#)?;
//! let records = Records::load(&path, None)?;
//! assert_eq!((records.kind, records.form, records.items.len()), (RecordKind::Problems, Form::Lines, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::candidates::{self, CandidatesError};
use super::images::{ImageFieldError, image_paths};
use super::problem::{ProblemError, Problems};
use super::samples::PROCESS;
use crate::util::io::{self as files, FileError};

/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 4 << 30;

/// What the records of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// Problems.
    Problems,
    /// Candidates of problems, or step-labelled solutions.
    Candidates,
    /// Training samples.
    Samples,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One JSON array.
    Array,
    /// One JSON object a line.
    Lines,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its id, as text; without one, its index in the file.
    pub id: String,
    /// The question, with its options; empty where a record has none.
    pub question: String,
    /// The paths of its images, as written.
    pub images: Vec<String>,
    /// All its fields.
    pub record: Map<String, Value>,
}

/// The records of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// What they are.
    pub kind: RecordKind,
    /// How they are written.
    pub form: Form,
    /// The data root: the directory that image paths are confined to.
    pub root: PathBuf,
    /// The records, in the file's order.
    pub items: Vec<Item>,
}

/// Why a file of records cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a file of records.
    #[error("{}: expected problems, candidates or training samples: {cause}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A problem file with an error.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// A file of candidates with an error.
    #[error(transparent)]
    Candidates(#[from] CandidatesError),
    /// A training sample with an error.
    #[error("{}:{line}: expected {expected}", path.display())]
    Sample {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What should be there.
        expected: String,
    },
    /// The images of a training sample are not known.
    #[error("{}:{line}: {source}", path.display())]
    Images {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with its fields.
        source: ImageFieldError,
    },
}

impl Records {
    /// Reads a file. The data root is `root`, or the file's own directory.
    ///
    /// # Errors
    /// [`RecordsError`], naming the file and the record.
    pub fn load(path: &Path, root: Option<&Path>) -> Result<Self, RecordsError> {
        let bytes = files::read_text(path, MAX_BYTES)?;
        let form = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') => Form::Array,
            _ => Form::Lines,
        };
        let kind = kind_of(path, &bytes)?;
        let items = match kind {
            RecordKind::Problems => Problems::parse(path, &bytes, root)?.items.into_iter().map(of_problem).collect(),
            RecordKind::Candidates => {
                candidates::parse(path, &bytes)?.into_iter().enumerate().map(of_candidates).collect()
            }
            RecordKind::Samples => samples(path, &bytes)?,
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { kind, form, root: root.unwrap_or(parent).to_owned(), items })
    }
}

impl Form {
    /// Returns the ending of a file's name in this form.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Array => "json",
            Self::Lines => "jsonl",
        }
    }

    /// Writes records in this form.
    ///
    /// # Errors
    /// Any error of the writer.
    pub fn write<'a>(
        self,
        records: impl IntoIterator<Item = &'a Map<String, Value>>,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let mut is_first = true;
        for record in records {
            let separator = match (self, std::mem::take(&mut is_first)) {
                (Self::Array, true) => "[\n",
                (Self::Array, false) => ",\n",
                (Self::Lines, true) => "",
                (Self::Lines, false) => "\n",
            };
            output.write_all(separator.as_bytes())?;
            serde_json::to_writer(&mut *output, record)?;
        }
        output.write_all(match (self, is_first) {
            (Self::Array, true) => b"[]\n".as_slice(),
            (Self::Array, false) => b"\n]\n",
            (Self::Lines, true) => b"",
            (Self::Lines, false) => b"\n",
        })
    }
}

/// The kind of a file by the fields of its first record.
fn kind_of(path: &Path, bytes: &[u8]) -> Result<RecordKind, RecordsError> {
    let unknown = |cause: &str| RecordsError::Unknown { path: path.to_owned(), cause: cause.to_owned() };
    let start =
        bytes.iter().position(|byte| !byte.is_ascii_whitespace()).ok_or_else(|| unknown("the file is empty"))?;
    let rest = bytes[start..].strip_prefix(b"[").unwrap_or(&bytes[start..]);
    if rest.trim_ascii_start().starts_with(b"]") {
        return Err(unknown("the array is empty"));
    }
    let first = serde_json::Deserializer::from_slice(rest).into_iter::<Map<String, Value>>().next();
    let first = match first {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(unknown(&format!("the first record is no JSON object ({error})"))),
        None => return Err(unknown("the file is empty")),
    };
    let has = |name: &str| first.contains_key(name);
    let is_list = |name: &str| first.get(name).is_some_and(Value::is_array);
    if has("conversations") || is_list("candidates") || is_list("solution") && has("question") && !has("final_answer") {
        Ok(RecordKind::Samples)
    } else if has("solutions_splits") || has("prm_scores") || is_list("labels") {
        Ok(RecordKind::Candidates)
    } else if has("question") {
        Ok(RecordKind::Problems)
    } else {
        let fields: Vec<&str> = first.keys().map(String::as_str).collect();
        Err(unknown(&format!("the first record has the fields {}", fields.join(", "))))
    }
}

fn of_problem(problem: super::Problem) -> Item {
    Item { id: problem.id, question: problem.question, images: problem.images, record: problem.record }
}

fn of_candidates((index, set): (usize, super::CandidateSet)) -> Item {
    let id = id_of(&set.record).unwrap_or_else(|| index.to_string());
    Item { id, question: set.question.unwrap_or_default(), images: set.images, record: set.record }
}

fn id_of(record: &Map<String, Value>) -> Option<String> {
    match record.get("id")? {
        Value::String(id) => Some(id.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// Training samples: one a line.
fn samples(path: &Path, bytes: &[u8]) -> Result<Vec<Item>, RecordsError> {
    let mut items = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |expected: String| RecordsError::Sample { path: path.to_owned(), line: index + 1, expected };
        let record: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| wrong(format!("a training sample a line ({error})")))?;
        let images = image_paths(&record).map_err(|source| RecordsError::Images {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?;
        let question =
            question_of(&record).ok_or_else(|| wrong("a field `question`, or `conversations`".to_owned()))?;
        let id = id_of(&record).unwrap_or_else(|| items.len().to_string());
        items.push(Item { id, question, images, record });
    }
    Ok(items)
}

/// The question of a training sample: its own field, or what is before the process in the first turn.
fn question_of(record: &Map<String, Value>) -> Option<String> {
    if let Some(question) = record.get("question") {
        return question.as_str().map(str::to_owned);
    }
    let text = record.get("conversations")?.get(0)?.get("value")?.as_str()?;
    let question = text.split_once(PROCESS).map_or(text, |(question, _)| question);
    Some(question.strip_prefix("Question: ").unwrap_or(question).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Records, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        Records::load(&path, None).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn the_kind_is_recognised_and_question_and_images_are_read() {
        let sample = r#"{"id": 3, "image": "a.png", "conversations": [{"from": "human", "value": "Question: q?\nProcess: a<prm>"},
            {"from": "gpt", "value": [0.5]}]}"#.replace('\n', " ");
        for (text, kind) in [
            (r#"[{"question": "q?", "answer": "1", "image": "a.png", "id": "3"}]"#, RecordKind::Problems),
            (
                r#"{"question": "q?", "final_answer": ["1"], "solution": ["s"], "image": "a.png", "id": 3}"#,
                RecordKind::Problems,
            ),
            (r#"[{"question": "q?", "image": "a.png", "id": 3, "solutions_splits": [["s"]]}]"#, RecordKind::Candidates),
            (&sample, RecordKind::Samples),
            (
                r#"{"id": 3, "image": ["a.png"], "question": "q?", "candidates": [["s"]], "labels": [1]}"#,
                RecordKind::Samples,
            ),
            (r#"{"id": 3, "image": ["a.png"], "question": "q?", "solution": ["s"]}"#, RecordKind::Samples),
        ] {
            let records = load(text).unwrap();
            let item = &records.items[0];
            assert_eq!((records.kind, item.id.as_str(), item.question.as_str()), (kind, "3", "q?"), "{text}");
            assert_eq!(item.images, ["a.png"]);
        }
    }

    #[test]
    fn each_form_is_written_as_it_is_read() {
        let lines = "{\"question\":\"a\",\"x\":{\"y\":[1.5,null]}}\n{\"question\":\"b\"}\n";
        let array = "[\n{\"question\":\"a\"},\n{\"question\":\"b\"}\n]\n";
        for (text, form) in [(lines, Form::Lines), (array, Form::Array)] {
            let records = load(text).unwrap();
            let mut written = Vec::new();
            form.write(records.items.iter().map(|item| &item.record), &mut written).unwrap();
            assert_eq!((records.form, String::from_utf8(written).unwrap().as_str()), (form, text));
        }
        let mut written = Vec::new();
        Form::Array.write([], &mut written).unwrap();
        assert_eq!(written, b"[]\n");
    }

    #[test]
    fn what_is_no_file_of_records_is_named() {
        for (text, expected) in [
            ("", "f: expected problems, candidates or training samples: the file is empty"),
            ("[ ]", "f: expected problems, candidates or training samples: the array is empty"),
            ("3", "f: expected problems, candidates or training samples: the first record is no JSON object"),
            (
                r#"{"a": 1, "b": 2}"#,
                "f: expected problems, candidates or training samples: the first record has the fields a, b",
            ),
            ("{\"conversations\": []}", "f:1: expected a field `question`, or `conversations`"),
            (
                r#"{"question": "q", "candidates": [], "photo": "a.png"}"#,
                "f:1: the field `photo` seems to name an image",
            ),
            (r#"{"question": 3}"#, "f:1: expected a string in the field `question`"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
