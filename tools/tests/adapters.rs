//! Adapters by commands: trained, folded into their base, converted.
#![cfg(unix)]

#[path = "../../tests/support/skips.rs"]
mod skips;
mod support;

use std::path::Path;

use serde_json::json;
use support::{PRM, Sandbox};

/// The tiny checkpoint of the golden data.
fn base() -> Option<String> {
    let golden = std::env::var_os("MMPRM_GOLDEN").unwrap_or_else(|| "tests/golden".into());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(golden).join("ckpt/internlm2");
    if !path.join("config.json").exists() {
        assert!(std::env::var_os("MMPRM_GOLDEN").is_some(), "the repository lacks {}", path.display());
        skips::skip(format_args!("no {}", path.display()));
        return None;
    }
    Some(path.canonicalize().unwrap().display().to_string())
}

#[test]
fn an_adapter_is_trained_merged_and_converted() {
    let Some(base) = base() else { return };
    let sandbox = Sandbox::new();
    let sample = |number: usize, label: f32| {
        let turns = json!([
            {"from": "human", "value": format!("Question: {number} + 1?\nProcess: It is {}.<prm>", number + 1)},
            {"from": "gpt", "value": [label]}
        ]);
        format!("{}\n", json!({"id": number, "conversations": turns}))
    };
    sandbox.write("samples.jsonl", (0..4).map(|number| sample(number, 0.25 * number as f32)).collect::<String>());
    sandbox.write(
        "recipe.toml",
        "lr = 1e-2\nwarmup = 0.0\nprecision = 'f32'\nsave_as = 'f32'\n[lora]\nrank = 8\ndropout = 0.0\n",
    );
    let train = format!("train prm -c recipe.toml --model {base} --samples samples.jsonl -o run");
    let run = sandbox.run(&format!("--json {train} --lora-rank 2 --lora-targets wqkv,wo")).done();
    assert_eq!(run.object()["run"]["steps"], 1);
    let config = sandbox.json("run/last/adapter_config.json");
    assert_eq!((&config["r"], &config["target_modules"]), (&json!(2), &json!(["wqkv", "wo"])));
    assert_eq!(config["lora_alpha"], 4);
    let recipe = String::from_utf8(sandbox.read("run/recipe.toml")).unwrap();
    assert!(recipe.contains("[lora]\nrank = 2\n"), "{recipe}");

    let merged = sandbox.run(&format!("--json merge run/last --base {base} -o merged")).done();
    assert_eq!(merged.object()["out"], "merged");
    assert_ne!(sandbox.read("merged/model.safetensors"), std::fs::read(format!("{base}/model.safetensors")).unwrap());
    assert_eq!(sandbox.read("merged/config.json"), std::fs::read(format!("{base}/config.json")).unwrap());

    let converted = sandbox.run(&format!("--json convert run/last --base {base} -o gguf")).done();
    assert_eq!(converted.object()["files"][0]["path"], "gguf/last-lora-f16.gguf");
    // Two pairs for the tables, and in each of the blocks four: q, k, v and the output.
    let tensors = converted.object()["files"][0]["tensors"].as_u64().unwrap();
    assert_eq!(tensors, 2 * (2 + 4 * 4));
    assert_eq!(sandbox.names("gguf"), ["last-lora-f16.gguf"]);

    sandbox.refuses("convert run/last -o gguf", 2, &["--base"]);
    sandbox.refuses(&format!("convert {base} --base {base} -o gguf"), 3, &["no adapter_config.json"]);
    sandbox.refuses(&format!("merge merged --base {base} -o other"), 3, &["merged/adapter_config.json"]);
    sandbox.refuses(&format!("merge run/last --base {base} -o {base}"), 3, &["is the base itself"]);
    let wrong = format!("train prm -c recipe.toml --model {base} --samples samples.jsonl -o other");
    sandbox.refuses(&format!("{wrong} --lora-targets q_proj"), 3, &["`q_proj`", "wqkv"]);
    sandbox.refuses(&format!("{wrong} --lora-rank 0"), 3, &["`lora.rank` is 0"]);
    sandbox.refuses(&format!("{wrong} --lora-base recipe.toml"), 3, &["recipe.toml"]);
    sandbox.refuses(&format!("{wrong} --set lora.ranc=2"), 3, &["did you mean `lora.rank`?"]);
}

