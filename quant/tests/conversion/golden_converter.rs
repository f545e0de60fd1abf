//! Our conversion against what llama.cpp's own Python converter writes
//! (`tests/fixtures/llama_cpp_converter/README.md`).

use std::collections::BTreeSet;
use std::path::Path;

use crate::common;
use mmprm_quant::convert::{ConvertOptions, PlannedFile, WeightType, plan};
use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue, TensorInfo};
use mmprm_quant::progress::no_progress;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An intended difference.
struct Difference {
    /// The key, or a prefix followed by `*`.
    key: &'static str,
    reason: &'static str,
    /// Whether llama.cpp's converter writes the key.
    theirs: bool,
    /// Checks our value; `None` if we do not write the key.
    ours: Option<fn(&GgufFile, &GgufValue) -> bool>,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        key: "general.name",
        reason: "the converter turns the directory's name into a title (`Mini Mm Policy`); ours keeps the name",
        theirs: true,
        ours: Some(|file, value| file.path().to_string_lossy().contains(value.as_str().unwrap())),
    },
    Difference {
        key: "tokenizer.ggml.eot_token_id",
        reason: "the converter lets llama.cpp find the end of a turn by its text; ours writes it",
        theirs: false,
        ours: Some(|file, value| ["<|im_end|>", "<|eot_id|>"].contains(&token(file, value))),
    },
    Difference {
        key: "tokenizer.ggml.unknown_token_id",
        reason: "the converter looks up roles only in tokenizer.json; this one is in tokenizer_config.json",
        theirs: false,
        ours: Some(|file, value| token(file, value) == "<unk>"),
    },
    Difference {
        key: "tokenizer.ggml.add_bos_token",
        reason: "the files do not set it, so llama.cpp's default for sentencepiece applies; ours writes it",
        theirs: false,
        ours: Some(|_, value| value == &GgufValue::Bool(true)),
    },
    Difference {
        key: "tokenizer.ggml.add_eos_token",
        reason: "the files do not set it, so llama.cpp's default for sentencepiece applies; ours writes it",
        theirs: false,
        ours: Some(|_, value| value == &GgufValue::Bool(false)),
    },
    Difference {
        key: "tokenizer.ggml.add_sep_token",
        reason: "the template in tokenizer.json has no separator, as is llama.cpp's default; ours does not write it",
        theirs: true,
        ours: None,
    },
    Difference {
        key: "tokenizer.ggml.add_space_prefix",
        reason: "the converter leaves llama.cpp's default for sentencepiece; ours writes what the model file says",
        theirs: false,
        ours: Some(|_, value| value == &GgufValue::Bool(true)),
    },
    Difference {
        key: "clip.vision.feed_forward_length",
        reason: "for Qwen2-VL the converter takes the language model's width, which clip does not use; ours is the tower's",
        theirs: true,
        ours: Some(|file, value| {
            let bias = file.tensor("v.blk.0.ffn_up.bias").unwrap();
            file.get_str("clip.projector_type").unwrap() == "qwen2vl_merger" && value.as_u64() == Some(bias.dims[0])
        }),
    },
    Difference { key: "mmprm.*", reason: "what llama.cpp has no keys for", theirs: false, ours: Some(|_, _| true) },
];

#[test]
fn golden_conversions_agree_with_llama_cpps_converter() {
    let checkpoints = common::checkpoints();
    let families = [
        "qwen2_5",
        "qwen3",
        "llama2",
        "llama3",
        "mistral",
        "internvl3",
        "internvl3_5",
        "qwen2-vl",
        "qwen2_5-vl",
        "qwen3-vl",
    ];
    for name in ["internlm2", "qwen2", "mini-mm-policy"].into_iter().chain(families) {
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/llama_cpp_converter/{name}.json"));
        let fixture: Value = serde_json::from_slice(&std::fs::read(fixture).unwrap()).unwrap();
        let in_families = common::golden().join("families").join(name);
        let is_known = |checkpoint: &&std::path::PathBuf| checkpoint.ends_with(name);
        let checkpoint = checkpoints.iter().find(is_known).unwrap_or(&in_families);
        if same_source(checkpoint, &fixture["source"]) {
            compare(checkpoint, &fixture);
        } else {
            // Golden data from elsewhere may have other weights.
            assert!(std::env::var_os("MMPRM_GOLDEN").is_some(), "{name} is not what the converter's output is for");
            eprintln!("skipped: {} is not what the converter's output is for", checkpoint.display());
        }
    }
}

fn same_source(checkpoint: &Path, source: &Value) -> bool {
    source.as_object().unwrap().iter().all(|(file, hash)| {
        std::fs::read(checkpoint.join(file)).is_ok_and(|bytes| common::sha256(&bytes) == hash.as_str().unwrap())
    })
}

