//! Conversion of the families of language models, and of both layouts of `InternVL`.

use std::path::Path;

use crate::checkpoint::{Checkpoint, each_key};
use crate::common;
use mmprm_quant::convert::{ConvertOptions, WINDOW, WeightType, plan};
use mmprm_quant::gguf::{GgufFile, GgufValue};
use mmprm_quant::hf::origin::FORM_KEY;
use mmprm_quant::hf::source::{ARCHITECTURE_KEY, NAME_KEY};
use serde_json::{Value, json};

fn value(checkpoint: &Checkpoint, key: &str) -> Option<GgufValue> {
    let metadata = checkpoint.plan(WeightType::F32).unwrap().files.remove(0).metadata;
    metadata.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

#[test]
fn each_family_is_the_architecture_that_llama_cpp_computes() {
    for (family, arch) in [("qwen2", "qwen2"), ("qwen3", "qwen3"), ("llama", "llama"), ("mistral", "llama")] {
        let mut checkpoint = if family == "qwen2" { Checkpoint::qwen2() } else { Checkpoint::text(family) };
        if arch == "llama" {
            checkpoint = with_splitter(checkpoint);
        }
        assert_eq!(value(&checkpoint, "general.architecture"), Some(arch.into()), "{family}");
    }
}

/// Adds a `tokenizer.json`, without which only Qwen's tokenizers are known.
fn with_splitter(mut checkpoint: Checkpoint) -> Checkpoint {
    let split = concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    let steps = json!([{"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]);
    let json = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "model": {"type": "BPE", "ignore_merges": true, "vocab": {}, "merges": []}});
    checkpoint.tokenizer_json = Some(json);
    checkpoint
}

#[test]
fn what_a_family_lacks_or_has_too_much_is_named() {
    let mut qwen3 = Checkpoint::text("qwen3");
    qwen3.remove("q_norm");
    qwen3.refused("tensor 'model.layers.0.self_attn.q_norm.weight': missing, expected shape [4]");
    let mut llama = with_splitter(Checkpoint::text("llama"));
    llama.tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![8]));
    llama.refused("tensor 'model.layers.0.self_attn.q_proj.bias': not part of this architecture");
    llama.tensors.pop();
    llama.config["head_dim"] = json!(3);
    llama.refused("key 'head_dim': heads 3 wide, expected an even width");
    llama.config["head_dim"] = json!(2);
    llama.refused("tensor 'model.layers.0.self_attn.q_proj.weight': shape [8, 8], expected [4, 8]");
    llama.config["head_dim"] = Value::Null;
    llama.tokenizer_json = None;
    llama.refused("tokenizer.json: pre_tokenizer: missing, expected how texts are split");
    for (key, setting) in [("attention_bias", json!(true)), ("mlp_bias", json!(true)), ("num_local_experts", json!(8))]
    {
        let mut llama = with_splitter(Checkpoint::text("llama"));
        llama.config[key] = setting;
        llama.refused(&format!("config.json: key '{key}'"));
    }
    let mut qwen2 = Checkpoint::qwen2();
    qwen2.config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32});
    qwen2.refused("key 'rope_scaling.rope_type': 'llama3' in a model of type qwen2, expected it with llama or mistral");
}

#[test]
fn unknown_models_are_refused_by_name_with_those_that_are_known() {
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.config["model_type"] = json!("gemma3_text");
    checkpoint.config["architectures"] = json!(["Gemma3ForCausalLM"]);
    checkpoint.refused(
        "config.json: key 'model_type': 'gemma3_text' (Gemma3ForCausalLM), expected internvl_chat, internvl, qwen2_vl, \
         qwen2_5_vl, qwen3_vl, internlm2, qwen2, qwen3, llama, mistral",
    );
}

#[test]
fn a_sliding_window_is_recorded_and_noted() {
    let mut checkpoint = with_splitter(Checkpoint::text("mistral"));
    for (window, recorded) in
        [(json!(16), Some(GgufValue::U32(16))), (json!(64), None), (Value::Null, None), (json!(4096), None)]
    {
        checkpoint.config["sliding_window"] = window;
        assert_eq!(value(&checkpoint, WINDOW), recorded);
    }
    checkpoint.config["sliding_window"] = json!(16);
    let notes = checkpoint.plan(WeightType::F32).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("the last 16 tokens")), "{notes:?}");
    // Without the key it is 4096, as in transformers.
    checkpoint.config.as_object_mut().unwrap().remove("sliding_window");
    checkpoint.config["max_position_embeddings"] = json!(8192);
    assert_eq!(value(&checkpoint, WINDOW), Some(GgufValue::U32(4096)));
    checkpoint.config["sliding_window"] = json!(-1);
    checkpoint.refused("key 'sliding_window': -1, expected a number of positions or null");
}

