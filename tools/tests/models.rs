//! Models named on the command line: missing projectors, directories, and projectors of other models are refused before anything
//! is loaded.
#![cfg(unix)]

mod support;

use std::os::unix::fs::symlink;

use serde_json::json;
use support::{POLICY, Sandbox, copy_checkpoint, replace};

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
        "generate --policy policy.gguf --lora DIR --problems text.json -o x.json",
        "generate --policy policy.gguf --judge-gguf DIR --problems text.json -o x.json",
        "annotate --policy DIR --problems text.json -o x",
        "score --prm DIR -i c.json -o x.json",
        "inspect DIR",
        "quantize DIR --type q8_0 -o x.gguf",
        "bench infer --model DIR",
        "doctor --model DIR",
        "doctor --mmproj DIR --model policy.gguf",
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

#[test]
fn a_projector_of_another_checkpoint_is_refused_even_if_its_sizes_fit() {
    let sandbox = Sandbox::new();
    copy_checkpoint(&sandbox, "other");
    let mut weights = sandbox.read("other/model.safetensors");
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&weights[8..8 + header]).unwrap();
    let offset = tensors["mlp1.1.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
    weights[8 + header + offset] ^= 1;
    sandbox.write("other/model.safetensors", weights);
    sandbox.run("convert other -o made").done();
    sandbox.run("quantize made/other-f16.gguf --type q8_0 -o q8.gguf").done();
    let id = |file: &str| {
        sandbox.run(&format!("inspect {file} --json")).done().object()["metadata"]["mmprm.pair.id"].clone()
    };
    assert!(id("q8.gguf").is_string() && id("q8.gguf") == id("made/mmproj-other-f16.gguf"));
    assert_ne!(id("q8.gguf"), id("policy.gguf"));
    assert_eq!(id("mmproj.gguf"), id("policy.gguf"));

    let generate = |model: &str, mmproj: &str| {
        format!(
            "generate --policy {model} --mmproj {mmproj} --problems data/test.json --limit 1 -n 1 --max-tokens 20 -o c.json"
        )
    };
    for encoder in ["native", "llama.cpp"] {
        let command = format!("{} --vision-encoder {encoder}", generate("q8.gguf", "mmproj.gguf"));
        sandbox.refuses(
            &command,
            3,
            &["mmproj.gguf: its vision weights are those of another checkpoint than that of q8.gguf"],
        );
    }
    sandbox.run(&generate("q8.gguf", "made/mmproj-other-f16.gguf")).done();
    // A file of an earlier version has no id.
    let mut old = sandbox.read("mmproj.gguf");
    replace(&mut old, "mmprm.pair.id", "mmprm.pair.no");
    sandbox.write("old.gguf", old);
    sandbox.run(&format!("{} --force", generate("q8.gguf", "old.gguf"))).done();
    let shipped = support::demo().join("models");
    let file = |name: &str| shipped.join(name).display().to_string();
    sandbox.run(&format!("{} --force", generate(&file("policy-q8_0.gguf"), &file("mmproj-policy-f16.gguf")))).done();
    let mixed = format!("{} --force", generate("policy.gguf", &file("mmproj-policy-f16.gguf")));
    sandbox.refuses(&mixed, 3, &["mmproj-policy-f16.gguf", "of another checkpoint than that of policy.gguf"]);
}

#[test]
fn the_log_says_what_is_loaded_from_where_with_what() {
    let sandbox = Sandbox::new();
    let run = sandbox
        .run(&format!("generate {POLICY} --problems data/test.json --limit 1 -n 1 --threads 1 -o c.json --log info"));
    assert_eq!(run.code, Some(0), "{run:?}");
    for (said, parts) in [
        ("loaded policy.gguf: language model of ", ["MiB of weights", "0 of 5 layers on a GPU"]),
        ("loaded mmproj.gguf: vision projector, native encoder", ["MiB of weights", "1 threads"]),
        ("running policy.gguf: 1 threads", ["rollouts in parallel", "positions ("]),
    ] {
        let line =
            run.err.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("no `{said}`: {}", run.err));
        assert!(line.contains("INFO") && parts.iter().all(|part| line.contains(part)), "{line}");
    }
}

#[test]
fn figures_of_prefix_reuse_are_for_who_wants_more() {
    let sandbox = Sandbox::new();
    let generate = format!("generate {POLICY} --problems data/test.json --limit 2 -n 2 --force -o c.json");
    let brief = sandbox.run(&generate).done().out;
    assert!(!brief.contains("processed/unique") && !brief.contains("reuse"), "{brief}");
    assert!(brief.contains("2 problems in ") && brief.contains(" of 2 problems with a known answer"), "{brief}");
    let more = sandbox.run(&format!("{generate} -v")).done().out;
    assert!(more.contains("processed/unique") && more.contains("x reuse"), "{more}");
    assert!(!sandbox.run("quantize policy.gguf --type q8_0 -o q.gguf").done().out.contains("| output_norm.weight"));
    assert!(sandbox.run("quantize policy.gguf --type q8_0 -o q.gguf -v").done().out.contains("| output_norm.weight"));
    let shown = sandbox.run("inspect policy.gguf").done().out;
    assert!(shown.starts_with("policy.gguf: language model") && shown.contains("\n  context: 8192 tokens"), "{shown}");
    assert!(!shown.contains("| output_norm.weight"));
    assert!(sandbox.run("inspect policy.gguf --verbose").done().out.contains("| output_norm.weight"));
    assert_eq!(sandbox.run("inspect policy.gguf -v -q").code, Some(2));
}

#[test]
fn inspect_names_family_class_and_head() {
    let sandbox = Sandbox::new();
    let families = support::demo().join("../tests/golden/families").canonicalize().unwrap();
    let convert = |name: &str| {
        sandbox.run(&format!("convert {}/{name} -o out", families.display())).done();
        let shown = sandbox.run(&format!("inspect out/{name}-f16.gguf")).done().out;
        (shown, sandbox.run(&format!("inspect out/{name}-f16.gguf --json")).done().object())
    };
    let (shown, object) = convert("qwen2-math-prm");
    assert!(shown.contains("family: qwen2 (qwen2-math-prm), from Qwen2ForProcessRewardModel"), "{shown}");
    assert!(
        shown.contains("\n  head: scores positions from the hidden state, 64 → 64 → 2, relu between layers"),
        "{shown}"
    );
    assert_eq!(object["head"], json!({"widths": [64, 64, 2], "activation": "relu"}));
    assert_eq!(object["prm_form"], json!("qwen2.5-math-prm"));
    let (shown, object) = convert("llama3");
    assert!(shown.contains("family: llama (llama3), from LlamaForCausalLM"), "{shown}");
    assert!(!shown.contains("\n  head:") && object["head"].is_null(), "{shown}");
}
