//! Conversion of generated checkpoints: every variant of the architectures.

use std::ops::ControlFlow;

use crate::checkpoint::{Checkpoint, VOCAB};
use mmprm_quant::blocks::GgmlType;
use mmprm_quant::convert::{ConvertError, ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufFile, GgufValue};
use mmprm_quant::hf::vocabulary::TokenType;
use mmprm_quant::progress::no_progress;
use serde_json::json;

fn floats(file: &GgufFile, name: &str) -> Vec<f32> {
    let data = file.tensor_data(file.tensor(name).unwrap());
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn a_text_checkpoint_becomes_one_file() {
    let files = Checkpoint::qwen2().converted(WeightType::F32);
    assert_eq!(files.len(), 1);
    assert!(files[0].path().ends_with("out/tiny-f32.gguf"));
    assert_eq!(files[0].get_str("general.name").unwrap(), "tiny");
    assert!(files[0].get("mmprm.image.size").is_none());
    assert_eq!(floats(&files[0], "token_embd.weight"), (0..96).map(|i| i as f32).collect::<Vec<_>>());
}

#[test]
fn tokens_have_types_and_empty_rows_are_filled() {
    let file = Checkpoint::qwen2().converted(WeightType::F32).remove(0);
    let tokens = file.get_strings("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.len(), VOCAB);
    let some: Vec<&str> = tokens.iter().skip(2).take(7).collect();
    assert_eq!(some, ["ab", "c", "<|im_end|>", "<step>", "<|odd|>", "<prm>", "[PAD8]"]);
    let (normal, control, visible, unused) =
        (TokenType::Normal, TokenType::Control, TokenType::UserDefined, TokenType::Unused);
    let types = [normal, normal, normal, normal, control, visible, control, control, unused, unused, unused, unused];
    let expected = GgufValue::from(types.map(TokenType::id).to_vec());
    assert_eq!(file.get("tokenizer.ggml.token_type"), Some(&expected));
    for key in ["eos", "eot", "padding"] {
        assert_eq!(file.get_u32(&format!("tokenizer.ggml.{key}_token_id")).unwrap(), 4, "{key}");
    }
    assert!(!file.get_bool("tokenizer.ggml.add_bos_token").unwrap());
    assert_eq!(file.get_str("tokenizer.chat_template").unwrap(), "yes");
}

#[test]
fn a_tied_head_is_not_written_even_if_it_is_stored() {
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.config["tie_word_embeddings"] = true.into();
    assert!(checkpoint.converted(WeightType::F32)[0].tensor("output.weight").is_none());
    checkpoint.remove("lm_head");
    assert!(checkpoint.converted(WeightType::F32)[0].tensor("output.weight").is_none());
    checkpoint.config["tie_word_embeddings"] = false.into();
    checkpoint.refused("tensor 'lm_head.weight': missing, expected shape [12, 8]");
}

#[test]
fn rope_scaling_is_written_where_llama_cpp_supports_it() {
    let mut checkpoint = Checkpoint::qwen2();
    let factor = |file: &GgufFile| file.get("qwen2.rope.scaling.factor").and_then(GgufValue::as_f32);
    checkpoint.config["rope_scaling"] = json!({"type": "dynamic", "factor": 2.0});
    assert_eq!(factor(&checkpoint.converted(WeightType::F32)[0]), None);
    checkpoint.config["rope_scaling"] = json!({"rope_type": "linear", "factor": 2.0});
    assert_eq!(factor(&checkpoint.converted(WeightType::F32)[0]), Some(2.0));
    checkpoint.config["rope_scaling"] = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    let file = checkpoint.converted(WeightType::F32).remove(0);
    assert_eq!(file.get_str("qwen2.rope.scaling.type").unwrap(), "yarn");
    assert_eq!(file.get_u32("qwen2.rope.scaling.original_context_length").unwrap(), 16);
    checkpoint.config["rope_scaling"] = json!({"type": "yarn", "factor": 4.0});
    checkpoint.refused("key 'rope_scaling.original_max_position_embeddings': missing");
    checkpoint.config["rope_scaling"] = json!({"type": "longrope"});
    checkpoint.refused("key 'rope_scaling.type': 'longrope', expected dynamic, linear, llama3 or yarn");
}

#[test]
fn a_multimodal_checkpoint_becomes_two_files() {
    let checkpoint = Checkpoint::internvl();
    let files = checkpoint.converted(WeightType::F16);
    assert!(files[1].path().ends_with("out/mmproj-tiny-f16.gguf"));
    let number = |key: &str| files[0].get_u32(&format!("mmprm.image.{key}")).unwrap();
    assert_eq!([number("size"), number("tokens_per_tile"), number("min_tiles"), number("max_tiles")], [4, 1, 2, 9]);
    assert!(files[0].get_bool("mmprm.image.use_thumbnail").unwrap());
    assert_eq!(files[1].get_u32("clip.vision.preproc_max_tiles").unwrap(), 9);
    let ggml_type = |name: &str| files[1].tensor(name).unwrap().ggml_type;
    assert_eq!(ggml_type("v.patch_embd.weight"), GgmlType::F16);
    assert_eq!(ggml_type("v.position_embd.weight"), GgmlType::F32);
    assert_eq!(ggml_type("v.class_embd"), GgmlType::F32);
    assert_eq!(ggml_type("v.blk.0.attn_q.weight"), GgmlType::F16);
    assert_eq!(ggml_type("v.blk.0.ls1.weight"), GgmlType::F32);
    let file = &checkpoint.converted(WeightType::F32)[1];
    assert_eq!(floats(file, "v.blk.0.attn_k.bias"), (8..16).map(|i| i as f32).collect::<Vec<_>>());
    assert_eq!(floats(file, "v.blk.0.attn_v.weight")[..2], [128.0, 129.0]);
}

#[test]
fn eight_bit_models_keep_a_16_bit_tower_and_odd_rows() {
    let checkpoint = Checkpoint::internvl();
    let plan = checkpoint.plan(WeightType::Q8_0).unwrap();
    assert!(plan.files[0].path.ends_with("tiny-q8_0.gguf") && plan.files[1].path.ends_with("mmproj-tiny-f16.gguf"));
    let embedding = plan.files[0].tensors.iter().find(|tensor| tensor.spec.name == "token_embd.weight").unwrap();
    assert_eq!(embedding.spec.ggml_type, GgmlType::F16, "rows of 8 are not whole blocks");
    assert_eq!(embedding.size(), 192);
}

#[test]
fn towers_with_normalised_queries_and_rms_norms_are_converted() {
    let mut checkpoint = Checkpoint::internvl();
    assert!(checkpoint.plan(WeightType::F32).unwrap().notes.is_empty());
    checkpoint.config["vision_config"]["qk_normalization"] = true.into();
    checkpoint.refused("tensor 'vision_model.encoder.layers.0.attn.q_norm.weight': missing, expected shape [8]");
    for name in ["q_norm", "k_norm"] {
        checkpoint.tensors.push((format!("vision_model.encoder.layers.0.attn.{name}.weight"), vec![8]));
    }
    checkpoint.config["vision_config"]["norm_type"] = "rms_norm".into();
    checkpoint.refused("tensor 'vision_model.encoder.layers.0.norm1.bias': not part of this architecture");
    checkpoint.remove("norm1.bias");
    checkpoint.remove("norm2.bias");
    checkpoint.config["vision_config"]["qkv_bias"] = false.into();
    checkpoint.remove("qkv.bias");
    let plan = checkpoint.plan(WeightType::F32).unwrap();
    assert!(plan.notes[0].contains("llama.cpp computes LayerNorm"), "{:?}", plan.notes);
    let file = &checkpoint.converted(WeightType::F16)[1];
    assert_eq!(file.tensor("v.blk.0.attn_q_norm.weight").unwrap().ggml_type, GgmlType::F32);
    assert!(file.tensor("v.blk.0.attn_k_norm.weight").is_some() && file.tensor("v.blk.0.attn_q.bias").is_none());
    assert_eq!(file.get_str("mmprm.vision.norm").unwrap(), "rms_norm");
}

#[test]
fn additional_metadata_is_written_and_may_not_collide() {
    let checkpoint = Checkpoint::internvl();
    checkpoint.save(|_, _| 0.5);
    let convert = |key: &str| {
        let mut options = ConvertOptions::new(WeightType::F32);
        options.metadata.push((key.to_owned(), "score".into()));
        let plan = plan(&checkpoint.path(), checkpoint.directory.path(), &options).unwrap();
        plan.write(&mut no_progress).map(|()| GgufFile::open(&plan.files[0].path).unwrap())
    };
    assert_eq!(convert("mmprm.prompt.template").unwrap().get_str("mmprm.prompt.template").unwrap(), "score");
    let message = convert("mmprm.image.size").unwrap_err().to_string();
    assert!(message.contains("key 'mmprm.image.size': occurs twice"), "{message}");
}

#[test]
fn cancelling_leaves_no_file_and_progress_ends_at_the_total() {
    let checkpoint = Checkpoint::internvl();
    let plan = checkpoint.plan(WeightType::F32).unwrap();
    let stopped = plan.write(&mut |progress| {
        assert!(progress.done <= progress.total);
        if progress.item == "output_norm.weight" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(ConvertError::Cancelled)));
    assert_eq!(std::fs::read_dir(checkpoint.directory.path().join("out")).unwrap().count(), 0);
    let mut last = (0, 1);
    plan.write(&mut |progress| {
        last = (progress.done, progress.total);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(last.0, last.1);
}
