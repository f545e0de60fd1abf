//! Model files: mutated language models, vision towers and adapters, read by llama.cpp, its `clip` and this project's own
//! encoder. A file may be refused; it may never end the process.
//!
//! The usual number of cases is a twentieth of all, drawn by the seed; `MMPRM_HOSTILE=20` runs them all.

use std::path::Path;

use mmprm_quant::check::table_keys;
use mmprm_quant::gguf::{GgufFile, GgufValue};
use serde_json::json;

use crate::gguf_mutation::{Case, Gguf, Tensor, header, keys, tensors};
use crate::mutate::{Random, cases, is_wanted};
use crate::support::{Sandbox, demo};
use crate::tally::Tally;

/// Scores a candidate of a problem with an image. Warnings, as of another vision encoder, are of no interest.
const SCORE: &str = "score --log error -i c.json --data-root data -o out.json --force";
/// Draws candidates of the same problem.
const GENERATE: &str =
    "generate --log error --problems c.json --data-root data -n 2 --max-tokens 12 -o out.json --force";

/// A sandbox with one problem and candidate, and the demo's policy as it is shipped.
pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let models = demo().join("models");
    for (name, target) in [("policy-q8.gguf", "policy-q8_0.gguf"), ("policy-q8-mmproj.gguf", "mmproj-policy-f16.gguf")]
    {
        std::os::unix::fs::symlink(models.join(target), sandbox.path(name)).unwrap();
    }
    let problem = json!([{
        "id": "a", "question": "What is 1 + 2? é∑", "correct_answer": "3", "image_path": "images/test-2-00000.png",
        "solutions_splits": [["It is 1 + 2.", "It is 3."]]
    }]);
    sandbox.write("c.json", problem.to_string());
    let mut text = problem;
    text[0]["image_path"] = json!(null);
    sandbox.write("text.json", text.to_string());
    sandbox
}

/// A file to mutate and the command that reads it as `bad.gguf`.
struct Target {
    name: &'static str,
    file: Gguf,
    /// The architecture of the table of keys.
    arch: &'static str,
    command: String,
}

/// Runs a share of all mutations of the targets, and some of random bytes.
fn attack(kind: &'static str, sandbox: &Sandbox, targets: &[Target]) {
    let mut tally = Tally::new(kind);
    for target in targets {
        sandbox.write("bad.gguf", target.file.bytes());
        let whole = tally.run(&format!("{}: unchanged", target.name), &mut sandbox.command(&target.command));
        assert_eq!(whole.code, Some(0), "{}: {}", target.name, whole.err);
        let mut all = keys(&target.file, &table_keys(target.arch));
        all.extend(tensors(&target.file));
        let random = all.len() / 5;
        for case in drawn(all, target.name) {
            run(&mut tally, sandbox, target, &case.what, &case.apply(&target.file));
        }
        for number in 0..cases(random.div_ceil(20)) {
            let (bytes, what) = header(&target.file, &mut Random::new(target.name, number));
            run(&mut tally, sandbox, target, &what, &bytes);
        }
    }
    tally.finish();
}

/// Draws a twentieth of the cases, or all of them in the long form.
fn drawn(mut all: Vec<Case>, target: &str) -> Vec<Case> {
    let count = cases(all.len().div_ceil(20)).min(all.len());
    let mut random = Random::new(target, usize::MAX);
    for at in 0..count {
        let other = at + random.below(all.len() - at);
        all.swap(at, other);
    }
    all.truncate(count);
    all
}

/// Writes a mutated file and runs the command that reads it.
fn run(tally: &mut Tally, sandbox: &Sandbox, target: &Target, what: &str, bytes: &[u8]) {
    let case = format!("{}: {what}", target.name);
    if !is_wanted(&case) {
        return;
    }
    sandbox.write("bad.gguf", bytes);
    let faults = tally.faults();
    tally.run(&case, &mut sandbox.command(&target.command));
    if tally.faults() == faults && what.contains("data of") {
        // Whatever the weights are, `inspect` describes them.
        tally.run(&case, &mut sandbox.command("inspect bad.gguf"));
    }
    if tally.faults() > faults {
        tally.keep(sandbox.path("").as_path());
    }
}

/// Returns the command that scores with these models.
pub fn score(prm: &str, mmproj: &str, encoder: &str) -> String {
    format!("{SCORE} --prm {prm} --mmproj {mmproj} --vision-encoder {encoder}")
}

#[test]
fn language_models() {
    let sandbox = sandbox();
    let read = |name: &str| Gguf::read(&sandbox.path(name));
    let generate = |mmproj: &str| format!("{GENERATE} --policy bad.gguf --mmproj {mmproj}");
    let shipped = generate("policy-q8-mmproj.gguf");
    let generate = generate("mmproj.gguf");
    let targets = [
        Target {
            name: "internlm2 f16",
            file: read("prm.gguf"),
            arch: "internlm2",
            command: score("bad.gguf", "prm-mmproj.gguf", "auto"),
        },
        Target { name: "internlm2 q8_0", file: read("policy-q8.gguf"), arch: "internlm2", command: shipped },
        Target { name: "llama", file: llama(&sandbox.path("policy.gguf")), arch: "llama", command: generate.clone() },
        Target { name: "qwen2", file: qwen2(&sandbox.path("policy.gguf")), arch: "qwen2", command: generate },
    ];
    attack("language models", &sandbox, &targets);
}

