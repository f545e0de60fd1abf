//! Annotation keeps finished work through kills, failures and cancellation, and a rerun ends with
//! the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mmprm::data::problem::Problem;
use mmprm::data::tree::{file_stem, json};
use mmprm::judge::{Verdict, Verifier, VerifyError};
use mmprm::policy::{Detail, PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use mmprm::search::SearchParams;
use mmprm::search::annotate::{
    AnnotateError, AnnotateOptions, Event, LOG_NAME, Plan, SETTINGS_NAME, Summary, annotate,
};
use mmprm::util::cancel::CancelToken;
use serde_json::{Value, json};

/// Set in a child process: its output directory.
const CHILD_DIRECTORY: &str = "MMPRM_TEST_ANNOTATE_DIRECTORY";

/// Writes three-step solutions that depend only on the request; each step goes wrong one time in
/// five.
#[derive(Default)]
struct Script {
    /// Duration of each request.
    delay: Duration,
    /// Ids of problems that fail.
    broken: Vec<&'static str>,
    requests: AtomicUsize,
}

impl RolloutModel for Script {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        sleep(self.delay);
        let id = request.problem.id.as_str();
        match self.broken.iter().find(|&&broken| broken == id) {
            Some(&"p1") => panic!("a bug met {id}"),
            Some(_) => return Err(PolicyError::Problem(format!("{id} has no image").into())),
            None => {}
        }
        let chance = |index: usize, level: usize| {
            let mut state = (request.node << 32 | (index as u64) << 8 | level as u64) ^ 0x9e37_79b9_7f4a_7c15;
            for byte in id.bytes() {
                state = (state ^ u64::from(byte)).wrapping_mul(0xff51_afd7_ed55_8ccd);
                state ^= state >> 29;
            }
            state % 5
        };
        let lost = request.prefix.iter().any(|step| step.contains("wrongly"));
        let solution = |index| {
            let (index, mut lost) = (request.first + index, lost);
            let mut steps = Vec::new();
            for level in request.prefix.len()..3 {
                lost |= chance(index, level) == 0;
                steps.push(format!("Step {level}, done {}: é{}", if lost { "wrongly" } else { "well" }, index % 3));
            }
            steps.push(if lost { "I get 7".to_owned() } else { format!("I get {}", request.problem.answer) });
            SampledRollout::from(steps)
        };
        Ok((0..request.count).map(solution).collect())
    }
}

struct Ends;

impl Verifier for Ends {
    fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
        let right = answer.ends_with(&format!("get {}", problem.answer));
        Ok(if right { Verdict::Correct } else { Verdict::Incorrect })
    }
}

fn problem(index: usize) -> Problem {
    let id = format!("p{index}");
    let record =
        json!({"id": id, "question": format!("What is {index}²?"), "correct_answer": "4", "image_path": "x.png"});
    let Value::Object(record) = record else { unreachable!("the record is an object") };
    Problem { record, id, question: format!("What is {index}²?"), answer: "4".into(), images: vec!["x.png".into()] }
}

fn problems() -> Vec<Problem> {
    (0..12).map(problem).collect()
}

fn options(parallel: usize) -> AnnotateOptions {
    AnnotateOptions {
        params: SearchParams { rollouts: 8, max_searches: 5, rollout_budget: 200, ..SearchParams::default() },
        parallel: NonZeroUsize::new(parallel).unwrap(),
        ..AnnotateOptions::default()
    }
}

fn run(directory: &Path, policy: &Script, options: &AnnotateOptions) -> Result<Summary, AnnotateError> {
    annotate(&problems(), directory, options, policy, &Ends, &(), &CancelToken::new())
}

/// Every tree file with its bytes.
fn trees(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeMap::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let trees = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    trees.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())).collect()
}

fn log(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join(LOG_NAME)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Not a test by itself: the child process of the tests below runs it.
#[test]
fn child_annotates_slowly() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let slow = Script { delay: Duration::from_millis(20), ..Script::default() };
    run(Path::new(&directory), &slow, &options(3)).unwrap();
}

fn start_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_annotates_slowly"])
        .env(CHILD_DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(50), "waited too long until {what}");
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_run_resumes_to_the_bytes_of_an_uninterrupted_one() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let summary = run(whole.path(), &Script::default(), &options(2)).unwrap();
    assert_eq!((summary.done, summary.failed, summary.cancelled), (12, 0, false));

    for trees_before_kill in [1, 4] {
        let mut child = start_child(killed.path());
        wait_until("a tree is there", || trees(killed.path()).len() >= trees_before_kill);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let kept = trees(killed.path()).len();
    assert!(kept < 12, "the child was killed too late for this test");

    let summary = run(killed.path(), &Script::default(), &options(4)).unwrap();
    assert_eq!((summary.already_done, summary.done), (kept, 12 - kept));
    assert_eq!(trees(killed.path()), trees(whole.path()));
    assert_eq!(log_without_times(killed.path()), log_without_times(whole.path()));
}

