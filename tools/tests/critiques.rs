//! Reward models that write critiques, at the command line.
#![cfg(unix)]

mod support;

use serde_json::json;
use support::{POLICY, PRM, Sandbox, demo};

const FORM: &str = r#"
name = "mine"
[text]
begin = "{images}Question: {question}\n"
step = "{step} Check {number}: {critique} Right? {read}{verdict}\n"
[score]
by = "critique"
tokens = ["Yes", "No"]
positive = ["Yes"]
max_tokens = 3
"#;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let record = json!({"question": "1 + 1?", "solutions_splits": [["1 + 1 = 2.", "The answer is 2."], ["It is 3."]], "labels": [1, 0]});
    sandbox.write("c.json", json!([record]).to_string());
    sandbox.write("mine.toml", FORM);
    sandbox
}

#[test]
fn critiques_are_written_on_demand_and_counted_where_they_are_cut_off() {
    let sandbox = sandbox();
    let command = format!("score {PRM} -i c.json --prm-form mine.toml");
    let scored = sandbox.run(&format!("{command} -o s.json"));
    let warning = "critiques that reached their maximum of 3 tokens (`max_tokens` of the PRM form mine): 3;";
    assert!(scored.code == Some(0) && scored.err.contains(warning), "{scored:?}");
    let kept = sandbox.run(&format!("{command} -o k.json --critiques"));
    assert!(kept.code == Some(0) && kept.err.contains(warning), "{kept:?}");
    let (scored, kept) = (sandbox.json("s.json")[0].clone(), sandbox.json("k.json")[0].clone());
    assert_eq!((scored.get("prm_critiques"), &scored["prm_scores"]), (None, &kept["prm_scores"]));
    let critiques = kept["prm_critiques"].as_array().unwrap();
    assert_eq!((critiques[0].as_array().unwrap().len(), critiques[1].as_array().unwrap().len()), (2, 1));
    assert!(critiques[0][0]["text"].is_string() && critiques[0][0]["truncated"] == json!(true), "{kept}");
    sandbox.refuses(&format!("{command} -o k.json"), 2, &["critiques", "--force"]);
    // A critique that ends at a text is whole.
    sandbox.write("ends.toml", FORM.replace("= 3\n", "= 400\nstop = [\" \", \".\", \"<\", \"\\n\"]\n"));
    sandbox.run(&format!("score {PRM} -i c.json --prm-form ends.toml -o e.json --critiques")).done();
    assert_eq!(sandbox.json("e.json")[0]["prm_critiques"][0][0]["truncated"], json!(false));
    // Scored again by a model that writes none, the record has none.
    sandbox.run(&format!("score {PRM} -i k.json -o plain.json")).done();
    assert_eq!(sandbox.json("plain.json")[0].get("prm_critiques"), None);
}

#[test]
fn forms_with_critiques_are_refused_where_they_do_not_fit() {
    let sandbox = sandbox();
    sandbox.refuses(
        &format!("score {PRM} -i c.json -o x.json --critiques"),
        2,
        &["--critiques", "internvl2_5-training", "writes none"],
    );
    for (from, to, parts) in [
        ("{critique}", "", &["mine.toml", "`text.step`", "{critique} occurs 0 times"][..]),
        ("max_tokens = 3", "", &["mine.toml", "`score.max_tokens`: missing"]),
        ("max_tokens = 3", "max_tokens = 3\nstops = []", &["mine.toml", "unknown field `stops`"]),
        ("\"No\"", "\"No way\"", &["prm.gguf", "\"No way\""]),
    ] {
        sandbox.write("mine.toml", FORM.replace(from, to));
        sandbox.refuses(&format!("score {PRM} -i c.json -o x.json --prm-form mine.toml"), 3, parts);
    }
    sandbox.refuses(
        &format!("score {PRM} -i c.json -o x.json --prm-form genprm"),
        3,
        &["prm.gguf", "<｜User｜>", "genprm"],
    );
}

#[test]
fn searches_and_benchmarks_are_steered_by_critiques() {
    let sandbox = sandbox();
    let scorer = PRM.replace("--mmproj", "--prm-mmproj");
    let arguments =
        format!("{POLICY} {scorer} --prm-form mine.toml --problems data/test.json --limit 1 --deterministic -n 2");
    for (command, output) in
        [("search --method bon", "s.json"), ("search --method beam", "b.json"), ("eval bench other", "bench")]
    {
        let run = sandbox.run(&format!("{command} {arguments} -o {output}"));
        assert!(run.code == Some(0) && run.err.contains("critiques that reached their maximum of 3 tokens"), "{run:?}");
    }
    let scores = |file: &str| sandbox.json(file)[0]["prm_scores"].as_array().unwrap().len();
    assert_eq!((scores("s.json"), scores("b.json"), scores("bench/scored.json")), (2, 2, 2));
}

#[test]
fn a_form_with_critiques_is_not_trained() {
    let sandbox = sandbox();
    let turns = json!([{"from": "human", "value": "Question: 1 + 1?\nProcess: It is 2.<prm>"}, {"from": "gpt", "value": [1.0]}]);
    sandbox.write("samples.jsonl", json!({"id": 1, "conversations": turns}).to_string());
    sandbox.write("recipe.toml", "prm_form = \"mine.toml\"\nprecision = 'f32'\n");
    let model = demo().join("checkpoints/mini-prm");
    let train = format!("train prm -c recipe.toml --model {} --samples samples.jsonl -o run", model.display());
    sandbox.refuses(&train, 3, &["mine", "writes a critique before each score"]);
}
