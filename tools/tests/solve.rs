//! `solve`, `choose`, `show` and `config`: what a person sees, and what a pipeline reads.
#![cfg(unix)]

mod support;

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use support::{POLICY, PRM, Run, Sandbox};

const QUESTION: &str = "Two angles are given. How large is the exterior angle at the third corner?";
const IMAGE: &str = "data/images/test-2-00001.png";

/// Runs `mmprm solve` with a quoted question, which the sandbox's own `run` would split.
fn solve(sandbox: &Sandbox, flags: &str, inputs: &[&str], stdin: &str) -> Run {
    let mut command = sandbox.command(&format!("solve {flags}"));
    command.args(inputs);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    Run::of(child.wait_with_output().unwrap())
}

fn scorer() -> String {
    PRM.replace("--mmproj", "--prm-mmproj")
}

#[test]
fn the_best_candidate_is_shown_with_the_scores_of_its_steps() {
    let sandbox = Sandbox::new();
    let flags = format!("{POLICY} {} -n 4", scorer());
    let run = solve(&sandbox, &flags, &[IMAGE, QUESTION], "").done();
    assert!(
        run.out.contains(QUESTION) && run.out.contains("by product, ") && run.out.contains(" of 4 agree"),
        "{}",
        run.out
    );
    assert!(run.out.contains("4 candidates in ") && run.out.contains("tokens/s"), "{}", run.out);
    let result = solve(&sandbox, &format!("{flags} --json"), &[QUESTION, IMAGE], "").done().object();
    let candidates = result["candidates"].as_array().unwrap();
    assert_eq!((candidates.len(), &result["rule"]), (4, &json!("product")));
    let best = &candidates[result["index"].as_u64().unwrap() as usize];
    assert_eq!(best["answer"], result["answer"]);
    let product = |candidate: &Value| -> f64 {
        candidate["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).product()
    };
    assert!(
        candidates
            .iter()
            .filter(|one| !one["steps"].as_array().unwrap().is_empty())
            .all(|one| product(one) <= product(best))
    );
    let all = solve(&sandbox, &format!("{flags} --all"), &[IMAGE, QUESTION], "").done();
    assert_eq!(all.out.matches("candidate ").count() - all.out.matches("candidate is").count(), 4, "{}", all.out);
}

#[test]
fn the_candidates_are_those_of_generate_and_score() {
    let sandbox = Sandbox::new();
    let image = sandbox.path(IMAGE).to_str().unwrap().to_owned();
    sandbox.write("p.json", json!([{"id": "0", "question": QUESTION, "image_path": image}]).to_string());
    let flags = "--deterministic --repetition-penalty 1";
    sandbox.run(&format!("generate {POLICY} {flags} --problems p.json --data-root / -n 3 -o c.json --quiet")).done();
    let record = &sandbox.json("c.json")[0];
    assert!(record.get("labels").is_none(), "a problem without an answer has no labels: {record}");
    sandbox.run(&format!("score {PRM} -i c.json --data-root / -o s.json --quiet")).done();
    let result =
        solve(&sandbox, &format!("{POLICY} {} {flags} -n 3 --json", scorer()), &[IMAGE, QUESTION], "").done().object();
    let scored = &sandbox.json("s.json")[0];
    for (index, candidate) in result["candidates"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (&candidate["steps"], &candidate["scores"]),
            (&scored["solutions_splits"][index], &scored["prm_scores"][index])
        );
    }
    let line: Value = serde_json::from_str(&sandbox.run("choose s.json").done().out).unwrap();
    for field in ["answer", "index", "value", "margin", "agreement", "rule"] {
        assert_eq!(line[field], result[field], "{field}");
    }
    // Without labels there is nothing to evaluate, and annotation needs an answer.
    sandbox.refuses("eval bon s.json", 3, &["s.json", "no problem counts"]);
    sandbox.refuses(
        &format!("annotate {POLICY} --problems p.json -o trees"),
        3,
        &["p.json", "correct_answer", "the first of them 0"],
    );
}

#[test]
fn questions_come_from_standard_input_and_without_a_reward_model_the_majority_decides() {
    let sandbox = Sandbox::new();
    let run =
        solve(&sandbox, &format!("{POLICY} -n 3 --json"), &[], "Two angles are 35 and 45. What is their sum?\n").done();
    let result = run.object();
    assert_eq!((&result["rule"], result["images"].as_array().unwrap().len()), (&json!("majority"), 0));
    assert!(result["candidates"][0].get("scores").is_none());
    solve(&sandbox, POLICY, &[], "").refused(2, &["expected a question"]);
    solve(&sandbox, POLICY, &["no.png", "How long?"], "").refused(3, &["no.png", "no such image"]);
    solve(&sandbox, &format!("{POLICY} --by min"), &["q"], "").refused(2, &["--by min", "--prm"]);
    solve(&sandbox, "--policy policy.gguf", &[IMAGE, "q"], "").refused(2, &["--mmproj"]);
}

