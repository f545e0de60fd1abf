//! The Best-of-N file: MM-PRM's JSON array of `{question, image_path, solutions_splits, labels,
//! …}`, to which scoring adds `prm_scores`. Unknown fields are carried along.
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
    /// `question`; optional in files that already have scores.
    pub question: Option<String>,
    /// `image_paths` or `image_path`, as written; empty for text-only problems.
    pub images: Vec<String>,
    /// `solutions_splits`: the steps of each candidate. A candidate may have none, and has none in
    /// a file with scores only.
    pub solutions: Vec<Vec<String>>,
    /// `labels`: whether each candidate's answer is correct.
    pub labels: Option<Vec<bool>>,
    /// `prm_scores`: for each candidate, one score per step, 0 to 1.
    pub scores: Option<Vec<Vec<f64>>>,
    /// `step_logprobs` and `step_tokens`: the log-probability that the policy gave its own steps.
    pub logprobs: Option<Logprobs>,
}

/// Why a Best-of-N file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CandidatesError {
    /// The file cannot be read, or is too large.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a JSON array.
    #[error("{}: line {} column {}: expected a JSON array of candidate records ({source})", path.display(), source.line(), source.column())]
    Json {
        /// The file.
        path: PathBuf,
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
    #[error("{}: record {index}, field \"{field}\": {cause}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The record's index, from 0.
        index: usize,
        /// The field.
        field: &'static str,
        /// What was expected, or what does not fit together.
        cause: String,
    },
}

/// Reads a Best-of-N file.
///
/// # Errors
/// [`CandidatesError`] naming the file, the record and the field.
pub fn load(path: &Path) -> Result<Vec<CandidateSet>, CandidatesError> {
    parse(path, &io::read(path, MAX_BYTES)?)
}

/// Parses a Best-of-N file from memory; `path` names it in errors.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<CandidateSet>, CandidatesError> {
    let records: Vec<Value> =
        serde_json::from_slice(bytes).map_err(|source| CandidatesError::Json { path: path.to_owned(), source })?;
    let sets = records.into_iter().enumerate().map(|(index, record)| {
        let Value::Object(record) = record else {
            return Err(CandidatesError::NotARecord { path: path.to_owned(), index });
        };
        read_record(record).map_err(|(field, cause)| CandidatesError::Field {
            path: path.to_owned(),
            index,
            field,
            cause,
        })
    });
    sets.collect()
}

fn read_record(record: Map<String, Value>) -> Result<CandidateSet, (&'static str, String)> {
    let question = match record.get("question") {
        Some(Value::String(question)) => Some(question.clone()),
        None if record.contains_key("prm_scores") => None,
        _ => return Err(("question", "expected a string".into())),
    };
    let images = match (record.get("image_paths"), record.get("image_path")) {
        (Some(paths), _) => strings(paths).ok_or(("image_paths", "expected an array of strings".to_owned()))?,
        (None, None | Some(Value::Null)) => Vec::new(),
        (None, Some(Value::String(path))) if path.is_empty() => Vec::new(),
        (None, Some(Value::String(path))) => vec![path.clone()],
        (None, Some(_)) => return Err(("image_path", "expected a string".into())),
    };
    let solutions = match (record.get("solutions_splits"), record.get("prm_scores")) {
        (None, Some(Value::Array(scores))) => vec![Vec::new(); scores.len()],
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
                return Err(("labels", format!("{} labels for {} candidates", read.len(), solutions.len())));
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
                return Err(("prm_scores", format!("{} score lists for {} candidates", read.len(), solutions.len())));
            }
            Some(read)
        }
    };
    let logprobs = logprobs(&record, solutions.len())?;
    Ok(CandidateSet { record, question, images, solutions, labels, scores, logprobs })
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
    fn images_labels_and_scores_are_optional() {
        let sets = parse("c".as_ref(), br#"[{"question": "q", "image_path": "", "solutions_splits": []}]"#).unwrap();
        assert!(sets[0].images.is_empty() && sets[0].labels.is_none() && sets[0].scores.is_none());
    }
}
