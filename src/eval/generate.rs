//! Candidates for a data set: n rollouts a problem, labelled where the answer is known, in the Best-of-N form.

use serde_json::{Map, Value, json};

use super::batch::{Batch, BatchError, Outcome, Summary};
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::judge::{self, OnUnjudged};
use crate::judge::{Verdict, Verifier};
use crate::policy::{PolicyError, RolloutModel, RolloutRequest, StepLogprob};

/// Draws `count` candidates for each problem and writes them to the batch's output.
///
/// A record is the problem's own, with `solutions_splits` and `labels` (1 right, 0 wrong) added; with `step_logprobs` and
/// `step_tokens`, the policy's own log-probability and number of tokens of each element of each candidate, where the policy
/// tells them; and with `unjudged`, the number of candidates that nobody could judge, where there are any: `on_unjudged` says whether these are left out, wrong,
/// or the problem's failure. A problem that failed has no candidates and its cause in `error`.
///
/// # Errors
/// [`BatchError`]; a problem that fails does not stop the run.
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
        let request = RolloutRequest::new(problem, &[], count, 0);
        match policy.drawn(&request) {
            Err(PolicyError::Cancelled) => Outcome::Cancelled,
            Err(error) => failed(problem, &error.to_string()),
            Ok(drawn) => {
                let (rollouts, logprobs): (Vec<Rollout>, Vec<Vec<StepLogprob>>) =
                    drawn.into_iter().map(|drawn| (drawn.rollout, drawn.logprob)).unzip();
                match judge::verdicts(verifier, problem, &rollouts) {
                    // A verifier that is being stopped, or that stops the run, has no verdict: the problem did not fail.
                    Err(_) if batch.cancel.is_cancelled() => Outcome::Cancelled,
                    Err(error) => failed(problem, &error.to_string()),
                    Ok(verdicts) => finished(problem, rollouts, logprobs, &verdicts, on_unjudged),
                }
            }
        }
    })
}

fn finished(
    problem: &Problem,
    rollouts: Vec<Rollout>,
    logprobs: Vec<Vec<StepLogprob>>,
    verdicts: &[Verdict],
    on_unjudged: OnUnjudged,
) -> Outcome {
    let drawn = rollouts.len();
    let unjudged = verdicts.iter().filter(|&&verdict| verdict == Verdict::Unjudged).count();
    if on_unjudged.fails(unjudged, drawn) {
        return failed(problem, &format!("{unjudged} of {drawn} candidates could not be judged"));
    }
    let (mut kept, mut labels, mut likely) = (Vec::new(), Vec::new(), Vec::new());
    for ((rollout, logprob), &verdict) in rollouts.into_iter().zip(logprobs).zip(verdicts) {
        if let Some(label) = on_unjudged.is_right(verdict) {
            kept.push(rollout);
            labels.push(u8::from(label));
            likely.push(logprob);
        }
    }
    let mut record = record(problem, &kept, &labels);
    let told = kept.iter().zip(&likely).all(|(rollout, logprob)| rollout.len() == logprob.len());
    if told && likely.iter().any(|logprob| !logprob.is_empty()) {
        let each = |value: &dyn Fn(&StepLogprob) -> Value| -> Value {
            likely.iter().map(|candidate| candidate.iter().map(value).collect::<Value>()).collect()
        };
        // Four decimals are ample and keep the file short.
        record.insert("step_logprobs".into(), each(&|step| json!((step.log_probability * 1e4).round() / 1e4)));
        record.insert("step_tokens".into(), each(&|step| json!(step.tokens)));
    }
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