#[test]
fn a_session_answers_line_after_line() {
    let sandbox = Sandbox::new();
    let lines = format!("{IMAGE} {QUESTION}\n/n 2\n/by product\n{QUESTION}\n/why\n/never\n/quit\nno question\n");
    let run = solve(&sandbox, &format!("{POLICY} {} -n 3 --interactive", scorer()), &[], &lines);
    assert_eq!(run.code, Some(1), "one line failed: {run:?}");
    let counts: Vec<usize> = [" of 3 agree", " of 2 agree"].map(|text| run.out.matches(text).count()).into();
    assert_eq!(counts, [1, 1], "the image of the first question stays: {}", run.out);
    assert!(run.out.contains("candidate 1"), "/why shows them all: {}", run.out);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(run.err.contains("/never: expected one of /n,"), "{}", run.err);
}

#[test]
fn the_profile_names_the_models() {
    let sandbox = Sandbox::new();
    let run = |command: &str| sandbox.run(command);
    run("config set policy policy.gguf").done();
    run("config set mmproj mmproj.gguf").done();
    run("config set n 2").done();
    let stored = run("config get policy").done().out;
    assert_eq!(stored.trim(), sandbox.path("policy.gguf").to_str().unwrap(), "stored as an absolute path");
    let result = solve(&sandbox, "--max-tokens 150 --json", &[IMAGE, QUESTION], "").done().object();
    assert_eq!(result["candidates"].as_array().unwrap().len(), 2);
    let listed = run("config list --json").done().object();
    assert_eq!((&listed["values"]["n"], &listed["values"]["prm"]), (&json!("2"), &Value::Null));
    run("config unset mmproj").done();
    solve(&sandbox, "", &[IMAGE, "q"], "").refused(2, &["--mmproj"]);
    sandbox.refuses("config set polcy policy.gguf", 2, &["polcy", "expected one of policy"]);
    sandbox.refuses("config set prm data/test.json", 3, &["data/test.json", "GGUF"]);
    sandbox.refuses("config set n 0", 2, &["n 0"]);
    sandbox.write("config/mmprm/config.toml", "polcy = \"x\"\n");
    sandbox.refuses("config list", 3, &["config.toml", "polcy"]);
}

#[test]
fn choose_writes_a_line_for_each_problem_and_names_those_without_a_candidate() {
    let sandbox = Sandbox::new();
    let good = json!({"id": "a", "question": "q", "solutions_splits": [["Answer: 3"], ["Answer: 2"], ["Answer: 3"]],
        "prm_scores": [[0.5], [0.75], [0.25]], "labels": [0, 1, 0]});
    let failed = json!({"id": "b", "question": "q", "solutions_splits": [], "prm_scores": [], "error": "no image"});
    sandbox.write("s.json", json!([good]).to_string());
    sandbox.write("both.jsonl", format!("{good}\n{failed}\n"));
    let line: Value = serde_json::from_str(&sandbox.run("choose s.json").done().out).unwrap();
    assert_eq!(
        line,
        json!({"id": "a", "answer": "2", "index": 1, "rule": "product", "value": 0.75, "margin": 0.25,
        "agreement": 1, "candidates": 3, "right": true})
    );
    sandbox.run("choose s.json --by majority -o out.jsonl").done();
    assert_eq!(serde_json::from_slice::<Value>(&sandbox.read("out.jsonl")).unwrap()["answer"], "3");
    let run = sandbox.run("choose both.jsonl");
    let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (run.code, lines.len(), &lines[1]),
        (Some(1), 2, &json!({"id": "b", "answer": null, "error": "no image"}))
    );
    sandbox.refuses("choose s.json --by logprob_mean", 3, &["s.json", "step_logprobs"]);
    let unknown = sandbox.run("choose s.json --by best");
    assert!(unknown.code == Some(2) && unknown.err.contains("weighted_vote_product"), "{unknown:?}");
}