#[test]
fn a_directory_in_use_is_refused_until_its_process_is_dead() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = start_child(directory.path());
    wait_until("the child works", || directory.path().join(LOG_NAME).exists());
    let error = run(directory.path(), &Script::default(), &options(1)).unwrap_err();
    assert!(matches!(error, AnnotateError::InUse { .. }), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    run(directory.path(), &Script::default(), &options(1)).unwrap();
}

#[test]
fn failures_and_panics_are_logged_with_their_cause_and_retried_on_request_only() {
    let directory = tempfile::tempdir().unwrap();
    let broken = Script { broken: vec!["p1", "p3"], ..Script::default() };
    let summary = run(directory.path(), &broken, &options(2)).unwrap();
    assert_eq!((summary.done, summary.failed), (10, 2));
    let causes: BTreeMap<String, String> = log(directory.path())
        .into_iter()
        .filter(|line| line["status"] == "failed")
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line["cause"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(causes["p1"], "internal error: a bug met p1");
    assert_eq!(causes["p3"], "p3 has no image");

    let mended = Script::default();
    let summary = run(directory.path(), &mended, &options(2)).unwrap();
    assert_eq!((summary.already_done, summary.failed_before, summary.done), (10, 2, 0));
    assert_eq!(mended.requests.load(Ordering::Relaxed), 0);

    let retry = AnnotateOptions { retry_failed: true, ..options(2) };
    let summary = run(directory.path(), &mended, &retry).unwrap();
    assert_eq!((summary.done, summary.failed_before), (2, 0));
    let clean = tempfile::tempdir().unwrap();
    run(clean.path(), &mended, &options(1)).unwrap();
    assert_eq!(trees(directory.path()), trees(clean.path()));
}

#[test]
fn an_answer_that_cannot_be_judged_fails_its_problem_and_does_not_count_as_wrong() {
    struct Unsure;
    impl Verifier for Unsure {
        fn verify(&self, problem: &Problem, answer: &str) -> Result<Verdict, VerifyError> {
            if problem.id == "p2" { Err(VerifyError::Other("no judge".into())) } else { Ends.verify(problem, answer) }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let (policy, cancel) = (Script::default(), CancelToken::new());
    let summary = annotate(&problems(), directory.path(), &options(2), &policy, &Unsure, &(), &cancel).unwrap();
    assert_eq!((summary.done, summary.failed), (11, 1));
    assert!(!directory.path().join(file_stem(&problem(2)) + ".json").exists());
    let line = log(directory.path()).into_iter().find(|line| line["id"] == "p2").unwrap();
    assert_eq!(line["cause"], "cannot judge the answer: no judge");
}

#[test]
fn cancelling_abandons_problems_in_progress_and_keeps_finished_ones() {
    let directory = tempfile::tempdir().unwrap();
    let cancel = CancelToken::new();
    let finished = AtomicUsize::new(0);
    let after_three = |event: Event<'_>| {
        if matches!(event, Event::Finished { .. }) && finished.fetch_add(1, Ordering::Relaxed) == 2 {
            cancel.cancel();
        }
    };
    let slow = Script { delay: Duration::from_millis(2), ..Script::default() };
    let summary = annotate(&problems(), directory.path(), &options(2), &slow, &Ends, &after_three, &cancel).unwrap();
    assert!(summary.cancelled);
    assert_eq!(summary.failed, 0);
    assert!((3..12).contains(&summary.done), "{summary:?}");
    assert_eq!(trees(directory.path()).len(), summary.done);
    assert_eq!(log(directory.path()).len(), summary.done);

    let rest = run(directory.path(), &Script::default(), &options(2)).unwrap();
    assert_eq!((rest.already_done, rest.done), (summary.done, 12 - summary.done));
    assert!(!rest.cancelled);
}

#[test]
fn a_record_that_occurs_twice_is_searched_once() {
    let directory = tempfile::tempdir().unwrap();
    let twice = [problem(0), problem(1), problem(0)];
    let (policy, cancel) = (Script::default(), CancelToken::new());
    let plans = Mutex::new(Vec::new());
    let note = |event: Event<'_>| {
        if let Event::Planned(plan) = event {
            plans.lock().unwrap().push(plan);
        }
    };
    let summary = annotate(&twice, directory.path(), &options(2), &policy, &Ends, &note, &cancel).unwrap();
    assert_eq!((summary.done, summary.repeated), (2, 1));
    assert_eq!(*plans.lock().unwrap(), [Plan { pending: 2, already_done: 0, failed_before: 0, repeated: 1 }]);
}

#[test]
fn an_output_directory_that_cannot_be_created_ends_the_run_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let policy = Script::default();
    let error = run(&file.join("trees"), &policy, &options(1)).unwrap_err();
    assert!(error.to_string().contains("file/trees"), "{error}");
    assert_eq!(policy.requests.load(Ordering::Relaxed), 0);
}

