//! Candidates for a data set: n rollouts a problem, labelled where the answer is known, in the Best-of-N form.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use crate::answer::{Verdict, Verifier};
use crate::judge::{self, OnUnjudged};
use crate::policy::{Policy, PolicyError, RolloutRequest};
use crate::problem::Problem;
use crate::solution::Rollout;

/// Draws `count` candidates for each problem and writes them to the batch's output.
///
/// A record is the problem's own, with `solutions_splits` and `labels` (1 right, 0 wrong) added, and with `unjudged`, the
/// number of candidates that nobody could judge, where there are any: `on_unjudged` says whether these are left out, wrong,
/// or the problem's failure. A problem that failed has no candidates and its cause in `error`.
///
/// # Errors
/// [`BatchError`]; a problem that fails does not stop the run.
pub fn generate(
    problems: &[Problem],
    count: usize,
    policy: &dyn Policy,
    verifier: &dyn Verifier,
    on_unjudged: OnUnjudged,
    batch: &Batch<'_>,
) -> Result<Summary, BatchError> {
    batch.run(problems.len(), &|index| {
        let problem = &problems[index];
        let request = RolloutRequest { problem, prefix: &[], count, node: 0 };
        match policy.rollouts(&request) {
            Err(PolicyError::Cancelled) => Outcome::Cancelled,
            Err(error) => failed(problem, &error.to_string()),
            Ok(rollouts) => match judge::verdicts(verifier, problem, &rollouts) {
                // A verifier that is being stopped, or that stops the run, has no verdict: the problem did not fail.
                Err(_) if batch.cancel.load(Ordering::Relaxed) => Outcome::Cancelled,
                Err(error) => failed(problem, &error.to_string()),
                Ok(verdicts) => finished(problem, rollouts, &verdicts, on_unjudged),
            },
        }
    })
}

fn finished(problem: &Problem, rollouts: Vec<Rollout>, verdicts: &[Verdict], on_unjudged: OnUnjudged) -> Outcome {
    let drawn = rollouts.len();
    let unjudged = verdicts.iter().filter(|&&verdict| verdict == Verdict::Unjudged).count();
    if on_unjudged.fails(unjudged, drawn) {
        return failed(problem, &format!("{unjudged} of {drawn} candidates could not be judged"));
    }
    let labels = verdicts.iter().map(|&verdict| on_unjudged.is_right(verdict));
    let (kept, labels): (Vec<Rollout>, Vec<u8>) =
        rollouts.into_iter().zip(labels).filter_map(|(rollout, label)| Some((rollout, u8::from(label?)))).unzip();
    let mut record = record(problem, &kept, &labels);
    if unjudged > 0 {
        record.insert("unjudged".into(), json!(unjudged));
    }
    Outcome::Done(record)
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
