//! The files of a checkpoint: byte order marks, pipes and links, and two checkpoints in a directory.

use crate::checkpoint::Checkpoint;
use mmprm_quant::convert::WeightType;

const BOM: &str = "\u{feff}";

fn read(checkpoint: &Checkpoint, name: &str) -> String {
    std::fs::read_to_string(checkpoint.path().join(name)).unwrap()
}

#[test]
fn every_file_may_begin_with_a_byte_order_mark() {
    let checkpoint = Checkpoint::internvl();
    let plain = checkpoint.plan(WeightType::F32).unwrap();
    checkpoint.write("preprocessor_config.json", "{}");
    checkpoint.write("special_tokens_map.json", "{}");
    checkpoint.write("added_tokens.json", "{}");
    let names = ["config.json", "tokenizer_config.json", "vocab.json", "merges.txt", "preprocessor_config.json"];
    for name in names.into_iter().chain(["special_tokens_map.json", "added_tokens.json"]) {
        let text = read(&checkpoint, name);
        checkpoint.write(name, &format!("{BOM}{text}"));
    }
    std::fs::rename(checkpoint.path().join("model.safetensors"), checkpoint.path().join("m.safetensors")).unwrap();
    let names: serde_json::Map<_, _> =
        checkpoint.tensors.iter().map(|(name, _)| (name.clone(), "m.safetensors".into())).collect();
    checkpoint.write("model.safetensors.index.json", &format!("{BOM}{}", serde_json::json!({"weight_map": names})));
    let marked = checkpoint.plan_saved(WeightType::F32).unwrap();
    assert_eq!(plain.files, marked.files);
    checkpoint.write("vocab.json", &format!("{BOM}{BOM}{{}}"));
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("tiny/vocab.json: "), "{message}");
}

#[test]
fn a_single_file_beside_shards_is_refused_unless_they_are_one() {
    let checkpoint = Checkpoint::qwen2();
    checkpoint.save(|_, _| 0.0);
    let refused = |expected: [&str; 2]| {
        let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    };
    let shard = checkpoint.path().join("model-00001-of-00002.safetensors");
    std::fs::write(&shard, "").unwrap();
    refused(["tiny/model.safetensors: beside ", "tiny/model-00001-of-00002.safetensors"]);
    std::fs::remove_file(&shard).unwrap();
    let index = |file: &str| {
        let names: serde_json::Map<_, _> =
            checkpoint.tensors.iter().map(|(name, _)| (name.clone(), file.into())).collect();
        checkpoint.write("model.safetensors.index.json", &serde_json::json!({"weight_map": names}).to_string());
    };
    index("model-00001-of-00001.safetensors");
    refused(["tiny/model.safetensors: beside ", "tiny/model.safetensors.index.json"]);
    index("model.safetensors");
    assert!(checkpoint.plan_saved(WeightType::F32).is_ok());
    std::fs::remove_file(checkpoint.path().join("model.safetensors.index.json")).unwrap();
    std::fs::rename(checkpoint.path().join("model.safetensors"), &shard).unwrap();
    refused(["model-00001-of-00002.safetensors: a shard without", "model.safetensors.index.json"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&shard, checkpoint.path().join("model.safetensors")).unwrap();
        assert!(checkpoint.plan_saved(WeightType::F32).is_ok(), "one file with two names");
    }
}

#[test]
fn a_head_tied_to_the_embeddings_is_a_copy_of_them() {
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.config["tie_word_embeddings"] = true.into();
    assert!(checkpoint.plan(WeightType::F32).is_ok());
    checkpoint.save(|name, index| if name == "lm_head.weight" { 1.0 } else { index as f32 });
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("tensor 'lm_head.weight': differs from the embeddings"), "{message}");
}

#[cfg(unix)]
#[test]
fn pipes_are_refused_without_waiting_and_links_that_leave_the_checkpoint_with_their_target() {
    use std::os::unix::fs::symlink;
    let checkpoint = Checkpoint::qwen2();
    let secret = checkpoint.directory.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    for name in ["config.json", "vocab.json", "merges.txt", "tokenizer_config.json", "model.safetensors"] {
        checkpoint.save(|_, _| 0.0);
        let path = checkpoint.path().join(name);
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("expected a regular file"), "{message}");
        std::fs::remove_file(&path).unwrap();
    }
    let mut checkpoint = Checkpoint::qwen2();
    checkpoint.tokenizer["chat_template"] = serde_json::Value::Null;
    checkpoint.save(|_, _| 0.0);
    symlink(&secret, checkpoint.path().join("chat_template.jinja")).unwrap();
    let message = checkpoint.plan_saved(WeightType::F32).unwrap_err().to_string();
    assert!(message.contains("chat_template.jinja: cannot read: a link to "), "{message}");
}
