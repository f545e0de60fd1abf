//! Problem files: an array of records, or one record a line (JSON Lines), distinguished by the
//! first character. The fields of a record are validated in `record`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::error::RecordError;
use super::{Problem, ProblemError};
use crate::data::images::shown;
use crate::util::io;

/// Parsed JSON takes several times the memory of its text; this keeps a malicious file within the
/// memory of a workstation.
const MAX_BYTES: u64 = 256 << 20;
const MAX_RECORDS: usize = 1_000_000;

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, ProblemError> {
    Ok(io::read_text(path, MAX_BYTES)?)
}

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Problem>, ProblemError> {
    let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let records = if is_array { array(path, bytes)? } else { lines(path, bytes)? };
    problems(records)
}

/// A record, after its place for messages.
type Placed = (String, Value);

fn array(path: &Path, bytes: &[u8]) -> Result<Vec<Placed>, ProblemError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let records = deserializer.deserialize_seq(Records).and_then(|records| deserializer.end().map(|()| records));
    let records = records.map_err(|error| ProblemError::Syntax {
        path: path.into(),
        line: error.line(),
        column: error.column(),
        expected: "an array of records",
        reason: reason(&error),
    })?;
    if records.len() > MAX_RECORDS {
        return Err(ProblemError::TooMany { path: path.into(), limit: MAX_RECORDS });
    }
    Ok(records.into_iter().enumerate().map(|(i, record)| (format!("{}[{i}]", path.display()), record)).collect())
}

fn lines(path: &Path, bytes: &[u8]) -> Result<Vec<Placed>, ProblemError> {
    let mut records = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if records.len() == MAX_RECORDS {
            return Err(ProblemError::TooMany { path: path.into(), limit: MAX_RECORDS });
        }
        let record = serde_json::from_slice(line).map_err(|error| ProblemError::Syntax {
            path: path.into(),
            line: index + 1,
            column: error.column(),
            expected: "one record a line",
            reason: reason(&error),
        })?;
        records.push((format!("{}:{}", path.display(), index + 1), record));
    }
    Ok(records)
}

/// The parser's message without its own " at line L column C", which is relative to one line in a
/// JSON Lines file.
fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

fn problems(records: Vec<Placed>) -> Result<Vec<Problem>, ProblemError> {
    let mut places: HashMap<String, String> = HashMap::new();
    let mut problems = Vec::with_capacity(records.len());
    for (index, (place, record)) in records.into_iter().enumerate() {
        let Value::Object(record) = record else {
            let source = RecordError::Expected("a record (a JSON object)".into());
            return Err(ProblemError::Record { place, source });
        };
        let id = record.get("id").filter(|id| !id.is_null()).map(shown);
        let problem = Problem::from_record(record, index).map_err(|source| {
            let place = id.map_or_else(|| place.clone(), |id| format!("{place} (id {id})"));
            ProblemError::Record { place, source }
        })?;
        match places.entry(problem.id.clone()) {
            Entry::Vacant(entry) => entry.insert(place),
            Entry::Occupied(entry) => {
                return Err(ProblemError::DuplicateId { place, id: problem.id, first: entry.get().clone() });
            }
        };
        problems.push(problem);
    }
    Ok(problems)
}

/// Collects an array, up to one element more than the maximum.
struct Records;

impl<'de> Visitor<'de> for Records {
    type Value = Vec<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while records.len() <= MAX_RECORDS {
            match elements.next_element()? {
                Some(record) => records.push(record),
                None => return Ok(records),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Problems;
    use super::*;

    /// The problems of a file, or the error message without the folder.
    fn load(name: &str, text: &str) -> Result<Problems, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        Problems::load(&path, None).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn an_array_and_lines_of_the_same_records_give_the_same_problems() {
        let (a, b) = (r#"{"id": "a", "question": "q", "answer": "1"}"#, r#"{"question": "r", "answer": "2"}"#);
        let array = load("p.json", &format!(" [{a},\n{b}]\n")).unwrap();
        let lines = load("p.jsonl", &format!("{a}\r\n\n{b}")).unwrap();
        assert_eq!(array.items, lines.items);
        assert_eq!(array.items[1].id, "1");
    }

    #[test]
    fn an_empty_file_and_an_empty_array_hold_no_problems() {
        assert!(load("p.jsonl", "").unwrap().items.is_empty());
        assert!(load("p.json", "[]").unwrap().items.is_empty());
    }

    #[test]
    fn errors_name_the_file_the_place_and_what_was_expected() {
        let good = r#"{"question": "q", "answer": "1"}"#;
        for (name, text, expected) in [
            (
                "p.jsonl",
                format!("{good}\n\n{{\"question\": }}"),
                "p.jsonl:3:14: expected one record a line: expected value",
            ),
            ("p.jsonl", format!("{good}\n7"), "p.jsonl:2: expected a record (a JSON object)"),
            ("p.jsonl", format!("{good}\n{{}}"), "p.jsonl:2: expected a field `question`"),
            (
                "p.json",
                format!("[{good},\n {good}"),
                "p.json:2:33: expected an array of records: EOF while parsing a list",
            ),
            ("p.json", format!("[{good}] x"), "p.json:1:36: expected an array of records: trailing characters"),
            ("p.json", format!("[{good}, []]"), "p.json[1]: expected a record (a JSON object)"),
            ("p.json", "[{\"answer\": \"1\"}]".into(), "p.json[0]: expected a field `question`"),
        ] {
            assert_eq!(load(name, &text).unwrap_err(), expected);
        }
    }

    #[test]
    fn duplicate_ids_are_refused_and_both_places_named() {
        let record = |id: &str| format!(r#"{{"id": {id}, "question": "q", "answer": "1"}}"#);
        let text = [record("\"7\""), record("8"), record("7")].join("\n");
        let expected = "p.jsonl:3: expected a unique id, but `7` is also the id of p.jsonl:1";
        assert_eq!(load("p.jsonl", &text).unwrap_err(), expected);
    }

    #[test]
    fn deeply_nested_json_is_an_error_not_a_stack_overflow() {
        let error = load("p.json", &"[".repeat(1_000_000)).unwrap_err();
        assert!(error.ends_with("recursion limit exceeded"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Problems::load(Path::new("nowhere/p.json"), None).unwrap_err().to_string();
        assert!(error.starts_with("cannot read nowhere/p.json: "), "{error}");
    }
}
