//! What is kept of a file of problems, and why the rest is not.

use std::collections::BTreeMap;

use mmprm::data::records::Records;
use mmprm::dataset::curate::{CurateError, CurateOptions, CurateSummary, Reason, choose, curate};
use mmprm::image::resolve;
use serde_json::{Value, json};

use super::support::{Folder, lines};

/// The reason for which each problem is dropped, by id.
fn reasons(records: &Records, options: &CurateOptions) -> BTreeMap<String, (Reason, String)> {
    let choice = choose(records, options).unwrap();
    let dropped = choice.dropped.into_iter();
    dropped.map(|dropped| (records.items[dropped.index].id.clone(), (dropped.reason, dropped.found))).collect()
}

fn good(id: &str, image: &str) -> Value {
    json!({"id": id, "question": format!("How long is side {id}?"), "answer": "3", "image": image})
}

fn with(id: &str, fields: &Value) -> Value {
    let mut record = good(id, "1.png");
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record
}

#[test]
fn every_reason_is_found_and_the_rest_is_kept() {
    let folder = Folder::new();
    folder.drawing("1.png", 60, 40, 1);
    folder.drawing("1.jpg", 90, 60, 1);
    folder.drawing("2.png", 60, 40, 2);
    folder.drawing("small.png", 5, 5, 1);
    folder.write("damaged.png", "none");
    let records = folder.records(
        "p.jsonl",
        &[
            good("kept", "1.png"),
            with("same question, other image", &json!({"question": "How long is side kept?", "image": "2.png"})),
            with("same image, other question", &json!({"question": "How wide is it?"})),
            with("choice", &json!({"choices": ["2", "3"]})),
            with("none", &json!({"answer": ""})),
            with("null", &json!({"answer": null})),
            with("text", &json!({"image": null})),
            with("damaged", &json!({"image": "damaged.png"})),
            with("missing", &json!({"image": "missing.png"})),
            with("outside", &json!({"image": "../outside.png"})),
            with("small", &json!({"image": "small.png"})),
            with(
                "two shown",
                &json!({"question": "Table 1: [Image](fa455f3c3a46) Table 2: [Image](4a3cd719ced9). How many?"}),
            ),
            with("proof", &json!({"question": "Prove that AB = CD."})),
            with("drawing", &json!({"question": "Draw the image of the triangle under a reflection."})),
            with("open", &json!({"question": "Write another path from A to B."})),
            with("open answer", &json!({"answer": "AB = CD (not unique)"})),
            with("several", &json!({"question": "(1) Find a. (2) Find b."})),
            with("parts", &json!({"answer": "(1) 3; (2) 4"})),
            with(
                "words",
                &json!({"answer": "Because both angles are equal, the two triangles are congruent as well."}),
            ),
            with("again", &json!({"question": "how long is  side $kept$ ?", "image": "1.jpg"})),
        ],
    );
    let found: BTreeMap<String, Reason> =
        reasons(&records, &CurateOptions::default()).into_iter().map(|(id, (reason, _))| (id, reason)).collect();
    let expected = [
        ("none", Reason::NoAnswer),
        ("null", Reason::NoAnswer),
        ("text", Reason::NoImage),
        ("damaged", Reason::UnreadableImage),
        ("missing", Reason::UnreadableImage),
        ("outside", Reason::UnreadableImage),
        ("small", Reason::UnreadableImage),
        ("two shown", Reason::MissingImage),
        ("proof", Reason::Proof),
        ("drawing", Reason::Drawing),
        ("open", Reason::Open),
        ("open answer", Reason::Open),
        ("several", Reason::SeveralQuestions),
        ("parts", Reason::SeveralQuestions),
        ("words", Reason::NotVerifiable),
        ("again", Reason::Duplicate),
    ];
    assert_eq!(found, expected.map(|(id, reason)| (id.to_owned(), reason)).into());
    let text_too = CurateOptions { keeps_text_only: true, ..CurateOptions::default() };
    assert!(!reasons(&records, &text_too).contains_key("text"));
    assert_eq!(reasons(&records, &text_too)["again"].1, "kept");
}

