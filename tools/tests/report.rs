//! `mmprm report`: its figures are those of `mmprm eval bon`, its inputs are recognised, and what it cannot show is refused.
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mmprm")).current_dir(folder).args(arguments).output().unwrap()
}

fn object(output: &Output) -> Value {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Candidates of ten problems, some of which do not count.
fn candidates() -> String {
    let record = |id: usize| {
        let scores: Vec<Vec<f64>> = (0..4).map(|at| vec![((id * 7 + at * 5) % 11) as f64 / 11.0, 0.5]).collect();
        let steps: Vec<Value> = (0..4).map(|at| json!(["Count.", format!("Answer: {}", (id + at) % 3)])).collect();
        let labels: Vec<u8> = (0..4).map(|at| u8::from((id + at) % 3 == 1)).collect();
        let logprobs = vec![vec![-1.0, -0.5]; 4];
        json!({"id": id, "question": "How many?", "solutions_splits": steps, "labels": labels, "prm_scores": scores,
            "step_logprobs": logprobs, "step_tokens": vec![vec![3, 4]; 4]})
    };
    let mut records: Vec<Value> = (0..10).map(record).collect();
    records[3]["error"] = "no image".into();
    records[5]["labels"] = Value::Null;
    records[7]["prm_scores"] = Value::Null;
    json!(records).to_string()
}

#[test]
fn the_figures_are_those_of_best_of_n() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.json"), candidates()).unwrap();
    let bon = object(&run(folder.path(), &["eval", "bon", "c.json", "--json"]));
    let report = object(&run(folder.path(), &["report", "c.json", "-o", "r.html", "--json"]));
    assert_eq!((&report["summary"]["problems"], &bon["problems"]), (&json!(10), &json!(7)));
    let page = std::fs::read_to_string(folder.path().join("r.html")).unwrap();
    let (_, table) = page.split_once("<caption>Accuracy of each selection rule</caption>").unwrap();
    let (table, _) = table.split_once("</table>").unwrap();
    let rows: Vec<&str> = table.split("<tr").collect();
    let methods = bon["aggregators"].as_object().unwrap();
    assert!(methods.len() > 15);
    for (name, method) in methods {
        let is_own = |row: &&&str| row.contains(&format!("row\">{name}<")) || row.contains(&format!("row\">{name} <"));
        let row = rows.iter().find(is_own).unwrap_or_else(|| panic!("{name}"));
        let number = |value: &Value| format!("{:.3}", value.as_f64().unwrap());
        let (from, to) = (number(&method["ci"][0]), number(&method["ci"][1]));
        assert!(
            row.contains(&format!("<td>{}</td><td>{from} – {to}</td>", number(&method["accuracy"]))),
            "{name}: {row}"
        );
        for other in method["against"].as_array().unwrap() {
            let (difference, ci) = (other["difference"].as_f64().unwrap(), &other["ci"]);
            let (from, to) = (ci[0].as_f64().unwrap(), ci[1].as_f64().unwrap());
            assert!(row.contains(&format!("{difference:+.3} <small>({from:+.3} to {to:+.3})")), "{name}: {row}");
        }
    }
    assert!(
        page.contains("not counted as wrong: 1 failed, 1 without labels, 1 not scored"),
        "what is left out is named"
    );
}

#[test]
fn inputs_that_cannot_be_shown_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("x.json", "[1, 2]"), ("c.json", "[{\"solutions_splits\": 3}]"), ("e", "")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for (input, part) in [
        (
            "x.json",
            "x.json: a JSON array of something else than candidates, which a report cannot show; understood are",
        ),
        ("c.json", "c.json: record 0, field \"question\""),
        ("e", "e: an empty file"),
        ("none", "cannot read none"),
        (".", ".: a directory with neither trees nor the log"),
    ] {
        let output = run(folder.path(), &["report", input, "-o", "r.html"]);
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), sentence.lines().count()), (Some(3), 1), "{sentence}");
        assert!(sentence.contains(part), "{sentence}");
        assert!(!folder.path().join("r.html").exists());
    }
    let output = run(folder.path(), &["report", "x.json", "-o", "r.html", "--rule", "best"]);
    assert_eq!(output.status.code(), Some(2));
}
