//! Unusable problems, images and outputs: the right exit code, one sentence that names file and
//! place, and no partial files.
#![cfg(unix)]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};
use support::{POLICY, PRM, Sandbox, png};

const GENERATE: &str = "generate --policy policy.gguf --mmproj mmproj.gguf --max-tokens 150 -n 2";

fn problem(id: &str, image: &str) -> Value {
    json!({"id": id, "question": "What is the area of the rectangle?", "correct_answer": "30", "image_path": image})
}

/// A sandbox with an image, `in/good.png`.
fn sandbox_with_image() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("in/good.png", sandbox.read("data/images/test-2-00002.png"));
    sandbox
}

#[test]
fn malformed_problem_files_are_refused_with_line_and_column() {
    let sandbox = Sandbox::new();
    let good = problem("a", "good.png").to_string();
    for (text, parts) in [
        (format!("[{good},\n {{\"id\": }}]"), ["p.json:2:9", "expected"]),
        (format!("{good}\n\n{{\"question\": \"q\"\n"), ["p.json:3:", "expected one record a line"]),
        (format!("{good}\nnonsense\n"), ["p.json:2:", "expected one record a line"]),
        (format!("{good}\n{{\"id\": \"b\", \"answer\": \"1\"}}\n"), ["p.json:2", "question"]),
        (format!("[{good}, {{\"id\": \"b\", \"answer\": \"1\"}}]"), ["p.json[1]", "question"]),
        (format!("{good}\n{good}\n"), ["p.json:2", "id"]),
        ("[]".to_owned(), ["p.json", "no problems"]),
        ("[".repeat(100_000), ["p.json:1:", "recursion"]),
    ] {
        sandbox.write("p.json", text);
        sandbox.refuses(&format!("{GENERATE} --problems p.json -o c.json"), 3, &parts);
        sandbox.refuses(&format!("annotate {POLICY} --problems p.json -o trees"), 3, &parts);
    }
    std::fs::remove_file(sandbox.path("p.json")).unwrap();
    sandbox.refuses(&format!("{GENERATE} --problems p.json -o c.json"), 3, &["p.json", "No such file"]);
}

#[test]
fn malformed_candidate_files_are_refused_with_their_place() {
    let sandbox = Sandbox::new();
    for (text, parts) in [
        ("[\n{]", ["c.json: line 2 column 2", "expected"]),
        ("[{\"question\": \"q\", \"solutions_splits\": [[\"a\"], 3]}]", ["record 0", "solutions_splits"]),
        ("[{\"solutions_splits\": []}]", ["record 0", "question"]),
    ] {
        sandbox.write("c.json", text);
        sandbox.refuses(&format!("score {PRM} -i c.json -o s.json"), 3, &parts);
        sandbox.refuses("eval bon c.json", 3, &parts);
    }
    sandbox.refuses("eval bon nowhere.json", 3, &["nowhere.json", "No such file"]);
}

#[test]
fn malformed_trees_are_refused_with_their_place() {
    let sandbox = Sandbox::new();
    sandbox.refuses("samples trees -o s.jsonl", 3, &["trees", "No such file"]);
    sandbox.write("trees/a.json", "{\"question\": \"q\",\n \"answer\": ");
    sandbox.refuses("samples trees -o s.jsonl", 3, &["trees/a.json", "line 2"]);
    sandbox.write("trees/a.json", "{\"question\": \"q\"}");
    sandbox.refuses("samples trees -o s.jsonl", 3, &["trees/a.json", "answer"]);
}

