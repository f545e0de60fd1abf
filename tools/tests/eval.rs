//! `eval bench`, `eval judge` and `eval steps`: figures of whole benchmarks, of answer rules and of thresholds.
#![cfg(unix)]

mod support;

use serde_json::{Value, json};
use support::{POLICY, PRM, Run, Sandbox};

/// Problems with the fields of MATH-Vision, over the demo's images.
fn mathvision(sandbox: &Sandbox) {
    let problems: Value = serde_json::from_slice(&sandbox.read("data/test.json")).unwrap();
    let problems: Vec<Value> = problems.as_array().unwrap()[..4]
        .iter()
        .enumerate()
        .map(|(index, problem)| {
            let mut problem = problem.clone();
            problem["subject"] = json!(if index < 2 { "plane geometry" } else { "counting" });
            problem["level"] = json!(index);
            problem
        })
        .collect();
    sandbox.write("mv.json", json!(problems).to_string());
}

fn bench(sandbox: &Sandbox, flags: &str) -> Run {
    let scorer = PRM.replace("--mmproj", "--prm-mmproj");
    sandbox.run(&format!(
        "eval bench mathvision {POLICY} {scorer} --problems mv.json --data-root data -n 4 -o runs/mv {flags}"
    ))
}

#[test]
fn a_benchmark_is_one_command_with_both_rules_groups_and_columns_from_elsewhere() {
    let sandbox = Sandbox::new();
    mathvision(&sandbox);
    sandbox.write("paper.json", json!({"paper": {"random": 15.41, "weighted": 24}}).to_string());
    let run = bench(&sandbox, "--reference paper.json").done();
    for part in ["general rule, %", "own rule, %", "paper, %", "15.4", "weighted", "24.0", "plane geometry", "level"] {
        assert!(run.out.contains(part), "{part}: {}", run.out);
    }
    assert_eq!(sandbox.names("runs/mv").iter().filter(|name| !name.ends_with(".settings.json")).count(), 3);
    let result = sandbox.json("runs/mv/results.json");
    assert_eq!((&result["bench"], &result["rules"]["own rule"]["problems"]), (&json!("mathvision"), &json!(4)));
    assert_eq!(result["groups"]["subject"]["counting"]["problems"], json!(2));
    assert_eq!(result["settings"]["generate"]["settings"]["n"], json!(4), "{}", result["settings"]);
    assert_eq!(result["reference"]["paper"]["random"], json!(15.41));
    // The figures are those of `eval bon` on the file that is kept.
    let bon = sandbox.run("eval bon runs/mv/scored.json --json").done().object();
    assert_eq!(bon["aggregators"], result["rules"]["general rule"]["aggregators"]);
    // The same command finds everything finished; JSON is one object.
    let again = bench(&sandbox, "--reference paper.json --json").done().object();
    assert_eq!(again, result);
    bench(&sandbox, "--by nothing").done();
    let by = sandbox.json("runs/mv/results.json");
    assert_eq!(by["groups"]["nothing"]["(none)"]["problems"], json!(4));
    let other = bench(&sandbox, "--seed 5");
    other.refused(2, &["candidates.json", "--force"]);
    bench(&sandbox, "--seed 5 --force").done();
}

#[test]
fn without_a_reward_model_candidates_are_selected_without_scores() {
    let sandbox = Sandbox::new();
    mathvision(&sandbox);
    let command = format!("eval bench mathverse {POLICY} --problems mv.json --data-root data -n 2 -o r");
    let run = sandbox.run(&command).done();
    assert!(
        run.out.contains("majority") && !run.out.contains("product") && !run.out.contains("own rule"),
        "{}",
        run.out
    );
    assert!(!sandbox.path("r/scored.json").exists());
    assert!(sandbox.json("r/results.json")["settings"]["score"].is_null());
}

