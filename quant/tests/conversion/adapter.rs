//! Adapters in PEFT's format: reading, conversion, and refusal of invalid ones with file and
//! tensor.

use std::path::{Path, PathBuf};

use crate::common::{golden_path, write_safetensors};
use mmprm_quant::adapter::Adapter;
use mmprm_quant::blocks::GgmlType;
use mmprm_quant::check;
use mmprm_quant::convert::{ConvertError, ConvertOptions, WeightType, adapter, plan};
use mmprm_quant::gguf::{GgufFile, GgufValue, GgufWriter, TensorSpec};
use mmprm_quant::progress::no_progress;
use serde_json::{Value, json};

/// A change to the header and tensors of a file.
type Change<'a, Header, Tensor> = &'a dyn Fn(&mut Header, &mut Vec<Tensor>);

const QUERY: &str = "base_model.model.language_model.model.layers.0.self_attn.q_proj";
const HEAD: &str = "base_model.model.language_model.lm_head.token_adapter.trainable_tokens_delta";

fn config() -> Value {
    json!({"peft_type": "LORA", "r": 2, "lora_alpha": 3, "bias": "none", "use_dora": false, "rank_pattern": {},
           "trainable_token_indices": {"lm_head": [7]}})
}

fn write(directory: &Path, config: &Value, tensors: &[(&str, Vec<usize>)]) {
    std::fs::write(directory.join("adapter_config.json"), config.to_string()).unwrap();
    write_safetensors(&directory.join("adapter_model.safetensors"), tensors, |name, index| {
        (name.len() + index) as f32 * 0.01
    });
}

fn pair(down: Vec<usize>, up: Vec<usize>) -> Vec<(String, Vec<usize>)> {
    vec![(format!("{QUERY}.lora_A.weight"), down), (format!("{QUERY}.lora_B.weight"), up)]
}

fn named(tensors: &[(String, Vec<usize>)]) -> Vec<(&str, Vec<usize>)> {
    tensors.iter().map(|(name, shape)| (name.as_str(), shape.clone())).collect()
}

#[test]
fn tensors_are_keyed_by_the_names_of_the_base() {
    let directory = tempfile::tempdir().unwrap();
    let mut tensors = pair(vec![2, 5], vec![6, 2]);
    tensors.push((HEAD.into(), vec![1, 5]));
    tensors.push(("base_model.model.mlp1.1.bias".into(), vec![4]));
    write(directory.path(), &config(), &named(&tensors));
    let adapter = Adapter::open(directory.path()).unwrap();
    let found = &adapter.pairs["language_model.model.layers.0.self_attn.q_proj.weight"];
    assert_eq!((found.down.rows, found.down.cols, found.up.rows, found.up.cols), (2, 5, 6, 2));
    assert!((adapter.scale(found) - 1.5).abs() < 1e-6);
    let rows = &adapter.rows["language_model.lm_head.weight"];
    assert_eq!((rows.tokens.as_slice(), rows.rows.row(0).len()), ([7].as_slice(), 5));
    assert_eq!(adapter.full_tensors["mlp1.1.bias"].shape, [4]);
}

#[test]
fn configurations_other_than_plain_lora_are_refused() {
    let refused = |change: Change<'_, Value, (String, Vec<usize>)>, expected: &str| {
        let directory = tempfile::tempdir().unwrap();
        let (mut config, mut tensors) = (config(), pair(vec![2, 5], vec![6, 2]));
        change(&mut config, &mut tensors);
        write(directory.path(), &config, &named(&tensors));
        let message = Adapter::open(directory.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}, expected {expected}");
    };
    refused(
        &|config, _| config["use_dora"] = json!(true),
        "adapter_config.json: use_dora: true, which is not supported",
    );
    refused(&|config, _| config["init_lora_weights"] = json!("pissa_niter_4"), "init_lora_weights: \"pissa_niter_4\"");
    refused(&|config, _| config["rank_pattern"] = json!({"q_proj": 4}), "rank 2, expected 4");
    refused(&|config, _| config["exclude_modules"] = json!(["q_proj"]), "excluded by 'q_proj'");
    for (name, expected) in [
        ("lora_B.bias", "lora_B.bias': the bias of an adapter"),
        ("lora_embedding_A", "an adapter of an embedding"),
        ("lora_magnitude_vector.weight", "the magnitude of DoRA"),
        ("lora_magnitude_vector", "the magnitude of DoRA"),
        ("lora_A.default.weight", "a name with that of the adapter"),
        ("base_layer.weight", "a tensor of the base inside PEFT's wrapper"),
        ("modules_to_save.default.weight", "a tensor inside PEFT's wrapper"),
        ("lora_diag", "a tensor of another variant of LoRA"),
    ] {
        refused(&|_, tensors| tensors.push((format!("{QUERY}.{name}"), vec![2, 2])), expected);
    }
    refused(&|config, _| config["modules_to_save"] = json!(["lm_head"]), "modules_to_save: 'lm_head', but");
    refused(&|_, tensors| tensors.clear(), "adapter_model.safetensors: tensors: none");
    refused(&|_, _| (), "trainable_token_indices: {\"lm_head\":[7]}, but");
    refused(&|config, _| config["lora_alpha"] = json!(0), "lora_alpha: 0, expected a positive number");
    refused(&|config, _| config["bias"] = json!("all"), "bias: \"all\", expected \"none\"");
    refused(&|config, _| *config = json!([]), "peft_type: null");
    refused(&|_, tensors| drop(tensors.remove(1)), "lora_B.weight': missing, expected next to its lora_A");
    refused(&|_, tensors| drop(tensors.remove(0)), "lora_A.weight': missing, expected next to its lora_B");
    refused(&|_, tensors| tensors[1].1 = vec![6, 3], "F32 [6, 3], expected floats [outputs, 2]");
    refused(&|_, tensors| tensors[0].1 = vec![10], "shape [10], expected a matrix");
    refused(&|_, tensors| tensors[0].0 = "adapter.q_proj.lora_A.weight".into(), "begins with base_model.model.");
    refused(&|_, tensors| tensors.push((HEAD.into(), vec![2, 5])), "2 rows, expected one per token");
    refused(
        &|config, tensors| {
            config["trainable_token_indices"] = Value::Null;
            tensors.push((HEAD.into(), vec![1, 5]));
        },
        "1 rows, expected one per token",
    );
}

