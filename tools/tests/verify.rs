//! `mmprm verify` with one pair of answers.
#![cfg(unix)]

mod support;

use serde_json::Value;
use support::{Run, Sandbox};

fn verify(sandbox: &Sandbox, words: &[&str]) -> Run {
    let output = sandbox.command("verify").args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_pair_is_compared_as_the_same_line_of_a_file() {
    let sandbox = Sandbox::new();
    for (gold, prediction, outcome) in [
        ("1/2", "\\boxed{0.5}", "equal"),
        ("-3", "-3", "equal"),
        ("12 cm", "13 cm", "different"),
        ("The cat sat on the mat.", "A feline rested upon the rug.", "undecided"),
    ] {
        let said = verify(&sandbox, &[gold, prediction]).done().out;
        let (found, reason) = said.trim_end().split_once(": ").unwrap();
        let line = serde_json::json!({"gold": gold, "pred": prediction});
        sandbox.write("a.jsonl", format!("{line}\n"));
        verify(&sandbox, &["a.jsonl", "-o", "o.jsonl"]).done();
        let in_file = sandbox.json("o.jsonl");
        assert_eq!((found, reason), (outcome, in_file["reason"].as_str().unwrap()), "{gold} {prediction}");
        assert_eq!(in_file["outcome"], outcome);
        let object: Value = verify(&sandbox, &[gold, prediction, "--json"]).done().object();
        assert_eq!((&object["outcome"], &object["reason"]), (&in_file["outcome"], &in_file["reason"]));
    }
    assert!(verify(&sandbox, &["--rule", "mathvision", "3", "3.001"]).done().out.starts_with("equal: "));
    verify(&sandbox, &["--", "-x", "-x"]).done();
}

#[test]
fn files_without_an_output_and_single_answers_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("a.jsonl", "");
    verify(&sandbox, &["a.jsonl", "b.jsonl"]).refused(2, &["a.jsonl is a file", "--output"]);
    verify(&sandbox, &["1"]).refused(2, &["expected two answers"]);
    verify(&sandbox, &["1", "2", "3"]).refused(2, &["expected two answers"]);
}