#[test]
fn a_problem_with_an_unusable_image_fails_with_its_cause_and_the_others_succeed() {
    let sandbox = sandbox_with_image();
    let good = sandbox.read("in/good.png");
    sandbox.write("outside.png", &good);
    sandbox.write("in/cut.png", &good[..good.len() / 2]);
    sandbox.write("in/text.png", "not an image");
    sandbox.write("in/tiny.png", png::grey(5, 5, 5));
    sandbox.write("in/huge.png", png::grey(30000, 30000, 1));
    symlink("../outside.png", sandbox.path("in/link.png")).unwrap();
    std::fs::create_dir(sandbox.path("in/folder.png")).unwrap();
    let absolute = sandbox.path("outside.png").to_str().unwrap().to_owned();
    let cases = [
        ("good.png", ""),
        ("tiny.png", ""),
        ("missing.png", "missing.png: No such file"),
        ("cut.png", "cut.png: cannot decode the PNG image"),
        ("text.png", "text.png: expected a PNG, JPEG, WebP, BMP, GIF or TIFF image"),
        ("huge.png", "huge.png: the image is 30000×30000 pixels"),
        ("folder.png", "folder.png: expected an image file"),
        ("../outside.png", "../outside.png: the image lies outside the data root"),
        ("link.png", "link.png: the image lies outside the data root"),
        (absolute.as_str(), "the image lies outside the data root"),
        ("good.png", ""),
    ];
    let problems: Vec<Value> =
        cases.iter().enumerate().map(|(index, (image, _))| problem(&index.to_string(), image)).collect();
    sandbox.write("in/p.json", json!(problems).to_string());

    let run = sandbox.run(&format!("{GENERATE} --problems in/p.json -o c.json --quiet"));
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.err.lines().all(|line| line.starts_with("mmprm: ")), "{}", run.err);
    assert!(run.err.ends_with("mmprm: 8 of 11 records failed; their causes are in the output\n"), "{}", run.err);
    for (record, (image, cause)) in sandbox.json("c.json").as_array().unwrap().iter().zip(cases) {
        let error = record["error"].as_str().unwrap_or_default();
        assert!(error.contains(cause) && error.is_empty() == cause.is_empty(), "{image}: {error}");
        let candidates = if cause.is_empty() { 2 } else { 0 };
        assert_eq!(record["solutions_splits"].as_array().unwrap().len(), candidates, "{image}");
    }
    assert_eq!(
        sandbox.names(""),
        [
            "c.json",
            "c.json.settings.json",
            "data",
            "in",
            "mmproj.gguf",
            "outside.png",
            "policy.gguf",
            "prm-mmproj.gguf",
            "prm.gguf"
        ]
    );
}

#[test]
fn scoring_continues_after_a_missing_image() {
    let sandbox = sandbox_with_image();
    let record = |image| json!({"question": "q", "image_path": image, "solutions_splits": [["One.", "Two."]]});
    sandbox.write("in/c.json", json!([record("missing.png"), record("good.png")]).to_string());
    let run = sandbox.run(&format!("score {PRM} -i in/c.json -o s.json"));
    assert_eq!(run.code, Some(1), "{run:?}");
    let scored = sandbox.json("s.json");
    assert_eq!(scored[0]["prm_scores"], Value::Null);
    assert!(scored[0]["prm_error"].as_str().unwrap().contains("missing.png"));
    assert_eq!(scored[1]["prm_scores"][0].as_array().unwrap().len(), 2);
}

#[test]
fn a_failed_problem_is_logged_and_retried_on_request() {
    let sandbox = sandbox_with_image();
    let problems = json!([problem("a", "good.png"), problem("b", "late.png")]);
    sandbox.write("in/p.json", problems.to_string());
    let annotate = format!("annotate {POLICY} --problems in/p.json --rollouts 4 --rollout-budget 8 -o trees");

    let run = sandbox.run(&annotate);
    assert_eq!(run.code, Some(1), "{run:?}");
    let log = String::from_utf8(sandbox.read("trees/annotate.log.jsonl")).unwrap();
    let failed = log.lines().find(|line| line.contains("\"failed\"")).expect("the failure is logged");
    assert!(failed.contains("cannot read ") && failed.contains("late.png: No such file"), "{failed}");
    let trees = || sandbox.trees("trees").len();
    assert_eq!(trees(), 1);

    sandbox.write("in/late.png", sandbox.read("in/good.png"));
    let run = sandbox.run(&annotate);
    assert_eq!(run.code, Some(1), "a failed problem is not retried: {run:?}");
    assert!(run.err.contains("--retry-failed"), "{}", run.err);
    assert_eq!(trees(), 1);
    sandbox.run(&format!("{annotate} --retry-failed")).done();
    assert_eq!(trees(), 2);
    sandbox.run(&annotate).done();
}

