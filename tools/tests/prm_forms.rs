//! PRM forms at the command line: chosen by conversion, shown, replaced, and refused.
#![cfg(unix)]

mod support;

use serde_json::{Value, json};
use support::{POLICY, PRM, Sandbox, demo};

const MINE: &str = r#"
name = "mine"
[text]
begin = "Question: {question}\n{images}"
step = "{step} <prm>{read}\n"
marks = ["<prm>"]
[score]
by = "tokens"
tokens = ["Yes", "No", "+"]
positive = ["Yes", "+"]
"#;

/// Copies a checkpoint of the demo.
fn copy(sandbox: &Sandbox, checkpoint: &str, name: &str) {
    for entry in std::fs::read_dir(demo().join("checkpoints").join(checkpoint)).unwrap() {
        let entry = entry.unwrap();
        sandbox.write(&format!("{name}/{}", entry.file_name().to_str().unwrap()), std::fs::read(entry.path()).unwrap());
    }
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let record = json!({"question": "1 + 1?", "solutions_splits": [["1 + 1 = 2.", "The answer is 2."], ["It is 3."]], "labels": [1, 0]});
    sandbox.write("c.json", json!([record]).to_string());
    sandbox.write("mine.toml", MINE);
    sandbox
}

#[test]
fn a_form_is_named_or_a_file_and_travels_in_the_model() {
    let sandbox = sandbox();
    copy(&sandbox, "mini-prm", "ckpt");
    sandbox.run(&format!("score {PRM} -i c.json -o own.json")).done();
    sandbox.run(&format!("score {PRM} -i c.json -o mine.json --prm-form mine.toml")).done();
    sandbox.run(&format!("score {PRM} -i c.json -o visual.json --prm-form visualprm")).done();
    let scores = |name: &str| sandbox.json(name)[0]["prm_scores"].clone();
    for name in ["own.json", "mine.json", "visual.json"] {
        assert_eq!(
            (scores(name)[0].as_array().unwrap().len(), scores(name)[1].as_array().unwrap().len()),
            (2, 1),
            "{name}"
        );
    }
    assert!(scores("own.json") != scores("mine.json") && scores("own.json") != scores("visual.json"));
    // Resumed with the same form only, of which a file is known by its content.
    sandbox.run(&format!("score {PRM} -i c.json -o mine.json --prm-form mine.toml")).done();
    sandbox.write("mine.toml", MINE.replace("Question: ", "Q: "));
    sandbox.refuses(&format!("score {PRM} -i c.json -o mine.json --prm-form mine.toml"), 2, &["prm_form", "--force"]);
    sandbox.write("mine.toml", MINE);

    let converted = sandbox.run("convert ckpt -o o --prm-form mine.toml --type q8_0");
    assert!(converted.code == Some(0) && converted.err.contains("not that of its training"), "{converted:?}");
    let shown = sandbox.run("inspect o/ckpt-q8_0.gguf").done().out;
    let text = "PRM form: mine: a step's score is the probability of \"Yes\" or \"+\" among \"Yes\", \"No\", \"+\"";
    assert!(shown.contains("a process reward model of the form mine") && shown.contains(text), "{shown}");
    let shown = sandbox.run("--json inspect o/ckpt-q8_0.gguf").done().object();
    assert_eq!((&shown["prm_form"], &shown["metadata"]["mmprm.prm.form"]), (&json!("mine"), &json!(MINE)));
    sandbox.run("score --prm o/ckpt-q8_0.gguf -i c.json -o converted.json").done();
    sandbox.run("score --prm o/ckpt-q8_0.gguf -i c.json -o named.json --prm-form mine.toml").done();
    assert_eq!(scores("converted.json"), scores("named.json"));
    assert_eq!(sandbox.run("--json inspect prm.gguf").done().object()["prm_form"], "internvl2_5-training");
    assert_eq!(sandbox.run("--json inspect policy.gguf").done().object()["prm_form"], json!(null));
}

