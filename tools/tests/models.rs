//! Models named on the command line: missing projectors, directories, and projectors of other models are refused before anything
//! is loaded.
#![cfg(unix)]

mod support;

use std::os::unix::fs::symlink;

use serde_json::json;
use support::{POLICY, Sandbox, copy_checkpoint};

fn problems(sandbox: &Sandbox) {
    let image = sandbox.json("data/test.json")[0]["image_path"].as_str().unwrap().to_owned();
    sandbox.write("image.png", sandbox.read(&format!("data/{image}")));
    let problem = |id: &str| json!({"id": id, "question": "What is 1 + 1?", "answer": "2"});
    let with = |id: &str| json!({"id": id, "question": "What is 1 + 1?", "answer": "2", "image": "image.png"});
    sandbox.write("some.json", json!([problem("a"), with("b"), with("c")]).to_string());
    sandbox.write("text.json", json!([problem("a"), problem("b")]).to_string());
}

#[test]
fn a_missing_projector_is_found_before_the_model_is_loaded() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    let said = ["some.json: 2 of 3 problems have images (the first is b)", "policy.gguf needs --mmproj"];
    let loud = "--log llama.cpp=debug";
    let annotate = "--rollouts 2 --rollout-budget 4 -o trees";
    for command in ["generate -n 1 -o c.json", &format!("annotate {annotate}")] {
        let command = format!("{command} --policy policy.gguf --max-tokens 50 {loud}");
        sandbox.refuses(&format!("{command} --problems some.json"), 2, &said);
        sandbox.refuses(&format!("{command} --problems some.json"), 2, &["usually lies beside it as mmproj-….gguf"]);
    }
    symlink(sandbox.path("mmproj.gguf").read_link().unwrap(), sandbox.path("mmproj-policy-f16.gguf")).unwrap();
    let generate = "generate --policy policy.gguf --max-tokens 50 -n 1 -o c.json";
    sandbox.refuses(&format!("{generate} --problems some.json"), 2, &["seems to be mmproj-policy-f16.gguf"]);
    sandbox.run(&format!("{generate} --problems text.json")).done();
    sandbox.run(&format!("{generate} --limit 1 --problems some.json --force")).done();

    sandbox.run(&format!("generate {POLICY} -n 1 --problems some.json -o some-c.json")).done();
    let said =
        ["some-c.json: 2 of 3 problems have images (the first is record 1 (id \"b\"))", "prm.gguf needs --mmproj"];
    sandbox.refuses(&format!("score --prm prm.gguf -i some-c.json -o s.json {loud}"), 2, &said);
    sandbox.run("score --prm prm.gguf -i c.json -o s.json").done();
}

#[test]
fn a_directory_in_the_place_of_a_model_is_refused_with_advice() {
    let sandbox = Sandbox::new();
    problems(&sandbox);
    sandbox.write("c.json", json!([{"question": "1 + 1?", "solutions_splits": [["Answer: 2"]]}]).to_string());
    copy_checkpoint(&sandbox, "my model");
    sandbox.write("ggufs/b.gguf", "");
    sandbox.write("ggufs/a.gguf", "");
    sandbox.write("adapter/adapter_config.json", "{}");
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    let commands = [
        "generate --policy DIR --problems text.json -o x.json",
        "generate --policy policy.gguf --mmproj DIR --problems text.json -o x.json",
        "generate --policy policy.gguf --judge-gguf DIR --problems text.json -o x.json",
        "annotate --policy DIR --problems text.json -o x",
        "score --prm DIR -i c.json -o x.json",
        "inspect DIR",
        "quantize DIR --type q8_0 -o x.gguf",
        "bench infer --model DIR",
        "doctor --model DIR",
    ];
    for command in commands {
        let refuses = |directory: &str, parts: &[&str]| {
            let before = sandbox.names("");
            let mut run = sandbox.command("");
            run.args(command.split(' ').map(|word| if word == "DIR" { directory } else { word }));
            let output = run.output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), err.lines().count()), (Some(3), 1), "{command}: {err}");
            assert!(parts.iter().all(|part| err.contains(part)), "{command}: {err}");
            assert_eq!(sandbox.names(""), before, "{command}");
        };
        refuses("my model", &["my model is a directory; convert it first: mmprm convert 'my model' -o models"]);
        refuses("ggufs", &["ggufs is a directory; expected a GGUF file, and in it are ggufs/a.gguf, ggufs/b.gguf"]);
        refuses("adapter", &["mmprm convert adapter --base HF_DIR -o models, and give it with --lora"]);
        refuses("empty", &["empty is a directory; expected a GGUF file, and none is in it"]);
    }
}
