//! Checkpoints that cannot be converted are refused with the file and the key or tensor.

use std::path::Path;

use crate::checkpoint::{Checkpoint, VOCAB};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::no_progress;
use serde_json::{Value, json};

#[test]
fn unexpected_tensors_are_refused_by_name() {
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.tensors.push(("model.layers.1.extra".into(), vec![1]));
    checkpoint.refused("model.safetensors: tensor 'model.layers.1.extra': not part of this architecture");
    checkpoint.tensors.pop();
    checkpoint.tensors[0].1 = vec![VOCAB, 9];
    checkpoint.refused("tensor 'model.embed_tokens.weight': shape [12, 9], expected [12, 8] from config.json");
    checkpoint.remove("up_proj");
    checkpoint.tensors[0].1 = vec![VOCAB, 8];
    checkpoint.refused("tensor 'model.layers.0.mlp.up_proj.weight': missing, expected shape [16, 8]");
}

#[test]
fn integer_weights_are_refused() {
    let checkpoint = Checkpoint::qwen2();
    checkpoint.save(|_, _| 0.0);
    let path = checkpoint.path().join("model.safetensors");
    let text = std::fs::read(&path).unwrap();
    let at = text.windows(3).position(|window| window == b"F32").unwrap();
    let damaged = [&text[..at], b"I32", &text[at + 3..]].concat();
    std::fs::write(&path, damaged).unwrap();
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("tensor 'model.embed_tokens.weight': I32, expected F32, F16 or BF16"), "{message}");
}

#[test]
fn values_beyond_the_type_are_refused_and_leave_no_file() {
    let checkpoint = Checkpoint::qwen2();
    checkpoint.save(|name, index| if name == "lm_head.weight" && index == 30 { 1e6 } else { 0.0 });
    let out = checkpoint.directory.path().join("out");
    let message = checkpoint.plan_saved(WeightType::F16).unwrap().write(&mut no_progress).unwrap_err().to_string();
    assert!(message.contains("tensor 'output.weight': value 1000000 at element 30"), "{message}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    assert!(checkpoint.plan_saved(WeightType::Bf16).unwrap().write(&mut no_progress).is_ok());
}

#[test]
fn invalid_configurations_are_refused_with_the_key() {
    let expect = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut checkpoint = Checkpoint::internvl();
        change(&mut checkpoint.config);
        checkpoint.refused(expected);
    };
    expect(&|c| c["model_type"] = "llava".into(), "config.json: key 'model_type': 'llava'");
    expect(
        &|c| c["llm_config"]["model_type"] = "gemma".into(),
        "key 'llm_config.model_type': 'gemma', expected one of internlm2, qwen2, qwen3, llama, mistral",
    );
    expect(&|c| c["llm_config"]["hidden_size"] = "8".into(), "config.json: ");
    expect(&|c| c["llm_config"]["hidden_size"] = (-1).into(), "config.json: ");
    expect(&|c| c["llm_config"]["hidden_size"] = u64::MAX.into(), "key 'llm_config.hidden_size'");
    expect(
        &|c| c["llm_config"]["num_attention_heads"] = 3.into(),
        "key 'llm_config.num_attention_heads': 3, expected a divisor of 8",
    );
    expect(
        &|c| c["llm_config"]["num_attention_heads"] = 0.into(),
        "key 'llm_config.num_attention_heads': 0, expected 1 to",
    );
    expect(
        &|c| c["llm_config"]["vocab_size"] = 4_000_000.into(),
        "embed_tokens.weight': shape [12, 8], expected [4000000, 8]",
    );
    expect(&|c| c["llm_config"]["num_hidden_layers"] = 4_000_000.into(), "layers.1.input_layernorm.weight': missing");
    expect(
        &|c| c["llm_config"]["rms_norm_eps"] = 0.into(),
        "key 'llm_config.rms_norm_eps': 0, expected a positive number",
    );
    expect(&|c| c["llm_config"]["hidden_act"] = "relu".into(), "key 'llm_config.hidden_act': 'relu'");
    expect(
        &|c| c["vision_config"]["patch_size"] = 3.into(),
        "key 'vision_config.patch_size': 3, expected a divisor of 4",
    );
    expect(&|c| c["vision_config"]["hidden_act"] = "relu".into(), "key 'vision_config.hidden_act': 'relu'");
    expect(&|c| c["vision_config"]["norm_type"] = "batch".into(), "unknown variant `batch`");
    expect(&|c| c["downsample_ratio"] = 0.3.into(), "key 'downsample_ratio': 0.3, expected 1 divided by an integer");
    expect(&|c| c["downsample_ratio"] = 0.into(), "key 'downsample_ratio': 0");
    expect(&|c| c["ps_version"] = "v1".into(), "key 'ps_version': v1, expected v2");
    expect(&|c| c["select_layer"] = (-4).into(), "key 'select_layer': -4, expected -1");
    expect(&|c| c["force_image_size"] = 8.into(), "key 'force_image_size': 8");
    expect(&|c| c["min_dynamic_patch"] = 10.into(), "key 'min_dynamic_patch': 10 to 9 tiles");
    expect(&|c| drop(c.as_object_mut().unwrap().remove("vision_config")), "key 'vision_config': missing");
}