#[test]
fn scores_with_an_adapter_equal_those_of_the_merged_checkpoint() {
    let Some(base) = base() else { return };
    let sandbox = Sandbox::new();
    let sample = |number: usize| {
        let turns = json!([
            {"from": "human", "value": format!("Question: {number} + 1?\nProcess: It is {}.<prm>", number + 1)},
            {"from": "gpt", "value": [1.0]}
        ]);
        format!("{}\n", json!({"id": number, "conversations": turns}))
    };
    sandbox.write("samples.jsonl", (0..4).map(sample).collect::<String>());
    sandbox.write(
        "recipe.toml",
        "lr = 1e-2\nwarmup = 0.0\nepochs = 20\nprecision = 'f32'\nsave_as = 'f32'\n[lora]\nrank = 4\ndropout = 0.0\n",
    );
    sandbox.run(&format!("train prm -c recipe.toml --model {base} --samples samples.jsonl -o run")).done();
    sandbox.run(&format!("merge run/last --base {base} -o merged")).done();
    let convert = |arguments: &str| {
        let object = sandbox.run(&format!("--json convert {arguments} --type f32")).done().object();
        object["files"][0]["path"].as_str().unwrap().to_owned()
    };
    let model = convert(&format!("{base} -o base"));
    let merged = convert("merged -o whole");
    let adapter = convert(&format!("run/last --base {base} -o adapter"));
    let candidates = json!([{"question": "3 + 1?", "solutions_splits": [["Add.", "It is 4."], ["It is 5."]]}]);
    sandbox.write("c.json", candidates.to_string());
    let scores = |flags: &str| -> Vec<f64> {
        sandbox.run(&format!("score {flags} -i c.json -o s.json")).done();
        let scored = sandbox.json("s.json");
        std::fs::remove_file(sandbox.path("s.json")).unwrap();
        let lists = scored[0]["prm_scores"].as_array().unwrap();
        lists.iter().flat_map(|list| list.as_array().unwrap()).map(|score| score.as_f64().unwrap()).collect()
    };
    let wanted = scores(&format!("--prm {merged}"));
    let apart = |found: &[f64]| {
        assert_eq!((found.len(), wanted.len()), (3, 3));
        found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let without = apart(&scores(&format!("--prm {model}")));
    assert!(without > 0.01, "the adapter changes nothing: {without}");
    let with = apart(&scores(&format!("--prm {model} --lora {adapter}")));
    assert!(with < 1e-4, "{with}, without the adapter {without}");
    // Two halves are a whole, and nothing is nothing.
    let halves = apart(&scores(&format!("--prm {model} --lora {adapter}=0.5 --lora {adapter}=0.5")));
    assert!(halves < 1e-4, "{halves}");
    let none = apart(&scores(&format!("--prm {model} --lora {adapter}=0")));
    assert!((none - without).abs() < 1e-6, "{none} {without}");

    // Adapters of other models, and files that are none.
    sandbox.refuses(&format!("score {PRM} --lora {adapter} -i c.json -o s.json"), 3, &[&adapter]);
    sandbox.refuses(&format!("score --prm {model} --lora {model} -i c.json -o s.json"), 3, &["expected 'adapter'"]);
    sandbox.refuses(&format!("score --prm {model} --lora none.gguf -i c.json -o s.json"), 3, &["none.gguf"]);
    let infinite = sandbox.run(&format!("score --prm {model} --lora {adapter}=inf -i c.json -o s.json"));
    assert!(infinite.code == Some(2) && infinite.err.contains("a finite number"), "{infinite:?}");
    let server = "generate --policy-url http://127.0.0.1:9 --policy-model m --problems data/test.json -o g.json";
    sandbox.refuses(&format!("{server} --lora {adapter}"), 2, &["--lora applies to a local policy only"]);

    // A run with another adapter is another run.
    let problem = json!([{"id": "p", "question": "3 + 1?", "correct_answer": "4"}]);
    sandbox.write("p.json", problem.to_string());
    let annotate = format!("annotate --policy {model} --problems p.json --rollouts 2 --max-tokens 4 -o trees");
    sandbox.run(&annotate);
    for flags in [format!("--lora {adapter}"), format!("--lora {adapter}=0.5")] {
        sandbox.run(&format!("{annotate} {flags}")).refused(2, &["lora", "--mix-settings"]);
    }
}
