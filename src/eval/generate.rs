//! Generating candidates for a data set: `n` labelled rollouts per problem, in the form of a
//! Best-of-N file.
//!
//! ```
//! # use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
//! use mmprm::data::{candidates, problem::Problem};
//! use mmprm::eval::batch::Batch;
//! use mmprm::eval::generate::generate;
//! use mmprm::judge::{OnUnjudged, RuleVerifier};
//! use mmprm::util::cancel::CancelToken;
//! # struct Script;
//! # impl RolloutModel for Script {
//! #     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
//! #         Ok((0..request.count).map(|index| vec![format!("The final answer is {index}")].into()).collect())
//! #     }
//! # }
//! # let policy = Script;
//! let problems = [Problem::new("2 - 1?").answer("1")];
//! # let directory = tempfile::tempdir().unwrap();
//! # let output = directory.path().join("candidates.json");
//! let (settings, cancel) = (serde_json::json!({"seed": 0}), CancelToken::new());
//! let batch = Batch::new(&output, &settings, &cancel);
//! generate(&problems, 3, &policy, &RuleVerifier, OnUnjudged::Drop, &batch).unwrap();
//! let labels = candidates::load(&output).unwrap()[0].labels.clone();
//! assert_eq!(labels, Some(vec![false, true, false]));
//! ```

use serde_json::{Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use super::labelled::{Labels, failed};
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::judge::{OnUnjudged, Verifier};
use crate::policy::{Detail, PolicyError, RolloutModel, RolloutRequest, StepLogprob};

/// Samples `count` candidates for each problem and writes them to the batch's output.
///
/// A record is the problem's own, with `solutions_splits` and `labels` (1 right, 0 wrong) added;
/// `step_logprobs` and `step_tokens`, the policy's log-probability and number of tokens of each
/// step, where the policy returns them; and `unjudged`, the number of candidates that could not be
/// judged, if any. `on_unjudged` says whether these are left out, count as wrong, or fail the
/// problem. A problem without an answer has no `labels`. A failed problem has no candidates and its cause in `error`.
///
/// # Errors
/// [`BatchError`]; a failed problem does not end the run.
pub fn generate(
    problems: &[Problem],
    count: usize,
    policy: &dyn RolloutModel,
    verifier: &dyn Verifier,
    on_unjudged: OnUnjudged,
    batch: &Batch<'_>,
) -> Result<Summary, BatchError> {
    batch.run(problems.len(), &|index| {
        let problem = &problems[index];
        let request = RolloutRequest { detail: Detail::Logprobs, ..RolloutRequest::new(problem, &[], count, 0) };
        match policy.rollouts(&request) {
            Err(PolicyError::Cancelled) => Outcome::Cancelled,
            Err(error) => failed(problem, &error.to_string()),
            Ok(sampled) => {
                let (rollouts, logprobs): (Vec<Rollout>, Vec<Vec<StepLogprob>>) =
                    sampled.into_iter().map(|one| (one.rollout, one.logprobs.unwrap_or_default())).unzip();
                match Labels::new(problem, &rollouts, verifier, on_unjudged, batch.cancel) {
                    Ok(labels) => finished(problem, rollouts, logprobs, &labels),
                    Err(outcome) => outcome,
                }
            }
        }
    })
}

/// The record of the candidates, with the policy's log-probabilities.
fn finished(problem: &Problem, rollouts: Vec<Rollout>, logprobs: Vec<Vec<StepLogprob>>, labels: &Labels) -> Outcome {
    let (rollouts, logprobs) = (labels.kept(rollouts), labels.kept(logprobs));
    // JSON has no such number; a step that has it was computed by a damaged model.
    let broken = |steps: &Vec<StepLogprob>| steps.iter().position(|step| !step.log_probability.is_finite());
    if let Some((candidate, step)) = logprobs.iter().enumerate().find_map(|(at, steps)| Some((at, broken(steps)?))) {
        let value = logprobs[candidate][step].log_probability;
        let place = format!("candidate {} of {}, step {}", candidate + 1, rollouts.len(), step + 1);
        return failed(problem, &format!("{place}: the log-probability is {value}, expected a finite number"));
    }
    let mut record = labels.record(problem, &rollouts);
    let complete = rollouts.iter().zip(&logprobs).all(|(rollout, logprobs)| rollout.len() == logprobs.len());
    if complete && logprobs.iter().any(|logprobs| !logprobs.is_empty()) {
        let each = |value: &dyn Fn(&StepLogprob) -> Value| -> Value {
            logprobs.iter().map(|candidate| candidate.iter().map(value).collect::<Value>()).collect()
        };
        // Four decimals keep the file short.
        record.insert("step_logprobs".into(), each(&|step| json!((step.log_probability * 1e4).round() / 1e4)));
        record.insert("step_tokens".into(), each(&|step| json!(step.tokens)));
    }
    labels.done(record)
}