#[test]
fn a_tree_that_cannot_be_written_ends_the_run_and_does_not_fail_its_problem() {
    let directory = tempfile::tempdir().unwrap();
    // A file cannot be renamed over a directory.
    fs::create_dir(directory.path().join(file_stem(&problem(4)) + ".json")).unwrap();
    let error = run(directory.path(), &Script::default(), &options(2)).unwrap_err();
    assert!(matches!(error, AnnotateError::Write(_)), "{error}");
    assert!(error.to_string().contains(&file_stem(&problem(4))), "{error}");
    assert!(log(directory.path()).iter().all(|line| line["status"] == "done"));
}

#[test]
fn progress_adds_up_to_the_summary_and_trees_carry_their_problem() {
    let directory = tempfile::tempdir().unwrap();
    let (policy, cancel) = (Script::default(), CancelToken::new());
    let rollouts = AtomicUsize::new(0);
    let count = |event: Event<'_>| {
        if let Event::Rollouts { count, .. } = event {
            rollouts.fetch_add(count, Ordering::Relaxed);
        }
    };
    let summary = annotate(&problems(), directory.path(), &options(3), &policy, &Ends, &count, &cancel).unwrap();
    assert_eq!(summary.rollouts, rollouts.load(Ordering::Relaxed));
    assert_eq!(summary.rollouts, 8 * policy.requests.load(Ordering::Relaxed));
    let logged: u64 = log(directory.path()).iter().map(|line| line["rollouts"].as_u64().unwrap()).sum();
    assert_eq!(summary.rollouts as u64, logged);

    let tree = json::read(&directory.path().join(file_stem(&problem(5)) + ".json")).unwrap();
    assert_eq!((tree.id, tree.answer, tree.image_path), (json!("p5"), json!("4"), json!("x.png")));
    assert!(tree.root.count() > 5);
}

#[test]
fn trees_do_not_depend_on_speculation_or_parallel_problems() {
    for adaptive in [false, true] {
        let made = [(1, false), (3, false), (3, true)].map(|(parallel, speculative)| {
            let directory = tempfile::tempdir().unwrap();
            let mut options = AnnotateOptions { slots: 24, ..options(parallel) };
            (options.params.adaptive, options.params.speculative) = (adaptive, speculative);
            let slow = Script { delay: Duration::from_millis(1), ..Script::default() };
            let summary = run(directory.path(), &slow, &options).unwrap();
            assert_eq!((summary.done, summary.speculative_probes > 0), (12, speculative));
            assert!(summary.cancelled_probes <= summary.speculative_probes);
            let logged: u64 = log(directory.path()).iter().filter_map(|line| line["guesses"].as_u64()).sum();
            assert_eq!(logged, summary.speculative_probes as u64);
            trees(directory.path())
        });
        assert_eq!(made[0], made[1]);
        assert_eq!(made[0], made[2]);
    }
}

#[test]
fn other_settings_are_refused_and_the_differences_named() {
    let directory = tempfile::tempdir().unwrap();
    let with = |rollouts: usize, seed: u32, speculative, mixed| {
        let mut options = options(2);
        (options.params.rollouts, options.params.speculative, options.mixed) = (rollouts, speculative, mixed);
        options.settings = json!({"sampling": {"seed": seed}});
        run(directory.path(), &Script::default(), &options)
    };
    with(8, 0, false, false).unwrap();
    let whole = trees(directory.path());
    // Speculation does not change the trees, so that it is not a setting.
    assert_eq!(with(8, 0, true, false).unwrap().already_done, 12);
    let error = with(4, 1, false, false).unwrap_err().to_string();
    let expected = "other settings: sampling.seed (0 there, 1 here), search.rollouts (8 there, 4 here)";
    assert!(error.contains(expected), "{error}");
    assert_eq!(trees(directory.path()), whole);
    fs::remove_file(directory.path().join(file_stem(&problem(4)) + ".json")).unwrap();
    let mixed = with(4, 1, false, true).unwrap();
    assert_eq!((mixed.already_done, mixed.done), (11, 1));
    assert_eq!(with(4, 1, false, false).unwrap().already_done, 12);
    assert_eq!(fs::read_to_string(directory.path().join(SETTINGS_NAME)).unwrap().lines().count(), 2);
}

