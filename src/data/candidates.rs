//! The Best-of-N file: MM-PRM's JSON array of `{question, image_path, solutions_splits, labels,
//! …}`, or one such record a line (JSON Lines). Scoring adds `prm_scores`. Unknown fields are carried along.
//!
//! ```
//! use mmprm::data::candidates::{CandidateSet, parse};
//! let text = r#"[{"question": "1+1?", "solutions_splits": [["2 it is.", "Answer: 2"], []], "labels": [1, 0]}]"#;
//! let sets = parse("candidates.json".as_ref(), text.as_bytes()).unwrap();
//! assert_eq!(sets[0].solutions[0].len(), 2);
//! assert_eq!(sets[0].labels.as_deref(), Some(&[true, false][..]));
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::fields::group;
use super::images::{ImageFieldError, check_markers, image_paths, shown};
use super::question::with_options;
use crate::util::io::{self, FileError};

/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 4 << 30;

/// For each candidate and each of its steps, the sum of the tokens' log-probabilities (natural
/// logarithm) and the number of tokens.
pub type Logprobs = Vec<Vec<(f64, usize)>>;

/// The candidates of one problem.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateSet {
    /// The whole record as read, in the key order of its file.
    pub record: Map<String, Value>,
    /// `question`, followed by its options where the record has any
    /// ([`with_options`]); optional in files that already have scores, or verdicts alone.
    pub question: Option<String>,
    /// The paths of its [image fields](super::images), as written; empty for text-only problems.
    pub images: Vec<String>,
    /// `solutions_splits`: the steps of each candidate. A candidate may have none, and has none in
    /// a file with scores only.
    pub solutions: Vec<Vec<String>>,
    /// Whether the record has `error`: its candidates could not be generated.
    pub failed: bool,
    /// `labels`: whether each candidate's answer is correct.
    pub labels: Option<Vec<bool>>,
    /// `prm_scores`: for each candidate, one score per step, 0 to 1.
    pub scores: Option<Vec<Vec<f64>>>,
    /// `step_logprobs` and `step_tokens`: the log-probability that the policy gave its own steps.
    pub logprobs: Option<Logprobs>,
}

/// The fields of a record that are about its candidates.
const FIELDS: [&str; 11] = [
    "solutions_splits",
    "labels",
    "prm_scores",
    "prm_critiques",
    "prm_error",
    "error",
    "step_logprobs",
    "step_tokens",
    "unjudged",
    "step_labels",
    "step_errors",
];

/// Returns the record of a problem without fields about candidates, which a Best-of-N file that serves as a problem file has: new
/// candidates are not those.
pub(crate) fn of_problem(record: &Map<String, Value>) -> Map<String, Value> {
    record
        .iter()
        .filter(|(name, _)| !FIELDS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl CandidateSet {
    /// The correct answer, where the record has one.
    pub fn answer(&self) -> Option<&str> {
        ["correct_answer", "answer"].iter().find_map(|key| self.record.get(*key)?.as_str())
    }

    /// The group of the record by the value of a [field](super::fields::field); `(none)` without one.
    pub fn group(&self, field: &str) -> String {
        group(&self.record, field)
    }
}

/// Why a Best-of-N file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CandidatesError {
    /// The file cannot be read, or is too large.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is neither a JSON array nor JSON Lines.
    #[error("{}: line {line} column {}: expected {expected} ({source})", path.display(), source.column())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// An element of the array is not an object.
    #[error("{}: record {index}: expected an object", path.display())]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// The element's index, from 0.
        index: usize,
    },
    /// A field is missing or has an unexpected value.
    #[error("{}: {record}, field \"{field}\": {cause}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The record: its index from 0, and its id if it has one.
        record: String,
        /// The field.
        field: &'static str,
        /// What was expected, or what does not fit together.
        cause: String,
    },
    /// The images of a record are not known.
    #[error("{}: {record}: {source}", path.display())]
    Images {
        /// The file.
        path: PathBuf,
        /// The record: its index from 0, and its id if it has one.
        record: String,
        /// What is wrong with its fields.
        source: ImageFieldError,
    },
}