#[test]
fn show_draws_each_kind_of_file() {
    let sandbox = Sandbox::new();
    let record = |id: &str| {
        json!({"id": id, "question": "How\u{1b}[2J long?", "correct_answer": "2",
        "solutions_splits": [["s", "Answer: 3"], ["Answer: 2"]], "prm_scores": [[0.5, 0.5], [0.75]], "labels": [0, 1]})
    };
    sandbox.write("s.json", json!([record("a"), record("b")]).to_string());
    let list = sandbox.run("show s.json").done().out;
    assert!(
        list.contains("2 problems, chosen by product: 2 of 2 right (100.0 %)") && !list.contains('\u{1b}'),
        "{list}"
    );
    let whole = sandbox.run("show s.json b").done().out;
    assert!(
        whole.contains("expected 2") && whole.contains("▶ selected  candidate 1 ✓ right  2  product 0.750"),
        "{whole}"
    );
    assert_eq!(sandbox.run("show s.json 1").done().out, whole, "an index names a record, too");
    sandbox.refuses("show s.json c", 2, &["s.json", "c", "an index below 2"]);
    let node = json!({"partial_solution": ["wrong"], "mc_value": 0.0, "visit_count": 0, "correct_rollouts": [],
        "incorrect_rollouts": [], "children": []});
    let tree = json!({"question": "1 + 1?", "answer": "2", "image_path": null, "mc_value": 0.5, "visit_count": 1,
        "correct_rollouts": [["2"]], "incorrect_rollouts": [["3"]], "children": [node], "id": 7});
    sandbox.write(&format!("trees/{}.json", "0".repeat(32)), tree.to_string());
    assert!(sandbox.run("show trees").done().out.contains("MC 0.50    2 states  1 + 1?"));
    let drawn = sandbox.run("show trees 7").done().out;
    assert!(drawn.contains("└─ MC 0.00") && drawn.contains("✗ wrong"), "{drawn}");
    assert_eq!(sandbox.run(&format!("show trees/{}.json", "0".repeat(32))).done().out, drawn);
    sandbox.write("prm.jsonl", r#"{"id": 0, "conversations": [{"from": "human", "value": "Question: q\nProcess: a<prm>b<prm>"}, {"from": "gpt", "value": [1.0, 0.25]}]}"#);
    assert!(sandbox.run("show prm.jsonl").done().out.contains("1.000 0.250  q"));
    assert!(sandbox.run("show prm.jsonl 0").done().out.contains("██       0.250  b"));
    sandbox.write("log.jsonl", "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.25}\n");
    assert!(sandbox.run("show log.jsonl").done().out.contains("0.5000 █▁ 0.2500"));
    sandbox.write(
        "bench.json",
        json!({"bench": "infer", "rows": [{"model": "m", "work": "tg64", "unit": "tokens/s", "mean": 2.0}]})
            .to_string(),
    );
    assert!(sandbox.run("show bench.json").done().out.contains("| tg64"));
    assert_eq!(sandbox.run("show trees --json").done().object()["trees"], 1);
    for other in ["data/test.json", "policy.gguf", "data/images"] {
        sandbox.refuses(&format!("show {other}"), 3, &[other]);
    }
}

#[test]
fn a_search_writes_a_scored_file_that_the_others_read_and_the_same_command_finds_it() {
    let sandbox = Sandbox::new();
    let models = format!("{POLICY} {} --repetition-penalty 1 --deterministic", scorer());
    for method in ["beam", "dvts", "bon"] {
        let command = format!(
            "search --method {method} {models} --problems data/test.json --limit 2 -n 4 --width 2 -o {method}.json"
        );
        sandbox.run(&command).done();
        let records = sandbox.json(&format!("{method}.json"));
        for record in records.as_array().unwrap() {
            let solutions = record["solutions_splits"].as_array().unwrap();
            assert!((1..=4).contains(&solutions.len()), "{method}: {record}");
            for (steps, scores) in solutions.iter().zip(record["prm_scores"].as_array().unwrap()) {
                assert_eq!(steps.as_array().unwrap().len(), scores.as_array().unwrap().len());
            }
            assert_eq!(record["labels"].as_array().unwrap().len(), solutions.len());
        }
        assert!(sandbox.run(&command).done().out.contains("finished by an earlier run"));
        assert!(sandbox.run(&format!("eval bon {method}.json")).done().out.contains("| product"));
        // Scores are those of the finished solutions.
        sandbox.run(&format!("score {PRM} -i {method}.json -o again.json --force --quiet")).done();
        assert_eq!(sandbox.json("again.json")[0]["prm_scores"], records[0]["prm_scores"], "{method}");
    }
    let solved =
        solve(&sandbox, &format!("{models} -n 4 --search beam --json"), &[IMAGE, QUESTION], "").done().object();
    assert_eq!((&solved["search"], solved["answer"].is_string()), (&json!("beam"), true));
    solve(&sandbox, &format!("{POLICY} --search beam"), &["q"], "").refused(2, &["--search beam", "--prm"]);
}
