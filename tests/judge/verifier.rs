//! Rules, then a judge; stored verdicts; counts of who decided.

use std::time::Duration;

use mmprm::data::problem::Problem;
use mmprm::judge::{CachedJudge, JudgeMode, JudgeModel, RulesThenJudge, Verdict, Verifier, VerifyError};
use mmprm::util::cancel::CancelToken;

use crate::http::{Server, reply, says};
use crate::{judge, problem};

/// Rules that decide two wordings only.
struct Rules;

impl Verifier for Rules {
    fn verify(&self, _: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        match answer {
            "the hypotenuse" => Ok(Verdict::Correct),
            "a leg" => Ok(Verdict::Incorrect),
            "?" => Err(VerifyError::Other("a question mark".into())),
            _ => Ok(Verdict::Unjudged),
        }
    }
}

/// Says yes to answers with "opposite" in them, "hm" to "hm", and no to others.
fn reader() -> Server {
    Server::start(|_, request| {
        std::thread::sleep(Duration::from_millis(10));
        let prompt = request.prompt();
        let answer = prompt.split("Model's Answer:\n").nth(1).unwrap().to_owned();
        match answer {
            answer if answer.contains("opposite") => says("Yes"),
            answer if answer.starts_with("hm") => says("hm"),
            _ => says("No"),
        }
    })
}

const ANSWERS: [&str; 8] = [
    "the hypotenuse",
    "opposite the right angle",
    "a leg",
    "hm",
    "the short one",
    "?",
    "opposite the right angle",
    "opposite 90°",
];

#[test]
fn the_judge_is_asked_in_parallel_where_the_rules_are_undecided() {
    use Verdict::{Correct, Incorrect, Unjudged};

    let server = reader();
    let (judge, stop) = (judge(&server), CancelToken::new());
    let verifier = RulesThenJudge::new(&Rules, Some(&judge), JudgeMode::Undecided, &stop);
    let verdicts: Vec<Option<Verdict>> =
        verifier.verify_all(&problem("p"), &ANSWERS).into_iter().map(Result::ok).collect();
    let expected = [Correct, Correct, Incorrect, Unjudged, Incorrect].map(Some);
    assert_eq!(verdicts, [&expected[..], &[None, Some(Correct), Some(Correct)]].concat());
    assert_eq!(server.requests().len(), 1 + 5 + 1 + 1, "equal answers are asked about once, \"hm\" five times");
    assert!(server.max_at_once() > 1);
    let counts = verifier.counts();
    assert_eq!((counts.by_rules, counts.by_judge, counts.unjudged), (2, 4, 1));
    assert!(counts.last_cause.unwrap().contains("\"hm\""));
    assert!(!stop.is_cancelled());
}

#[test]
fn always_asking_skips_the_rules() {
    let server = Server::script(vec![says("No")]);
    let (judge, stop) = (judge(&server), CancelToken::new());
    let verifier = RulesThenJudge::new(&Rules, Some(&judge), JudgeMode::Always, &stop);
    assert_eq!(verifier.verify(&problem("p"), "the hypotenuse").unwrap(), Verdict::Incorrect);
    let mut unanswered = problem("p9");
    unanswered.answer = " ".into();
    assert!(verifier.verify(&unanswered, "3").unwrap_err().to_string().contains("problem p9"));
    assert_eq!((verifier.counts().by_rules, verifier.counts().by_judge, server.requests().len()), (0, 1, 1));
}

#[test]
fn without_a_judge_undecided_answers_are_unjudged() {
    let stop = CancelToken::new();
    let verifier = RulesThenJudge::new(&Rules, None, JudgeMode::Undecided, &stop);
    assert_eq!(verifier.verify(&problem("p"), "the short one").unwrap(), Verdict::Unjudged);
    let counts = verifier.counts();
    assert_eq!((counts.by_rules, counts.unjudged), (0, 1));
    assert_eq!(counts.last_cause.unwrap(), "the rules are undecided and there is no judge");
}

#[test]
fn a_judge_that_cannot_be_used_ends_the_run_with_its_cause() {
    let server = Server::script(vec![reply("401 Unauthorized", &[], "{}")]);
    let (judge, stop) = (judge(&server), CancelToken::new());
    let verifier = RulesThenJudge::new(&Rules, Some(&judge), JudgeMode::Undecided, &stop);
    assert_eq!(verifier.verify(&problem("p"), "a leg").unwrap(), Verdict::Incorrect);
    assert!(verifier.verify(&problem("p"), "the short one").is_err());
    assert!(stop.is_cancelled());
    assert!(verifier.stopped_by().unwrap().to_string().contains("requires an API key"));
    assert!(verifier.verify(&problem("p"), "the long one").is_err());
    assert_eq!((server.requests().len(), verifier.counts().unjudged), (1, 0));
}

#[test]
fn verdicts_are_stored_for_later_runs_and_failures_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("judge-cache.jsonl");
    let server = reader();
    for run in 0..2 {
        let judge = CachedJudge::open(Box::new(judge(&server)), &path).unwrap();
        let stop = CancelToken::new();
        let verifier = RulesThenJudge::new(&Rules, Some(&judge), JudgeMode::Undecided, &stop);
        let before = server.requests().len();
        verifier.verify_all(&problem("p"), &ANSWERS);
        let (asked, from_cache) = [(8, 0), (5, 3)][run];
        assert_eq!(server.requests().len() - before, asked, "run {run}");
        assert_eq!(verifier.counts().from_cache, from_cache, "run {run}");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert_eq!((&line["judge"], &line["gold"]), (&"judge-1 check_correctness-1".into(), &"the hypotenuse".into()));
    assert!(judge(&server).identity().starts_with("judge-1"));
}
