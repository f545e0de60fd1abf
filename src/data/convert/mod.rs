//! Converting step-labelled solutions between the forms that process reward models are trained on.
//!
//! Nothing is lost on the way: every solution that is written is read back and compared, and what a form has no place for (soft labels,
//! images, steps without a label) is an error that names it. Fields that no form knows are carried along. What a *source* has beyond
//! its solutions, such as the alternative completions of PRM800K, is counted.
//!
//! ```
//! use mmprm::data::convert::{StepForm, convert};
//! let folder = tempfile::tempdir()?;
//! let source = folder.path().join("trl.jsonl");
//! std::fs::write(&source, r#"{"prompt": "1 + 1?", "completions": ["It is 2.", "So 3."], "labels": [true, false]}"#)?;
//! let output = folder.path().join("shepherd.jsonl");
//! let summary = convert(&source, StepForm::MathShepherd, None, &output)?;
//! assert_eq!((summary.from, summary.solutions), ("trl".to_owned(), 1));
//! let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(output)?)?;
//! assert_eq!(record["input"], "1 + 1? Step 1: It is 2. ки\nStep 2: So 3. ки");
//! assert_eq!(record["label"], "1 + 1? Step 1: It is 2. +\nStep 2: So 3. -");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod form;
mod read;
mod write;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::AtomicFile;
use serde_json::{Map, Value, json};

pub use form::{StepForm, UnknownForm};

use super::import::{ImportError, source};

/// The mark at the end of a step of Math-Shepherd.
const MARK: &str = "ки";
/// The task of a Math-Shepherd record that comes from elsewhere.
const NO_TASK: &str = "other";
/// The field of `VisualPRM`'s right and of all rollouts of each step, in other forms.
const NUM_MC: &str = "num_mc";

/// A solution whose steps are labelled.
#[derive(Debug, Clone, PartialEq)]
struct LabelledSolution {
    /// Its id, as in its record.
    id: Option<Value>,
    question: String,
    answer: Option<String>,
    /// Paths of its images.
    images: Vec<String>,
    steps: Vec<String>,
    /// For each step the probability that it is right; `None` for one without a label, or a neutral one.
    labels: Vec<Option<f64>>,
    /// Other fields of its record.
    rest: Map<String, Value>,
}

/// What was converted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConvertSummary {
    /// The form of the source.
    pub from: String,
    /// The form of the output.
    pub to: String,
    /// Records read.
    pub records: usize,
    /// Solutions written.
    pub solutions: usize,
    /// What records have beyond their solutions, with the number of times.
    pub not_carried: BTreeMap<&'static str, usize>,
}

/// Why a file cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] ImportError),
    /// The output cannot be written; the error names it.
    #[error(transparent)]
    Write(#[from] std::io::Error),
    /// The output is the source.
    #[error("{} is read from and cannot be written", path.display())]
    IsSource {
        /// The file.
        path: PathBuf,
    },
    /// The source has none of the forms.
    #[error("{place}: expected step-labelled solutions, found the fields {fields}")]
    Unknown {
        /// The first record.
        place: String,
        /// Its fields.
        fields: String,
    },
    /// A record is not of the form of the first one.
    #[error("{place}: as {form}: {cause}")]
    Record {
        /// The record.
        place: String,
        /// The form.
        form: StepForm,
        /// What was expected and found.
        cause: String,
    },
    /// A solution cannot be written in the form.
    #[error("{place}: {cause}")]
    Lossy {
        /// The record.
        place: String,
        /// What would be lost.
        cause: String,
    },
}

/// Converts a file of step-labelled solutions, whose form is recognised, to JSON Lines of the form `to`. With a threshold, a label of at
/// least that much becomes 1 and any other 0.
///
/// # Errors
/// [`ConvertError`] at the first record that cannot be read, or not be written without loss; the output is then unchanged.
pub fn convert(
    path: &Path,
    to: StepForm,
    threshold: Option<f64>,
    output: &Path,
) -> Result<ConvertSummary, ConvertError> {
    if let (Ok(a), Ok(b)) = (path.canonicalize(), output.canonicalize())
        && a == b
    {
        return Err(ConvertError::IsSource { path: output.to_owned() });
    }
    let mut file = AtomicFile::create(output)?;
    let (mut form, mut failed) = (None, None);
    let (mut records, mut solutions, mut not_carried) = (0, 0, BTreeMap::new());
    let mut convert_row = |place: String, record: Map<String, Value>| -> Result<(), ConvertError> {
        let fields = || record.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let from = if let Some(form) = form {
            form
        } else {
            let known = StepForm::of(&record);
            *form.insert(known.ok_or_else(|| ConvertError::Unknown { place: place.clone(), fields: fields() })?)
        };
        let (read, lost) = read::read(from, &record).map_err(|cause| ConvertError::Record {
            place: place.clone(),
            form: from,
            cause,
        })?;
        for what in lost {
            *not_carried.entry(what).or_default() += 1;
        }
        for mut solution in read {
            if let Some(threshold) = threshold {
                let hard = |label: &mut f64| *label = f64::from(u8::from(*label >= threshold));
                solution.labels.iter_mut().flatten().for_each(hard);
            }
            if to == StepForm::Samples && solution.id.is_none() {
                solution.id = Some(json!(solutions));
            }
            let line = line(to, &solution).map_err(|cause| ConvertError::Lossy { place: place.clone(), cause })?;
            writeln!(file, "{line}")?;
            solutions += 1;
        }
        records += 1;
        Ok(())
    };
    source::read(path, &mut |place, row| {
        let outcome = if let Some((column, _)) = row.embedded.first() {
            let cause = format!("the column `{column}` has an image itself; import the data set first");
            Err(ConvertError::Lossy { place, cause })
        } else {
            convert_row(place, row.fields)
        };
        let is_done = outcome.is_ok();
        failed = outcome.err();
        Ok(is_done)
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let Some(from) = form else {
        return Err(ImportError::Empty { paths: vec![path.to_owned()] }.into());
    };
    file.commit()?;
    Ok(ConvertSummary { from: from.to_string(), to: to.to_string(), records, solutions, not_carried })
}

/// The line of a solution, which gives the same solution when it is read.
fn line(form: StepForm, solution: &LabelledSolution) -> Result<String, String> {
    let record = write::write(form, solution)?;
    let (again, _) = read::read(form, &record).map_err(|cause| format!("it cannot be written as {form}: {cause}"))?;
    let lost = match &again[..] {
        [again] => first_difference(solution, again),
        _ => Some("the number of solutions"),
    };
    match lost {
        Some(lost) => Err(format!("{form} has no place for {lost}")),
        None => Ok(write::line(&record)),
    }
}

/// What of a solution has changed.
fn first_difference(a: &LabelledSolution, b: &LabelledSolution) -> Option<&'static str> {
    let differences = [
        (a.question != b.question, "its question as it is (white space at its ends, or marks of the form in it)"),
        (a.steps != b.steps, "its steps as they are (white space at their ends, or marks of the form in them)"),
        (a.labels != b.labels, "its labels (of a step without one, or of steps after the first wrong one)"),
        (a.images != b.images, "its images"),
        (a.answer != b.answer, "its answer"),
        (a.id != b.id, "its id"),
        (a.rest != b.rest, "its other fields"),
    ];
    differences.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}
