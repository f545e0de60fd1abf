//! `Qwen2-VL`, `Qwen2.5-VL` and `Qwen3-VL`: what is read of their configurations, and what is refused by name.

use std::path::{Path, PathBuf};

use crate::common;
use mmprm_quant::check;
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufFile, GgufValue};
use serde_json::{Value, json};

const MODELS: [&str; 3] = ["qwen2-vl", "qwen2_5-vl", "qwen3-vl"];

fn family(name: &str) -> PathBuf {
    common::golden().join("families").join(name)
}

/// Plans a checkpoint after a change of its configuration and image processor.
fn changed(name: &str, change: impl FnOnce(&mut Value, &mut Value)) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(name);
    std::fs::create_dir(&copy).unwrap();
    let read =
        |file: &str| -> Value { serde_json::from_slice(&std::fs::read(family(name).join(file)).unwrap()).unwrap() };
    let (mut config, mut processor) = (read("config.json"), read("preprocessor_config.json"));
    change(&mut config, &mut processor);
    for (file, value) in [("config.json", config), ("preprocessor_config.json", processor)] {
        std::fs::write(copy.join(file), value.to_string()).unwrap();
    }
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(family(name).join(file), copy.join(file)).unwrap();
    }
    let planned = plan(&copy, folder.path(), &ConvertOptions::new(WeightType::F32));
    planned.map(|_| ()).map_err(|error| error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "values are written where they are passed")]
