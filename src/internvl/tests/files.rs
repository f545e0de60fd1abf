//! Reading a model's directory: byte order marks, and tensors that are not part of the model.

use std::fs;
use std::path::Path;

use mmprm_quant::safetensors::{NewTensor, StoredType, Values, write};

use crate::internvl::{Layout, WeightsError, read_layout, read_parameters, unknown_keys};

/// Saves a model of the layout in a directory, with one more tensor.
fn save(directory: &Path, layout: &std::sync::Arc<Layout>, more: Option<(&str, &[f32])>) {
    let values: Vec<Vec<f32>> =
        layout.tensors().iter().map(|tensor| vec![0.5; tensor.shape.iter().product()]).collect();
    let width = layout.config().language.hidden;
    let shape = more.map(|(_, values)| [values.len() / width, width]);
    let tensors = layout.tensors().iter().zip(&values).map(|(tensor, values)| NewTensor {
        name: tensor.name.clone(),
        shape: &tensor.shape,
        values: Values::F32(values),
        stored: StoredType::F32,
    });
    let extra = more.zip(shape.as_ref()).map(|((name, values), shape)| NewTensor {
        name: name.to_owned(),
        shape,
        values: Values::F32(values),
        stored: StoredType::F32,
    });
    let all: Vec<NewTensor<'_>> = tensors.chain(extra).collect();
    write(&directory.join("model.safetensors"), &all, &[]).unwrap();
}

#[test]
fn a_configuration_may_begin_with_a_byte_order_mark() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string("tests/golden/ckpt/qwen2/config.json").unwrap();
    fs::write(folder.path().join("config.json"), format!("\u{feff}{text}")).unwrap();
    let (marked, plain) =
        (read_layout(folder.path()).unwrap(), read_layout(Path::new("tests/golden/ckpt/qwen2")).unwrap());
    assert_eq!(marked.config(), plain.config());
}

#[test]
fn unknown_keys_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        serde_json::json!({"model_type": "internvl_chat", "llm_config": {"model_type": "qwen2", "house": 1}});
    let write = |config: &serde_json::Value| fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    write(&config);
    assert_eq!(unknown_keys(folder.path()).unwrap(), ["llm_config.house"]);
    config["llm_config"]["qk_norm"] = true.into();
    write(&config);
    assert!(matches!(unknown_keys(folder.path()), Err(WeightsError::Config { .. })));
}

#[test]
fn tensors_that_are_not_part_of_the_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = super::config("qwen2", &serde_json::json!({}), true);
    let [rows, width] = [layout.config().language.vocabulary, layout.config().language.hidden];
    let head = |value: f32| vec![value; rows * width];
    let read = || read_parameters(folder.path(), &layout, |_| false).map(drop);
    save(folder.path(), &layout, None);
    read().unwrap();
    save(folder.path(), &layout, Some(("language_model.lm_head.weight", &head(0.5))));
    read().unwrap();
    for (name, values) in [
        ("language_model.lm_head.weight", head(0.25)),
        ("language_model.model.layers.0.self_attn.q_norm.weight", head(1.0)),
        ("language_model.score.weight", head(1.0)),
    ] {
        save(folder.path(), &layout, Some((name, &values)));
        let error = read().unwrap_err();
        assert!(matches!(error, WeightsError::Unexpected { .. }) && error.to_string().contains(name), "{error}");
    }
}
