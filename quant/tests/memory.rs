//! Conversion and quantisation stream: memory use does not grow with the checkpoint.
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use mmprm_quant::convert::{self, ConvertOptions, WeightType};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::inspect::content_hash;
use mmprm_quant::progress::no_progress;
use mmprm_quant::quantize::{self, QuantType, QuantizeOptions};

const HIDDEN: usize = 1024;
const FEED_FORWARD: usize = 8192;
const VOCAB: usize = 16_384;
const LAYERS: usize = 5;

/// Bytes of the largest tensor, the embeddings, in the checkpoint.
const LARGEST: usize = VOCAB * HIDDEN * 4;

/// Environment variable of the measured process: the directory to work in.
const CHILD: &str = "MMPRM_QUANT_MEMORY_CHILD";

#[test]
fn memory_stays_below_twice_the_largest_tensor_and_256_mib() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return convert_and_quantise(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let size = write_sparse_checkpoint(directory.path());
    let limit = 2 * LARGEST + (256 << 20);
    assert!(size > limit + limit / 2, "the checkpoint is larger than the limit");
    let name = "memory_stays_below_twice_the_largest_tensor_and_256_mib";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let peak = text.lines().find_map(|line| line.split("peak KiB: ").nth(1)).expect("the child reports its peak");
    let peak = peak.trim().parse::<usize>().unwrap() << 10;
    eprintln!("checkpoint {} MiB, peak {} MiB, limit {} MiB", size >> 20, peak >> 20, limit >> 20);
    assert!(peak < limit, "peak {} MiB, limit {} MiB", peak >> 20, limit >> 20);
}

fn convert_and_quantise(directory: &Path) {
    let plan = convert::plan(directory, directory, &ConvertOptions::new(WeightType::F16)).unwrap();
    plan.write(&mut no_progress).unwrap();
    let file = GgufFile::open(&plan.files[0].path).unwrap();
    content_hash(&file, &mut no_progress).unwrap();
    let plan = quantize::plan(&file, &QuantizeOptions::new(QuantType::Q4_0)).unwrap();
    plan.write(&directory.join("quantised.gguf"), &mut no_progress).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak KiB: {}", peak.trim().trim_end_matches(" kB"));
}

/// Writes a Qwen2 checkpoint whose weights are a hole in the file; returns its size in bytes.
fn write_sparse_checkpoint(directory: &Path) -> usize {
    let config = serde_json::json!({"model_type": "qwen2", "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "vocab_size": VOCAB, "max_position_embeddings": 64});
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    std::fs::write(directory.join("vocab.json"), r#"{"a": 0}"#).unwrap();
    std::fs::write(directory.join("merges.txt"), "").unwrap();
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let mut tensor = |name: &str, shape: &[usize]| {
            tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        };
        for name in ["q", "k", "v"] {
            tensor(&format!("self_attn.{name}_proj.weight"), &[HIDDEN, HIDDEN]);
            tensor(&format!("self_attn.{name}_proj.bias"), &[HIDDEN]);
        }
        tensor("self_attn.o_proj.weight", &[HIDDEN, HIDDEN]);
        tensor("mlp.gate_proj.weight", &[FEED_FORWARD, HIDDEN]);
        tensor("mlp.up_proj.weight", &[FEED_FORWARD, HIDDEN]);
        tensor("mlp.down_proj.weight", &[HIDDEN, FEED_FORWARD]);
        tensor("input_layernorm.weight", &[HIDDEN]);
        tensor("post_attention_layernorm.weight", &[HIDDEN]);
    }
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * 4;
        header.insert(name, serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}));
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = File::create(directory.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    end
}
