//! Judging the steps of trees, as MM-PRM's `mllm_as_a_judge` does.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use mmprm::judge::{StepJudge, TreeEvent, TreesError, TreesOptions, TreesSummary, judge_trees};
use mmprm::remote::Endpoint;
use mmprm::util::cancel::CancelToken;
use serde_json::{Value, json};

use crate::http::{Server, likes, reply, says};
use crate::options;

/// A tree of three states below its root, with an unknown field.
fn tree() -> Value {
    let node = |steps: Value, children: Value| {
        json!({
            "partial_solution": steps, "mc_value": 0.5, "visit_count": 0, "correct_rollouts": [],
            "incorrect_rollouts": [], "children": children, "note": "kept",
        })
    };
    let deep = node(json!(["So é = 2."]), json!([]));
    json!({
        "question": "Wie groß?", "answer": 2, "image_path": "a.png", "mc_value": 0.5, "visit_count": 1,
        "correct_rollouts": [], "incorrect_rollouts": [],
        "children": [node(json!(["Add.", "Carry."]), json!([deep])), node(json!(["Guess."]), json!([]))], "id": 7,
    })
}

/// A directory with an image and these trees.
fn sandbox(trees: &[(&str, String)]) -> tempfile::TempDir {
    let sandbox = tempfile::tempdir().unwrap();
    std::fs::create_dir(sandbox.path().join("trees")).unwrap();
    std::fs::write(sandbox.path().join("a.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    for (name, text) in trees {
        std::fs::write(sandbox.path().join("trees").join(name), text).unwrap();
    }
    sandbox
}

fn run(sandbox: &Path, server: &Server) -> (Result<TreesSummary, TreesError>, Vec<String>) {
    let files: Vec<PathBuf> = mmprm::data::samples::tree_files(&sandbox.join("trees")).unwrap().trees;
    let judge = StepJudge::new(Endpoint::new(options(&server.url())).unwrap());
    let (causes, cancel) = (Mutex::new(Vec::new()), CancelToken::new());
    let note = |event: TreeEvent<'_>| {
        if let TreeEvent::Failed { cause, .. } = event {
            causes.lock().unwrap().push(cause.to_owned());
        }
    };
    let options = TreesOptions { data_root: sandbox, cancel: &cancel, progress: &note };
    let summary = judge_trees(&files, &sandbox.join("judged"), &judge, &options);
    (summary, causes.into_inner().unwrap())
}

fn judged(sandbox: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.join("judged").join(name)).unwrap()).unwrap()
}

#[test]
fn every_state_gets_its_probabilities_beside_its_monte_carlo_value() {
    let server = Server::start(|_, request| {
        let prompt = request.prompt();
        if prompt.ends_with("Guess.\n") {
            likes(&[("The", -0.1), ("A", -3.0)])
        } else if prompt.ends_with("So é = 2.\n") {
            likes(&[("No", -0.25), ("Yes", -2.0), ("YES", -1.5)])
        } else {
            likes(&[("Yes", -0.125), ("no", -0.5)])
        }
    });
    let sandbox = sandbox(&[("t.json", tree().to_string())]);
    let (summary, _) = run(sandbox.path(), &server);
    let expected = TreesSummary { done: 1, states: 3, unjudged: 1, ..TreesSummary::default() };
    assert_eq!(summary.unwrap(), expected);

    let found = judged(sandbox.path(), "t.json");
    let (first, deep, guess) = (&found["children"][0], &found["children"][0]["children"][0], &found["children"][1]);
    let exp = |x: f64| json!(x.exp());
    assert_eq!([&first["logprob_yes"], &first["logprob_no"]], [&exp(-0.125), &exp(-100.0)]);
    assert_eq!([&deep["logprob_yes"], &deep["logprob_no"]], [&exp(-1.5), &exp(-0.25)]);
    let share = (-1.5_f64).exp() / ((-1.5_f64).exp() + (-0.25_f64).exp());
    assert_eq!([&deep["llm_as_a_judge"], &guess["llm_as_a_judge"]], [&json!(share), &Value::Null]);
    assert_eq!((&first["note"], found.get("llm_as_a_judge")), (&json!("kept"), None));

    // Everything else is unchanged, in the form of trees.
    let mut stripped = found.clone();
    let mut open = vec![&mut stripped];
    while let Some(node) = open.pop() {
        for key in ["logprob_yes", "logprob_no", "llm_as_a_judge"] {
            node.as_object_mut().unwrap().shift_remove(key);
        }
        open.extend(node["children"].as_array_mut().unwrap());
    }
    assert_eq!(stripped, tree());
    let text = std::fs::read_to_string(sandbox.path().join("judged/t.json")).unwrap();
    assert_eq!(text, mmprm::compat::json::dumps_indent(&found, 4, false));
    mmprm::data::tree::json::read(&sandbox.path().join("judged/t.json")).unwrap();
}