/// Plans the conversion of an adapter of the golden base in 32 bits; `tensors` gets its inputs and outputs.
fn planned(
    directory: &Path,
    change: &Value,
    tensors: &dyn Fn(usize, usize) -> Vec<(String, Vec<usize>)>,
) -> Option<Result<adapter::AdapterPlan, ConvertError>> {
    let base = golden_path("ckpt/qwen2")?;
    let model = plan(&base, directory, &ConvertOptions::new(WeightType::F32)).unwrap();
    let query = model.files[0].tensors.iter().find(|tensor| tensor.spec.name == "blk.0.attn_q.weight").unwrap();
    let [inputs, outputs] = query.spec.dims[..] else { panic!("not a matrix") };
    let mut config = config();
    config["trainable_token_indices"] = Value::Null;
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    write(directory, &config, &named(&tensors(inputs as usize, outputs as usize)));
    Some(adapter::plan(directory, &base, directory, WeightType::F32))
}

#[test]
fn other_scales_than_alpha_over_rank_are_written_into_b() {
    let directory = tempfile::tempdir().unwrap();
    let tensors = |inputs: usize, outputs: usize| pair(vec![2, inputs], vec![outputs, 2]);
    let up = |change: &Value| {
        let plan = planned(directory.path(), change, &tensors)?.unwrap();
        plan.write().unwrap();
        let values = floats(&GgufFile::open(&plan.path).unwrap(), "blk.0.attn_q.weight.lora_b");
        Some(values[5])
    };
    let Some(plain) = up(&json!({})) else { return };
    let near = |found: Option<f32>, factor: f32| (found.unwrap() / plain / factor - 1.0).abs() < 1e-6;
    assert!(near(up(&json!({"use_rslora": true})), 2f32.sqrt()));
    assert!(near(up(&json!({"alpha_pattern": {"q_proj": 6}})), 2.0));
    assert!(near(up(&json!({"r": 64, "rank_pattern": {"self_attn.q_proj": 2}})), 1.0));
}

#[test]
fn whole_and_resized_heads_are_errors_and_a_projector_a_note() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["language_model.lm_head.weight", "language_model.model.embed_tokens.weight"] {
        let tensors = |inputs: usize, outputs: usize| {
            let mut list = pair(vec![2, inputs], vec![outputs, 2]);
            list.push((format!("base_model.model.{name}"), vec![3, inputs]));
            list
        };
        let module = name.rsplit('.').nth(1);
        let Some(result) = planned(directory.path(), &json!({"modules_to_save": [module]}), &tensors) else {
            return;
        };
        let message = result.unwrap_err().to_string();
        assert!(message.contains(&format!("tensor '{name}': a fully trained tensor")), "{message}");
    }
    let tensors = |inputs: usize, outputs: usize| {
        let mut list = pair(vec![2, inputs], vec![outputs, 2]);
        list.push(("base_model.model.mlp1.1.bias".into(), vec![4]));
        list
    };
    let plan = planned(directory.path(), &json!({"modules_to_save": ["mlp1"]}), &tensors).unwrap().unwrap();
    assert!(plan.notes[0].contains("use the mmproj file of the merged checkpoint"), "{:?}", plan.notes);
}

/// Returns the paths of a converted base and of a converted adapter of one of its matrices, in 32 bits.
fn converted(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let base = golden_path("ckpt/qwen2")?;
    let model = plan(&base, directory, &ConvertOptions::new(WeightType::F32)).unwrap();
    model.write(&mut no_progress).unwrap();
    let file = GgufFile::open(&model.files[0].path).unwrap();
    let [inputs, outputs] = file.tensor("blk.0.attn_q.weight").unwrap().dims[..] else { panic!("not a matrix") };
    let width = file.tensor("output.weight").unwrap().dims[0] as usize;
    let mut tensors = pair(vec![2, inputs as usize], vec![outputs as usize, 2]);
    tensors.push((HEAD.into(), vec![1, width]));
    let folder = directory.join("tuned");
    std::fs::create_dir(&folder).unwrap();
    write(&folder, &config(), &named(&tensors));
    let plan = adapter::plan(&folder, &base, directory, WeightType::F32).unwrap();
    plan.write().unwrap();
    assert_eq!(plan.path.file_name().unwrap(), "tuned-lora-f32.gguf");
    Some((model.files[0].path.clone(), plan.path))
}