#[test]
fn problems_of_test_sets_are_dropped_by_the_same_rule() {
    let folder = Folder::new();
    folder.drawing("1.png", 60, 40, 1);
    folder.drawing("2.png", 60, 40, 2);
    folder.drawing("test/other.jpg", 120, 80, 1);
    let test = lines(
        &folder.path("test/t.jsonl"),
        &[
            json!({"id": 7, "question": "How LONG is side a ?", "image": "other.jpg"}),
            json!({"id": 8, "question": "How long is side c?"}),
        ],
    );
    let test = Records::load(&test, None).unwrap();
    let records =
        folder.records("p.jsonl", &[good("a", "1.png"), good("b", "1.png"), good("c", "2.png"), good("a2", "2.png")]);
    let options = CurateOptions { against: vec![("MathTest".to_owned(), test)], ..CurateOptions::default() };
    let found = reasons(&records, &options);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a".to_owned(), (Reason::Leak, "MathTest: 7".to_owned()))]);
}

#[test]
fn a_policys_pass_rate_says_how_hard_a_problem_is() {
    let folder = Folder::new();
    folder.drawing("1.png", 60, 40, 1);
    let records =
        folder.records("p.jsonl", &["easy", "hard", "fit", "edge", "failed", "absent"].map(|id| good(id, "1.png")));
    let set = |id: &str, labels: Value| {
        json!({"id": id, "question": format!("How long is side {id}?"), "solutions_splits": vec![["s"]; labels.as_array().unwrap().len()],
            "labels": labels})
    };
    let candidates = folder.records(
        "c.jsonl",
        &[
            set("easy", json!([1, 1, 1, 1])),
            set("hard", json!([0, false, 0, 0])),
            set("fit", json!([1, 0])),
            set("fit", json!([true, 0])),
            set("edge", json!([1, 0, 0, 0])),
            set("failed", json!([])),
            set("of another file", json!([1])),
        ],
    );
    let options =
        CurateOptions { candidates: Some(candidates), min_pass: 0.25, max_pass: 0.75, ..CurateOptions::default() };
    let found: BTreeMap<String, Reason> =
        reasons(&records, &options).into_iter().map(|(id, (reason, _))| (id, reason)).collect();
    let expected = [
        ("absent", Reason::NoPassRate),
        ("easy", Reason::TooEasy),
        ("failed", Reason::NoPassRate),
        ("hard", Reason::TooHard),
    ];
    assert_eq!(found, expected.map(|(id, reason)| (id.to_owned(), reason)).into());
    let narrower = CurateOptions { min_pass: 0.3, ..options.clone() };
    assert_eq!(reasons(&records, &narrower)["edge"], (Reason::TooHard, "pass rate 0.250".to_owned()));
    let other = folder.records(
        "d.jsonl",
        &[json!({"id": "fit", "question": "Another?", "solutions_splits": [["s"]], "labels": [1]})],
    );
    let error = choose(&records, &CurateOptions { candidates: Some(other), ..options.clone() }).unwrap_err();
    assert_eq!(error.to_string(), "the candidates of fit are of another question: Another?");
    let unlabelled = folder
        .records("e.jsonl", &[json!({"id": "fit", "question": "How long is side fit?", "solutions_splits": [["s"]]})]);
    let error = choose(&records, &CurateOptions { candidates: Some(unlabelled), ..options.clone() }).unwrap_err();
    assert!(matches!(error, CurateError::NoPassRates));
    let problems = CurateOptions { candidates: Some(records.clone()), ..options };
    assert!(matches!(choose(&records, &problems), Err(CurateError::Kind { .. })));
}

