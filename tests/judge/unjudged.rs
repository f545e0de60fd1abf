//! Rollouts that could not be judged: in a search, an annotation and a file of candidates.

use std::sync::atomic::{AtomicUsize, Ordering};

use mmprm::data::problem::Problem;
use mmprm::eval::batch::{Batch, Existing};
use mmprm::eval::generate::generate;
use mmprm::judge::{JudgeMode, OnUnjudged, RulesThenJudge, Verdict, Verifier, VerifyError};
use mmprm::policy::{PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use mmprm::search::annotate::{AnnotateOptions, LOG_NAME, annotate};
use mmprm::search::{Outcome, SearchError, SearchParams, search};
use mmprm::util::cancel::CancelToken;
use serde_json::{Value, json};

use crate::http::{Server, reply};
use crate::{judge, problem};

/// Returns the same answers for every request, after one more step.
struct Says(&'static [&'static str]);

impl RolloutModel for Says {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        let step = format!("Step {}.", request.prefix.len());
        Ok(self.0[..request.count].iter().map(|answer| vec![step.clone(), (*answer).to_owned()].into()).collect())
    }
}

/// Decides "right" and "wrong" only.
struct Literal;

impl Verifier for Literal {
    fn verify(&self, _: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        Ok(match answer {
            "right" => Verdict::Correct,
            "wrong" => Verdict::Incorrect,
            _ => Verdict::Unjudged,
        })
    }
}

fn params(rollouts: usize, unjudged: OnUnjudged) -> SearchParams {
    SearchParams { rollouts, unjudged, max_searches: 1, ..SearchParams::default() }
}

fn searched(answers: &'static [&'static str], unjudged: OnUnjudged) -> Result<Outcome, SearchError> {
    search(&problem("p"), &Says(answers), &Literal, &params(answers.len(), unjudged))
}

#[test]
fn dropped_rollouts_are_left_out_of_counts_and_tree() {
    let outcome = searched(&["right", "?", "wrong", "!"], OnUnjudged::Drop).unwrap();
    assert_eq!(outcome.tree.root.mc_value.to_bits(), 0.5_f64.to_bits());
    assert_eq!(outcome.tree.root.correct_rollouts, [["Step 0.", "right"]]);
    assert_eq!(outcome.tree.root.incorrect_rollouts, [["Step 0.", "wrong"]]);
    assert_eq!(outcome.stats.unjudged * 2, outcome.stats.rollouts);
}

#[test]
fn counted_as_incorrect_they_are_as_in_mm_prm() {
    let outcome = searched(&["right", "?", "wrong", "!"], OnUnjudged::Incorrect).unwrap();
    assert_eq!(outcome.tree.root.mc_value.to_bits(), 0.25_f64.to_bits());
    assert_eq!(outcome.tree.root.incorrect_rollouts.len(), 3);
    let all = searched(&["?", "!"], OnUnjudged::Incorrect).unwrap();
    assert_eq!(all.tree.root.mc_value.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn a_problem_fails_where_no_rollout_could_be_judged_or_every_one_must_be() {
    for (answers, unjudged, expected) in [
        (&["?", "!"][..], OnUnjudged::Drop, "2 of 2 rollouts could not be judged"),
        (&["right", "?", "wrong"], OnUnjudged::Fail, "1 of 3 rollouts could not be judged"),
    ] {
        let error = searched(answers, unjudged).unwrap_err();
        assert!(matches!(error, SearchError::Unjudged { .. }));
        assert_eq!(error.to_string(), expected);
    }
    searched(&["right", "wrong"], OnUnjudged::Fail).unwrap();
}

#[test]
fn an_empty_rollout_is_wrong_without_asking() {
    struct Silent;
    impl RolloutModel for Silent {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            let rollout = |index| if index == 1 { vec!["right".to_owned()] } else { vec![] };
            Ok((0..request.count).map(|index| rollout(index).into()).collect())
        }
    }
    let params = SearchParams { max_searches: 0, ..params(4, OnUnjudged::Fail) };
    let outcome = search(&problem("p"), &Silent, &Literal, &params).unwrap();
    assert_eq!(outcome.tree.root.mc_value.to_bits(), 0.25_f64.to_bits());
}

#[test]
fn a_whole_rollout_keeps_its_first_verdict_where_it_cannot_be_judged_again() {
    /// Decides about the wrong answer the first time only.
    struct Forgetful(AtomicUsize);
    impl Verifier for Forgetful {
        fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
            if answer == "wrong" && self.0.fetch_add(1, Ordering::Relaxed) > 0 {
                return Ok(Verdict::Unjudged);
            }
            Literal.verify(problem, answer)
        }
    }
    /// Right and wrong at the root, then right, so that only the last element of the wrong rollout
    /// can be its first error.
    struct GoesWrongLast;
    impl RolloutModel for GoesWrongLast {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            let wrong = if request.node == 0 { "wrong" } else { "right" };
            Ok(["right", wrong].map(|answer| vec!["Step.".to_owned(), answer.to_owned()].into()).into())
        }
    }
    let run = |unjudged| {
        let verifier = Forgetful(AtomicUsize::new(0));
        search(&problem("p"), &GoesWrongLast, &verifier, &params(2, unjudged))
    };
    let outcome = run(OnUnjudged::Drop).unwrap();
    let leaf = &outcome.tree.root.children[1].children.last().unwrap();
    assert_eq!((leaf.partial_solution[0].as_str(), leaf.mc_value.to_bits()), ("wrong", 0.0_f64.to_bits()));
    assert!(matches!(run(OnUnjudged::Fail), Err(SearchError::Unjudged { unjudged: 1, drawn: 1 })));
}

