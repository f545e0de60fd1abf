//! The truth of steps in a record of candidates.

use serde_json::Value;

use crate::data::candidates::{CandidateSet, place};

/// Why the steps of a file cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StepsError {
    /// No record has both step scores and the truth of its steps.
    #[error("no record has both `prm_scores` and `step_labels`")]
    NoSteps,
    /// The truth of a record's steps has another form.
    #[error("{record}: `{field}` is not {expected}")]
    Field {
        /// The record: its index, and its id if it has one.
        record: String,
        /// The field.
        field: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// `step_labels`: for each candidate, whether each step is right, as far as it is labelled; `None` for a step that does not count.
pub(super) type StepLabels = Vec<Vec<Option<bool>>>;

/// Reads the labels of a record.
pub(super) fn of(set: &CandidateSet, index: usize) -> Result<Option<StepLabels>, StepsError> {
    let label = |label: &Value| match label {
        Value::Null => Some(None),
        Value::Bool(right) => Some(Some(*right)),
        label => label.as_u64().filter(|label| *label < 2).map(|label| Some(label == 1)),
    };
    let solution = |labels: &Value| labels.as_array()?.iter().map(label).collect::<Option<Vec<Option<bool>>>>();
    let fail =
        |expected| StepsError::Field { record: place(&set.record, index), field: "step_labels".to_owned(), expected };
    let Some(field) = set.record.get("step_labels").filter(|field| !field.is_null()) else { return Ok(None) };
    let labels: Option<StepLabels> = field.as_array().and_then(|candidates| candidates.iter().map(solution).collect());
    let labels = labels.ok_or_else(|| fail("a list of lists of 0, 1 and null"))?;
    let fits = labels.len() == set.solutions.len()
        && labels.iter().zip(&set.solutions).all(|(labels, steps)| steps.is_empty() || labels.len() <= steps.len());
    if fits { Ok(Some(labels)) } else { Err(fail("a list for each candidate with a label for each step or fewer")) }
}