#[test]
fn source_and_form_are_recorded() {
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.config["architectures"] = json!(["Qwen2ForCausalLM"]);
    checkpoint.config["_name_or_path"] = json!("Qwen/Qwen2.5-Math-7B");
    assert_eq!(value(&checkpoint, ARCHITECTURE_KEY), Some("Qwen2ForCausalLM".into()));
    assert_eq!(value(&checkpoint, NAME_KEY), Some("Qwen/Qwen2.5-Math-7B".into()));
    assert_eq!(value(&checkpoint, FORM_KEY), None);
    let form = "name = \"x\"\n";
    let metadata = vec![(FORM_KEY.to_owned(), GgufValue::from(form))];
    let options = ConvertOptions { metadata, ..ConvertOptions::new(WeightType::F32) };
    let out = checkpoint.directory.path().join("out");
    let metadata = plan(&checkpoint.path(), &out, &options).unwrap().files.remove(0).metadata;
    assert!(metadata.contains(&(FORM_KEY.to_owned(), GgufValue::from(form))));
    checkpoint.write("mmprm.json", r#"{"task": "policy"}"#);
    let error = plan(&checkpoint.path(), &out, &options).unwrap_err().to_string();
    assert!(error.contains("mmprm.json: this checkpoint was trained as a policy"), "{error}");
}

/// Copies a golden checkpoint, so that it can be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(common::golden().join("families").join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

fn refusal(folder: &Path) -> Option<String> {
    let options = ConvertOptions::new(WeightType::F32);
    plan(folder, &folder.join("out"), &options).err().map(|error| error.to_string())
}

#[test]
fn settings_of_the_transformers_layout_are_read_or_refused() {
    let folder = copy("internvl3-hf");
    let whole = config(folder.path());
    assert_eq!(refusal(folder.path()), None);
    for (place, value, expected) in [
        ("/vision_config/use_mask_token", json!(true), "key 'vision_config.use_mask_token': true, expected false"),
        ("/vision_config/use_mean_pooling", json!(false), "key 'vision_config.use_mean_pooling': false"),
        ("/vision_config/image_size", json!([56, 28]), "key 'vision_config.image_size': 56 × 28, expected a square"),
        ("/vision_config/model_type", json!("siglip"), "key 'vision_config.model_type'"),
        ("/vision_config/attention_bias", json!(false), "attention.k_proj.bias': not part of this architecture"),
        ("/vision_config/use_qk_norm", json!(true), "attention.q_norm.weight': missing"),
        ("/vision_feature_layer", json!(-2), "key 'vision_feature_layer': -2, expected -1"),
        ("/vision_feature_select_strategy", json!("full"), "key 'vision_feature_select_strategy': 'full'"),
        ("/projector_hidden_act", json!("relu"), "key 'projector_hidden_act': 'relu', expected 'gelu'"),
        ("/text_config/attention_bias", json!(true), "key 'text_config.attention_bias': true"),
        ("/text_config/architectures", json!(["Qwen2ForTokenClassification"]), "key 'text_config.architectures'"),
        ("/architectures", json!(["LlavaForConditionalGeneration"]), "key 'architectures'"),
        ("/tie_word_embeddings", json!(true), "language_model.lm_head.weight': differs from the embeddings"),
        ("/gate_scale", json!(2), "key 'gate_scale': 2"),
    ] {
        let mut config = whole.clone();
        let (section, key) = place.rsplit_once('/').unwrap();
        config.pointer_mut(section).unwrap()[key] = value;
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let error = refusal(folder.path()).unwrap_or_else(|| panic!("{place} is accepted"));
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

#[test]
fn tiles_of_the_transformers_layout_are_those_of_its_preprocessor() {
    let folder = copy("internvl3-hf");
    let tiles = || {
        let plan = plan(folder.path(), &folder.path().join("out"), &ConvertOptions::new(WeightType::F32)).unwrap();
        let metadata = &plan.files[0].metadata;
        ["mmprm.image.min_tiles", "mmprm.image.max_tiles"]
            .map(|key| metadata.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_u32()).unwrap())
    };
    assert_eq!(tiles(), [1, 12]);
    let own = folder.path().join("preprocessor_config.json");
    std::fs::write(&own, r#"{"crop_to_patches": false, "min_patches": 2, "max_patches": 5}"#).unwrap();
    assert_eq!(tiles(), [2, 5]);
    std::fs::rename(&own, folder.path().join("other.json")).unwrap();
    assert_eq!(tiles(), [1, 12]);
    // transformers 5 has it inside another file.
    let inner = json!({"image_processor": {"max_patches": 3}, "processor_class": "InternVLProcessor"});
    std::fs::write(folder.path().join("processor_config.json"), inner.to_string()).unwrap();
    assert_eq!(tiles(), [1, 3]);
}

#[test]
fn modules_may_be_named_as_in_memory() {
    let folder = copy("internvl3-hf");
    let plan_of = || plan(folder.path(), &folder.path().join("out"), &ConvertOptions::new(WeightType::F32)).unwrap();
    let usual = plan_of();
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
    let header = header
        .replace("\"language_model.model.", "\"model.language_model.")
        .replace("\"language_model.lm_head", "\"lm_head")
        .replace("\"vision_tower.", "\"model.vision_tower.")
        .replace("\"multi_modal_projector.", "\"model.multi_modal_projector.");
    common::write_safetensors_raw(&path, &header, &bytes[8 + length..]);
    let nested = plan_of();
    for (one, other) in usual.files.iter().zip(&nested.files) {
        let specs = |file: &mmprm_quant::convert::PlannedFile| {
            file.tensors.iter().map(|tensor| tensor.spec.clone()).collect::<Vec<_>>()
        };
        assert_eq!(specs(one), specs(other));
    }
    assert!(nested.files[0].tensors.iter().any(|tensor| tensor.source == "model.language_model.norm.weight"));
    assert!(nested.files[1].tensors.iter().all(|tensor| tensor.source.starts_with("model.")));
}

#[test]
fn configurations_of_every_family_have_no_unknown_keys() {
    let mut compared = 0;
    for entry in std::fs::read_dir(common::golden().join("families")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() {
            let out = tempfile::tempdir().unwrap();
            let notes = plan(&folder, out.path(), &ConvertOptions::new(WeightType::F32)).unwrap().notes;
            let is_expected = |note: &String| folder.ends_with("mistral") && note.contains("the last 128 tokens");
            assert!(notes.iter().all(is_expected), "{}: {notes:?}", folder.display());
            compared += 1;
        }
    }
    assert!(compared > 10);
}

#[test]
fn an_adapter_of_llama_has_its_rows_where_the_base_has_them() {
    let base = common::golden().join("families/llama3");
    let folder = tempfile::tempdir().unwrap();
    let query = "base_model.model.model.layers.0.self_attn.q_proj";
    let (down, up) = (format!("{query}.lora_A.weight"), format!("{query}.lora_B.weight"));
    std::fs::write(folder.path().join("adapter_config.json"), r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1}"#)
        .unwrap();
    common::write_safetensors(
        &folder.path().join("adapter_model.safetensors"),
        &[(&down, vec![1, 64]), (&up, vec![64, 1])],
        |_, index| index as f32,
    );
    let out = folder.path().join("out");
    let converted = mmprm_quant::convert::adapter::plan(folder.path(), &base, &out, WeightType::F32).unwrap();
    converted.write().unwrap();
    let file = GgufFile::open(&converted.path).unwrap();
    let up = file.tensor("blk.0.attn_q.weight.lora_b").unwrap();
    let rows: Vec<f32> =
        file.tensor_data(up).chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(rows[..6], [0.0, 8.0, 1.0, 9.0, 2.0, 10.0]);
    assert_eq!(rows[16..18], [16.0, 24.0]);
}

#[test]
fn tokens_around_a_text_are_those_of_the_template_or_of_the_class() {
    let folder = copy("llama3");
    let path = |name: &str| folder.path().join(name);
    let read = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap() };
    let (config, whole) = (read("tokenizer_config.json"), read("tokenizer.json"));
    let adds = |change: &dyn Fn(&mut Value, &mut Value)| {
        let (mut config, mut json) = (config.clone(), whole.clone());
        change(&mut config, &mut json);
        std::fs::write(path("tokenizer_config.json"), config.to_string()).unwrap();
        std::fs::write(path("tokenizer.json"), json.to_string()).unwrap();
        let plan = plan(folder.path(), &path("out"), &ConvertOptions::new(WeightType::F32))?;
        let flag = plan.files[0].metadata.iter().find(|(key, _)| key == "tokenizer.ggml.add_bos_token").unwrap();
        Ok::<bool, mmprm_quant::ConvertError>(flag.1.as_bool().unwrap())
    };
    assert!(adds(&|_, _| {}).unwrap());
    // A class that is not of a family ignores the setting.
    for class in ["PreTrainedTokenizerFast", "TokenizersBackend"] {
        let general = |config: &mut Value, _: &mut Value| {
            config["tokenizer_class"] = json!(class);
            config["add_bos_token"] = json!(false);
        };
        assert!(adds(&general).unwrap(), "{class}");
    }
    let own = |config: &mut Value, _: &mut Value| {
        config["tokenizer_class"] = json!("LlamaTokenizerFast");
        config["add_bos_token"] = json!(false);
    };
    assert!(!adds(&own).unwrap());
    assert!(!adds(&|_, json| json["post_processor"] = Value::Null).unwrap());
    // llama.cpp can add no other token.
    let error = adds(&|config, _| config["bos_token"] = json!("<|eot_id|>")).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: key 'post_processor': a template with the tokens [360]"), "{error}");
}

#[test]
fn any_value_of_any_key_of_any_family_is_accepted_or_refused_with_the_file() {
    let values = [
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!("x"),
        json!([]),
        json!([{}]),
        json!({}),
        json!({"a": 1}),
    ];
    for name in ["qwen3", "qwen2-tokens", "llama3", "mistral", "internvl3_5-hf"] {
        let folder = copy(name);
        let whole = config(folder.path());
        let mut refused = 0;
        each_key(&whole, "", &mut |path| {
            for value in &values {
                let mut config = whole.clone();
                *config.pointer_mut(path).unwrap() = value.clone();
                std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
                if let Some(error) = refusal(folder.path()) {
                    refused += 1;
                    assert!(error.contains(folder.path().to_str().unwrap()), "{name} {path} = {value}: {error}");
                }
            }
        });
        assert!(refused > 80, "{name}: {refused}");
    }
}
