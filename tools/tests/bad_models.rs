//! Model files that are missing, truncated or contradictory: one sentence, exit code 3, no file
//! left behind.
#![cfg(unix)]

mod support;

use support::{POLICY, Sandbox, copy_checkpoint, find, overwrite, replace};

/// Writes a damaged copy of the policy as `bad.gguf` into a new sandbox.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut bytes = sandbox.read("policy.gguf");
    damage(&mut bytes);
    sandbox.write("bad.gguf", bytes);
    sandbox
}

/// Checks that every command that reads a GGUF file refuses `bad.gguf` for the same reason.
#[track_caller]
fn all_refuse(sandbox: &Sandbox, parts: &[&str]) {
    let parts = [&["bad.gguf"], parts].concat();
    for command in [
        "inspect bad.gguf",
        "quantize bad.gguf --type q8_0 -o q.gguf",
        "generate --policy bad.gguf --mmproj mmproj.gguf --problems data/test.json --limit 1 -o c.json",
    ] {
        sandbox.refuses(command, 3, &parts);
    }
}

/// Returns the offset after the name of the tensor `name` in the header.
fn info(bytes: &[u8], name: &str) -> usize {
    let named = [(name.len() as u64).to_le_bytes().as_slice(), name.as_bytes()].concat();
    find(bytes, &named) + named.len()
}

#[test]
fn a_truncated_gguf_file_is_refused() {
    let whole = Sandbox::new().read("policy.gguf");
    let tensors = info(&whole, "token_embd.weight");
    for (length, place) in [
        (0, "header"),
        (3, "header"),
        (20, "header"),
        (tensors / 2, "key '"),
        (tensors, "tensor"),
        (whole.len() / 2, "tensor"),
        (whole.len() - 1, "tensor 'output.weight'"),
    ] {
        let sandbox = damaged(|bytes| bytes.truncate(length));
        all_refuse(&sandbox, &[place]);
    }
}

#[test]
fn wrong_lengths_are_refused_before_anything_is_allocated() {
    let huge = u64::MAX.to_le_bytes();
    let first_key = 24;
    let last_offset = info(&Sandbox::new().read("policy.gguf"), "output.weight") + 24;
    for (at, place) in [
        (8, "tensor count"),
        (16, "metadata count"),
        (first_key, "metadata key 0"),
        (last_offset, "tensor 'output.weight'"),
    ] {
        let sandbox = damaged(|bytes| overwrite(bytes, at, &huge));
        all_refuse(&sandbox, &[place]);
    }
}

#[test]
fn a_file_other_than_gguf_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    all_refuse(&sandbox, &["header", "expected \"GGUF\""]);
}

#[test]
fn a_missing_model_is_named() {
    let sandbox = Sandbox::new();
    all_refuse(&sandbox, &["No such file"]);
    for command in [
        "generate --policy policy.gguf --mmproj bad.gguf --problems data/test.json --limit 1 -o c.json",
        "annotate --policy policy.gguf --mmproj bad.gguf --problems data/test.json --limit 1 -o trees",
    ] {
        sandbox.refuses(command, 3, &["bad.gguf", "No such file"]);
    }
    sandbox.refuses("convert nowhere -o o", 3, &["nowhere", "No such file"]);
}

#[test]
fn a_directory_instead_of_a_model_is_refused() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("bad.gguf")).unwrap();
    all_refuse(&sandbox, &[]);
}

#[test]
fn a_model_that_lacks_a_tensor_is_refused_before_it_runs() {
    let sandbox = damaged(|bytes| replace(bytes, "output_norm.weight", "output_nork.weight"));
    let command = "generate --policy bad.gguf --mmproj mmproj.gguf --problems data/test.json --limit 1 -o c.json";
    sandbox.refuses(command, 3, &["bad.gguf", "output_norm.weight"]);
}

#[test]
fn a_projector_that_lacks_a_tensor_is_refused_before_it_runs() {
    let sandbox = Sandbox::new();
    let mut bytes = sandbox.read("mmproj.gguf");
    replace(&mut bytes, "v.class_embd", "v.clbss_embd");
    sandbox.write("bad.gguf", bytes);
    let command = "generate --policy policy.gguf --mmproj bad.gguf --problems data/test.json --limit 1 -o c.json";
    sandbox.refuses(command, 3, &["bad.gguf", "tensor 'v.class_embd'", "missing"]);
}

#[test]
fn a_model_of_an_unknown_architecture_is_refused() {
    let sandbox = damaged(|bytes| replace(bytes, "internlm2", "internlmX"));
    let command = "generate --policy bad.gguf --mmproj mmproj.gguf --problems data/test.json --limit 1 -o c.json";
    sandbox.refuses(command, 3, &["bad.gguf", "internlmX"]);
}