#[test]
fn a_full_disk_leaves_no_file_under_a_final_name() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&format!("annotate {POLICY} --problems data/test.json --limit 4 --rollouts 4 --rollout-budget 8 -o ok"))
        .done();
    for (blocks, command, out) in
        [(100, "quantize policy.gguf --type q8_0 -o q.gguf", "q.gguf"), (1, "samples ok -o s.jsonl", "s.jsonl")]
    {
        let before = sandbox.names("");
        sandbox.run_on_full_disk(blocks, command).refused(1, &[out, "File too large"]);
        assert_eq!(sandbox.names(""), before, "`{command}` left something behind");
    }
    let convert = format!("convert {} -o o", support::demo().join("checkpoints/mini-prm").display());
    sandbox.run_on_full_disk(100, &convert).refused(1, &["o/mini-prm-f16.gguf", "File too large"]);
    assert!(sandbox.names("o").is_empty());
}

#[test]
fn a_run_stopped_by_a_full_disk_continues_when_there_is_room() {
    let sandbox = Sandbox::new();
    let generate = format!("{GENERATE} --problems data/test.json --limit 4 --deterministic");
    sandbox.run(&format!("{generate} -o whole.json")).done();
    let before = sandbox.names("");
    // Room for the settings line and some records.
    sandbox.run_on_full_disk(4, &format!("{generate} -o c.json")).refused(1, &["c.json", "File too large"]);
    assert!(!sandbox.path("c.json").exists());
    sandbox.run(&format!("{generate} -o c.json")).done();
    assert_eq!(sandbox.read("c.json"), sandbox.read("whole.json"));
    for name in ["c.json", "c.json.settings.json"] {
        std::fs::remove_file(sandbox.path(name)).unwrap();
    }
    assert_eq!(sandbox.names(""), before, "the journal is gone");
}

#[test]
fn an_output_that_cannot_be_created_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    sandbox.write("c.json", json!([{"question": "q", "solutions_splits": [["One."]]}]).to_string());
    let checkpoint = support::demo().join("checkpoints/mini-prm");
    let closed = sandbox.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write anywhere.
    let is_closed = std::fs::write(closed.join("probe"), "").is_err();
    for folder in ["file", "closed"].into_iter().filter(|&folder| folder == "file" || is_closed) {
        for command in [
            format!("convert {} -o {folder}/x", checkpoint.display()),
            format!("quantize policy.gguf --type q8_0 -o {folder}/x"),
            format!("{GENERATE} --problems data/test.json --limit 1 -o {folder}/x"),
            format!("score {PRM} -i c.json -o {folder}/x"),
            format!("annotate {POLICY} --problems data/test.json --limit 1 -o {folder}/x"),
        ] {
            sandbox.refuses(&command, 1, &[&format!("{folder}/x")]);
        }
    }
}

#[test]
fn pipes_in_place_of_inputs_are_refused_and_not_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.write("p.json", r#"[{"id": "a", "question": "1 + 1?", "answer": "2"}]"#);
    sandbox.write("c.json", r#"[{"question": "1 + 1?", "solutions_splits": [["Answer: 2"]]}]"#);
    assert!(std::process::Command::new("mkfifo").arg(sandbox.path("pipe")).status().unwrap().success());
    for command in [
        format!("generate {POLICY} --problems pipe -n 1 -o x.json"),
        format!("generate {POLICY} --problems p.json -n 1 -o x.json --lora pipe"),
        format!("generate {POLICY} --problems p.json -n 1 -o x.json --judge-gguf pipe"),
        format!("generate {POLICY} --problems p.json -n 1 -o x.json --prompt-template pipe"),
        "generate --policy pipe --problems p.json -n 1 -o x.json".into(),
        "score --prm pipe -i c.json -o x.json".into(),
        "score --prm prm.gguf --mmproj pipe -i c.json -o x.json".into(),
        "score --prm prm.gguf -i pipe -o x.json".into(),
        "inspect pipe".into(),
        "quantize pipe --type q8_0 -o x.gguf".into(),
        "eval bon pipe".into(),
        "verify pipe -o x.jsonl".into(),
        "train prm --config pipe".into(),
        "doctor --model pipe".into(),
    ] {
        sandbox.refuses(&command, 3, &["pipe", "expected a regular file"]);
    }
}