#[test]
fn a_long_problem_occupies_one_worker_while_the_others_continue() {
    /// Problem 0 ends only when all others have.
    struct Long<'a> {
        script: Script,
        finished: &'a AtomicUsize,
    }
    impl RolloutModel for Long<'_> {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            if request.problem.id == "p0" {
                wait_until("all other problems are done", || self.finished.load(Ordering::Relaxed) == 11);
            }
            self.script.rollouts(request)
        }
    }
    let (directory, cancel) = (tempfile::tempdir().unwrap(), CancelToken::new());
    let finished = AtomicUsize::new(0);
    let count = |event: Event<'_>| {
        finished.fetch_add(usize::from(matches!(event, Event::Finished { .. })), Ordering::Relaxed);
    };
    let policy = Long { script: Script::default(), finished: &finished };
    let summary = annotate(&problems(), directory.path(), &options(2), &policy, &Ends, &count, &cancel).unwrap();
    assert_eq!(summary.done, 12);
}

#[test]
fn settings_of_an_earlier_version_are_refused_unless_mixed() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &Script::default(), &options(2)).unwrap();
    let path = directory.path().join(SETTINGS_NAME);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"format\":2,"), "{text}");
    fs::write(&path, text.replace("\"format\":2,", "\"sampling\":\"Sampling { temperature: 1.0 }\",")).unwrap();
    let error = run(directory.path(), &Script::default(), &options(2)).unwrap_err();
    assert!(error.to_string().contains("an earlier version whose settings cannot be compared"), "{error}");
    let mixed = AnnotateOptions { mixed: true, ..options(2) };
    assert_eq!(run(directory.path(), &Script::default(), &mixed).unwrap().already_done, 12);
    assert_eq!(run(directory.path(), &Script::default(), &options(2)).unwrap().already_done, 12);
}

#[test]
fn the_policy_is_asked_for_its_tokens() {
    /// Checks the detail of each request.
    struct Checked(Script);
    impl RolloutModel for Checked {
        fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
            assert_eq!(request.detail, Detail::Tokens);
            self.0.rollouts(request)
        }
    }
    let (directory, cancel) = (tempfile::tempdir().unwrap(), CancelToken::new());
    let policy = Checked(Script::default());
    let summary = annotate(&problems(), directory.path(), &options(2), &policy, &Ends, &(), &cancel).unwrap();
    assert_eq!((summary.done, summary.failed), (12, 0));
}

/// The lines of the log without times, by problem.
fn log_without_times(directory: &Path) -> Vec<Value> {
    let mut lines = log(directory);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("seconds").is_some() && line.remove("hash").is_some());
    }
    lines.sort_by_key(|line| line["stem"].as_str().unwrap().to_owned());
    lines
}

#[test]
fn the_log_of_a_resumed_run_has_one_line_for_each_problem() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &Script::default(), &options(1)).unwrap();
    let expected = log_without_times(whole.path());
    assert_eq!(expected.len(), 12);
    // Killed at every instant between two writes: before a line, within it, and between line and tree.
    for count in 0..12 {
        for torn in [false, true] {
            let killed = tempfile::tempdir().unwrap();
            run(killed.path(), &Script::default(), &options(1)).unwrap();
            let text = fs::read_to_string(killed.path().join(LOG_NAME)).unwrap();
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let stem = |line: &str| serde_json::from_str::<Value>(line).unwrap()["stem"].as_str().unwrap().to_owned();
            for line in &lines[count..] {
                fs::remove_file(killed.path().join(format!("{}.json", stem(line)))).unwrap();
            }
            let end = if torn { &lines[count][..lines[count].len() / 2] } else { lines[count] };
            fs::write(killed.path().join(LOG_NAME), lines[..count].concat() + end).unwrap();
            let summary = run(killed.path(), &Script::default(), &options(2)).unwrap();
            assert_eq!((summary.already_done, summary.done), (count, 12 - count));
            assert_eq!(log_without_times(killed.path()), expected);
            assert_eq!(trees(killed.path()), trees(whole.path()));
        }
    }
}
