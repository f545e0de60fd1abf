//! `mmprm data`: counting, dividing and curating files of problems.
#![cfg(unix)]

mod support;

use serde_json::{Value, json};
use support::Sandbox;

fn problems(sandbox: &Sandbox) -> usize {
    let problems = sandbox.json("data/test.json");
    let problems = problems.as_array().unwrap();
    for problem in &problems[..6] {
        let image = problem["image_path"].as_str().unwrap();
        sandbox.write(image, sandbox.read(&format!("data/{image}")));
    }
    sandbox.write("p.json", json!(problems[..6]).to_string());
    6
}

#[test]
fn stats_are_a_table_and_one_object() {
    let sandbox = Sandbox::new();
    let count = problems(&sandbox);
    let run = sandbox.run("data stats p.json").done();
    assert!(run.out.contains("| problems ") && run.out.contains("| answers by kind "), "{}", run.out);
    assert!(!run.out.contains("tokens of a question"), "{}", run.out);
    let object = sandbox.run("data stats p.json --json --model policy.gguf").done().object();
    assert_eq!((&object["kind"], &object["stats"]["records"]), (&json!("problems"), &json!(count)));
    assert!(object["question_tokens"]["median"].as_u64().unwrap() > 3, "{object}");
    assert!(sandbox.run("data stats p.json --model policy.gguf").done().out.contains("| tokens of a question "));
    sandbox.write("bad/p.json", r#"[{"question": "q", "image": "none.png"}, {"question": "r", "image": "other.png"}]"#);
    let run = sandbox.run("data stats bad/p.json").done();
    assert!(run.out.contains("unreadable: none.png: ") && run.out.contains("(1 others: --json)"), "{}", run.out);
    let elsewhere = sandbox.run("data stats bad/p.json --data-root . --json").done().object();
    assert_eq!(elsewhere["stats"]["images"]["unreadable"].as_object().unwrap().len(), 2);
    sandbox.refuses("data stats none.json", 3, &["cannot read none.json"]);
    sandbox.refuses("data stats p.json --model p.json", 3, &["p.json"]);
}

#[test]
fn parts_are_written_with_their_images_and_named() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    let run = sandbox.run("data split p.json -o parts --parts a=rest,b=2 --seed 3").done();
    assert!(run.out.contains("written: parts/a.json, parts/b.json"), "{}", run.out);
    let records = |name: &str| sandbox.json(name).as_array().unwrap().clone();
    assert_eq!((records("parts/a.json").len(), records("parts/b.json").len()), (4, 2));
    assert!(
        sandbox.run("data stats parts/a.json --json").done().object()["stats"]["images"]["unreadable"] == json!({})
    );
    let first = sandbox.read("parts/b.json");
    sandbox.run("data split p.json -o again --parts a=rest,b=2 --seed 3").done();
    assert_eq!(sandbox.read("again/b.json"), first);
    sandbox
        .run("data split p.json -o parts --parts a=rest,b=2 --seed 4")
        .refused(2, &["parts/a.json exists", "--force"]);
    sandbox.run("data split p.json -o parts --parts a=rest,b=2 --seed 4 --force").done();
    assert_ne!(sandbox.read("parts/b.json"), first);
    let field = sandbox.json("p.json")[0].as_object().unwrap().keys().find(|key| key.as_str() != "id").unwrap().clone();
    let object: Value =
        sandbox.run(&format!("data split p.json -o by --parts a=0.5,b=0.5 --by {field} --json")).done().object();
    assert!(!object["parts"][0]["by"].as_object().unwrap().is_empty(), "{object}");
    sandbox
        .run("data split p.json -o q --parts a=3,b=3 --by none")
        .refused(3, &["p.json: no record has the field `none`"]);
    sandbox.run("data split p.json -o q --parts a=0.5,b=0.4").refused(2, &["--parts: the fractions add up to 0.9"]);
    sandbox.run("data split p.json -o . --parts p=0.5,b=0.5 --force").refused(2, &["p.json exists and is read from"]);
    sandbox.write("bad/p.json", r#"[{"question": "q", "image": "none.png"}, {"question": "r"}]"#);
    sandbox.run("data split bad/p.json -o q --parts a=1,b=1").refused(3, &["record 0: ", "none.png", "data curate"]);
    sandbox.run("data split bad/p.json -o q --parts a=1,b=1 --data-root data").refused(3, &["none.png"]);
}

#[test]
fn curation_says_what_went_and_why() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    let mut all = sandbox.json("p.json").as_array().unwrap().clone();
    let mut proof = all[0].clone();
    (proof["id"], proof["question"]) = (json!("proof"), json!("Prove that it is so."));
    let mut again = all[1].clone();
    again["id"] = json!("again");
    let mut text = all[2].clone();
    (text["id"], text["question"], text["image_path"]) = (json!("text"), json!("What is 1 + 1?"), Value::Null);
    let mut choice = all[3].clone();
    (choice["id"], choice["options"]) =
        (json!("choice"), json!(["918", choice["correct_answer"].as_str().or(choice["answer"].as_str()).unwrap()]));
    all.extend([proof, again, text, choice]);
    sandbox.write("all.json", json!(all).to_string());
    let count = |more: &str| {
        let object = sandbox.run(&format!("data curate all.json -o out --force --json {more}")).done().object();
        (object["kept"].as_u64().unwrap(), object["dropped"].clone())
    };
    let run = sandbox.run("data curate all.json -o out").done();
    assert!(
        run.out.contains("| dropped: proof ") && run.out.contains("written: out/problems.json, out/curation.json"),
        "{}",
        run.out
    );
    let (kept, dropped) = count("");
    assert_eq!((&dropped["proof"], &dropped["duplicate"], &dropped["no image"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(sandbox.json("out/problems.json").as_array().unwrap().len() as u64, kept);
    assert_eq!(sandbox.json("out/curation.json")["dropped"]["proof"]["problems"][0]["id"], "proof");
    assert_eq!(count("--text-only").0, kept + 1);
    assert_eq!(count("--against p.json").1["in a test set"], json!(7), "the six, and the one that repeats one of them");
    sandbox.run("data curate all.json -o out").refused(2, &["out/problems.json exists", "--force"]);
    // The policy solves the first two always, the others never.
    let sets: Vec<Value> = all.iter().enumerate().map(|(index, problem)| {
        json!({"id": problem["id"], "question": problem["question"], "options": problem["options"], "solutions_splits": [["s"], ["s"]],
            "labels": [u8::from(index < 2), u8::from(index < 2)]})
    }).collect();
    sandbox.write("c.json", json!(sets).to_string());
    assert_eq!(count("--candidates c.json --min-pass 0.5").0, 2);
    assert_eq!(count("--candidates c.json --max-pass 0.5").1["too easy"], json!(2));
    let balanced = count("--balance --seed 1");
    assert_eq!((balanced.0, &balanced.1["balance"]), (2, &json!(kept - 2)));
    sandbox.write(
        "sets.json",
        json!([{"id": all[0]["id"], "question": "Another?", "solutions_splits": [["s"]], "labels": [1]}]).to_string(),
    );
    for (arguments, code, parts) in [
        ("all.json --min-pass 0.5", 2, ["--candidates", ""]),
        ("all.json --seed 1", 2, ["--balance", ""]),
        ("all.json --candidates c.json --min-pass 2", 2, ["from 0 to 1", ""]),
        ("all.json --candidates c.json --min-pass 0.9 --max-pass 0.1", 2, ["--min-pass is above --max-pass", ""]),
        ("all.json --candidates sets.json", 3, ["sets.json: the candidates of", "Another?"]),
        ("c.json", 3, ["c.json: the file: expected problems", ""]),
        ("p.json --balance", 3, ["p.json: ", "none is of the type choice"]),
        ("none.json", 3, ["cannot read none.json", ""]),
    ] {
        let run = sandbox.run(&format!("data curate {arguments} -o new"));
        assert_eq!(run.code, Some(code), "{arguments}: {run:?}");
        assert!(parts.iter().all(|part| run.err.contains(part)), "{arguments}: {run:?}");
    }
    let elsewhere = sandbox.run("data curate p.json -o moved --data-root data").done();
    assert!(elsewhere.out.contains("written: moved/problems.json"), "{}", elsewhere.out);
}

#[test]
fn samples_are_chosen_as_asked_for() {
    let sandbox = Sandbox::new();
    let step = |step: &str, mc_value: f64, judged: Option<f64>| {
        let step = format!("one two three four five six seven eight nine ten eleven {step}");
        json!({"partial_solution": [step], "mc_value": mc_value, "visit_count": 0, "correct_rollouts": [], "incorrect_rollouts": [],
            "children": [], "llm_as_a_judge": judged})
    };
    let children: Vec<Value> = (0..2)
        .map(|n| step(&format!("n{n}"), 0.0, Some(0.1)))
        .chain((0..6).map(|n| step(&format!("p{n}"), 0.75, (n < 3).then_some(0.9))))
        .chain([step("p0 ", 0.25, Some(0.9))])
        .collect();
    let tree = json!({"question": "Q", "answer": "1", "image_path": null, "mc_value": 0.5, "visit_count": 0, "correct_rollouts": [],
        "incorrect_rollouts": [], "children": children, "id": 1});
    sandbox.write("trees/t.json", tree.to_string());
    let counts = |more: &str| {
        let stats = sandbox.run(&format!("samples trees -o s.jsonl --json {more}")).done().object()["stats"].clone();
        (stats["negatives"].as_u64().unwrap(), stats["positives"].as_u64().unwrap())
    };
    assert_eq!(counts(""), (2, 2));
    assert_eq!(counts("--positives 2"), (2, 4));
    assert_eq!(counts("--positives 9 --consensus"), (2, 3));
    let (negatives, positives) = counts("--per-tree 3");
    assert_eq!(negatives + positives, 3);
    let text = |more: &str| {
        counts(&format!("--positives 9 {more}"));
        String::from_utf8(sandbox.read("s.jsonl")).unwrap()
    };
    assert!(text("--hard").contains("[1.0]") && !text("--hard").contains("0.75"));
    assert!(text("--pool").contains("[0.5]") && !text("").contains("[0.5]"), "two states of one text, 0.75 and 0.25");
    assert!(
        sandbox
            .run("samples trees -o s.jsonl --consensus")
            .done()
            .out
            .contains("left out: 3 that the judge disagrees with")
    );
    let mut unjudged = tree.clone();
    unjudged["children"].as_array_mut().unwrap().iter_mut().for_each(|child| child["llm_as_a_judge"] = Value::Null);
    sandbox.write("unjudged/t.json", unjudged.to_string());
    sandbox.run("samples unjudged -o u.jsonl --consensus").refused(3, &["unjudged: no state", "mmprm judge"]);
    for wrong in ["--positives -1", "--per-tree 0", "--every-rollout --hard", "--ranking --pool"] {
        assert_eq!(sandbox.run(&format!("samples trees -o x {wrong}")).code, Some(2), "{wrong}");
    }
}

#[test]
fn conversion_refuses_what_would_be_lost() {
    let sandbox = Sandbox::new();
    let soft = json!({"question": "q", "steps_with_score": [{"step": "s", "score": 0.5}]});
    sandbox.write("v.jsonl", soft.to_string());
    let run = sandbox.run("data convert v.jsonl --to mmprm -o s.jsonl").done();
    assert!(run.out.contains("visualprm to mmprm: 1 solutions of 1 records"), "{}", run.out);
    sandbox.refuses(
        "data convert v.jsonl --to trl -o t.jsonl",
        3,
        &["v.jsonl:1: label 1 is neither 0 nor 1", "(--threshold)"],
    );
    let object = sandbox.run("data convert v.jsonl --to trl --threshold 0.5 -o t.jsonl --json").done().object();
    assert_eq!((&object["to"], &sandbox.json("t.jsonl")["labels"]), (&json!("trl"), &json!([true])));
    let state = json!({"question": "q", "reasoning_steps": [{"solution_prefix": "q", "mc_value": 0.5}, {"solution_prefix": "q s", "mc_value": 1}]});
    sandbox.write("o.jsonl", state.to_string());
    let run = sandbox.run("data convert o.jsonl --to trl -o t.jsonl").done();
    assert!(run.out.contains("| MC values of questions |"), "{}", run.out);
    sandbox.refuses("data convert v.jsonl --to trl -o v.jsonl", 2, &["v.jsonl is read from"]);
    sandbox.refuses("data convert none.jsonl --to trl -o x", 3, &["cannot read none.jsonl"]);
    for wrong in ["--to other -o x", "--to trl --threshold 0 -o x", "--to trl --threshold 1.5 -o x"] {
        assert_eq!(sandbox.run(&format!("data convert v.jsonl {wrong}")).code, Some(2), "{wrong}");
    }
}
