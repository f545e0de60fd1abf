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
fn log_probability_ratios_are_trained_recorded_and_scored_beside_their_reference() {
    let sandbox = Sandbox::new();
    let model = demo().join("checkpoints/mini-mm-policy");
    let solution = |answer: u8| json!(["1 + 1 = 2.", format!("Answer: {answer}")]);
    let sets = json!([{"question": "1 + 1?", "solutions_splits": [solution(2), solution(3), solution(2)], "labels": [1, 0, 1]}]);
    sandbox.write("c.json", sets.to_string());
    sandbox.run("samples --ranking c.json -o ranking.jsonl").done();
    let turns = json!([
        {"from": "human", "value": "Question: 1 + 1?\nProcess: 1 + 1 = 2.<prm>\n\nAnswer: 3<prm>"}, {"from": "gpt", "value": [0.5, 0.0]}
    ]);
    sandbox.write("steps.jsonl", format!("{}\n", json!({"id": 1, "conversations": turns})));
    let train = format!("train implicit-prm --model {} --quiet --steps 3 --lr 1e-3 --beta 0.5", model.display());
    for (loss, samples) in [("outcome", "ranking"), ("steps", "steps")] {
        sandbox.run(&format!("{train} --loss {loss} --samples {samples}.jsonl -o {loss}")).done();
        sandbox.run(&format!("convert {loss}/last -o g-{loss} --type f16")).done();
    }
    sandbox.run(&format!("convert {} -o g --type f16", model.display())).done();
    let shown = sandbox.run("inspect g-outcome/last-f16.gguf").done().out;
    assert!(shown.contains("PRM form: implicit-ratio") && shown.contains("reference model"), "{shown}");

    let (prm, reference) = ("--prm g-outcome/last-f16.gguf", "--prm-reference g/mini-mm-policy-f16.gguf");
    sandbox.run(&format!("score {prm} {reference} -i c.json -o s.json")).done();
    let scores = sandbox.json("s.json")[0]["prm_scores"].clone();
    assert_eq!(scores[0], scores[2]);
    let last = |candidate: usize| scores[candidate][1].as_f64().unwrap();
    assert!(
        (0.0..=1.0).contains(&last(1)) && last(0) > 0.5 && last(1) < last(0),
        "three steps tell them apart: {scores}"
    );
    // A model is its own reference to no effect, and another reference is another run.
    let own = prm.replace("--prm", "--prm-reference");
    sandbox.refuses(&format!("score {prm} {own} -i c.json -o s.json"), 2, &["prm_reference", "--force"]);
    sandbox.run(&format!("score {prm} {own} -i c.json -o own.json")).done();
    assert_eq!(sandbox.json("own.json")[0]["prm_scores"], json!([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]));

    // Refused before weights are loaded, by each command.
    let problems = "--problems data/test.json --limit 1";
    for (command, output) in [
        ("score -i c.json".to_owned(), "-o x.json"),
        (format!("search {POLICY} {problems} --method beam"), "-o x.json"),
        (format!("eval bench other {POLICY} {problems}"), "-o x"),
        (format!("solve {POLICY} --interactive"), ""),
    ] {
        sandbox.refuses(&format!("{command} {prm} {output}"), 3, &["--prm-reference is missing", "last-f16.gguf"]);
        let needless = format!("--prm g/mini-mm-policy-f16.gguf --prm-form implicit {reference}");
        sandbox.refuses(
            &format!("{command} {needless} {output}"),
            3,
            &["--prm-reference g/", "implicit", "reads none"],
        );
        sandbox.refuses(&format!("{command} {prm} --prm-reference c.json {output}"), 3, &["c.json"]);
    }
    let alone = sandbox.run(&format!("score {prm} --prm-reference-mmproj x.gguf -i c.json -o x.json"));
    assert!(alone.code == Some(2) && alone.err.contains("--prm-reference <GGUF>"), "{alone:?}");
    let imaged =
        json!([{"question": "1 + 1?", "image_path": "a.png", "solutions_splits": [solution(2)], "labels": [1]}]);
    sandbox.write("i.json", imaged.to_string());
    let projector = "--mmproj g-outcome/mmproj-last-f16.gguf";
    sandbox.refuses(
        &format!("score {prm} {projector} {reference} -i i.json -o x.json"),
        2,
        &["needs --prm-reference-mmproj"],
    );
    assert!(!sandbox.path("x.json").exists());

    let refused = |flags: &str, parts: &[&str]| {
        let train = train.replace(" --beta 0.5", "");
        sandbox.refuses(&format!("{train} --samples ranking.jsonl -o refused {flags}"), 3, parts);
        assert!(!sandbox.path("refused/last").exists());
    };
    refused("--loss soft", &["`loss` of an implicit PRM"]);
    refused("--loss outcomes", &["`outcomes`", "`outcome`"]);
    refused("--beta 0.5", &["`beta` is for"]);
    refused("--reference g", &["`reference` is for"]);
    refused("--loss outcome --reference g", &["reference"]);
    refused("--loss steps", &["ranking.jsonl", "no `conversations`"]);
    refused("--loss outcome --beta 0", &["`beta` is 0"]);
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
