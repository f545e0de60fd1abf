//! `mmprm train` on unusable samples, models and disks: one sentence that names the sample or the tensor, the right exit code,
//! and no sample skipped or replaced.
#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use support::{Sandbox, copy_checkpoint, replace};

/// A short, quiet training run of the mini reward model.
const TRAIN: &str = "train prm --quiet --model base --samples s.jsonl --output run --precision f32 --epochs 1";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    symlink(support::demo().join("checkpoints/mini-prm"), sandbox.path("base")).unwrap();
    sandbox
}

/// A line of a training file, with labels as text.
fn record(id: &str, image: &Value, process: &str, labels: &str) -> String {
    let human = json!(format!("Question: What is 1 + 1?\nProcess: {process}"));
    format!(
        "{{\"id\": \"{id}\", \"image\": {image}, \"conversations\": [{{\"from\": \"human\", \"value\": {human}}}, \
         {{\"from\": \"gpt\", \"value\": {labels}}}]}}\n"
    )
}

fn good(id: &str) -> String {
    record(id, &Value::Null, "1 + 1 = 2.<prm>\n\nAnswer: 2<prm>", "[1.0, 0.25]")
}

#[test]
fn a_sample_that_cannot_be_learnt_from_is_named_with_its_line() {
    let sandbox = sandbox();
    sandbox.write("text.png", "no image");
    let plain = |process: &str, labels: &str| record("bad", &Value::Null, process, labels);
    let with_image = |image: &str| record("bad", &json!(image), "One.<prm>", "[1]");
    for (line, part) in [
        (plain("One.<prm>", "[1, 0.5]"), "2 labels, expected 1, one for each `<prm>`"),
        (plain("One.<prm>Two.<prm>", "[1]"), "1 labels, expected 2, one for each `<prm>`"),
        (plain("One.", "[]"), "no `<prm>`, expected at least one"),
        (plain("One.<prm>", "[1.001]"), "label 1 is 1.001, expected a number from 0 to 1"),
        (plain("One.<prm>Two.<prm>", "[0, -0.1]"), "label 2 is -0.1, expected a number from 0 to 1"),
        (plain("One.<prm>", "[null]"), "label 1 is null, expected a number from 0 to 1"),
        (plain("One.<prm>", "[\"NaN\"]"), "label 1 is \"NaN\", expected a number from 0 to 1"),
        (plain("One.<prm>", "\"yes\""), "the gpt turn is not a list"),
        (with_image("gone.png"), "gone.png: No such file"),
        (with_image("text.png"), "text.png: expected a PNG, JPEG"),
        (with_image("../gone.png"), "lies outside the data root"),
    ] {
        sandbox.write("s.jsonl", good("a") + &line + &good("b"));
        sandbox.refuses(TRAIN, 3, &["s.jsonl:2: sample \"bad\": ", part]);
    }
    // Special tokens are text, unless they are read as MM-PRM reads them.
    sandbox.write("s.jsonl", good("a") + &plain("<IMG_CONTEXT><prm>", "[1]"));
    let reference = format!("{TRAIN} --reference-special-tokens");
    sandbox.refuses(&reference, 3, &["s.jsonl:2: sample \"bad\": ", "`<IMG_CONTEXT>`"]);
    sandbox.run(TRAIN).done();
    fs::remove_dir_all(sandbox.path("run")).unwrap();
    // Numbers that Python writes and JSON does not have.
    for label in ["NaN", "Infinity", "1e999"] {
        sandbox.write("s.jsonl", good("a") + &plain("One.<prm>", &format!("[{label}]")));
        sandbox.refuses(TRAIN, 3, &["s.jsonl:2: not a record: "]);
    }
    sandbox.write("s.jsonl", "\n");
    sandbox.refuses(TRAIN, 3, &["s.jsonl: no samples"]);
    fs::remove_file(sandbox.path("s.jsonl")).unwrap();
    sandbox.refuses(TRAIN, 3, &["cannot read s.jsonl: No such file"]);
}

#[test]
fn a_sample_beyond_the_limit_is_named_or_cut_where_that_is_asked() {
    let sandbox = sandbox();
    let long = format!("1 + 1 = 2.<prm>\n\n{}<prm>", "We add the numbers. ".repeat(40));
    sandbox.write("s.jsonl", good("a") + &record("long", &Value::Null, &long, "[1, 0]"));
    let train = format!("{TRAIN} --set max_tokens=200");
    sandbox.refuses(&train, 3, &["s.jsonl:2: sample \"long\": ", " tokens, expected at most 200; raise `max_tokens`"]);
    sandbox.run(&format!("{train} --truncate")).done();
    sandbox.refuses(
        &format!("{TRAIN} --truncate --set max_tokens=20"),
        3,
        &["s.jsonl:1: sample \"a\": no target is left within the limit of 20 tokens"],
    );
}