#[test]
fn vision_towers() {
    let sandbox = sandbox();
    for quant_type in ["q8_0", "q4_0"] {
        let quantised = format!("quantize prm-mmproj.gguf --type {quant_type} -o {quant_type}.gguf");
        assert_eq!(sandbox.run(&quantised).code, Some(0), "{quantised}");
    }
    let target = |name, path: &str, encoder| Target {
        name,
        file: Gguf::read(&sandbox.path(path)),
        arch: "clip",
        command: score("prm.gguf", "bad.gguf", encoder),
    };
    // What the own encoder does not support falls back to llama.cpp's by itself.
    let targets = [
        target("native f16", "prm-mmproj.gguf", "auto"),
        target("native q8_0", "q8_0.gguf", "auto"),
        target("clip f16", "prm-mmproj.gguf", "llama.cpp"),
        target("clip q4_0", "q4_0.gguf", "llama.cpp"),
    ];
    attack("vision towers", &sandbox, &targets);
}

#[test]
fn adapters() {
    let sandbox = sandbox();
    let command = format!("{} --lora bad.gguf", score("prm.gguf", "prm-mmproj.gguf", "auto"));
    let file = adapter(&GgufFile::open(&sandbox.path("prm.gguf")).unwrap());
    attack("adapters", &sandbox, &[Target { name: "adapter", file, arch: "adapter", command }]);
}

/// A Llama model made from an `InternLM2` one: the same tensors, under keys of the other architecture.
fn llama(internlm2: &Path) -> Gguf {
    renamed(internlm2, "llama")
}

fn renamed(internlm2: &Path, arch: &str) -> Gguf {
    let mut file = Gguf::read(internlm2);
    for (key, _) in &mut file.metadata {
        if let Some(name) = key.strip_prefix("internlm2.") {
            *key = format!("{arch}.{name}");
        }
    }
    file.set("general.architecture", &arch.into());
    file
}

/// A Qwen2 model made from an `InternLM2` one: biases of 0, and a byte-level vocabulary of the same size.
fn qwen2(internlm2: &Path) -> Gguf {
    let mut file = renamed(internlm2, "qwen2");
    let projections = file.tensors.iter().filter(|tensor| {
        ["attn_q.weight", "attn_k.weight", "attn_v.weight"].iter().any(|end| tensor.name.ends_with(end))
    });
    let biases: Vec<Tensor> = projections
        .map(|tensor| Tensor {
            name: tensor.name.replace(".weight", ".bias"),
            dims: vec![tensor.dims[1]],
            type_id: 0,
            data: vec![0; tensor.dims[1] as usize * 4],
        })
        .collect();
    file.tensors.extend(biases);
    let source = GgufFile::open(internlm2).unwrap();
    let tokens = source.get_strings("tokenizer.ggml.tokens").unwrap();
    let tokens: Vec<String> = tokens.iter().map(byte_level).collect();
    let is_word = |token: &&String| token.len() == 2 && token.bytes().all(|byte| byte.is_ascii_alphabetic());
    let merges: Vec<String> =
        tokens.iter().filter(is_word).map(|pair| format!("{} {}", &pair[..1], &pair[1..])).collect();
    file.set("tokenizer.ggml.model", &"gpt2".into());
    file.set("tokenizer.ggml.pre", &"qwen2".into());
    file.set("tokenizer.ggml.token_type", &types(&tokens));
    file.set("tokenizer.ggml.tokens", &tokens.into());
    file.set("tokenizer.ggml.merges", &merges.into());
    file
}

/// The text of a token as byte-level vocabularies write it: bytes as characters, and `Ġ` for a space.
fn byte_level(token: &str) -> String {
    let byte = token.strip_prefix("<0x").and_then(|hex| u8::from_str_radix(hex.strip_suffix('>')?, 16).ok());
    match byte {
        Some(byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..)) => char::from(byte).to_string(),
        // In the order of the bytes, from U+0100.
        Some(byte) => {
            let before = (0..byte).filter(|byte| !matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..)).count();
            char::from_u32(0x100 + before as u32).unwrap().to_string()
        }
        // Characters of their own are those of the bytes, by now.
        None if token.chars().count() == 1 => format!("{token}{token}{token}"),
        None => token.replace('▁', "Ġ"),
    }
}

/// Control tokens are those in pointed brackets.
fn types(tokens: &[String]) -> GgufValue {
    let types = tokens
        .iter()
        .map(|token| if token.len() > 2 && token.starts_with('<') && token.ends_with('>') { 3 } else { 1 });
    types.collect::<Vec<i32>>().into()
}

/// An adapter of the first block and the head of `base`.
fn adapter(base: &GgufFile) -> Gguf {
    let arch = base.get_str("general.architecture").unwrap();
    let pairs = [
        ("general.architecture", arch.into()),
        ("general.type", "adapter".into()),
        ("adapter.type", "lora".into()),
        ("adapter.lora.alpha", GgufValue::F32(2.0)),
        ("adapter.lora.task_name", "scores".into()),
    ];
    let metadata = pairs.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let targets = ["attn_q", "attn_v", "ffn_down"].map(|part| format!("blk.0.{part}.weight"));
    let targets = targets.into_iter().chain(["output.weight".to_owned()]);
    let factors = targets.flat_map(|name| {
        let [inputs, outputs] = base.tensor(&name).unwrap().dims[..] else { panic!("{name} is not a matrix") };
        [("lora_a", [inputs, 4]), ("lora_b", [4, outputs])].map(|(end, dims)| Tensor {
            name: format!("{name}.{end}"),
            dims: dims.to_vec(),
            type_id: 0,
            data: 0.01_f32.to_le_bytes().repeat((dims[0] * dims[1]) as usize),
        })
    });
    Gguf::new(metadata, factors.collect())
}
