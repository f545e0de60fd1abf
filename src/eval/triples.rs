//! Answer triples (expected answer, prediction, verdict), and the agreement of a rule with them.
//!
//! A file has one JSON object per line: `gold`, `pred`, and optionally `verdict` (true or false),
//! `source` (a name), `opts` (`choices`, `precision`, `unit`, `answer_type`: see
//! [`AnswerSpec`]) and `question` (searched for options if `opts` has no `choices`).
//!
//! ```
//! use mmprm::answer::Rule;
//! use mmprm::eval::triples::{parse, tally};
//! let text = r#"{"gold": "1/2", "pred": "0.5", "verdict": true, "source": "quiz"}"#;
//! let triples = parse("quiz.jsonl".as_ref(), text.as_bytes()).unwrap();
//! let comparisons: Vec<_> = triples.iter().map(|triple| triple.compare(Rule::General)).collect();
//! let table = tally(&triples, &comparisons);
//! assert_eq!((table[0].source.as_str(), table[0].agreed), ("quiz", 1));
//! ```

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::answer::{AnswerSpec, Comparison, Outcome, Rule};
use crate::util::io::{self, FileError};

/// Maximum size of a file of triples, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// An expected answer, a prediction, and what is known about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Triple {
    /// The expected answer.
    pub gold: String,
    /// The predicted answer, or a text that contains it.
    pub prediction: String,
    /// Whether the prediction is correct, according to the source.
    pub verdict: Option<bool>,
    /// The name of the source; empty if unknown.
    pub source: String,
    /// How the answer is expected.
    pub spec: AnswerSpec,
}

impl Triple {
    /// Compares the prediction with the expected answer.
    pub fn compare(&self, rule: Rule) -> Comparison {
        rule.compare(&self.gold, &self.prediction, &self.spec)
    }
}

/// Why a file of triples cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TriplesError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is not a triple.
    #[error("{}:{line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// What is wrong with the line.
        source: LineError,
    },
}

/// Why a line is not a triple.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is not a JSON object.
    #[error("not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// `gold` or `pred` is missing, or is neither a text nor a number.
    #[error("expected `{0}`, a text")]
    NoText(&'static str),
    /// `verdict` is neither true nor false.
    #[error("expected `verdict` to be true or false")]
    Verdict,
}

/// Reads a file of triples.
///
/// # Errors
/// If the file cannot be read, is larger than 1 GiB, or has a malformed line.
pub fn load(path: &Path) -> Result<Vec<Triple>, TriplesError> {
    parse(path, &io::read_text(path, MAX_BYTES)?)
}

/// Reads triples from memory; `path` is only for messages.
///
/// # Errors
/// If a line is malformed.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Triple>, TriplesError> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let read = |(index, line): (usize, &[u8])| {
        triple(line).map_err(|source| TriplesError::Line { path: path.to_owned(), line: index + 1, source })
    };
    filled.map(read).collect()
}

fn triple(line: &[u8]) -> Result<Triple, LineError> {
    let record: Map<String, Value> = serde_json::from_slice(line)?;
    let answer = |key| match record.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(number @ Value::Number(_)) => Ok(number.to_string()),
        _ => Err(LineError::NoText(key)),
    };
    let verdict = match record.get("verdict") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_bool().ok_or(LineError::Verdict)?),
    };
    let mut options = record.get("opts").and_then(Value::as_object).cloned().unwrap_or_default();
    // The options of a multiple-choice problem may be in its question.
    if let Some(question) = record.get("question")
        && !options.contains_key("question")
    {
        options.insert("question".to_owned(), question.clone());
    }
    let source = record.get("source").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Triple {
        gold: answer("gold")?,
        prediction: answer("pred")?,
        verdict,
        source,
        spec: AnswerSpec::from_record(&options),
    })
}

/// Agreement of a rule with the verdicts of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// The name of the source.
    pub source: String,
    /// Number of triples, with or without a verdict.
    pub triples: usize,
    /// Number of triples with a verdict.
    pub judged: usize,
    /// Equal with the verdict correct, or different with the verdict incorrect.
    pub agreed: usize,
    /// Equal with the verdict incorrect.
    pub false_equal: usize,
    /// Different with the verdict correct.
    pub false_different: usize,
    /// Undecided, with or without a verdict.
    pub undecided: usize,
}

impl Agreement {
    fn add(&mut self, verdict: Option<bool>, outcome: Outcome) {
        self.triples += 1;
        self.undecided += usize::from(outcome == Outcome::Undecided);
        let Some(right) = verdict else { return };
        self.judged += 1;
        match (outcome, right) {
            (Outcome::Equal, true) | (Outcome::Different, false) => self.agreed += 1,
            (Outcome::Equal, false) => self.false_equal += 1,
            (Outcome::Different, true) => self.false_different += 1,
            (Outcome::Undecided, _) => {}
        }
    }

    /// Returns the fraction of triples with a verdict that agree, 0 to 1; `None` if there are none.
    pub fn rate(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.agreed as f64 / self.judged as f64)
    }
}

/// Counts agreement by source, in order of first occurrence. Several sources get a last row
/// `total`.
pub fn tally(triples: &[Triple], comparisons: &[Comparison]) -> Vec<Agreement> {
    let mut rows: Vec<Agreement> = Vec::new();
    let mut total = Agreement { source: "total".into(), ..Agreement::default() };
    for (triple, comparison) in triples.iter().zip(comparisons) {
        let place = rows.iter().position(|row| row.source == triple.source).unwrap_or_else(|| {
            rows.push(Agreement { source: triple.source.clone(), ..Agreement::default() });
            rows.len() - 1
        });
        rows[place].add(triple.verdict, comparison.outcome);
        total.add(triple.verdict, comparison.outcome);
    }
    if rows.len() > 1 {
        rows.push(total);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_counted_by_source() {
        let text = r#"{"gold": "2", "pred": "2", "verdict": true, "source": "a"}
            {"gold": "2", "pred": "3", "verdict": true, "source": "a"}

            {"gold": 2, "pred": "2.0", "verdict": false, "source": "b"}
            {"gold": "the long side", "pred": "the short side of it", "verdict": true}
            {"gold": "2", "pred": "3"}"#;
        let triples = parse("t".as_ref(), text.as_bytes()).unwrap();
        let comparisons: Vec<Comparison> = triples.iter().map(|triple| triple.compare(Rule::General)).collect();
        let rows = tally(&triples, &comparisons);
        let numbers = |row: &Agreement| {
            (row.triples, row.judged, row.agreed, row.false_equal, row.false_different, row.undecided)
        };
        let found: Vec<_> = rows.iter().map(numbers).collect();
        assert_eq!(found, [(2, 2, 1, 0, 1, 0), (1, 1, 0, 1, 0, 0), (2, 1, 0, 0, 0, 1), (5, 4, 1, 1, 1, 1)]);
        assert_eq!(rows[0].rate(), Some(0.5));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, expected) in [
            ("[]", "not a JSON object"),
            (r#"{"pred": "1"}"#, "expected `gold`, a text"),
            (r#"{"gold": "1", "pred": null}"#, "expected `pred`, a text"),
            (r#"{"gold": "1", "pred": "1", "verdict": "yes"}"#, "true or false"),
        ] {
            let text = format!("{{\"gold\": \"1\", \"pred\": \"1\"}}\n{line}");
            let error = parse("quiz.jsonl".as_ref(), text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("quiz.jsonl:2: ") && error.contains(expected), "{error}");
        }
    }
}
