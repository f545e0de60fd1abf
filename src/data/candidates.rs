//! The Best-of-N file: MM-PRM's JSON array of `{question, image_path, solutions_splits, labels, …}`, to which scoring adds
//! `prm_scores`. Fields this project does not know are carried along.
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

/// Largest file read.
const MOST_BYTES: u64 = 4 << 30;

/// Log-probability and number of tokens of each step of each candidate.
pub type Logprobs = Vec<Vec<(f64, usize)>>;

/// The candidates of one problem.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateSet {
    /// The whole record as read.
    pub record: Map<String, Value>,
    /// `question`; files that hold scores already may go without.
    pub question: Option<String>,
    /// `image_path` or `image_paths`, as written; none for text-only problems.
    pub images: Vec<String>,
    /// `solutions_splits`: steps of each candidate, perhaps none; empty where a file holds only their scores.
    pub solutions: Vec<Vec<String>>,
    /// `labels`: whether each candidate's answer is right, where known.
    pub labels: Option<Vec<bool>>,
    /// `prm_scores`: one list a candidate, one number a step, where scored.
    pub scores: Option<Vec<Vec<f64>>>,
    /// `step_logprobs` and `step_tokens`: how likely the policy found what it wrote, where known.
    pub logprobs: Option<Logprobs>,
}

/// Why a Best-of-N file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CandidatesError {
    /// It cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// It is not what was expected.
    #[error("{}: {place}: {cause}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong there and what was expected.
        cause: String,
    },
}

/// Reads a Best-of-N file.
///
/// # Errors
/// [`CandidatesError`] naming the file, the record and the field.
pub fn load(path: &Path) -> Result<Vec<CandidateSet>, CandidatesError> {
    let refuse = |cause: String| CandidatesError::Read { path: path.to_owned(), cause };
    let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if size > MOST_BYTES {
        return Err(refuse(format!("{size} bytes; at most {MOST_BYTES} are read")));
    }
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    parse(path, &bytes)
}

/// Reads a Best-of-N file from memory; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<CandidateSet>, CandidatesError> {
    let form = |place: String, cause: String| CandidatesError::Form { path: path.to_owned(), place, cause };
    let records: Vec<Value> = serde_json::from_slice(bytes).map_err(|error| {
        form(
            format!("line {} column {}", error.line(), error.column()),
            format!("expected a JSON array of candidate records ({error})"),
        )
    })?;
    let sets = records.into_iter().enumerate().map(|(index, record)| {
        let Value::Object(record) = record else {
            return Err(form(format!("record {index}"), "expected an object".into()));
        };
        read_record(record).map_err(|(field, cause)| form(format!("record {index}, field \"{field}\""), cause))
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

/// Pairs of `step_logprobs` and `step_tokens`.
fn logprobs(record: &Map<String, Value>, candidates: usize) -> Result<Option<Logprobs>, (&'static str, String)> {
    let (Some(sums), Some(counts)) = (record.get("step_logprobs"), record.get("step_tokens")) else { return Ok(None) };
    let sums: Vec<Vec<f64>> = serde_json::from_value(sums.clone())
        .map_err(|_| ("step_logprobs", "expected an array of arrays of numbers".to_owned()))?;
    let counts: Vec<Vec<usize>> = serde_json::from_value(counts.clone())
        .map_err(|_| ("step_tokens", "expected an array of arrays of whole numbers".to_owned()))?;
    let alike = sums.len() == candidates
        && counts.len() == candidates
        && sums.iter().zip(&counts).all(|(sums, counts)| sums.len() == counts.len());
    if !alike {
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
    fn missing_images_labels_and_scores_are_fine() {
        let sets = parse("c".as_ref(), br#"[{"question": "q", "image_path": "", "solutions_splits": []}]"#).unwrap();
        assert!(sets[0].images.is_empty() && sets[0].labels.is_none() && sets[0].scores.is_none());
    }
}
