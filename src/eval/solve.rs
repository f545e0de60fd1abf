//! Solving one problem: candidates are sampled side by side and their steps scored, for a person who waits for them.
//!
//! Which candidate to take is left to [`selection`](super::selection); whole data sets are left to
//! [`generate`](super::generate) and [`score`](super::score).
//!
//! ```
//! # use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
//! use mmprm::data::Problem;
//! use mmprm::eval::selection::{Contenders, Selection};
//! use mmprm::eval::solve::{Solver, solve};
//! # struct Script;
//! # impl RolloutModel for Script {
//! #     fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
//! #         Ok(vec![vec![format!("The final answer is {}", request.first / 2)].into()])
//! #     }
//! # }
//! # let policy = Script;
//! let solver = Solver { policy: &policy, prm: None, workers: 4 };
//! let mut finished = 0;
//! let set = solve(&Problem::new("1 + 0?"), 3, &solver, &Default::default(), |_, _| finished += 1)?;
//! assert_eq!((finished, set.solutions.len()), (3, 3));
//! assert_eq!(Contenders::new(&set).select(Selection::Majority).unwrap().index, 0);
//! # Ok::<(), mmprm::eval::solve::SolveError>(())
//! ```

use serde_json::{Value, json};

use crate::data::candidates::{self, CandidateSet};
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::policy::{Detail, PolicyError, RolloutModel, RolloutRequest, SampledRollout, StepLogprob};
use crate::prm::{self, PrmError, ScoreRequest, StepScorer};
use crate::util::cancel::CancelToken;
use crate::util::pool;

/// The models that solve a problem.
#[derive(Clone, Copy)]
pub struct Solver<'a> {
    /// Writes the candidates.
    pub policy: &'a dyn RolloutModel,
    /// Scores their steps.
    pub prm: Option<&'a dyn StepScorer>,
    /// Candidates that are sampled at once.
    pub workers: usize,
}

