//! Searches with a scripted policy and reward model.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::data::problem::Problem;
use crate::policy::{Detail, PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use crate::prm::{PrmError, ScoreRequest, StepScorer};
use crate::util::cancel::CancelToken;

/// Writes `LENGTH` digits, one a step, then them all as the answer. The digit depends on the random stream alone.
#[derive(Default)]
struct Digits {
    steps: AtomicUsize,
}

const LENGTH: usize = 4;

impl RolloutModel for Digits {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        assert_eq!(request.detail, Detail::Tokens);
        let mut digit = 0;
        let mut next = |index: usize, depth: usize| {
            self.steps.fetch_add(1, Ordering::Relaxed);
            digit += 1;
            ((request.node as usize * 31 + index * 7 + depth * 13 + digit) % 10).to_string()
        };
        let answer = |steps: &[String]| format!("Answer: {}", steps.concat());
        let sample = |index: usize| {
            let mut rollout = Vec::new();
            loop {
                let steps = [request.prefix, &rollout].concat();
                if steps.len() == LENGTH {
                    rollout.push(answer(&steps));
                    return rollout.into();
                }
                rollout.push(next(index, steps.len()));
                if request.one_step {
                    return SampledRollout { rollout, unfinished: true, ..SampledRollout::default() };
                }
            }
        };
        Ok((request.first..request.first + request.count).map(sample).collect())
    }
}

/// Likes large digits.
struct Large;

impl StepScorer for Large {
    fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        let score = |step: &String| step.parse().map_or(1.0, |digit: f64| (digit + 1.0) / 10.0);
        Ok(request.solutions.iter().map(|steps| steps.iter().map(score).collect()).collect())
    }

    fn score_unfinished(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
        assert!(
            request.solutions.iter().all(|steps| !steps.last().unwrap().starts_with("Answer")),
            "finished ones apart"
        );
        self.score(request)
    }
}

fn run(method: Method, candidates: usize, width: usize) -> (Found, usize) {
    let policy = Digits::default();
    let params = GuidedParams { method, candidates, width, ..GuidedParams::default() };
    let found = guided(&Problem::new("q"), &params, &policy, &Large, &CancelToken::new()).unwrap();
    (found, policy.steps.into_inner())
}

fn value(found: &Found) -> f64 {
    found.scores[0].iter().product()
}

#[test]
fn steered_solutions_are_better_than_whole_ones_and_no_method_writes_more_steps() {
    let (whole, steps) = run(Method::BestOfN, 16, 4);
    assert_eq!((whole.solutions.len(), steps), (16, 16 * LENGTH));
    for method in [Method::Beam, Method::Dvts] {
        let (found, own) = run(method, 16, 4);
        assert!(value(&found) > value(&whole), "{method}: {:?} and {:?}", found.solutions[0], whole.solutions[0]);
        assert!(own <= steps && found.solutions.len() <= 16 && !found.solutions.is_empty(), "{method}: {own} steps");
        assert!(found.solutions.iter().all(|solution| solution.len() == LENGTH + 1));
        assert!(found.scores.iter().zip(&found.solutions).all(|(scores, steps)| scores.len() == steps.len()));
    }
}

#[test]
fn one_candidate_is_stepwise_sampling() {
    for method in [Method::Beam, Method::Dvts] {
        let (found, steps) = run(method, 1, 1);
        assert_eq!((found.solutions.len(), found.solutions[0].len(), steps), (1, LENGTH + 1, LENGTH));
    }
}

#[test]
fn the_same_search_finds_the_same_and_a_cancelled_one_ends() {
    assert_eq!(run(Method::Dvts, 12, 3), run(Method::Dvts, 12, 3));
    let cancel = CancelToken::new();
    cancel.cancel();
    let result = guided(&Problem::new("q"), &GuidedParams::default(), &Digits::default(), &Large, &cancel);
    assert!(matches!(result, Err(GuidedError::Policy(PolicyError::Cancelled) | GuidedError::Prm(PrmError::Cancelled))));
}

#[test]
fn solutions_that_never_end_are_given_up() {
    struct Silent;
    impl RolloutModel for Silent {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            Ok(vec![SampledRollout::default(); request.count])
        }
    }
    struct Endless;
    impl RolloutModel for Endless {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            let one = SampledRollout { rollout: vec!["1".into()], unfinished: true, ..SampledRollout::default() };
            Ok(vec![one; request.count])
        }
    }
    let params = GuidedParams { method: Method::Beam, max_steps: 5, ..GuidedParams::default() };
    let found = guided(&Problem::new("q"), &params, &Endless, &Large, &CancelToken::new()).unwrap();
    assert!(!found.solutions.is_empty() && found.solutions.iter().all(Vec::is_empty) && found.expansions >= 5);
    let whole = GuidedParams { method: Method::BestOfN, candidates: 3, ..params };
    for params in [whole, GuidedParams { method: Method::Dvts, ..whole }] {
        let found = guided(&Problem::new("q"), &params, &Silent, &Large, &CancelToken::new()).unwrap();
        assert_eq!(found.solutions, [[""; 0]; 3], "candidates without an answer are candidates");
    }
}
