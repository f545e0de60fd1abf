//! The records that new candidates of a problem become, with their labels.

use serde_json::{Map, Value, json};

use super::batch::Outcome;
use crate::data::candidates;
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::judge::{self, OnUnjudged, Verdict, Verifier};
use crate::util::cancel::CancelToken;

/// What is known of the candidates of a problem.
pub(super) struct Labels {
    /// For each candidate whether it is right; `None` for one that could not be judged and is left out. No list for a problem whose
    /// answer is not known.
    of_all: Option<Vec<Option<bool>>>,
    unjudged: usize,
}

impl Labels {
    /// Judges the candidates of `problem`.
    ///
    /// # Errors
    /// How the problem ends: cancelled with the run, or failed.
    pub fn new(
        problem: &Problem,
        rollouts: &[Rollout],
        verifier: &dyn Verifier,
        on_unjudged: OnUnjudged,
        cancel: &CancelToken,
    ) -> Result<Self, Outcome> {
        if !problem.has_answer() {
            return Ok(Self { of_all: None, unjudged: 0 });
        }
        let verdicts = judge::verdicts(verifier, problem, rollouts).map_err(|error| {
            // A verifier without a verdict because the run is being stopped does not fail the problem.
            if cancel.is_cancelled() { Outcome::Cancelled } else { failed(problem, &error.to_string()) }
        })?;
        let unjudged = verdicts.iter().filter(|&&verdict| verdict == Verdict::Unjudged).count();
        if on_unjudged.fails(unjudged, rollouts.len()) {
            return Err(failed(problem, &format!("{unjudged} of {} candidates could not be judged", rollouts.len())));
        }
        let labels = verdicts.into_iter().map(|verdict| on_unjudged.is_right(verdict)).collect();
        Ok(Self { of_all: Some(labels), unjudged })
    }

    /// Of a list with an element for each candidate, those of the candidates that are not left out.
    pub fn kept<T>(&self, all: Vec<T>) -> Vec<T> {
        match &self.of_all {
            None => all,
            Some(labels) => all.into_iter().zip(labels).filter_map(|(one, label)| label.map(|_| one)).collect(),
        }
    }

    /// The record of the candidates that are not left out, which are `rollouts`.
    pub fn record(&self, problem: &Problem, rollouts: &[Rollout]) -> Map<String, Value> {
        let labels = self.of_all.as_ref();
        let labels: Option<Vec<u8>> =
            labels.map(|labels| labels.iter().filter_map(|label| label.map(u8::from)).collect());
        record(problem, rollouts, labels.as_deref())
    }

    /// The finished record, which also says how many candidates could not be judged.
    pub fn done(&self, mut record: Map<String, Value>) -> Outcome {
        if self.unjudged > 0 {
            record.insert("unjudged".into(), json!(self.unjudged));
        }
        Outcome::Done(record)
    }
}

fn record(problem: &Problem, rollouts: &[Rollout], labels: Option<&[u8]>) -> Map<String, Value> {
    let mut record = candidates::of_problem(&problem.record);
    record.insert("solutions_splits".into(), json!(rollouts));
    if let Some(labels) = labels {
        record.insert("labels".into(), json!(labels));
    }
    record
}

/// A problem without candidates, with the cause.
pub(super) fn failed(problem: &Problem, cause: &str) -> Outcome {
    let mut record = record(problem, &[], Some(&[]));
    record.insert("error".into(), cause.into());
    Outcome::Failed(record, format!("problem {}: {cause}", problem.id))
}
