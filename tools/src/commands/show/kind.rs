//! What a file or directory holds, by its content.

use std::path::{Path, PathBuf};

use mmprm::data::samples::tree_files;
use mmprm::util::io::{self, FileError};
use serde_json::Value;

use crate::exit::BadInput;

/// Maximum size of a file in bytes.
pub const MAX_BYTES: u64 = 4 << 30;

/// A kind of content.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Candidates,
    Tree,
    /// A directory of trees.
    Trees,
    Samples,
    /// The log of a training run.
    Training(PathBuf),
    Bench,
}

impl Kind {
    /// The kind of what is at `path`.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let unknown = || {
            BadInput(format!(
                "{}: expected a Best-of-N file, a tree or a directory of trees, training samples, a training run or its log.jsonl, \
                 or the JSON of a benchmark",
                path.display()
            ))
        };
        if path.is_dir() {
            let log = path.join("log.jsonl");
            // An annotation, too, has a log; trees come first.
            if tree_files(path).is_ok_and(|files| !files.trees.is_empty()) {
                return Ok(Self::Trees);
            }
            return if log.is_file() { Ok(Self::Training(log)) } else { Err(unknown().into()) };
        }
        let first = first_object(path)?.ok_or_else(unknown)?;
        let has = |field: &str| first.get(field).is_some();
        Ok(match () {
            () if has("solutions_splits") || has("prm_scores") => Self::Candidates,
            // Verdicts alone, of a pool of answers.
            () if has("labels") && !has("candidates") && !has("conversations") => Self::Candidates,
            () if has("mc_value") && has("children") => Self::Tree,
            () if has("conversations") || (has("question") && (has("solution") || has("candidates"))) => Self::Samples,
            () if has("step") && (has("loss") || has("validation_loss")) => Self::Training(path.to_owned()),
            () if has("bench") && has("rows") => Self::Bench,
            () => return Err(unknown().into()),
        })
    }
}

/// The first object of a file: the file itself, the first element of an array, or the first line.
fn first_object(path: &Path) -> Result<Option<Value>, FileError> {
    let bytes = io::read_text(path, MAX_BYTES)?;
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b'[');
    let Some(start) = start.filter(|&start| bytes[start] == b'{') else { return Ok(None) };
    Ok(serde_json::Deserializer::from_slice(&bytes[start..]).into_iter().next().and_then(Result::ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let kind = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Kind::of(&path).ok()
        };
        assert_eq!(kind(r#" [ {"question": "q", "solutions_splits": []}]"#), Some(Kind::Candidates));
        assert_eq!(kind("{\"prm_scores\": []}\n{}"), Some(Kind::Candidates));
        assert_eq!(kind(r#"{"mc_value": 1, "children": []}"#), Some(Kind::Tree));
        assert_eq!(kind(r#"{"conversations": []}"#), Some(Kind::Samples));
        assert_eq!(kind(r#"{"step": 1, "loss": 2}"#), Some(Kind::Training(path.clone())));
        assert_eq!(kind(r#"{"bench": "infer", "rows": []}"#), Some(Kind::Bench));
        for other in ["", "[]", "[[{}]]", "x", "{", r#"{"step": 1}"#] {
            assert_eq!(kind(other), None, "{other}");
        }
        assert!(Kind::of(folder.path()).is_err());
    }
}
