//! Guided search over a data set: the solutions that [`search::guided`](crate::search::guided) finds for each problem, in the form of
//! a scored Best-of-N file.
//!
//! Generating without steering is left to [`generate`](super::generate).

use serde_json::json;

use super::batch::{Batch, BatchError, Outcome, Summary};
use super::labelled::{Labels, failed};
use crate::data::problem::Problem;
use crate::judge::{OnUnjudged, Verifier};
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
            Ok(Found { solutions, scores, .. }) => {
                match Labels::new(problem, &solutions, models.verifier, models.on_unjudged, batch.cancel) {
                    Err(outcome) => outcome,
                    Ok(labels) => {
                        let mut record = labels.record(problem, &labels.kept(solutions));
                        record.insert("prm_scores".into(), json!(labels.kept(scores)));
                        labels.done(record)
                    }
                }
            }
        }
    })
}
