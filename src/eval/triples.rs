//! Answer triples: an expected answer, a proposed one, and perhaps somebody's verdict; and how well a rule agrees with it.
//!
//! A file has one JSON object a line: `gold`, `pred`, and where known `verdict` (true or false), `source` (a name) and `opts`
//! (`choices`, `precision`, `unit`, `answer_type`: see [`AnswerSpec`]).
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

/// Largest file read.
const MAX_BYTES: u64 = 1 << 30;

/// An expected answer and a proposed one.
#[derive(Debug, Clone, PartialEq)]
pub struct Triple {
    /// The expected answer.
    pub gold: String,
    /// The proposed answer, or a text that gives one.
    pub prediction: String,
    /// Whether somebody found it right.
    pub verdict: Option<bool>,
    /// Where it is from; empty where that is not prediction.
    pub source: String,
    /// What is known of the expected answer besides its text.
    pub spec: AnswerSpec,
}

impl Triple {
    /// Compares the two answers by `rule`.
    pub fn compare(&self, rule: Rule) -> Comparison {
        rule.compare(&self.gold, &self.prediction, &self.spec)
    }
}

/// Why a file of triples cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TriplesError {
    /// It cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system prediction.
        cause: String,
    },
    /// A line is not what was expected.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there and what was expected.
        cause: String,
    },
}

/// Reads a file of triples.
///
/// # Errors
/// [`TriplesError`] naming the file and the line.
pub fn load(path: &Path) -> Result<Vec<Triple>, TriplesError> {
    let refuse = |cause: String| TriplesError::Read { path: path.to_owned(), cause };
    let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(refuse(format!("{size} bytes; at most {MAX_BYTES} are read")));
    }
    parse(path, &std::fs::read(path).map_err(|error| refuse(error.to_string()))?)
}

/// Reads triples from memory; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Triple>, TriplesError> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let read = |(index, line): (usize, &[u8])| {
        triple(line).map_err(|cause| TriplesError::Line { path: path.to_owned(), line: index + 1, cause })
    };
    filled.map(read).collect()
}

fn triple(line: &[u8]) -> Result<Triple, String> {
    let record: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let answer = |key: &str| match record.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(number @ Value::Number(_)) => Ok(number.to_string()),
        _ => Err(format!("expected `{key}`, a text")),
    };
    let verdict = match record.get("verdict") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_bool().ok_or("expected `verdict` to be true or false")?),
    };
    let nothing = Map::new();
    let options = record.get("opts").and_then(Value::as_object).unwrap_or(&nothing);
    let source = record.get("source").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Triple {
        gold: answer("gold")?,
        prediction: answer("pred")?,
        verdict,
        source,
        spec: AnswerSpec::from_record(options),
    })
}

/// How a rule agrees with the verdicts of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// The source's name.
    pub source: String,
    /// Triples, with a verdict or without.
    pub triples: usize,
    /// Those with a verdict.
    pub judged: usize,
    /// Equal and found right, or different and found wrong.
    pub agreed: usize,
    /// Equal, but found wrong.
    pub false_equal: usize,
    /// Different, but found right.
    pub false_different: usize,
    /// Undecided.
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

    /// The share of the judged ones that agree, from 0 to 1; nothing where none is judged.
    pub fn rate(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.agreed as f64 / self.judged as f64)
    }
}

/// Counts by source, in the order in which sources first occur; several sources get a last row, `total`.
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