fn run(folder: &Folder, records: &[Value], options: &CurateOptions) -> Result<CurateSummary, CurateError> {
    let path = lines(&folder.path("p.jsonl"), records);
    curate(&Records::load(&path, None).unwrap(), &path, &folder.path("out"), options, true)
}

#[test]
fn types_are_recognised_and_balanced() {
    let folder = Folder::new();
    folder.drawing("1.png", 60, 40, 1);
    let mut records: Vec<Value> = (0..8).map(|number| good(&format!("f{number}"), "1.png")).collect();
    records.extend((0..3).map(|number| with(&format!("c{number}"), &json!({"options": ["3", "4", "5"]}))));
    let in_text = "Which is it?\nA. 3\nB. 4\nC. 5";
    records.push(with("text", &json!({"question": in_text, "answer": "B"})));
    let all = run(&folder, &records, &CurateOptions::default()).unwrap();
    assert_eq!((all.kept, json!(all.types)), (12, json!({"choice": 4, "fill-in": 8})));
    let kept = |seed| {
        let summary =
            run(&folder, &records, &CurateOptions { balance: Some(seed), ..CurateOptions::default() }).unwrap();
        assert_eq!(
            (json!(summary.types), json!(summary.dropped)),
            (json!({"choice": 4, "fill-in": 4}), json!({"balance": 4}))
        );
        std::fs::read(summary.output).unwrap()
    };
    assert_eq!(kept(1), kept(1));
    assert_ne!(kept(1), kept(2));
    let error =
        run(&folder, &records[..8], &CurateOptions { balance: Some(1), ..CurateOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("of the 8 problems that are left none is of the type choice"), "{error}");
}

#[test]
fn what_is_kept_and_why_the_rest_is_not_are_written() {
    let folder = Folder::new();
    folder.drawing("images/1.png", 60, 40, 1);
    let records = [
        json!({"id": 1, "question": "How long?", "answer": "3", "image": "images/1.png", "kept": {"x": [1.5]}}),
        json!({"id": 2, "question": "Prove it.", "answer": "3", "image": "images/1.png"}),
        json!({"id": 3, "question": "How long?", "answer": "3", "image": "images/1.png"}),
    ];
    let summary = run(&folder, &records, &CurateOptions::default()).unwrap();
    assert_eq!((summary.read, summary.kept, json!(summary.dropped)), (3, 1, json!({"proof": 1, "duplicate": 1})));
    assert_eq!(summary.examples["duplicate"], "3: 1");
    let written: Value = serde_json::from_slice(&std::fs::read(&summary.output).unwrap()).unwrap();
    let mut expected = records[0].clone();
    expected["problem_type"] = json!("fill-in");
    assert_eq!(written, json!([expected]));
    let problems = Records::load(&summary.output, None).unwrap();
    assert!(resolve(&problems.root, &problems.items[0].images[0]).is_ok());
    let report: Value = serde_json::from_slice(&std::fs::read(&summary.report).unwrap()).unwrap();
    assert_eq!(
        report["dropped"],
        json!({"proof": {"count": 1, "problems": [{"id": "2", "found": "prove"}]},
            "duplicate": {"count": 1, "problems": [{"id": "3", "found": "1"}]}})
    );
    assert_eq!((&report["read"], &report["kept"]), (&json!(3), &json!(1)));
    let nothing = run(&folder, &records[1..2], &CurateOptions::default()).unwrap_err();
    assert_eq!(nothing.to_string(), "none of the 1 problems is left: proof (1)");
    let path = folder.path("p.jsonl");
    let again =
        curate(&Records::load(&path, None).unwrap(), &path, &folder.path("out"), &CurateOptions::default(), false);
    assert!(again.unwrap_err().to_string().ends_with("out/problems.json exists"));
}

#[test]
fn records_that_are_no_problems_are_refused() {
    let folder = Folder::new();
    let candidates = folder.records("c.jsonl", &[json!({"id": 1, "labels": [1]})]);
    let error = choose(&candidates, &CurateOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("the file: expected problems, found"), "{error}");
}