#[test]
fn a_checkpoint_that_is_not_what_its_configuration_says_is_refused_by_its_tensor() {
    let sandbox = sandbox();
    sandbox.write("s.jsonl", good("a"));
    let train = TRAIN.replace("--model base", "--model model");
    sandbox.refuses(&train, 3, &["model/config.json", "No such file"]);

    copy_checkpoint(&sandbox, "model");
    let (config, weights) = (sandbox.json("model/config.json"), sandbox.read("model/model.safetensors"));
    let with = |section: &str, field: &str, value: Value| {
        let mut config = config.clone();
        config[section][field] = value;
        sandbox.write("model/config.json", config.to_string());
    };
    with("llm_config", "intermediate_size", json!(384));
    sandbox.refuses(&train, 3, &["language_model.model.layers.0.feed_forward.w1.weight", "384"]);
    with("llm_config", "num_hidden_layers", json!(5));
    sandbox.refuses(&train, 3, &["language_model.model.layers.4."]);
    with("vision_config", "num_hidden_layers", json!(99));
    sandbox.refuses(&train, 3, &["vision_model.encoder.layers."]);
    with("llm_config", "model_type", json!("llama"));
    sandbox.refuses(&train, 3, &["architectures", "InternLM2ForCausalLM", "LlamaForCausalLM"]);
    // What can be converted cannot always be trained.
    let mut llama = config.clone();
    for (field, value) in [("model_type", json!("llama")), ("architectures", json!(["LlamaForCausalLM"]))] {
        llama["llm_config"][field] = value;
    }
    sandbox.write("model/config.json", llama.to_string());
    sandbox.refuses(&train, 3, &["llm_config"]);
    sandbox.write("model/config.json", config.to_string());

    let mut renamed = weights.clone();
    replace(&mut renamed, "language_model.model.norm.weight", "language_model.model.nose.weight");
    sandbox.write("model/model.safetensors", renamed);
    sandbox.refuses(&train, 3, &["language_model.model.norm.weight"]);
    sandbox.write("model/model.safetensors", &weights[..weights.len() - 2]);
    sandbox.refuses(&train, 3, &["model/model.safetensors"]);
    fs::remove_file(sandbox.path("model/model.safetensors")).unwrap();
    sandbox.refuses(&train, 3, &["model"]);
    sandbox.write("model/model.safetensors", &weights);
    sandbox.refuses(&format!("{train} --freeze vision_tower."), 3, &["vision_tower."]);
}

#[test]
fn a_full_disk_ends_a_run_by_the_file_and_leaves_nothing_half_written() {
    let sandbox = sandbox();
    sandbox.write("s.jsonl", (0..6).map(|number| good(&number.to_string())).collect::<String>());
    let train = format!("{TRAIN} --set trees=false --batch-samples 2 --save-every 1 --seed 3");
    sandbox.run(&train.replace("--output run", "--output whole")).done();
    // Room for the tokenizer but not for the weights; then for the weights but not for the state.
    for (blocks, file) in [(400, "run/last/model.safetensors"), (20_000, "run/state/model.safetensors")] {
        sandbox.run_on_full_disk(blocks, &train).refused(1, &[&format!("cannot write {file}"), "File too large"]);
        assert!(!sandbox.path(file).exists());
        for folder in ["run", "run/last", "run/state"] {
            let left = if sandbox.path(folder).exists() { sandbox.names(folder) } else { Vec::new() };
            assert!(left.iter().all(|name| !name.starts_with('.')), "{folder} has {left:?}");
        }
    }
    sandbox.run(&train).done();
    for file in ["last/model.safetensors", "state/model.safetensors"] {
        assert!(sandbox.read(&format!("run/{file}")) == sandbox.read(&format!("whole/{file}")), "{file} differs");
    }
}

#[test]
fn distillation_is_refused_unless_it_is_asked_for() {
    let sandbox = sandbox();
    sandbox.write("s.jsonl", good("a"));
    // The former name of the key is accepted.
    sandbox.write("recipe.toml", "likelihood_of = \"base\"\n");
    let train = format!("{TRAIN} -c recipe.toml");
    sandbox.refuses(&train, 3, &["distillation", "targets from a policy", "--distill"]);
    sandbox.run(&format!("{train} --distill")).done();
    assert_eq!(sandbox.run(&format!("{TRAIN} --logprob-of base")).code, Some(2));
    // So is the former name of the flag for outputs.
    sandbox.run(&format!("{} --distill --expected-of base", TRAIN.replace("--output run", "--out other"))).done();
    assert!(sandbox.path("other/last/model.safetensors").exists());
}

#[test]
fn a_printed_recipe_is_read_back_unchanged() {
    let sandbox = Sandbox::new();
    for (task, flags) in
        [("prm", ""), ("implicit-prm", "--lora-rank 4 --set lora.targets=['wo']"), ("policy", "--steps 7 --lr 2e-6")]
    {
        let printed = sandbox.run(&format!("train {task} --print-recipe {flags}")).done().out;
        assert!(printed.contains(&format!("\ntask = \"{task}\"\n")) && printed.contains("\n# model =\n"), "{printed}");
        sandbox.write("recipe.toml", &printed);
        let again = sandbox.run(&format!("train {task} --config recipe.toml --print-recipe")).done().out;
        assert_eq!(again, printed);
    }
    let help = sandbox.run("train prm --help").done().out;
    for default in ["[default: 0.03]", "[default: 16]", "[default: adamw]", "[default: bf16]"] {
        assert!(help.contains(default), "{default}: {help}");
    }
    sandbox.run("train prm --print-recipe --lr=-1").refused(3, &["`lr` is -1"]);
}
