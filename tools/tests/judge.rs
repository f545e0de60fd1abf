//! Judge models on the command line: labels by a judge, judged trees, and failing servers.
#![cfg(unix)]

#[path = "../../tests/support/http.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod http;
mod support;

use std::process::Command;

use http::{Reply, Server, likes, reply, says};
use serde_json::{Value, json};
use support::{POLICY, Run, Sandbox};

/// The problems of these tests.
const PROBLEMS: &str = "--problems data/test.json --limit 2";

fn generate(server: &Server, flags: &str) -> String {
    let judge = format!("--judge-url {} --judge-model judge-1", server.url());
    format!("generate {POLICY} {PROBLEMS} -n 3 -o out/c.json {judge} {flags}")
}

fn annotate(server: &Server, flags: &str) -> String {
    let judge = format!("--judge-url {} --judge-model judge-1", server.url());
    format!("annotate {POLICY} {PROBLEMS} --rollouts 4 --rollout-budget 8 -o trees --judge always {judge} {flags}")
}

fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn labels(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.json("out/c.json").as_array().unwrap().iter().map(|record| record["labels"].clone()).collect()
}

#[test]
fn a_judge_that_is_always_asked_labels_every_candidate_and_no_question_is_asked_twice() {
    let sandbox = Sandbox::new();
    // One temporary failure of each kind.
    let server = Server::start(|index, _| match index {
        0 => reply("500 Internal Server Error", &[], "oops"),
        1 => reply("429 Too Many Requests", &["retry-after: 0"], "{}"),
        2 => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"choices\": [".to_vec()),
        3 => says("Well..."),
        4 => Reply::Stall(Vec::new()),
        _ => says("Yes."),
    });
    let command = generate(&server, "--judge always --judge-timeout 1 --deterministic --json");
    let result = sandbox.run(&command).done().object();
    assert_eq!(labels(&sandbox), [json!([1, 1, 1]), json!([1, 1, 1])]);
    let answers = &result["answers"];
    assert_eq!((&answers["by_rules"], &answers["unjudged"]), (&json!(0), &json!(0)));
    assert_eq!(answers["by_judge"], 6);
    assert_eq!(sandbox.names("out"), ["c.json", "c.json.settings.json", "judge-cache.jsonl"]);

    let asked = server.requests().len();
    std::fs::remove_file(sandbox.path("out/c.json")).unwrap();
    let result = sandbox.run(&command).done().object();
    assert_eq!(server.requests().len(), asked);
    assert_eq!((&result["answers"]["by_judge"], labels(&sandbox).len()), (&json!(6), 2));
}

#[test]
fn rules_come_first_and_a_summary_counts_who_decided() {
    let sandbox = Sandbox::new();
    let server = Server::script(vec![says("No")]);
    let run = sandbox.run(&generate(&server, ""));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.err.starts_with("mmprm: note: answers: ") && run.err.contains(" decided by rules, "), "{}", run.err);
    assert!(server.requests().len() < 6, "the rules decide most");
    sandbox.run(&generate(&server, "--judge never --judge-timeout 1 --quiet --force")).done();
}

#[test]
fn unjudged_rollouts_are_reported_and_treated_as_the_flag_says() {
    let sandbox = Sandbox::new();
    let server = Server::script(vec![says("I would rather not say")]);
    let run = sandbox.run(&annotate(&server, "--json"));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.err.contains("rollouts could not be judged"), "{}", run.err);
    assert!(run.err.contains("unjudged; the last because the judge failed 5 times"), "{}", run.err);
    let result = run.object();
    assert_eq!((&result["summary"]["failed"], &result["summary"]["done"]), (&json!(2), &json!(0)));
    assert_eq!(result["answers"]["unjudged"], result["summary"]["unjudged"]);
    let log = String::from_utf8(sandbox.read("trees/annotate.log.jsonl")).unwrap();
    assert!(log.contains("\"unjudged\":4"), "{log}");

    // MM-PRM's way; failed problems are retried on request.
    let run = sandbox.run(&annotate(&server, "--unjudged incorrect --retry-failed --json"));
    assert_eq!(run.code, Some(0), "{run:?}");
    for tree in sandbox.trees("trees") {
        assert_eq!(sandbox.json(&format!("trees/{tree}"))["mc_value"], 0.0);
    }

    let run = sandbox.run(&generate(&server, "--judge always --unjudged fail --json"));
    assert_eq!((run.code, labels(&sandbox)), (Some(1), vec![json!([]), json!([])]));
}

