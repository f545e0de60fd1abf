//! Candidates for a data set: n rollouts a problem, labelled where the answer is known, in the Best-of-N form.

use serde_json::{Map, Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use crate::answer::{Verdict, Verifier, VerifyError};
use crate::policy::{Policy, PolicyError, RolloutRequest};
use crate::problem::Problem;
use crate::solution::Rollout;

/// Draws `count` candidates for each problem and writes them to the batch's output.
///
/// A record is the problem's own, with `solutions_splits` and `labels` (1 right, 0 wrong) added; a problem that failed has
/// no candidates and its cause in `error`.
///
/// # Errors
/// [`BatchError`]; a problem that fails does not stop the run.
pub fn generate(
    problems: &[Problem],
    count: usize,
    policy: &dyn Policy,
    verifier: &dyn Verifier,
    batch: &Batch<'_>,
) -> Result<Summary, BatchError> {
    batch.run(problems.len(), &|index| {
        let problem = &problems[index];
        let request = RolloutRequest { problem, prefix: &[], count, node: 0 };
        match policy.rollouts(&request) {
            Err(PolicyError::Cancelled) => Outcome::Cancelled,
            Err(error) => failed(problem, &error.to_string()),
            Ok(rollouts) => match labels(problem, &rollouts, verifier) {
                Err(error) => failed(problem, &error.to_string()),
                Ok(labels) => Outcome::Done(record(problem, &rollouts, &labels)),
            },
        }
    })
}

fn labels(problem: &Problem, rollouts: &[Rollout], verifier: &dyn Verifier) -> Result<Vec<u8>, VerifyError> {
    let label = |rollout: &Rollout| match rollout.last() {
        None => Ok(0),
        Some(answer) => verifier.verify(problem, answer).map(|verdict| u8::from(verdict == Verdict::Correct)),
    };
    rollouts.iter().map(label).collect()
}

fn record(problem: &Problem, rollouts: &[Rollout], labels: &[u8]) -> Map<String, Value> {
    let mut record = problem.record.clone();
    record.insert("solutions_splits".into(), json!(rollouts));
    record.insert("labels".into(), json!(labels));
    record
}

fn failed(problem: &Problem, cause: &str) -> Outcome {
    let mut record = record(problem, &[], &[]);
    record.insert("error".into(), cause.into());
    Outcome::Failed(record, cause.to_owned())
}
