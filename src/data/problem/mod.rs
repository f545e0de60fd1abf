//! Problems with their images and answers, and problem files.
//!
//! A problem file is MM-PRM's seed JSON: an array of records, or one record a line (JSON Lines).
//! [`Problems::load`] validates the fields that this project reads and carries the rest along.
//! Images are not opened here: [`image::resolve`](crate::image::resolve) turns the paths of
//! [`Problem::images`] into files below [`Problems::root`].
//!
//! ```
//! use mmprm::data::problem::Problems;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("problems.jsonl");
//! std::fs::write(&path, r#"{"id": 7, "question": "1 + 1?", "correct_answer": "2", "image_path": "images/7.png"}"#)?;
//! let problems = Problems::load(&path, None)?;
//! assert_eq!(problems.items[0].id, "7");
//! assert_eq!(problems.items[0].images, ["images/7.png"]);
//! assert_eq!(problems.root, folder.path());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod file;
mod record;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::question::with_options;
pub use error::{ProblemError, RecordError};

/// One problem, with every field of its record carried along.
///
/// From a file by [`Problems::load`], or written in code:
///
/// ```
/// use mmprm::data::Problem;
/// let problem = Problem::new("What is the area?").id("circle-1").answer("4π").image("circle.png");
/// assert_eq!(problem.record["correct_answer"], "4π");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The whole record, in the key order of its file. It names the problem's tree file, carries
    /// unknown fields along, and holds what [`AnswerSpec`](crate::answer::AnswerSpec) reads about
    /// the answer (choices, unit, precision).
    pub record: Map<String, Value>,
    /// `id`, as text; without one, the record's index in its file.
    pub id: String,
    /// `question`, followed by its options where the record has any ([`with_options`]).
    ///
    /// [`with_options`]: super::question::with_options
    pub question: String,
    /// `correct_answer`, or `answer` where only that is present; empty for a problem whose answer is not known.
    pub answer: String,
    /// The paths of its [image fields](super::images), as written in the record; relative paths are
    /// below the data root. Empty for a problem without images.
    pub images: Vec<String>,
}

impl Problem {
    /// Returns a problem with this question, id `0`, an empty answer and no images.
    ///
    /// Problems of one run need different [ids](Self::id).
    pub fn new(question: impl Into<String>) -> Self {
        let question = question.into();
        let record = Map::from_iter([("question".to_owned(), question.as_str().into())]);
        Self { record, id: "0".to_owned(), question, answer: String::new(), images: Vec::new() }
    }

    /// Sets the id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        let id = self.id.as_str().into();
        self.field("id", id)
    }

    /// Sets the expected answer.
    #[must_use]
    pub fn answer(mut self, answer: impl Into<String>) -> Self {
        self.answer = answer.into();
        let answer = self.answer.as_str().into();
        self.field("correct_answer", answer)
    }

    /// Whether the expected answer is known.
    pub fn has_answer(&self) -> bool {
        !self.answer.trim().trim_matches('$').trim().is_empty()
    }

    /// Adds an image by its path, absolute or below the data root.
    #[must_use]
    pub fn image(mut self, path: impl Into<String>) -> Self {
        self.images.push(path.into());
        match &self.images[..] {
            [one] => {
                let one = one.as_str().into();
                self.field("image_path", one)
            }
            several => {
                let several = several.into();
                self.record.shift_remove("image_path");
                self.field("image_paths", several)
            }
        }
    }

    /// Sets another field of the record, such as `choices` or `unit`.
    ///
    /// ```
    /// use mmprm::answer::AnswerSpec;
    /// use mmprm::data::Problem;
    /// let problem = Problem::new("How long?").answer("3").field("unit", "cm".into());
    /// assert_eq!(AnswerSpec::from_record(&problem.record).unit.as_deref(), Some("cm"));
    /// ```
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.record.insert(name.to_owned(), value);
        if let ("choices" | "options", Some(question)) = (name, self.record.get("question").and_then(Value::as_str)) {
            self.question = with_options(question, &self.record);
        }
        self
    }
}

/// The problems of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems {
    /// The data root: the directory that image paths are confined to.
    pub root: PathBuf,
    /// The problems in the file's order, with distinct ids.
    pub items: Vec<Problem>,
}

impl Problems {
    /// Reads a problem file. The data root is `root`, or the file's own directory.
    ///
    /// # Errors
    /// [`ProblemError`] names the file, the line or record, and what was expected there.
    pub fn load(path: &Path, root: Option<&Path>) -> Result<Self, ProblemError> {
        Self::parse(path, &file::bytes(path)?, root)
    }

    /// Parses a problem file from memory; `path` names it in errors. The data root is `root`, or the file's own directory.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(path: &Path, bytes: &[u8], root: Option<&Path>) -> Result<Self, ProblemError> {
        let items = file::parse(path, bytes)?;
        // The parent of a bare file name is empty, and an empty path is not a directory.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { root: root.unwrap_or(parent).to_owned(), items })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_written_in_code_equals_one_read_from_its_record() {
        let written =
            Problem::new("q").id("7").answer("1/2").image("a.png").image("b.png").field("choices", json!(["1", "2"]));
        let record = json!({"question": "q", "id": "7", "correct_answer": "1/2", "image_paths": ["a.png", "b.png"],
            "choices": ["1", "2"]});
        assert_eq!(Value::Object(written.record.clone()).to_string(), record.to_string());
        assert_eq!(written, Problem::from_record(written.record.clone(), 3).unwrap());
        let plain = Problem::new("q").answer("1").image("a.png");
        assert_eq!(plain, Problem::from_record(plain.record.clone(), 0).unwrap());
    }
}