#[test]
fn an_annotation_with_a_judge_stores_its_verdicts_beside_its_trees() {
    let sandbox = Sandbox::new();
    let server = Server::script(vec![says("yes"), says("no\n"), says("yes"), says("No.")]);
    let run = sandbox.run(&annotate(&server, "--deterministic --json")).done();
    assert_eq!(run.object()["summary"]["done"], 2);
    assert!(sandbox.names("trees").contains(&"judge-cache.jsonl".to_owned()));
    assert_eq!(sandbox.trees("trees").len(), 2);
    sandbox.run("samples trees -o prm.jsonl").done();
}

#[test]
fn a_judge_that_cannot_be_used_ends_the_run_with_one_sentence_and_fails_no_problem() {
    let sandbox = Sandbox::new();
    let told = r#"{"error": {"message": "sk-secret-1 is not a key"}}"#;
    let server = Server::script(vec![reply("401 Unauthorized", &["content-type: application/json"], told)]);
    for command in [generate(&server, "--judge always"), annotate(&server, "")] {
        run(sandbox.command(&command).env("MMPRM_JUDGE_KEY", "sk-secret-1"))
            .refused(1, &["rejected the API key", "401", "set MMPRM_JUDGE_KEY", "--judge-key-env"]);
    }
    assert_eq!(
        server.requests()[0].headers.iter().filter(|header| *header == "authorization: Bearer sk-secret-1").count(),
        1
    );
    assert_eq!(sandbox.read("trees/annotate.log.jsonl"), b"");
    let everything = String::from_utf8_lossy(&sandbox.read("out/c.json.journal")).into_owned();
    assert!(!everything.contains("secret"), "{everything}");
    // With the right key the same command resumes.
    let mended = Server::script(vec![says("Yes")]);
    let run = run(sandbox.command(&annotate(&mended, "--judge-key-env MY_KEY --quiet")).env("MY_KEY", "k2")).done();
    assert_eq!(run.out, "");
    assert!(mended.requests()[0].headers.contains(&"authorization: Bearer k2".to_owned()));
}

#[test]
fn a_local_model_can_be_the_judge() {
    let sandbox = Sandbox::new();
    // The small policy answers every message with steps, which are not a verdict.
    let flags = format!("{POLICY} {PROBLEMS} -n 2 -o c.json --judge always --judge-gguf policy.gguf --json");
    let run = sandbox.run(&format!("generate {flags} --unjudged incorrect"));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.err.contains("unjudged; the last because the judge gave no verdict: it said"), "{}", run.err);
    let answers = &run.object()["answers"];
    assert_eq!((&answers["by_rules"], &answers["unjudged"]), (&json!(0), &json!(4)));
    sandbox.write("turns.txt", "no place");
    let flags = flags.replace("c.json", "d.json");
    sandbox.refuses(&format!("generate {flags} --judge-prompt-template turns.txt"), 3, &["turns.txt", "{prompt}"]);
}

#[test]
fn invalid_judge_flags_are_refused() {
    let sandbox = Sandbox::new();
    let generate = format!("generate {POLICY} {PROBLEMS} -o c.json");
    for (flags, sentence) in [
        ("--judge always", "--judge always needs a judge: --judge-url and --judge-model, or --judge-gguf"),
        ("--judge-url ftp://x/v1 --judge-model m", "--judge-url: the address must begin with http"),
        ("--judge-url http://x/v1 --judge-model m --judge-key-env NO_SUCH_KEY", "--judge-key-env NO_SUCH_KEY"),
    ] {
        sandbox.refuses(&format!("{generate} {flags}"), 2, &[sentence]);
    }
    for flags in [
        "--judge-url http://x/v1",
        "--judge-model m",
        "--judge-url http://x/v1 --judge-model m --judge-gguf policy.gguf",
        "--judge-prompt-template f",
        "--judge sometimes",
        "--unjudged guess",
        "--judge-timeout 0",
        "--judge-parallel 0",
    ] {
        assert_eq!(sandbox.run(&format!("{generate} {flags}")).code, Some(2), "{flags}");
    }
    let judge = "--judge-url http://127.0.0.1:9/v1 --judge-model m";
    sandbox.refuses(&format!("{generate} {judge} --judge-cache data/test.json"), 3, &["expected a judge's cache"]);
}