/// What is wrong with a record.
enum Defect {
    Field(&'static str, String),
    Images(ImageFieldError),
}

impl From<(&'static str, String)> for Defect {
    fn from((field, cause): (&'static str, String)) -> Self {
        Self::Field(field, cause)
    }
}

impl From<ImageFieldError> for Defect {
    fn from(error: ImageFieldError) -> Self {
        Self::Images(error)
    }
}

/// Reads a Best-of-N file.
///
/// # Errors
/// [`CandidatesError`] naming the file, the record and the field.
pub fn load(path: &Path) -> Result<Vec<CandidateSet>, CandidatesError> {
    parse(path, &io::read_text(path, MAX_BYTES)?)
}

/// Parses a Best-of-N file from memory; `path` names it in errors.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<CandidateSet>, CandidatesError> {
    let records = records(path, bytes)?;
    let sets = records.into_iter().enumerate().map(|(index, record)| {
        let Value::Object(record) = record else {
            return Err(CandidatesError::NotARecord { path: path.to_owned(), index });
        };
        let place = place(&record, index);
        read_record(record).map_err(|defect| match defect {
            Defect::Field(field, cause) => {
                CandidatesError::Field { path: path.to_owned(), record: place, field, cause }
            }
            Defect::Images(source) => CandidatesError::Images { path: path.to_owned(), record: place, source },
        })
    });
    sets.collect()
}

/// The elements of an array, or the lines of JSON Lines, distinguished by the first character.
fn records(path: &Path, bytes: &[u8]) -> Result<Vec<Value>, CandidatesError> {
    let is_lines = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !is_lines {
        let expected = "a JSON array of candidate records";
        let syntax = |source: serde_json::Error| CandidatesError::Json {
            path: path.to_owned(),
            line: source.line(),
            expected,
            source,
        };
        return serde_json::from_slice(bytes).map_err(syntax);
    }
    let lines = bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let record = |(index, line): (usize, &[u8])| {
        let expected = "a candidate record a line";
        let syntax = |source| CandidatesError::Json { path: path.to_owned(), line: index + 1, expected, source };
        serde_json::from_slice(line).map_err(syntax)
    };
    lines.map(record).collect()
}

/// Names a record in messages: its index from 0, and its id if it has one.
#[doc(hidden)]
pub fn place(record: &Map<String, Value>, index: usize) -> String {
    match record.get("id").filter(|id| !id.is_null()) {
        Some(id) => format!("record {index} (id {})", shown(id)),
        None => format!("record {index}"),
    }
}

fn read_record(record: Map<String, Value>) -> Result<CandidateSet, Defect> {
    let question = match record.get("question") {
        Some(Value::String(question)) => Some(question.clone()),
        None if record.contains_key("prm_scores")
            || !record.contains_key("solutions_splits") && record.contains_key("labels") =>
        {
            None
        }
        _ => return Err(("question", "expected a string".to_owned()).into()),
    };
    let images = image_paths(&record)?;
    if let Some(question) = &question {
        check_markers(question, images.len())?;
    }
    let question = question.map(|question| with_options(&question, &record));
    let solutions = match (record.get("solutions_splits"), record.get("prm_scores")) {
        (None, Some(Value::Array(scores))) => vec![Vec::new(); scores.len()],
        // Verdicts alone: what a pool of other models' answers has.
        (None, None) if record.get("labels").is_some_and(Value::is_array) => {
            vec![Vec::new(); record["labels"].as_array().map_or(0, Vec::len)]
        }
        (splits, _) => splits
            .and_then(Value::as_array)
            .and_then(|candidates| candidates.iter().map(strings).collect::<Option<Vec<_>>>())
            .ok_or(("solutions_splits", "expected an array of arrays of strings".to_owned()))?,
    };
    let labels = match record.get("labels") {
        None | Some(Value::Null) => None,
        Some(labels) => {
            let read = labels.as_array().and_then(|labels| labels.iter().map(label).collect::<Option<Vec<_>>>());
            let read = read.ok_or(("labels", "expected an array of 0, 1, true or false".to_owned()))?;
            if read.len() != solutions.len() {
                return Err(("labels", format!("{} labels for {} candidates", read.len(), solutions.len())).into());
            }
            Some(read)
        }
    };
    let scores = match record.get("prm_scores") {
        None | Some(Value::Null) => None,
        Some(scores) => {
            let read: Vec<Vec<f64>> = serde_json::from_value(scores.clone())
                .map_err(|_| ("prm_scores", "expected an array of arrays of numbers".to_owned()))?;
            if read.len() != solutions.len() {
                return Err(
                    ("prm_scores", format!("{} score lists for {} candidates", read.len(), solutions.len())).into()
                );
            }
            Some(read)
        }
    };
    let logprobs = logprobs(&record, solutions.len())?;
    let failed = record.get("error").is_some_and(|error| !error.is_null());
    Ok(CandidateSet { record, question, images, solutions, failed, labels, scores, logprobs })
}

/// Reads `step_logprobs` and `step_tokens` as pairs.
fn logprobs(record: &Map<String, Value>, candidates: usize) -> Result<Option<Logprobs>, (&'static str, String)> {
    let (Some(sums), Some(counts)) = (record.get("step_logprobs"), record.get("step_tokens")) else { return Ok(None) };
    let sums: Vec<Vec<f64>> = serde_json::from_value(sums.clone())
        .map_err(|_| ("step_logprobs", "expected an array of arrays of numbers".to_owned()))?;
    let counts: Vec<Vec<usize>> = serde_json::from_value(counts.clone())
        .map_err(|_| ("step_tokens", "expected an array of arrays of whole numbers".to_owned()))?;
    let same_shape = sums.len() == candidates
        && counts.len() == candidates
        && sums.iter().zip(&counts).all(|(sums, counts)| sums.len() == counts.len());
    if !same_shape {
        return Err((
            "step_logprobs",
            format!("expected one list for each of {candidates} candidates, as in step_tokens"),
        ));
    }
    let pairs = |(sums, counts): (Vec<f64>, Vec<usize>)| sums.into_iter().zip(counts).collect();
    Ok(Some(sums.into_iter().zip(counts).map(pairs).collect()))
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn label(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(label) => Some(*label),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("c.json".as_ref(), text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_record_and_field() {
        assert!(error("[{]").starts_with("c.json: line 1 column 3:"), "{}", error("[{]"));
        assert_eq!(error("[1]"), "c.json: record 0: expected an object");
        let text = r#"[{"question": "q", "solutions_splits": [["a"]]}, {"question": "q", "solutions_splits": [3]}]"#;
        assert_eq!(error(text), "c.json: record 1, field \"solutions_splits\": expected an array of arrays of strings");
        let text = r#"[{"question": "q", "solutions_splits": [["a"]], "labels": [1, 0]}]"#;
        assert_eq!(error(text), "c.json: record 0, field \"labels\": 2 labels for 1 candidates");
    }

    #[test]
    fn lines_of_records_are_read_as_an_array_of_them() {
        let (a, b) =
            (r#"{"question": "q", "solutions_splits": [["a"]]}"#, r#"{"question": "r", "solutions_splits": []}"#);
        let array = parse("c.json".as_ref(), format!("[{a},{b}]").as_bytes()).unwrap();
        let lines = parse("c.jsonl".as_ref(), format!("{a}\r\n\n{b}\n").as_bytes()).unwrap();
        assert_eq!(array, lines);
        assert!(error(&format!("{a}\n{{]")).starts_with("c.json: line 2 column 2: expected a candidate record a line"));
        assert_eq!(error(&format!("{a}\n[]")), "c.json: record 1: expected an object");
    }

    #[test]
    fn verdicts_alone_are_candidates_without_steps() {
        let sets = parse("c".as_ref(), br#"{"id": "1", "labels": [1, 0, true]}"#).unwrap();
        assert_eq!((sets[0].solutions.len(), sets[0].labels.as_deref()), (3, Some(&[true, false, true][..])));
        assert!(sets[0].question.is_none());
    }

    #[test]
    fn images_labels_and_scores_are_optional() {
        let sets = parse("c".as_ref(), br#"[{"question": "q", "image_path": "", "solutions_splits": []}]"#).unwrap();
        assert!(sets[0].images.is_empty() && sets[0].labels.is_none() && sets[0].scores.is_none());
    }
}
