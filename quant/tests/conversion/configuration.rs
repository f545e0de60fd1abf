//! Every key of a configuration is read, refused by name, or listed as unknown.

use crate::checkpoint::{Checkpoint, each_key};
use mmprm_quant::convert::{DYNAMIC_ROPE, WeightType};
use mmprm_quant::gguf::GgufValue;
use serde_json::{Value, json};

fn converted(scaling: &Value) -> Vec<(String, GgufValue)> {
    let mut checkpoint = Checkpoint::internvl();
    for (key, value) in scaling.as_object().unwrap() {
        checkpoint.config["llm_config"][key] = value.clone();
    }
    checkpoint.plan(WeightType::F32).unwrap().files.remove(0).metadata
}

fn number(metadata: &[(String, GgufValue)], key: &str) -> Option<f32> {
    metadata.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_f32())
}

#[test]
fn rotary_positions_of_transformers_5_are_those_of_transformers_4() {
    let old = converted(&json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}));
    let mut new = Checkpoint::internvl();
    let language = new.config["llm_config"].as_object_mut().unwrap();
    language.remove("rope_theta");
    language.insert("rope_parameters".into(), json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 500_000.0}));
    assert_eq!(new.plan(WeightType::F32).unwrap().files[0].metadata, old);
    assert_eq!(number(&old, "qwen2.rope.freq_base"), Some(5e5));
}

#[test]
fn dynamic_scaling_is_recorded_and_not_written_as_another_kind() {
    let metadata = converted(&json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}));
    assert_eq!(number(&metadata, DYNAMIC_ROPE), Some(2.0));
    assert!(metadata.iter().all(|(key, _)| !key.contains("rope.scaling")), "{metadata:?}");
    let mut checkpoint = Checkpoint::internvl();
    checkpoint.config["llm_config"]["rope_scaling"] = json!({"type": "dynamic", "factor": 2.0});
    let plan = checkpoint.plan(WeightType::F32).unwrap();
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn attention_factors_are_written_where_they_are_not_the_usual_one() {
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    let key = "qwen2.rope.scaling.attn_factor";
    assert_eq!(number(&converted(&json!({"rope_scaling": yarn})), key), None);
    let mut other = yarn;
    other["attention_factor"] = json!(1.0);
    let written = number(&converted(&json!({"rope_scaling": other})), key).unwrap();
    assert!((written * (1.0 + 0.1 * 4f32.ln()) - 1.0).abs() < 1e-6, "{written}");
}

#[test]
fn settings_of_another_model_are_refused_by_name_at_every_level() {
    for (place, value, expected) in [
        ("/llm_config/attention_bias", json!(true), "key 'llm_config.attention_bias': true, expected false"),
        ("/llm_config/use_sliding_window", json!(true), "key 'llm_config.use_sliding_window': true"),
        ("/llm_config/rope_scaling", json!({"type": "yarn", "factor": 2, "beta_fast": 8}), "rope_scaling."),
        ("/vision_config/model_type", json!("siglip_vision_model"), "key 'vision_config.model_type'"),
        ("/use_llm_lora", json!(128), "key 'use_llm_lora': 128, expected 0"),
        ("/quantization_config", json!({"bits": 4}), "key 'quantization_config'"),
    ] {
        let mut checkpoint = Checkpoint::internvl();
        let (section, key) = place.rsplit_once('/').unwrap();
        checkpoint.config.pointer_mut(section).unwrap()[key] = value;
        checkpoint.refused(expected);
    }
    let checkpoint = Checkpoint::internvl();
    checkpoint.save(|_, _| 0.0);
    checkpoint.write("preprocessor_config.json", r#"{"do_normalize": false}"#);
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("preprocessor_config.json: key 'do_normalize': false, expected true"), "{message}");
}

#[test]
fn unknown_keys_are_listed_in_one_note() {
    let mut checkpoint = Checkpoint::internvl();
    checkpoint.config["house"] = json!(1);
    checkpoint.config["llm_config"]["street"] = json!("x");
    let notes = checkpoint.plan(WeightType::F32).unwrap().notes;
    assert_eq!(notes, ["keys of the configuration that are unknown and ignored: house, llm_config.street"]);
}

#[test]
fn without_dynamic_images_there_is_one_tile() {
    let mut checkpoint = Checkpoint::internvl();
    checkpoint.config["dynamic_image_size"] = json!(false);
    let metadata = checkpoint.plan(WeightType::F32).unwrap().files.remove(0).metadata;
    let tiles = |key: &str| metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    assert_eq!(tiles("mmprm.image.max_tiles"), Some(GgufValue::U32(1)));
    assert_eq!(tiles("mmprm.image.min_tiles"), Some(GgufValue::U32(1)));
}

#[test]
fn any_value_of_any_key_is_accepted_or_refused_with_the_file() {
    let mut checkpoint = Checkpoint::internvl();
    checkpoint.config["llm_config"]["rope_scaling"] = json!({"type": "yarn", "factor": 2.0,
        "original_max_position_embeddings": 32, "attention_factor": 1.5, "beta_fast": 32, "truncate": true});
    checkpoint.save(|_, _| 0.0);
    let whole = checkpoint.config.clone();
    let values = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!("x"),
        json!([]),
        json!([{}]),
        json!({}),
        json!({"type": {}, "factor": [1]}),
    ];
    let mut refused = 0;
    each_key(&whole, "", &mut |path| {
        for value in &values {
            let mut config = whole.clone();
            *config.pointer_mut(path).unwrap() = value.clone();
            checkpoint.write("config.json", &config.to_string());
            if let Err(error) = checkpoint.plan_saved(WeightType::F32) {
                refused += 1;
                assert!(error.to_string().contains("tiny"), "{path} = {value}: {error}");
            }
        }
    });
    assert!(refused > 200, "{refused}");
}