#[test]
fn swapped_models_are_refused() {
    let sandbox = Sandbox::new();
    let rest = "--problems data/test.json --limit 1 -o c.json";
    sandbox.refuses(&format!("generate --policy mmproj.gguf {rest}"), 3, &["mmproj.gguf", "vision projector"]);
    let swapped = format!("generate --policy policy.gguf --mmproj prm.gguf {rest}");
    sandbox.refuses(&swapped, 3, &["prm.gguf", "vision projector"]);
}

#[test]
fn a_reward_model_without_the_step_token_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(&format!("generate {POLICY} --problems data/test.json --limit 1 -n 1 -o c.json")).done();
    let mut bytes = sandbox.read("prm.gguf");
    replace(&mut bytes, "<prm>", "<prn>");
    sandbox.write("bad.gguf", bytes);
    let command = "score --prm bad.gguf --mmproj prm-mmproj.gguf -i c.json --data-root data -o s.json";
    sandbox.refuses(command, 3, &["bad.gguf", "<prm>"]);
}

#[test]
fn a_truncated_or_contradictory_safetensors_file_is_refused() {
    let sandbox = Sandbox::new();
    copy_checkpoint(&sandbox, "ckpt");
    let whole = sandbox.read("ckpt/model.safetensors");
    let refuse = |bytes: &[u8], parts: &[&str]| {
        sandbox.write("ckpt/model.safetensors", bytes);
        sandbox.refuses("convert ckpt -o o", 3, &[&["ckpt/model.safetensors"], parts].concat());
    };
    for length in [0, 5, 100] {
        refuse(&whole[..length], &["header"]);
    }
    refuse(&whole[..whole.len() / 2], &["tensor '"]);
    refuse(&whole[..whole.len() - 1], &["tensor '"]);

    let damage = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        bytes
    };
    refuse(&damage(&|bytes| overwrite(bytes, 0, &u64::MAX.to_le_bytes())), &["header", "expected at most"]);
    refuse(&damage(&|bytes| replace(bytes, "\"data_offsets\":[0,", "\"data_offsets\":[8,")), &["tensor '"]);
    refuse(&damage(&|bytes| bytes.extend(b"more")), &["header"]);
    let other = damage(&|bytes| replace(bytes, "language_model.model.norm.weight", "language_model.model.norn.weight"));
    sandbox.write("ckpt/model.safetensors", other);
    sandbox.refuses("convert ckpt -o o", 3, &["ckpt: tensor 'language_model.model.norm.weight'", "missing"]);
}

#[test]
fn a_checkpoint_of_another_architecture_is_refused() {
    let sandbox = Sandbox::new();
    copy_checkpoint(&sandbox, "ckpt");
    let config = String::from_utf8(sandbox.read("ckpt/config.json")).unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&config).unwrap();
    other["model_type"] = "gpt_bigcode".into();
    sandbox.write("ckpt/config.json", other.to_string());
    sandbox.refuses("convert ckpt -o o", 3, &["ckpt/config.json", "gpt_bigcode", "expected"]);
}

#[test]
fn a_checkpoint_with_missing_or_malformed_files_is_refused() {
    let sandbox = Sandbox::new();
    copy_checkpoint(&sandbox, "ckpt");
    let config = sandbox.read("ckpt/config.json");
    sandbox.write("ckpt/config.json", "{\n \"model_type\": }\n");
    sandbox.refuses("convert ckpt -o o", 3, &["ckpt/config.json", "line 2"]);
    sandbox.write("ckpt/config.json", &config);
    let vocabulary = sandbox.read("ckpt/tokenizer.model");
    sandbox.write("ckpt/tokenizer.model", &vocabulary[..vocabulary.len() / 2]);
    sandbox.refuses("convert ckpt -o o", 3, &["ckpt/tokenizer.model"]);
    for name in ["tokenizer.model", "model.safetensors", "config.json"] {
        std::fs::remove_file(sandbox.path("ckpt").join(name)).unwrap();
        sandbox.refuses("convert ckpt -o o", 3, &["ckpt"]);
    }
}

#[test]
fn a_quantised_file_is_quantised_again_only_on_request() {
    let sandbox = Sandbox::new();
    sandbox.run("quantize policy.gguf --type q8_0 -o q8.gguf").done();
    sandbox.refuses("quantize q8.gguf --type q4_0 -o q4.gguf", 3, &["q8.gguf", "--requantize"]);
    // `--out` is an alias of `--output`, and names of types are read in any case.
    sandbox.run("quantize q8.gguf --type Q4_0 --out q4.gguf --requantize").done();
}