/// Writes two trees and their image.
fn plant_trees(sandbox: &Sandbox) {
    let leaf = |steps: Value| {
        json!({"partial_solution": steps, "mc_value": 0.0, "visit_count": 0, "correct_rollouts": [],
            "incorrect_rollouts": [], "children": []})
    };
    for name in ["one", "two"] {
        let tree = json!({"question": "How many?", "answer": "2", "image_path": "images/p.png", "mc_value": 0.5,
            "visit_count": 0, "correct_rollouts": [], "incorrect_rollouts": [],
            "children": [leaf(json!(["Count.", name])), leaf(json!(["Guess."]))], "id": name});
        sandbox.write(&format!("trees/{name}.json"), tree.to_string());
    }
    sandbox.write("images/p.png", support::png::grey(8, 8, 8));
}

#[test]
fn trees_are_judged_into_another_directory_and_only_once() {
    let sandbox = Sandbox::new();
    plant_trees(&sandbox);
    let server = Server::script(vec![
        reply("503 Service Unavailable", &["retry-after: 0"], ""),
        likes(&[("Yes", -0.5), ("No", -1.0)]),
    ]);
    let judge = format!("judge trees -o judged --judge-url {} --judge-model judge-1 --data-root .", server.url());
    let result = sandbox.run(&format!("{judge} --json")).done().object();
    assert_eq!((&result["summary"]["done"], &result["summary"]["states"]), (&json!(2), &json!(4)));
    assert_eq!(sandbox.names("judged"), ["one.json", "two.json"]);
    let tree = sandbox.json("judged/one.json");
    let expected = (-0.5_f64).exp() / ((-0.5_f64).exp() + (-1.0_f64).exp());
    assert_eq!(tree["children"][0]["llm_as_a_judge"], json!(expected));
    let image = &server.requests()[0].body["messages"][0]["content"][1]["image_url"]["url"];
    assert!(image.as_str().unwrap().starts_with("data:image/png;base64,iVBOR"), "{image}");
    let asked = server.requests().len();
    assert!(sandbox.run(&judge).done().out.contains("2 already done"));
    assert_eq!(server.requests().len(), asked);
    sandbox.run("samples judged -o prm.jsonl").done();
}

#[test]
fn failed_trees_are_listed_with_their_cause_and_the_others_are_judged() {
    let sandbox = Sandbox::new();
    plant_trees(&sandbox);
    sandbox.write("trees/bad.json", "{\"question\": \"?\"}");
    let server = Server::script(vec![likes(&[("Hm", -0.1)])]);
    let run =
        sandbox.run(&format!("judge trees -o judged --judge-url {} --judge-model judge-1 --data-root .", server.url()));
    assert_eq!(run.code, Some(1), "{run:?}");
    for part in ["at 4 of 4 states", "failed: trees/bad.json: ", "1 trees failed"] {
        assert!(run.err.contains(part), "{part}: {}", run.err);
    }
    assert_eq!(sandbox.json("judged/two.json")["children"][1]["llm_as_a_judge"], Value::Null);
    assert_eq!(sandbox.names("judged"), ["one.json", "two.json"]);
}

#[test]
fn judging_trees_needs_trees_a_judge_and_a_directory() {
    let sandbox = Sandbox::new();
    plant_trees(&sandbox);
    sandbox.write("none/readme", "");
    let server = Server::script(vec![says("Yes")]);
    let judge = format!("--judge-url {} --judge-model judge-1 --data-root .", server.url());
    sandbox.refuses("judge trees -o judged", 2, &["expected --judge-url and --judge-model"]);
    sandbox.refuses(&format!("judge trees -o trees {judge}"), 2, &["--output", "expected another directory"]);
    sandbox.refuses(&format!("judge none -o judged {judge}"), 3, &["none: no trees"]);
    sandbox.refuses(&format!("judge missing -o judged {judge}"), 3, &["missing"]);
    sandbox.refuses(&format!("judge trees -o judged {judge}"), 1, &["does not return log-probabilities"]);
}