/// Why a problem could not be solved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// Sampling failed.
    #[error("{0}")]
    Policy(#[source] PolicyError),
    /// Scoring failed.
    #[error("{0}")]
    Prm(#[source] PrmError),
}

/// Samples `count` candidates of `problem` and scores their steps. `on_candidate` is called with the index of each candidate
/// as it is finished, on the calling thread.
///
/// Returns the problem's record with the fields of a Best-of-N file: `solutions_splits`; `prm_scores` with a PRM;
/// `step_logprobs` and `step_tokens` where the policy returns them for every candidate. The candidates are those that
/// [`generate`](super::generate) samples for a problem with the same id, seed and sampling, up to rounding.
///
/// # Errors
/// [`SolveError`]; a candidate that cannot be sampled ends the work.
pub fn solve(
    problem: &Problem,
    count: usize,
    solver: &Solver<'_>,
    cancel: &CancelToken,
    mut on_candidate: impl FnMut(usize, &SampledRollout),
) -> Result<CandidateSet, SolveError> {
    let mut sampled: Vec<Option<SampledRollout>> = vec![None; count];
    let indices: Vec<usize> = (0..count).collect();
    let sample = |&first: &usize| {
        let request = RolloutRequest { first, detail: Detail::Logprobs, ..RolloutRequest::new(problem, &[], 1, 0) };
        solver.policy.rollouts(&request).map(|rollouts| rollouts.into_iter().next().unwrap_or_default())
    };
    pool::run(&indices, solver.workers, cancel, sample, |index, result| {
        let rollout = result?;
        on_candidate(index, &rollout);
        sampled[index] = Some(rollout);
        Ok(())
    })
    .map_err(SolveError::Policy)?;
    // Workers begin nothing once the run is cancelled.
    let sampled: Option<Vec<SampledRollout>> = sampled.into_iter().collect();
    let sampled = sampled.ok_or(SolveError::Policy(PolicyError::Cancelled))?;
    let (solutions, logprobs): (Vec<Rollout>, Vec<Option<Vec<StepLogprob>>>) =
        sampled.into_iter().map(|one| (one.rollout, one.logprobs)).unzip();
    let scores = solver.prm.map(|prm| {
        let request = ScoreRequest { question: &problem.question, images: &problem.images, solutions: &solutions };
        prm.score(&request).and_then(prm::finite)
    });
    let scores = scores.transpose().map_err(SolveError::Prm)?;
    Ok(candidate_set(problem, solutions, logprobs.into_iter().collect(), scores))
}

/// The record of a problem with its candidates, as a Best-of-N file has it.
pub fn candidate_set(
    problem: &Problem,
    solutions: Vec<Rollout>,
    logprobs: Option<Vec<Vec<StepLogprob>>>,
    scores: Option<Vec<Vec<f64>>>,
) -> CandidateSet {
    let mut record = candidates::of_problem(&problem.record);
    record.insert("solutions_splits".into(), json!(solutions));
    let logprobs = logprobs.filter(|all| all.iter().zip(&solutions).all(|(own, steps)| own.len() == steps.len()));
    if let Some(logprobs) = &logprobs {
        let each = |value: fn(&StepLogprob) -> Value| -> Value {
            logprobs.iter().map(|candidate| candidate.iter().map(value).collect::<Value>()).collect()
        };
        record.insert("step_logprobs".into(), each(|step| json!(step.log_probability)));
        record.insert("step_tokens".into(), each(|step| json!(step.tokens)));
    }
    if let Some(scores) = &scores {
        record.insert("prm_scores".into(), json!(scores));
    }
    let pairs = |steps: Vec<StepLogprob>| steps.into_iter().map(|step| (step.log_probability, step.tokens)).collect();
    CandidateSet {
        record,
        question: Some(problem.question.clone()),
        images: problem.images.clone(),
        solutions,
        failed: false,
        labels: None,
        scores,
        logprobs: logprobs.map(|all| all.into_iter().map(pairs).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::candidates::parse;

    /// Writes its index; the candidates of odd index have no steps.
    struct Counting;

    impl RolloutModel for Counting {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            if request.first == 9 {
                return Err(PolicyError::Model("out of memory".into()));
            }
            let steps = if request.first.is_multiple_of(2) { vec![request.first.to_string()] } else { Vec::new() };
            let logprobs = steps.iter().map(|_| StepLogprob { log_probability: -0.5, tokens: 3 }).collect();
            Ok(vec![SampledRollout { rollout: steps, logprobs: Some(logprobs), ..SampledRollout::default() }])
        }
    }

    impl StepScorer for Counting {
        fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
            Ok(request.solutions.iter().map(|steps| vec![0.25; steps.len()]).collect())
        }
    }

    #[test]
    fn the_record_is_that_of_a_scored_file() {
        let solver = Solver { policy: &Counting, prm: Some(&Counting), workers: 3 };
        let problem = Problem::new("q").field("source", "here".into());
        let solved = solve(&problem, 4, &solver, &CancelToken::new(), |_, _| ()).unwrap();
        assert_eq!(solved.solutions, [vec!["0".to_owned()], vec![], vec!["2".into()], vec![]]);
        let text = Value::Array(vec![Value::Object(solved.record.clone())]).to_string();
        assert_eq!(parse("s.json".as_ref(), text.as_bytes()).unwrap(), [solved]);
    }

    #[test]
    fn a_failed_candidate_and_an_interrupt_end_the_work() {
        let solver = Solver { policy: &Counting, prm: None, workers: 1 };
        let solve = |cancel: &CancelToken| solve(&Problem::new("q"), 12, &solver, cancel, |_, _| ());
        assert!(matches!(solve(&CancelToken::new()), Err(SolveError::Policy(PolicyError::Model(_)))));
        let cancelled = CancelToken::new();
        cancelled.cancel();
        assert!(matches!(solve(&cancelled), Err(SolveError::Policy(PolicyError::Cancelled))));
    }
}