#[test]
fn unjudged_candidates_are_left_out_count_as_wrong_or_fail_the_problem() {
    let directory = tempfile::tempdir().unwrap();
    let candidates = |answers: &'static [&'static str], on_unjudged| {
        let output = directory.path().join("c.json");
        let cancel = CancelToken::new();
        let settings = json!({});
        let batch = Batch { existing: Existing::Replace, ..Batch::new(&output, &settings, &cancel) };
        let count = answers.len();
        let summary = generate(&[problem("p")], count, &Says(answers), &Literal, on_unjudged, &batch).unwrap();
        let records: Value = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
        (summary.failed, records[0].clone())
    };
    let three: &[&str] = &["right", "?", "wrong"];
    let (failed, record) = candidates(three, OnUnjudged::Drop);
    assert_eq!((failed, &record["labels"], &record["unjudged"]), (0, &json!([1, 0]), &json!(1)));
    assert_eq!(record["solutions_splits"], json!([["Step 0.", "right"], ["Step 0.", "wrong"]]));
    let (failed, record) = candidates(three, OnUnjudged::Incorrect);
    assert_eq!((failed, &record["labels"], &record["unjudged"]), (0, &json!([1, 0, 0]), &json!(1)));
    let (failed, record) = candidates(three, OnUnjudged::Fail);
    assert_eq!((failed, &record["error"]), (1, &json!("1 of 3 candidates could not be judged")));
    assert_eq!(record["labels"], json!([]));
    let (failed, _) = candidates(&["?", "!"], OnUnjudged::Drop);
    assert_eq!(failed, 1);
    let (failed, record) = candidates(&["right", "wrong"], OnUnjudged::Fail);
    assert_eq!((failed, record.get("unjudged")), (0, None));
}

#[test]
fn an_annotation_logs_the_number_of_unjudged_rollouts() {
    let directory = tempfile::tempdir().unwrap();
    let options = AnnotateOptions { params: params(4, OnUnjudged::Drop), ..AnnotateOptions::default() };
    let (policy, cancel) = (Says(&["right", "?", "wrong", "!"]), CancelToken::new());
    let problems = [problem("p"), problem("q")];
    let summary = annotate(&problems, directory.path(), &options, &policy, &Literal, &(), &cancel).unwrap();
    assert_eq!((summary.done, summary.unjudged * 2), (2, summary.rollouts));
    let log = std::fs::read_to_string(directory.path().join(LOG_NAME)).unwrap();
    let logged: Vec<u64> =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["unjudged"].as_u64().unwrap()).collect();
    assert_eq!(logged.iter().sum::<u64>(), summary.unjudged as u64);

    let directory = tempfile::tempdir().unwrap();
    let policy = Says(&["?", "!", "?", "!"]);
    let summary = annotate(&problems, directory.path(), &options, &policy, &Literal, &(), &cancel).unwrap();
    assert_eq!((summary.done, summary.failed, summary.rollouts, summary.unjudged), (0, 2, 8, 8));
    let log = std::fs::read_to_string(directory.path().join(LOG_NAME)).unwrap();
    assert!(log.lines().all(|line| line.contains("4 of 4 rollouts could not be judged")), "{log}");
    let retry = AnnotateOptions { retry_failed: true, ..options };
    let policy = Says(&["right", "wrong", "wrong", "wrong"]);
    let summary = annotate(&problems, directory.path(), &retry, &policy, &Literal, &(), &cancel).unwrap();
    assert_eq!((summary.done, summary.failed), (2, 0));
}

#[test]
fn a_judge_that_cannot_be_used_ends_an_annotation_and_fails_no_problem() {
    let server = Server::script(vec![reply("404 Not Found", &[], "{}")]);
    let (judge, stop) = (judge(&server), CancelToken::new());
    let verifier = RulesThenJudge::new(&Literal, Some(&judge), JudgeMode::Undecided, &stop);
    let directory = tempfile::tempdir().unwrap();
    let options = AnnotateOptions { params: params(2, OnUnjudged::Drop), ..AnnotateOptions::default() };
    let problems = [problem("p"), problem("q"), problem("r")];
    let summary =
        annotate(&problems, directory.path(), &options, &Says(&["right", "?"]), &verifier, &(), &stop).unwrap();
    assert!(summary.cancelled && summary.failed == 0 && summary.done == 0, "{summary:?}");
    assert!(verifier.stopped_by().is_some());
    assert_eq!(server.requests().len(), 1);
    assert_eq!(std::fs::read_to_string(directory.path().join(LOG_NAME)).unwrap(), "");
}
