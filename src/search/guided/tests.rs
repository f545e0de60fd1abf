//! Searches with a scripted policy and reward model.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::policy::{Detail, PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use crate::prm::{PrmError, ScoreRequest, StepScorer};
use crate::util::cancel::CancelToken;
use crate::util::random::{CounterStream, mix};

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
            ((request.node as usize % 997 * 31 + index * 7 + depth * 13 + digit) % 10).to_string()
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
fn lookahead_sees_what_comes_after_a_step_and_keeps_only_the_step() {
    /// Two first steps, the better-looking of which leads nowhere.
    struct Trap;
    impl RolloutModel for Trap {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            let step = |index: usize| {
                let text = match (request.prefix.len(), index % 2) {
                    (0, 0) => "good-looking",
                    (0, _) => "plain",
                    (1, _) if request.prefix[0] == "plain" => "fine",
                    (1, _) => "dead end",
                    _ => return vec!["Answer: 1".to_owned()].into(),
                };
                SampledRollout { rollout: vec![text.into()], unfinished: true, ..SampledRollout::default() }
            };
            Ok((0..request.count).map(step).collect())
        }
    }
    struct Looks;
    impl StepScorer for Looks {
        fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
            let score = |step: &String| match step.as_str() {
                "good-looking" => 0.9,
                "plain" => 0.6,
                "dead end" => 0.1,
                _ => 1.0,
            };
            Ok(request.solutions.iter().map(|steps| steps.iter().map(score).collect()).collect())
        }
    }
    let first = |method, lookahead| {
        let params = GuidedParams { method, candidates: 2, width: 2, lookahead, ..GuidedParams::default() };
        let found = guided(&Problem::new("q"), &params, &Trap, &Looks, &CancelToken::new()).unwrap();
        assert!(found.solutions.iter().all(|solution| solution.len() == 3), "{:?}", found.solutions);
        (found.solutions[0][0].clone(), found.expansions)
    };
    assert_eq!(first(Method::Beam, 1), ("good-looking".to_owned(), 3));
    assert_eq!(first(Method::Lookahead, 0).0, "good-looking", "without a step ahead it is beam search");
    assert_eq!(first(Method::Lookahead, 1), ("plain".to_owned(), 7));
    let (found, steps) = run(Method::Lookahead, 8, 4);
    assert!(found.scores.iter().zip(&found.solutions).all(|(scores, steps)| scores.len() == steps.len()));
    assert!(steps <= 16 * LENGTH, "{steps} steps with half the candidates");
}

#[test]
fn where_every_step_may_be_wrong_a_reward_model_that_knows_beats_best_of_n_at_equal_steps() {
    /// Solutions of ten steps, of which each is wrong with probability 0.2.
    struct Chain;
    const STEPS: usize = 10;
    impl RolloutModel for Chain {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            let seed: u64 = request.problem.id.parse().unwrap();
            let sample = |index: usize| {
                let stream = CounterStream::new(mix(mix(seed ^ mix(request.node)) ^ index as u64));
                let mut rollout: Rollout = Vec::new();
                loop {
                    let depth = request.prefix.len() + rollout.len();
                    if depth == STEPS {
                        let is_right = request.prefix.iter().chain(&rollout).all(|step| step == "right");
                        rollout.push(format!("Answer: {is_right}"));
                        return rollout.into();
                    }
                    rollout.push(if stream.uniform(depth as u64) < 0.2 { "wrong" } else { "right" }.into());
                    if request.one_step {
                        return SampledRollout { rollout, unfinished: true, ..SampledRollout::default() };
                    }
                }
            };
            Ok((0..request.count).map(sample).collect())
        }
    }
    struct Knows;
    impl StepScorer for Knows {
        fn score(&self, request: &ScoreRequest<'_>) -> Result<Vec<Vec<f64>>, PrmError> {
            let score = |step: &String| if step == "wrong" { 0.1 } else { 1.0 };
            Ok(request.solutions.iter().map(|steps| steps.iter().map(score).collect()).collect())
        }
    }
    let solved = |method| {
        let params = GuidedParams { method, candidates: 16, width: 4, ..GuidedParams::default() };
        let solves = |seed: &usize| {
            let problem = Problem::new("q").id(seed.to_string());
            let found = guided(&problem, &params, &Chain, &Knows, &CancelToken::new()).unwrap();
            found.solutions[0].last().unwrap() == "Answer: true"
        };
        (0..200).filter(solves).count()
    };
    // Of 16 whole solutions one is right with probability 1 - (1 - 0.8^10)^16 = 0.85.
    let whole = solved(Method::BestOfN);
    assert!((155..185).contains(&whole), "{whole}");
    assert!(solved(Method::Beam) == 200 && solved(Method::Dvts) > whole, "{}", solved(Method::Dvts));
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
