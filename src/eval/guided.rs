//! Guided search over a data set: the solutions that [`search::guided`](crate::search::guided) finds for each problem, in the form of
//! a scored Best-of-N file.
//!
//! Generating without steering is left to [`generate`](super::generate).

use serde_json::{Map, Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use crate::data::candidates;
use crate::data::problem::Problem;
use crate::judge::{self, OnUnjudged, Verifier};
use crate::policy::{PolicyError, RolloutModel};
use crate::prm::{PrmError, StepScorer};
use crate::search::guided::{Found, GuidedError, GuidedParams, guided};

/// The models of a guided search over a data set.
#[derive(Clone, Copy)]
pub struct Models<'a> {
    /// Writes steps.
    pub policy: &'a dyn RolloutModel,
    /// Scores them.
    pub prm: &'a dyn StepScorer,
    /// Labels the answers.
    pub verifier: &'a dyn Verifier,
    /// What to do with candidates that could not be judged.
    pub on_unjudged: OnUnjudged,
}

/// Searches each problem and writes the candidates to the batch's output: the record with `solutions_splits`, `prm_scores` and, where
/// the problem has an answer, `labels`. A failed problem has no candidates and its cause in `error`.
///
/// # Errors
/// [`BatchError`]; a failed problem does not end the run.
pub fn search(
    problems: &[Problem],
    params: &GuidedParams,
    models: &Models<'_>,
    batch: &Batch<'_>,
) -> Result<Summary, BatchError> {
    batch.run(problems.len(), &|index| {
        let problem = &problems[index];
        match guided(problem, params, models.policy, models.prm, batch.cancel) {
            Err(GuidedError::Policy(PolicyError::Cancelled) | GuidedError::Prm(PrmError::Cancelled)) => {
                Outcome::Cancelled
            }
            Err(error) => failed(problem, &error.to_string()),
            Ok(found) => labelled(problem, found, models, batch),
        }
    })
}

fn labelled(problem: &Problem, found: Found, models: &Models<'_>, batch: &Batch<'_>) -> Outcome {
    let Found { solutions, scores, .. } = found;
    if !problem.has_answer() {
        return Outcome::Done(record(problem, &json!(solutions), &json!(scores), None));
    }
    let verdicts = match judge::verdicts(models.verifier, problem, &solutions) {
        // A verifier without a verdict because the run is being stopped does not fail the problem.
        Err(_) if batch.cancel.is_cancelled() => return Outcome::Cancelled,
        Err(error) => return failed(problem, &error.to_string()),
        Ok(verdicts) => verdicts,
    };
    let labels: Vec<Option<bool>> = verdicts.iter().map(|verdict| models.on_unjudged.is_right(*verdict)).collect();
    let unjudged = labels.iter().filter(|label| label.is_none()).count();
    if models.on_unjudged.fails(unjudged, labels.len()) {
        return failed(problem, &format!("{unjudged} of {} candidates could not be judged", labels.len()));
    }
    let judged = |index: &usize| labels[*index].is_some();
    let kept: Vec<usize> = (0..labels.len()).filter(judged).collect();
    let solutions: Value = kept.iter().map(|index| json!(solutions[*index])).collect();
    let scores: Value = kept.iter().map(|index| json!(scores[*index])).collect();
    let own: Vec<u8> = labels.iter().filter_map(|label| label.map(u8::from)).collect();
    let mut record = record(problem, &solutions, &scores, Some(&own));
    if unjudged > 0 {
        record.insert("unjudged".into(), json!(unjudged));
    }
    Outcome::Done(record)
}

fn record(problem: &Problem, solutions: &Value, scores: &Value, labels: Option<&[u8]>) -> Map<String, Value> {
    let mut record = candidates::of_problem(&problem.record);
    record.insert("solutions_splits".into(), solutions.clone());
    if let Some(labels) = labels {
        record.insert("labels".into(), json!(labels));
    }
    record.insert("prm_scores".into(), scores.clone());
    record
}

fn failed(problem: &Problem, cause: &str) -> Outcome {
    let mut record = record(problem, &json!([]), &json!([]), Some(&[]));
    record.insert("error".into(), cause.into());
    Outcome::Failed(record, format!("problem {}: {cause}", problem.id))
}