fn refused(name: &str, pointer: &str, value: Value, expected: &str) {
    let set = |config: &mut Value, _: &mut Value| {
        let (section, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(section).unwrap()[key] = value.clone();
    };
    let error = changed(name, set).expect_err(&format!("{name}: {pointer} = {value}"));
    assert!(error.contains(expected), "{error}, expected {expected}");
}

#[test]
fn settings_that_llama_cpp_takes_as_given_are_refused_with_other_values() {
    let vision = |key: &str| format!("/vision_config/{key}");
    for name in MODELS {
        assert_eq!(changed(name, |_, _| {}), Ok(()), "{name}");
        refused(name, &vision("spatial_merge_size"), json!(3), "vision_config.spatial_merge_size': 3, expected 2");
        refused(name, &vision("temporal_patch_size"), json!(1), "vision_config.temporal_patch_size': 1, expected 2");
        refused(name, &vision("in_channels"), json!(4), "vision_config.in_channels': 4, expected 3");
        refused(name, &vision("hidden_act"), json!("relu"), "vision_config.hidden_act': 'relu', expected");
        refused(name, &vision("num_heads"), json!(3), "vision_config.num_heads': 3, expected a divisor of 32");
        refused(name, &vision("num_heads"), json!(16), "heads 2 wide, expected a multiple of 4");
        refused(name, &vision("new_norm_thing"), json!(2), "vision_config.new_norm_thing': 2, expected it to be off");
        refused(name, "/architectures", json!(["Qwen3VLModel"]), "'architectures': [\"Qwen3VLModel\"], expected");
        refused(name, "/vision_config", Value::Null, "key 'vision_config': missing");
        let processor = changed(name, |_, processor| processor["patch_size"] = json!(8)).unwrap_err();
        assert!(processor.contains("8 in the image processor, expected 1"), "{processor}");
        let order = |_: &mut Value, processor: &mut Value| {
            (processor["min_pixels"], processor["max_pixels"]) = (json!(2000), json!(1900));
        };
        let order = changed(name, order).unwrap_err();
        assert!(order.contains("images of 2000 to 1900 pixels, expected at least one token"), "{order}");
    }
    refused("qwen2-vl", &vision("fullatt_block_indexes"), json!([1]), "attention within windows, expected none");
    refused("qwen2-vl", &vision("hidden_size"), json!(32), "vision_config.hidden_size': 32, expected 64");
    refused("qwen2_5-vl", &vision("window_size"), json!(56), "vision_config.window_size': 56, expected 112");
    refused("qwen2_5-vl", &vision("fullatt_block_indexes"), json!([0]), "[0], expected every 1th block");
    refused("qwen2_5-vl", &vision("out_hidden_size"), json!(32), "vision_config.out_hidden_size': 32, expected 64");
    refused("qwen3-vl", &vision("num_position_embeddings"), json!(26), "26, expected a square number");
    refused(
        "qwen3-vl",
        &vision("deepstack_visual_indexes"),
        json!([2, 0]),
        "[2, 0], expected ascending numbers of blocks",
    );
    refused(
        "qwen3-vl",
        &vision("deepstack_visual_indexes"),
        json!([0, 1, 2]),
        "3 features, expected fewer than blocks",
    );
    assert!(changed("qwen2_5-vl", |config, _| config["vision_config"]["fullatt_block_indexes"] = json!([])).is_ok());
}

#[test]
fn positions_need_their_sections() {
    for (name, rope) in [("qwen2_5-vl", "/rope_scaling"), ("qwen3-vl", "/text_config/rope_parameters")] {
        let key = format!("{}.mrope_section", rope[1..].replace('/', "."));
        refused(name, &format!("{rope}/mrope_section"), json!([4, 3, 3]), &format!("{key}': "));
        refused(
            name,
            &format!("{rope}/mrope_section"),
            json!([4, 4]),
            &format!("{key}': [4,4], expected three numbers"),
        );
        refused(name, rope, json!({"rope_type": "default"}), "mrope_section': missing, expected three numbers");
    }
    let interleaved = "/text_config/rope_parameters/mrope_interleaved";
    refused("qwen3-vl", interleaved, json!(false), "mrope_interleaved': false, expected true");
    let yarn =
        json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mrope_section": [2, 3, 3]});
    refused(
        "qwen2_5-vl",
        "/rope_scaling",
        yarn,
        "scaling of positions, which is not supported with positions of three sections",
    );
}

#[test]
fn keys_that_some_versions_repeat_must_agree() {
    let repeat = |width: u64| {
        changed("qwen3-vl", |config, _| {
            config["hidden_size"] = json!(width);
            config["rope_scaling"] = json!({"type": "mrope", "mrope_section": [6, 5, 5]});
        })
    };
    assert_eq!(repeat(64), Ok(()));
    let error = repeat(32).unwrap_err();
    assert!(error.contains("key 'hidden_size': 32, expected the value of text_config.hidden_size, 64"), "{error}");
}

#[test]
fn related_models_are_refused_by_name_with_those_that_are_read() {
    for (kind, class) in [
        ("qwen3_vl_moe", "Qwen3VLMoeForConditionalGeneration"),
        ("qwen2_5_omni", "Qwen2_5OmniModel"),
        ("qwen3_5", "Qwen3_5ForConditionalGeneration"),
    ] {
        let error = changed("qwen3-vl", |config, _| {
            config["model_type"] = json!(kind);
            config["architectures"] = json!([class]);
        });
        let error = error.unwrap_err();
        let expected = format!(
            "key 'model_type': '{kind}' ({class}), expected internvl_chat, internvl, qwen2_vl, qwen2_5_vl, qwen3_vl"
        );
        assert!(error.contains(&expected), "{error}");
    }
}

/// Opens a planned file with a changed key.
fn with_key(folder: &Path, name: &str, part: usize, key: &str, value: Option<GgufValue>) -> Result<(), String> {
    let mut plan = plan(&family(name), folder, &ConvertOptions::new(WeightType::F32)).unwrap();
    let file = &mut plan.files[part];
    let before = file.metadata.len();
    file.metadata.retain(|(other, _)| other != key);
    assert!(value.is_some() || file.metadata.len() < before, "{key}");
    file.metadata.extend(value.map(|value| (key.to_owned(), value)));
    plan.write(&mut mmprm_quant::no_progress).unwrap();
    let file = GgufFile::open(&plan.files[part].path).unwrap();
    let check = if part == 0 { check::language } else { check::vision };
    check(&file).map_err(|error| error.to_string())
}

#[test]
fn files_that_llama_cpp_would_abort_on_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let array = |values: &[i32]| Some(GgufValue::from(values.to_vec()));
    let cases: Vec<(&str, usize, &str, Option<GgufValue>)> = vec![
        ("qwen2_5-vl", 0, "qwen2vl.rope.dimension_sections", None),
        ("qwen2_5-vl", 0, "qwen2vl.rope.dimension_sections", array(&[0, 0, 0, 0])),
        ("qwen2_5-vl", 0, "qwen2vl.rope.dimension_sections", array(&[2, 3, 2, 1])),
        ("qwen2_5-vl", 0, "qwen2vl.rope.dimension_sections", array(&[2, 3, 3])),
        ("qwen3-vl", 0, "qwen3vl.n_deepstack_layers", Some(3_u32.into())),
        ("qwen2_5-vl", 1, "clip.vision.n_wa_pattern", None),
        ("qwen2-vl", 1, "clip.vision.n_wa_pattern", Some(2_u32.into())),
        ("qwen3-vl", 1, "clip.vision.spatial_merge_size", Some(4_u32.into())),
        ("qwen3-vl", 1, "clip.vision.is_deepstack_layers", Some(vec![true].into())),
        ("qwen3-vl", 1, "clip.vision.is_deepstack_layers", Some(vec![true, true, true].into())),
        ("qwen3-vl", 1, "clip.vision.image_size", Some(96_u32.into())),
        ("qwen3-vl", 1, "clip.vision.image_size", Some(81_u32.into())),
        ("qwen3-vl", 1, "clip.use_gelu", None),
        ("qwen2_5-vl", 1, "clip.use_gelu", Some(true.into())),
        ("qwen2_5-vl", 1, "clip.vision.attention.head_count", Some(16_u32.into())),
        ("qwen2_5-vl", 1, "clip.vision.feed_forward_length", Some(32_u32.into())),
        ("qwen2_5-vl", 1, "clip.vision.projector_type", Some("internvl".into())),
        ("qwen2_5-vl", 1, "clip.projector_type", Some("qwen3vl_merger".into())),
        ("qwen2_5-vl", 1, "clip.vision.projector.scale_factor", Some(2_u32.into())),
    ];
    for (name, part, key, value) in cases {
        let what = format!("{name}: {key} = {value:?}");
        let error = with_key(folder.path(), name, part, key, value).expect_err(&what);
        assert!(error.contains("key '") || error.contains("tensor '"), "{what}: {error}");
    }
    for name in MODELS {
        for part in 0..2 {
            assert_eq!(with_key(folder.path(), name, part, "general.description", Some("a".into())), Ok(()), "{name}");
        }
    }
}