#[test]
fn columns_from_elsewhere_are_checked_before_any_work() {
    let sandbox = Sandbox::new();
    mathvision(&sandbox);
    for (reference, part) in [
        ("[1]", "an object of columns"),
        (r#"{"paper": 3}"#, "`paper`: expected an object of methods"),
        (r#"{"paper": {"random": "15"}}"#, "`paper`: `random`: expected a number of per cent"),
        (r#"{"paper": {"random": 101}}"#, "`paper`: `random`: expected a number of per cent"),
    ] {
        sandbox.write("paper.json", reference);
        bench(&sandbox, "--reference paper.json").refused(3, &["paper.json: ", part]);
    }
    assert!(!sandbox.path("runs").exists());
    let run = sandbox.run("eval bench mathvisions -o r");
    assert!(run.code == Some(2) && run.err.contains("mathvision, "), "{}", run.err);
}

#[test]
fn answer_rules_are_measured_against_verdicts() {
    let sandbox = Sandbox::new();
    let line = |gold: &str, pred: &str, verdict: Value, source: &str| {
        json!({"gold": gold, "pred": pred, "verdict": verdict, "source": source}).to_string()
    };
    let lines = [
        line("1/2", "0.5", json!(true), "people"),
        line("2.504", "2.50", json!(true), "people"),
        line("3", "4", json!(false), "model"),
        line("3", "3", Value::Null, "model"),
    ];
    sandbox.write("v.jsonl", lines.join("\n"));
    let run = sandbox.run("eval judge v.jsonl --rule general --rule mathvision").done();
    assert!(run.out.contains("general rule") && run.out.contains("mathvision rule"), "{}", run.out);
    let result = sandbox.run("eval judge v.jsonl --rule general --rule mathvision --json").done().object();
    assert_eq!((&result["answers"], &result["judged"]), (&json!(4), &json!(3)));
    let people = |rule: &str| result["rules"][rule][0].clone();
    assert_eq!((&people("general")["agreed"], &people("general")["false_different"]), (&json!(1), &json!(1)));
    assert_eq!(people("mathvision")["agreed"], json!(2));
    sandbox.write("none.jsonl", r#"{"gold": "1", "pred": "1"}"#);
    sandbox.run("eval judge none.jsonl").refused(3, &["none.jsonl: no line has a `verdict`"]);
}

#[test]
fn a_threshold_chosen_on_one_file_is_measured_on_another() {
    let sandbox = Sandbox::new();
    let scored = |scores: Value| {
        json!([{"question": "q", "solutions_splits": [["a", "b"], ["c"]], "prm_scores": scores, "step_labels": [[1, 0], [1]]}])
            .to_string()
    };
    sandbox.write("one.json", scored(json!([[0.4, 0.2], [0.3]])));
    sandbox.write("two.json", scored(json!([[0.9, 0.25], [0.35]])));
    let run = sandbox.run("eval steps two.json --tune f1 --tune-on one.json --json").done().object();
    assert_eq!(run["report"]["tuned"]["threshold"], json!(0.3));
    assert_eq!(run["report"]["places"][1]["score_wrong"], json!(0.25));
    let shown = sandbox.run("eval steps two.json --tune f1 --tune-on one.json").done();
    assert!(shown.out.contains("tuned on one.json") && shown.out.contains("mean score, wrong"), "{}", shown.out);
    sandbox.write("unscored.json", r#"[{"question": "q", "solutions_splits": []}]"#);
    sandbox
        .run("eval steps two.json --tune f1 --tune-on unscored.json")
        .refused(3, &["unscored.json: no record has both"]);
    let run = sandbox.run("eval steps two.json --tune-on one.json");
    assert!(run.code == Some(2) && run.err.contains("--tune <FIGURE>"), "{}", run.err);
}

#[test]
fn prmbench_has_its_classes_and_dimensions() {
    let sandbox = Sandbox::new();
    let record = |class: &str, scores: [f64; 2], wrong: u8| {
        json!({"question": "q", "classification": class, "solutions_splits": [["a", "b"]], "prm_scores": [scores],
               "step_labels": [[1, 1 - wrong]]})
    };
    let records = [
        record("redundency", [0.9, 0.2], 1),
        record("circular", [0.9, 0.8], 1),
        record("multi_solutions", [0.9, 0.8], 0),
    ];
    sandbox.write("s.json", json!(records).to_string());
    let run = sandbox.run("eval steps s.json -o r.json").done();
    for part in ["PRMBench", "simplicity", "circular", "multi_solutions", "overall"] {
        assert!(run.out.contains(part), "{part}: {}", run.out);
    }
    let scores = &sandbox.json("r.json")["report"]["prmbench"];
    let simplicity = &scores["dimensions"][0];
    // Of `circular` the right step is kept and the wrong one missed: F1 2/3 and 0.
    let circular = simplicity["classes"]["circular"].as_f64().unwrap();
    assert!((circular - 1.0 / 3.0).abs() < 1e-12 && simplicity["classes"]["redundency"] == json!(1.0));
    assert!((simplicity["score"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(scores["dimensions"][2]["score"], Value::Null);
    sandbox.run("report r.json -o r.html").done();
    assert!(String::from_utf8(sandbox.read("r.html")).unwrap().contains("PRMBench: PRMScore"));
}