#[test]
fn contradictory_tokenizers_are_refused() {
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.tokenizer["added_tokens_decoder"]["12"] = json!({"content": "<late>", "special": true});
    checkpoint.refused("tokenizer_config.json: token 12: '<late>' has no row: the model has 12 (vocab_size)");
    checkpoint.tokenizer["added_tokens_decoder"].as_object_mut().unwrap().remove("12");
    checkpoint.tokenizer["added_tokens_decoder"]["8"] = json!({"content": "ab", "special": false});
    checkpoint.refused("token 8: 'ab' is also token 2, expected distinct texts");
    checkpoint.tokenizer["added_tokens_decoder"]["8"] = json!({"content": "<img>", "special": true});
    checkpoint.save(|_, _| 0.0);
    checkpoint.write("added_tokens.json", r#"{"<other>": 8}"#);
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("added_tokens.json: token 8: is '<other>', but '<img>' in"), "{message}");
    checkpoint.write("added_tokens.json", "{");
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("added_tokens.json: EOF while parsing an object at line 1 column 1"), "{message}");
}

#[test]
fn missing_files_and_unwritable_paths_are_named() {
    let checkpoint = Checkpoint::qwen2();
    let absent = plan(Path::new("absent"), Path::new("out"), &ConvertOptions::new(WeightType::F32)).unwrap_err();
    assert!(absent.to_string().contains("absent/config.json: cannot read"), "{absent}");
    checkpoint.save(|_, _| 0.0);
    checkpoint.write("file", "");
    let inside =
        plan(&checkpoint.path(), &checkpoint.path().join("file"), &ConvertOptions::new(WeightType::F32)).unwrap();
    let message = inside.write(&mut no_progress).unwrap_err().to_string();
    assert!(message.contains("tiny-f32.gguf"), "{message}");
    std::fs::remove_file(checkpoint.path().join("vocab.json")).unwrap();
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("expected tokenizer.model, vocab.json and merges.txt, or tokenizer.json"), "{message}");
    std::fs::remove_file(checkpoint.path().join("model.safetensors")).unwrap();
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("tiny: no weights, expected model.safetensors"), "{message}");
}

#[test]
fn a_sentencepiece_model_without_a_piece_for_every_byte_is_refused() {
    let source = crate::common::workspace().join("demo/checkpoints/mini-mm-policy");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let whole = std::fs::read(source.join("tokenizer.model")).unwrap();
    let converted = |bytes: &[u8]| {
        std::fs::write(folder.path().join("tokenizer.model"), bytes).unwrap();
        plan(folder.path(), &folder.path().join("out"), &ConvertOptions::new(WeightType::F32))
    };
    assert!(converted(&whole).is_ok());
    for byte in ["<0x00>", "<0x0A>", "<0x41>", "<0xFF>"] {
        let at = whole.windows(6).position(|text| text == byte.as_bytes()).unwrap();
        let mut other = whole.clone();
        other[at + 5] = b'?';
        let message = converted(&other).unwrap_err().to_string();
        let expected = format!("tokenizer.model: sentencepiece model: no piece '{byte}', expected one for each");
        assert!(message.contains(&expected), "{message}");
    }
}

#[cfg(not(feature = "ggml"))]
#[test]
fn block_formats_without_ggml_are_refused_and_leave_no_file() {
    let checkpoint = crate::common::workspace().join("demo/checkpoints/mini-mm-policy");
    let out = tempfile::tempdir().unwrap();
    let plan = plan(&checkpoint, out.path(), &ConvertOptions::new(WeightType::Q8_0)).unwrap();
    let message = plan.write(&mut no_progress).unwrap_err().to_string();
    assert!(message.contains("tensor 'token_embd.weight': Q8_0 is a block format, which needs ggml"), "{message}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn models_that_could_not_be_loaded_are_refused_before_anything_is_written() {
    let checkpoint = Checkpoint::qwen2();
    checkpoint.save(|_, _| 0.0);
    let named = checkpoint.directory.path().join("my-phi3");
    std::fs::rename(checkpoint.path(), &named).unwrap();
    let out = checkpoint.directory.path().join("out");
    let message = plan(&named, &out, &ConvertOptions::new(WeightType::F32)).unwrap_err().to_string();
    assert!(
        message.contains("my-phi3: gives a model that cannot be loaded, because of its key 'general.name'"),
        "{message}"
    );
    assert!(!out.exists());
}

#[test]
fn a_refused_or_cancelled_conversion_leaves_no_half_of_a_pair() {
    let checkpoint = Checkpoint::internvl();
    let out = checkpoint.directory.path().join("out");
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let pair = ["mmproj-tiny-f16.gguf", "tiny-f16.gguf"];
    let contents = || pair.map(|name| std::fs::read(out.join(name)).unwrap());
    for (name, at) in [("mlp1.3.weight", 5), ("language_model.lm_head.weight", 30)] {
        checkpoint.save(|tensor, index| if (tensor, index) == (name, at) { 1e6 } else { 0.0 });
        checkpoint.plan_saved(WeightType::F16).unwrap().write(&mut no_progress).unwrap_err();
        assert!(names().is_empty(), "{name}");
    }
    checkpoint.plan(WeightType::F16).unwrap().write(&mut no_progress).unwrap();
    assert_eq!(names(), pair);
    let before = contents();
    checkpoint.save(|_, _| 1.0);
    let plan = checkpoint.plan_saved(WeightType::F16).unwrap();
    let total: u64 = plan.files.iter().map(mmprm_quant::convert::PlannedFile::data_size).sum();
    // A stop at any point of the work leaves the earlier pair as it was.
    for stop in 0..=plan.files.iter().map(|file| file.tensors.len()).sum::<usize>() {
        let mut reports = 0;
        let result = plan.write(&mut |progress| {
            reports += 1;
            assert!(progress.done <= total);
            if reports > stop { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        });
        assert_eq!(names(), pair);
        assert_eq!(contents() == before, result.is_err());
    }
    assert_ne!(contents()[0], before[0]);
    assert_ne!(contents()[1], before[1]);
}
