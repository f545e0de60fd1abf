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

use serde_json::{Map, Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use crate::data::candidates;
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::judge::{self, OnUnjudged, Verdict, Verifier};
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
                if !problem.has_answer() {
                    return finished(problem, rollouts, logprobs, None);
                }
                match judge::verdicts(verifier, problem, &rollouts) {
                    // A verifier without a verdict because the run is being stopped does not fail
                    // the problem.
                    Err(_) if batch.cancel.is_cancelled() => Outcome::Cancelled,
                    Err(error) => failed(problem, &error.to_string()),
                    Ok(verdicts) => finished(problem, rollouts, logprobs, Some((&verdicts, on_unjudged))),
                }
            }
        }
    })
}

/// The record of the candidates, with labels where there are `verdicts`.
fn finished(
    problem: &Problem,
    mut rollouts: Vec<Rollout>,
    mut logprobs: Vec<Vec<StepLogprob>>,
    verdicts: Option<(&[Verdict], OnUnjudged)>,
) -> Outcome {
    let (mut labels, mut unjudged) = (None, 0);
    if let Some((verdicts, on_unjudged)) = verdicts {
        unjudged = verdicts.iter().filter(|&&verdict| verdict == Verdict::Unjudged).count();
        if on_unjudged.fails(unjudged, rollouts.len()) {
            return failed(problem, &format!("{unjudged} of {} candidates could not be judged", rollouts.len()));
        }
        let mut kept = (Vec::new(), Vec::new(), Vec::new());
        for ((rollout, logprobs), &verdict) in rollouts.into_iter().zip(logprobs).zip(verdicts) {
            if let Some(label) = on_unjudged.is_right(verdict) {
                kept.0.push(rollout);
                kept.1.push(logprobs);
                kept.2.push(u8::from(label));
            }
        }
        (rollouts, logprobs, labels) = (kept.0, kept.1, Some(kept.2));
    }
    // JSON has no such number; a step that has it was computed by a damaged model.
    let broken = |steps: &Vec<StepLogprob>| steps.iter().position(|step| !step.log_probability.is_finite());
    if let Some((candidate, step)) = logprobs.iter().enumerate().find_map(|(at, steps)| Some((at, broken(steps)?))) {
        let value = logprobs[candidate][step].log_probability;
        let place = format!("candidate {} of {}, step {}", candidate + 1, rollouts.len(), step + 1);
        return failed(problem, &format!("{place}: the log-probability is {value}, expected a finite number"));
    }
    let mut record = record(problem, &rollouts, labels.as_deref());
    let complete = rollouts.iter().zip(&logprobs).all(|(rollout, logprobs)| rollout.len() == logprobs.len());
    if complete && logprobs.iter().any(|logprobs| !logprobs.is_empty()) {
        let each = |value: &dyn Fn(&StepLogprob) -> Value| -> Value {
            logprobs.iter().map(|candidate| candidate.iter().map(value).collect::<Value>()).collect()
        };
        // Four decimals keep the file short.
        record.insert("step_logprobs".into(), each(&|step| json!((step.log_probability * 1e4).round() / 1e4)));
        record.insert("step_tokens".into(), each(&|step| json!(step.tokens)));
    }
    if unjudged > 0 {
        record.insert("unjudged".into(), json!(unjudged));
    }
    Outcome::Done(record)
}

fn record(problem: &Problem, rollouts: &[Rollout], labels: Option<&[u8]>) -> Map<String, Value> {
    let mut record = candidates::of_problem(&problem.record);
    record.insert("solutions_splits".into(), json!(rollouts));
    if let Some(labels) = labels {
        record.insert("labels".into(), json!(labels));
    }
    record
}

fn failed(problem: &Problem, cause: &str) -> Outcome {
    let mut record = record(problem, &[], Some(&[]));
    record.insert("error".into(), cause.into());
    Outcome::Failed(record, format!("problem {}: {cause}", problem.id))
}