fn compare(checkpoint: &Path, fixture: &Value) {
    let output = tempfile::tempdir().unwrap();
    let recorded = |weight_type: &WeightType| fixture["language"].get(weight_type.name()).is_some();
    for weight_type in common::weight_types().filter(recorded) {
        let options = ConvertOptions { vision_type: weight_type, ..ConvertOptions::new(weight_type) };
        let plan = plan(checkpoint, output.path(), &options).unwrap();
        plan.write(&mut no_progress).unwrap();
        for (file, part) in plan.files.iter().zip(["language", "mmproj"]) {
            compare_file(file, &fixture[part][weight_type.name()]);
        }
    }
}

fn compare_file(planned: &PlannedFile, expected: &Value) {
    let file = GgufFile::open(&planned.path).unwrap();
    let place = planned.path.file_name().unwrap().to_str().unwrap();
    let theirs = expected["metadata"].as_object().unwrap();
    let keys: BTreeSet<&str> =
        theirs.keys().map(String::as_str).chain(file.metadata().iter().map(|(key, _)| key.as_str())).collect();
    for key in keys {
        let ours = file.get(key).map(describe);
        if ours.as_ref() == theirs.get(key) {
            continue;
        }
        let intended = DIFFERENCES.iter().find(|difference| {
            matches(difference.key, key)
                && difference.theirs == theirs.contains_key(key)
                && match (file.get(key), difference.ours) {
                    (Some(value), Some(fits)) => fits(&file, value),
                    (found, expected) => found.is_none() && expected.is_none(),
                }
        });
        match intended {
            Some(difference) => eprintln!("{place}: {key} differs: {}", difference.reason),
            None => panic!("{place}: {key}: ours {ours:?}, theirs {:?}", theirs.get(key)),
        }
    }
    let theirs = expected["tensors"].as_object().unwrap();
    assert_eq!(file.tensors().len(), theirs.len(), "{place}: number of tensors");
    for tensor in file.tensors() {
        if tensor.name == "v.position_embd.weight" && file.tensor("v.class_embd").is_some() {
            compare_positions(&file, tensor, &theirs[&tensor.name]);
            continue;
        }
        let hash = common::sha256(file.tensor_data(tensor));
        let ours = serde_json::json!([tensor.ggml_type.to_string(), tensor.dims, hash]);
        assert_eq!(Some(&ours), theirs.get(&tensor.name), "{place}: {}", tensor.name);
    }
}

/// The only tensor that differs intentionally: the converter keeps the class token's position
/// first, but llama.cpp's graph places that token last, so that each patch gets the next one's
/// position and embeddings are far from MM-PRM's. Ours has the row where the graph reads it, and no
/// trailing dimension of 1.
fn compare_positions(file: &GgufFile, tensor: &TensorInfo, theirs: &Value) {
    let mut data = file.tensor_data(tensor).to_vec();
    let row = data.len() / tensor.dims[1] as usize;
    data.rotate_right(row);
    let dims = [tensor.dims[0], tensor.dims[1], 1];
    assert_eq!(serde_json::json!([tensor.ggml_type.to_string(), dims, common::sha256(&data)]), *theirs);
}

fn token<'a>(file: &'a GgufFile, id: &GgufValue) -> &'a str {
    file.get_strings("tokenizer.ggml.tokens").unwrap().get(id.as_u32().unwrap() as usize).unwrap()
}

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => pattern == key,
    }
}

/// Returns a value in the form of the fixtures.
fn describe(value: &GgufValue) -> Value {
    let kind = value.type_name();
    match value {
        GgufValue::String(text) => serde_json::json!({"type": kind, "value": text}),
        GgufValue::Bool(value) => serde_json::json!({"type": kind, "value": value}),
        GgufValue::U32(value) => serde_json::json!({"type": kind, "value": value}),
        GgufValue::F32(value) => serde_json::json!({"type": kind, "value": f64::from(*value)}),
        GgufValue::Array(GgufArray::I32(values)) if values.len() <= 8 => {
            serde_json::json!({"type": kind, "value": values})
        }
        GgufValue::Array(GgufArray::Bool(values)) if values.len() <= 8 => {
            serde_json::json!({"type": kind, "value": values})
        }
        GgufValue::Array(GgufArray::F32(values)) if values.len() <= 8 => {
            let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
            serde_json::json!({"type": kind, "value": values})
        }
        GgufValue::Array(array) => {
            let hash = format!("{:x}", hash(array).finalize());
            serde_json::json!({"type": kind, "length": array.len(), "sha256": hash})
        }
        other => panic!("no converter writes {other:?}"),
    }
}

fn hash(array: &GgufArray) -> Sha256 {
    let mut hash = Sha256::new();
    match array {
        GgufArray::String(texts) => texts.iter().for_each(|text| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }),
        GgufArray::I32(values) => values.iter().for_each(|value| hash.update(value.to_le_bytes())),
        GgufArray::F32(values) => values.iter().for_each(|value| hash.update(value.to_le_bytes())),
        other => panic!("no converter writes {}", other.type_name()),
    }
    hash
}
