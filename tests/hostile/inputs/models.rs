//! Checkpoints, tokenizers, adapters and recipes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mmprm_quant::safetensors::Checkpoint;
use serde_json::json;

use super::{Form, Target, attack};
use crate::kills::{candidates, samples};
use crate::support::{PRM, Sandbox, demo};
use crate::tally::copy;

/// Trains one step on a checkpoint.
const TRAIN: &str = "train prm --quiet --model case/model --samples s.jsonl --steps 1 -o case/run";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("s.jsonl", samples());
    sandbox.write("c.json", candidates(1));
    copy(&demo().join("checkpoints/mini-prm"), &sandbox.path("base"));
    sandbox
}

#[test]
fn a_checkpoint() {
    let sandbox = sandbox();
    copy(&sandbox.path("base"), &sandbox.path("whole/model"));
    let score = "score --prm case/o/model-f16.gguf --mmproj case/o/mmproj-model-f16.gguf --data-root data -i c.json";
    let score = format!("{score} --quiet -o case/s.json");
    let convert: &[&str] = &["convert case/model --quiet -o case/o", &score];
    let plan = "train prm --quiet --plan --model case/model --samples s.jsonl -o case/run";
    attack(
        "input checkpoint",
        &sandbox,
        &[
            Target::new("model/config.json", Form::Json, 60, &[convert, &[plan, TRAIN]]),
            Target::new("model/model.safetensors", Form::Safetensors, 40, &[convert, &[TRAIN]]),
            Target::new("model/tokenizer.model", Form::Bytes, 40, &[convert, &[TRAIN]]),
            Target::new("model/tokenizer_config.json", Form::Json, 25, &[convert, &[TRAIN]]),
            Target::new("model/added_tokens.json", Form::Json, 15, &[convert, &[TRAIN]]),
            Target::new("model/special_tokens_map.json", Form::Json, 6, &[convert]),
            Target::new("model/generation_config.json", Form::Json, 6, &[convert]),
            Target::new("model/mmprm.json", Form::Json, 10, &[convert, &[TRAIN]]),
        ],
    );
}

#[test]
fn a_checkpoint_in_parts_with_another_tokenizer() {
    let sandbox = sandbox();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/ckpt/qwen2");
    copy(&golden, &sandbox.path("whole/model"));
    let generate = "generate --policy case/o/model-f16.gguf --mmproj case/o/mmproj-model-f16.gguf -n 1 --max-tokens 2";
    let generate = format!("{generate} --max-tiles 1 --problems data/test.json --limit 1 --quiet -o case/c.json");
    let convert: &[&str] = &["convert case/model --quiet -o case/o", &generate];
    attack(
        "input checkpoint in parts",
        &sandbox,
        &[
            Target::new("model/config.json", Form::Json, 25, &[convert]),
            Target::new("model/vocab.json", Form::Json, 25, &[convert]),
            Target::new("model/merges.txt", Form::Bytes, 15, &[convert]),
            Target::new("model/tokenizer_config.json", Form::Json, 15, &[convert]),
            Target::new("model/added_tokens.json", Form::Json, 10, &[convert]),
            Target::new("model/model.safetensors.index.json", Form::Json, 20, &[convert]),
            Target::new("model/model-00002-of-00003.safetensors", Form::Safetensors, 15, &[convert]),
        ],
    );
}

#[test]
fn a_pytorch_checkpoint() {
    let sandbox = Sandbox::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    copy(&golden.join("families/smollm2"), &sandbox.path("whole/model"));
    let weights = Checkpoint::open(&sandbox.path("whole/model")).unwrap();
    let shard = "pytorch_model-00001-of-00001.bin";
    let map: BTreeMap<&str, &str> = weights.names().map(|name| (name, shard)).collect();
    sandbox.write("whole/model/pytorch_model.bin.index.json", json!({"weight_map": map}).to_string());
    drop(weights);
    fs::remove_file(sandbox.path("whole/model/model.safetensors")).unwrap();
    fs::copy(golden.join("pytorch/smollm2/pytorch_model.bin"), sandbox.path("whole/model").join(shard)).unwrap();
    let convert: &[&str] =
        &["convert case/model --quiet -o case/o --type f16", "inspect case/o/model-f16.gguf --quiet"];
    attack(
        "input PyTorch checkpoint",
        &sandbox,
        &[
            Target::new("model/pytorch_model-00001-of-00001.bin", Form::Bytes, 80, &[convert]),
            Target::new("model/pytorch_model.bin.index.json", Form::Json, 20, &[convert]),
        ],
    );
}

#[test]
fn an_adapter() {
    let sandbox = sandbox();
    let train = "train prm --quiet --model base --samples s.jsonl --steps 1 --lora-rank 2";
    sandbox.run(&format!("{train} -o lora")).done();
    copy(&sandbox.path("lora/last"), &sandbox.path("whole/last"));
    let score =
        format!("score {PRM} --lora case/o/last-lora-f16.gguf --data-root data -i c.json --quiet -o case/s.json");
    let merge: &[&str] = &["merge case/last --base base --quiet -o case/m"];
    let convert: &[&str] = &["convert case/last --base base --quiet -o case/o", &score];
    attack(
        "input adapter",
        &sandbox,
        &[
            Target::new("last/adapter_config.json", Form::Json, 40, &[merge, convert]),
            Target::new("last/adapter_model.safetensors", Form::Safetensors, 40, &[merge, convert]),
            Target::new("last/mmprm.json", Form::Json, 6, &[merge, convert]),
        ],
    );
}

#[test]
fn a_recipe() {
    let sandbox = sandbox();
    sandbox.run("train prm --quiet --model base --samples s.jsonl --steps 1 --lora-rank 2 -o run").done();
    let recipe = String::from_utf8(sandbox.read("run/recipe.toml")).unwrap();
    sandbox.write("whole/recipe.toml", recipe);
    // The number of epochs is replaced: a long run is no fault.
    let train = "train prm --quiet --config case/recipe.toml --epochs 1 --steps 2 -o case/run";
    let plan = "train prm --quiet --config case/recipe.toml --plan";
    attack("input recipe", &sandbox, &[Target::new("recipe.toml", Form::Toml, 100, &[&[plan], &[train]])]);
}