fn floats(file: &GgufFile, name: &str) -> Vec<f32> {
    let data = file.tensor_data(file.tensor(name).unwrap());
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn retrained_rows_become_differences_and_a_selection() {
    let directory = tempfile::tempdir().unwrap();
    let Some((base, tuned)) = converted(directory.path()) else { return };
    let (base, tuned) = (GgufFile::open(&base).unwrap(), GgufFile::open(&tuned).unwrap());
    check::adapter(&tuned, &base).unwrap();
    let (old, difference) = (floats(&base, "output.weight"), floats(&tuned, "output.weight.lora_a"));
    let width = difference.len();
    for (column, difference) in difference.iter().enumerate() {
        let new = (HEAD.len() + column) as f32 * 0.01;
        assert!((old[7 * width + column] + difference - new).abs() < 1e-6);
    }
    // llama.cpp multiplies by alpha over a rank of one.
    let picks = floats(&tuned, "output.weight.lora_b");
    assert!(picks.iter().enumerate().all(|(token, pick)| (pick * 3.0 - f32::from(u8::from(token == 7))).abs() < 1e-6));
}

#[test]
fn gguf_adapters_with_mismatched_factors_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let Some((base, tuned)) = converted(directory.path()) else { return };
    let (base, valid) = (GgufFile::open(&base).unwrap(), GgufFile::open(&tuned).unwrap());
    let refused = |change: Change<'_, Vec<(String, GgufValue)>, TensorSpec>, expected: &str| {
        let mut metadata = valid.metadata().clone();
        let spec =
            |name: &str, dims: [u64; 2]| TensorSpec { name: name.into(), dims: dims.into(), ggml_type: GgmlType::F32 };
        let mut tensors = vec![spec("blk.0.attn_q.weight.lora_a", [4, 2]), spec("blk.0.attn_q.weight.lora_b", [2, 4])];
        let [inputs, outputs] = base.tensor("blk.0.attn_q.weight").unwrap().dims[..] else { panic!("not a matrix") };
        (tensors[0].dims[0], tensors[1].dims[1]) = (inputs, outputs);
        change(&mut metadata, &mut tensors);
        let path = directory.path().join("bad.gguf");
        let mut writer = GgufWriter::create(&path, &metadata, &tensors).unwrap();
        for tensor in &tensors {
            writer.write(&vec![0; tensor.ggml_type.tensor_bytes(&tensor.dims).unwrap() as usize]).unwrap();
        }
        writer.finish().unwrap();
        let result = check::adapter(&GgufFile::open(&path).unwrap(), &base);
        match result {
            Ok(()) => assert_eq!(expected, "valid"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}, expected {expected}"),
        }
    };
    let set = |metadata: &mut Vec<(String, GgufValue)>, key: &str, value: GgufValue| {
        metadata.retain(|(known, _)| known != key);
        metadata.push((key.into(), value));
    };
    refused(&|_, _| (), "valid");
    refused(&|metadata, _| set(metadata, "general.type", "model".into()), "'model', expected 'adapter'");
    refused(&|metadata, _| set(metadata, "general.architecture", "llama".into()), "'llama', expected 'qwen2'");
    refused(&|metadata, _| set(metadata, "adapter.lora.alpha", GgufValue::F64(1.0)), "is f64, expected f32");
    refused(&|metadata, _| set(metadata, "adapter.lora.alpha", GgufValue::F32(f32::NAN)), "NaN, expected");
    refused(&|metadata, _| set(metadata, "adapter.lora.task_name", 1_u32.into()), "is u32, expected string");
    refused(&|metadata, _| metadata.retain(|(key, _)| key != "adapter.type"), "key 'adapter.type': missing");
    refused(&|_, tensors| tensors[0].dims[1] = 3, "expected a pair for");
    refused(&|_, tensors| tensors[1].dims[1] += 1, "expected a pair for");
    refused(&|_, tensors| drop(tensors.pop()), "'blk.0.attn_q.weight.lora_b' is missing");
    refused(&|_, tensors| drop(tensors.remove(0)), "'blk.0.attn_q.weight.lora_a' is missing");
    refused(&|_, tensors| tensors[0].name = "blk.0.attn_norm.weight".into(), "ends in .lora_a or .lora_b");
    refused(&|_, tensors| tensors[0].name = "blk.99.attn_q.weight.lora_a".into(), "is not a matrix of");
    refused(&|_, tensors| tensors[1].ggml_type = GgmlType::F64, "F64, expected one of");
    refused(
        &|_, tensors| {
            tensors[0].name = "token_embd.weight.lora_a".into();
            tensors[1].name = "token_embd.weight.lora_b".into();
        },
        "expected a pair for",
    );
}
