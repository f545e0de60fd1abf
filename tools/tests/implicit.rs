//! Implicit PRMs from rollouts to choices: ranking samples, training, conversion, scoring, and the evaluation of choices and steps.
#![cfg(unix)]

mod support;

use serde_json::json;
use support::{POLICY, Sandbox, demo};

#[test]
fn rollouts_with_answers_become_a_prm_that_scores_by_log_probability() {
    let sandbox = Sandbox::new();
    let generate = "--problems data/test.json --limit 8 -n 6 --deterministic --repetition-penalty 1";
    sandbox.run(&format!("generate {POLICY} {generate} -o c.json")).done();
    let stats = sandbox.run("--json samples --ranking c.json -o ranking.jsonl").done().object()["stats"].clone();
    let count = |field: &str| stats[field].as_u64().unwrap();
    assert_eq!((count("problems") + count("skipped"), count("candidates")), (8, 6 * count("problems")));
    assert!(count("problems") > 0 && count("right") > 0 && count("right") < count("candidates"), "{stats}");

    let model = demo().join("checkpoints/mini-mm-policy");
    let train = format!("train implicit-prm --model {} --samples ranking.jsonl --data-root data", model.display());
    sandbox.run(&format!("{train} --steps 2 --batch-samples 12 -o run --quiet")).done();
    sandbox.run("convert run/last -o g --type f16").done();
    let score = "score --prm g/last-f16.gguf --mmproj g/mmproj-last-f16.gguf --data-root data";
    sandbox.run(&format!("{score} -i c.json -o s.json")).done();
    let scored = sandbox.json("s.json");
    for record in scored.as_array().unwrap() {
        let (scores, steps) =
            (record["prm_scores"].as_array().unwrap(), record["solutions_splits"].as_array().unwrap());
        assert_eq!(scores.len(), 6);
        for (scores, steps) in scores.iter().zip(steps) {
            assert_eq!(scores.as_array().unwrap().len(), steps.as_array().unwrap().len());
            assert!(scores.as_array().unwrap().iter().all(|score| (0.0..=1.0).contains(&score.as_f64().unwrap())));
        }
    }
    // A candidate's scores do not depend on its company.
    let mut alone = scored[0].clone();
    for field in ["solutions_splits", "labels", "step_logprobs", "step_tokens"] {
        alone[field] = json!([alone[field][3]]);
    }
    alone.as_object_mut().unwrap().remove("prm_scores");
    sandbox.write("alone.json", json!([alone]).to_string());
    sandbox.run(&format!("{score} -i alone.json -o alone-scored.json")).done();
    assert_eq!(sandbox.json("alone-scored.json")[0]["prm_scores"][0], scored[0]["prm_scores"][3]);

    let report = sandbox.run("--json eval bon s.json").done().object();
    let against = &report["aggregators"]["product"]["against"];
    assert_eq!([&against[0]["baseline"], &against[1]["baseline"]], ["random", "majority"]);
    let table = sandbox.run("eval bon s.json --example product").done().out;
    assert!(
        table.contains("minus majority") && table.contains("95 % CI") && table.contains(" * the best selection"),
        "{table}"
    );
    sandbox.refuses("eval bon s.json --example nonsense", 3, &["--example nonsense", "product"]);

    sandbox.refuses(&format!("{score} -i c.json -o x.json --template internvl2_5-scoring"), 3, &["log-probability"]);
    sandbox.refuses("samples --ranking alone.json -o y.jsonl", 3, &["alone.json", "nothing to rank"]);
    assert!(!sandbox.path("y.jsonl").exists());
}

#[test]
fn steps_are_evaluated_where_their_truth_is_known() {
    let sandbox = Sandbox::new();
    let record = json!({
        "id": 1, "question": "1 + 1?", "family": "sums", "solutions_splits": [["a", "b", "c"], ["d", "e"]], "labels": [0, 1],
        "prm_scores": [[0.9, 0.1, 0.8], [0.7, 0.95]], "step_labels": [[1, 0], [1, 1]], "step_errors": ["arithmetic", null],
    });
    sandbox.write("s.json", json!([record]).to_string());
    let report = sandbox.run("--json eval steps s.json --by family").done().object()["report"].clone();
    assert_eq!((&report["all"]["steps"], &report["within_problem"]), (&json!(4), &json!(1.0)));
    assert_eq!(report["groups"]["sums"]["wrong"], 1);
    let table = sandbox.run("eval steps s.json --by family").done().out;
    assert!(table.contains("AUC 1.000, within a problem 1.000") && table.contains("| sums"), "{table}");
    let table = sandbox.run("eval bon s.json").done().out;
    assert!(table.contains("wrong choices by their first error") && table.contains("arithmetic"), "{table}");
    sandbox.write("t.json", json!([{"question": "q", "solutions_splits": [["a"]], "labels": [1]}]).to_string());
    sandbox.refuses("eval steps t.json", 3, &["t.json", "step_labels"]);
}