#[test]
fn other_commands_with_a_reward_model_take_a_form_too() {
    let sandbox = sandbox();
    let scorer = PRM.replace("--mmproj", "--prm-mmproj");
    let problems = "--problems data/test.json --limit 1 --deterministic";
    let scores = |command: &str, output: &str, file: &str| {
        sandbox.run(&format!("{command} {POLICY} {scorer} {problems} -n 2 -o {output}")).done();
        sandbox.run(&format!("{command} {POLICY} {scorer} {problems} -n 2 -o {output}2 --prm-form visualprm")).done();
        let of = |output: &str| sandbox.json(&format!("{output}{file}"))[0].clone();
        let (own, visual) = (of(output), of(&format!("{output}2")));
        // The same candidates; a search has those of higher value first.
        let sorted = |record: &Value, field: &str| {
            let mut texts: Vec<String> = record[field].as_array().unwrap().iter().map(Value::to_string).collect();
            texts.sort();
            texts
        };
        assert_eq!(sorted(&own, "solutions_splits"), sorted(&visual, "solutions_splits"), "{command}");
        assert_ne!(sorted(&own, "prm_scores"), sorted(&visual, "prm_scores"), "{command}");
    };
    scores("search --method bon", "s.json", "");
    scores("eval bench other", "b", "/scored.json");
    for command in [
        format!("search {POLICY} {scorer} {problems} -o x.json"),
        format!("eval bench other {POLICY} {scorer} {problems} -o x"),
    ] {
        sandbox.refuses(&format!("{command} --prm-form visualpr"), 2, &["--prm-form", "visualprm"]);
    }
    let solved = sandbox.run(&format!("solve {POLICY} {scorer} -n 2 --prm-form visualpr question"));
    assert!(solved.code == Some(2) && solved.err.contains("visualprm"), "{solved:?}");
}

#[test]
fn convert_chooses_the_form_of_a_checkpoint_that_says_what_it_is() {
    let sandbox = sandbox();
    copy(&sandbox, "mini-prm", "VisualPRM-tiny");
    let said = sandbox.run("convert VisualPRM-tiny -o trained --type q8_0").done();
    assert!(!said.out.contains("PRM form"), "{}", said.out);
    let form = |path: &str| sandbox.run(&format!("--json inspect {path}")).done().object()["prm_form"].clone();
    assert_eq!(form("trained/VisualPRM-tiny-q8_0.gguf"), "internvl2_5-training", "as mmprm.json says");
    std::fs::remove_file(sandbox.path("VisualPRM-tiny/mmprm.json")).unwrap();
    let said = sandbox.run("convert VisualPRM-tiny -o o --type q8_0").done();
    assert!(said.out.contains("PRM form: visualprm, by the checkpoint's architecture and name"), "{}", said.out);
    assert_eq!(form("o/VisualPRM-tiny-q8_0.gguf"), "visualprm");
}

#[test]
fn models_that_are_no_prms_and_forms_that_do_not_fit_are_refused_before_loading() {
    let sandbox = sandbox();
    let refuses = |arguments: &str, code: i32, parts: &[&str]| {
        sandbox.refuses(&format!("score -i c.json -o x.json {arguments}"), code, parts);
        assert!(!sandbox.path("x.json").exists());
    };
    refuses("--prm policy.gguf", 3, &["policy.gguf", "trained as a policy"]);
    refuses("--prm policy.gguf --prm-form visualprm", 3, &["policy.gguf", "trained as a policy"]);
    refuses("--prm prm.gguf --prm-form nonsense", 2, &["--prm-form", "`nonsense`", "visualprm", "TOML file"]);
    refuses("--prm prm.gguf --prm-form none.toml", 3, &["--prm-form", "none.toml"]);
    refuses("--prm prm.gguf --prm-form trl", 3, &["prm.gguf", "no head", "trl"]);
    refuses("--prm prm.gguf --prm-form rlhflow-llama3.1", 3, &["prm.gguf", "<|start_header_id|>", "rlhflow-llama3.1"]);
    for (from, to, parts) in [
        ("{step} ", "", &["mine.toml", "`text.step`", "{step}"][..]),
        ("{read}", "", &["mine.toml", "`text.step`", "{read}"]),
        ("by = \"tokens\"", "by = \"tokens\"\nclass = 1", &["mine.toml", "unknown field `class`"]),
        ("\"No\"", "\"No way\"", &["prm.gguf", "\"No way\""]),
        ("<prm>", "<mark>", &["prm.gguf", "\"<mark>\""]),
    ] {
        sandbox.write("mine.toml", MINE.replace(from, to));
        refuses("--prm prm.gguf --prm-form mine.toml", 3, parts);
    }
    sandbox.refuses("convert nowhere -o o --prm-form nonsense", 2, &["--prm-form", "`nonsense`"]);
}