#[test]
fn the_question_is_that_of_mm_prm_with_the_image_after_it() {
    let server = Server::script(vec![likes(&[("Yes", -0.1)])]);
    let sandbox = sandbox(&[("t.json", tree().to_string())]);
    run(sandbox.path(), &server).0.unwrap();
    let requests = server.requests();
    let request = requests.iter().find(|request| request.prompt().contains("So é = 2.")).unwrap();
    let steps = |steps: &[&str]| steps.iter().map(|&step| step.to_owned()).collect::<Vec<_>>();
    let prompt = mmprm::prompt::judge::steps("Wie groß?", "2", &steps(&["Add.", "Carry."]), &steps(&["So é = 2."]));
    assert_eq!(
        request.body,
        json!({
            "model": "judge-1", "temperature": 0.0, "max_tokens": 1, "top_p": 0.95, "logprobs": true, "top_logprobs": 5,
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": prompt},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            ]}],
        })
    );
}

#[test]
fn bad_trees_fail_alone_with_their_cause_and_finished_ones_are_skipped() {
    let (mut outside, mut missing, mut textual) = (tree(), tree(), tree());
    outside["image_path"] = json!("../../etc/passwd");
    missing["image_path"] = json!("b.png");
    textual["image_path"] = Value::Null;
    let cut = tree().to_string();
    let sandbox = sandbox(&[
        ("bad.json", cut[..50].to_owned()),
        ("good.json", tree().to_string()),
        ("missing.json", missing.to_string()),
        ("outside.json", outside.to_string()),
        ("textual.json", textual.to_string()),
    ]);
    let server = Server::script(vec![likes(&[("No", -0.1)])]);
    let (summary, causes) = run(sandbox.path(), &server);
    let summary = summary.unwrap();
    assert_eq!((summary.done, summary.failed, summary.states), (2, 3, 6));
    for part in ["b.png", "outside the data root", "bad.json: not JSON"] {
        assert!(causes.iter().any(|cause| cause.contains(part)), "{part}: {causes:?}");
    }
    let before = server.requests().len();
    let (summary, _) = run(sandbox.path(), &server);
    let summary = summary.unwrap();
    assert_eq!((summary.done, summary.already_done, summary.failed), (0, 2, 3));
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_tree_with_unjudged_states_is_not_written_and_is_tried_again() {
    let sandbox = sandbox(&[("t.json", tree().to_string())]);
    let broken = Server::start(|_, request| {
        if request.prompt().ends_with("Guess.\n") {
            reply("500 Internal Server Error", &[], "no memory")
        } else {
            likes(&[("Yes", -0.1)])
        }
    });
    let (summary, causes) = run(sandbox.path(), &broken);
    assert_eq!(summary.unwrap().failed, 1);
    assert!(causes[0].contains("500 Internal Server Error, no memory"), "{causes:?}");
    assert!(!sandbox.path().join("judged/t.json").exists());
    let mended = Server::script(vec![likes(&[("Yes", -0.1)])]);
    assert_eq!(run(sandbox.path(), &mended).0.unwrap().done, 1);
}

#[test]
fn a_server_without_log_probabilities_ends_the_run_and_the_error_names_them() {
    let sandbox = sandbox(&[("t.json", tree().to_string()), ("u.json", tree().to_string())]);
    let error = run(sandbox.path(), &Server::script(vec![says("Yes")])).0.unwrap_err();
    assert!(error.to_string().contains("does not return log-probabilities, which are required"), "{error}");
}

#[test]
fn judged_trees_need_another_directory() {
    let sandbox = sandbox(&[("t.json", tree().to_string())]);
    std::os::unix::fs::symlink(sandbox.path().join("trees"), sandbox.path().join("judged")).unwrap();
    let server = Server::script(vec![likes(&[("Yes", -0.1)])]);
    let error = run(sandbox.path(), &server).0.unwrap_err();
    assert!(matches!(error, TreesError::SameDirectory(_)), "{error}");
    assert!(server.requests().is_empty());
}
