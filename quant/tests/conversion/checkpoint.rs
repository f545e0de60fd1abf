//! Tiny generated checkpoints.

use std::path::PathBuf;

use mmprm_quant::convert::{ConversionPlan, ConvertError, ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::progress::no_progress;
use serde_json::{Value, json};

use crate::common::write_safetensors;

/// A text or multimodal checkpoint to be saved: 8 wide, one block.
pub struct Checkpoint {
    pub directory: tempfile::TempDir,
    pub config: Value,
    pub tokenizer: Value,
    /// `tokenizer.json`, beside the vocabulary's own files.
    pub tokenizer_json: Option<Value>,
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// Rows of the embedding matrix.
pub const VOCAB: usize = 12;

impl Checkpoint {
    /// A text checkpoint.
    pub fn qwen2() -> Self {
        let config = json!({"model_type": "qwen2", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": VOCAB, "max_position_embeddings": 64,
            "rope_theta": 1e6, "tie_word_embeddings": false});
        let tokenizer = json!({"added_tokens_decoder": {
            "4": {"content": "<|im_end|>", "special": true}, "5": {"content": "<step>", "special": false},
            "6": {"content": "<|odd|>", "special": false}, "7": {"content": "<prm>", "special": true}},
            "eos_token": "<|im_end|>", "pad_token": {"content": "<|im_end|>"}, "chat_template": [
                {"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]});
        let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
        let mut tensor = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
        tensor("model.embed_tokens.weight", &[VOCAB, 8]);
        tensor("model.norm.weight", &[8]);
        tensor("lm_head.weight", &[VOCAB, 8]);
        for (name, rows) in [("q", 8), ("k", 4), ("v", 4)] {
            tensor(&format!("model.layers.0.self_attn.{name}_proj.weight"), &[rows, 8]);
            tensor(&format!("model.layers.0.self_attn.{name}_proj.bias"), &[rows]);
        }
        for (name, shape) in [
            ("self_attn.o_proj", vec![8, 8]),
            ("mlp.gate_proj", vec![16, 8]),
            ("mlp.up_proj", vec![16, 8]),
            ("mlp.down_proj", vec![8, 16]),
            ("input_layernorm", vec![8]),
            ("post_attention_layernorm", vec![8]),
        ] {
            tensor(&format!("model.layers.0.{name}.weight"), &shape);
        }
        Self { directory: tempfile::tempdir().unwrap(), config, tokenizer, tokenizer_json: None, tensors }
    }

    /// The same as a model of another family, without biases: `qwen3`, `llama` or `mistral`.
    pub fn text(family: &str) -> Self {
        let mut text = Self::qwen2();
        text.config["model_type"] = family.into();
        text.remove(".bias");
        if family == "qwen3" {
            text.config["head_dim"] = 4.into();
            for name in ["q_norm", "k_norm"] {
                text.tensors.push((format!("model.layers.0.self_attn.{name}.weight"), vec![4]));
            }
        }
        text
    }

    /// The same with a vision tower: 8 wide, one block, 2 × 2 patches of 2 × 2 pixels.
    pub fn internvl() -> Self {
        let mut text = Self::qwen2();
        let vision = json!({"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 4, "patch_size": 2, "norm_type": "layer_norm", "qk_normalization": false, "qkv_bias": true});
        text.config = json!({"model_type": "internvl_chat", "llm_config": text.config, "vision_config": vision,
            "ps_version": "v2", "downsample_ratio": 0.5, "select_layer": -1, "force_image_size": 4,
            "min_dynamic_patch": 2, "max_dynamic_patch": 9, "use_thumbnail": true});
        text.tensors.iter_mut().for_each(|(name, _)| name.insert_str(0, "language_model."));
        for (name, shape) in [
            ("embeddings.class_embedding", vec![1, 1, 8]),
            ("embeddings.patch_embedding.weight", vec![8, 3, 2, 2]),
            ("embeddings.patch_embedding.bias", vec![8]),
            ("embeddings.position_embedding", vec![1, 5, 8]),
            ("encoder.layers.0.attn.qkv.weight", vec![24, 8]),
            ("encoder.layers.0.attn.qkv.bias", vec![24]),
            ("encoder.layers.0.attn.proj.weight", vec![8, 8]),
            ("encoder.layers.0.attn.proj.bias", vec![8]),
            ("encoder.layers.0.mlp.fc1.weight", vec![16, 8]),
            ("encoder.layers.0.mlp.fc1.bias", vec![16]),
            ("encoder.layers.0.mlp.fc2.weight", vec![8, 16]),
            ("encoder.layers.0.mlp.fc2.bias", vec![8]),
            ("encoder.layers.0.norm1.weight", vec![8]),
            ("encoder.layers.0.norm1.bias", vec![8]),
            ("encoder.layers.0.norm2.weight", vec![8]),
            ("encoder.layers.0.norm2.bias", vec![8]),
            ("encoder.layers.0.ls1", vec![8]),
            ("encoder.layers.0.ls2", vec![8]),
        ] {
            text.tensors.push((format!("vision_model.{name}"), shape));
        }
        for (name, shape) in [
            ("0.weight", vec![32]),
            ("0.bias", vec![32]),
            ("1.weight", vec![8, 32]),
            ("1.bias", vec![8]),
            ("3.weight", vec![8, 8]),
            ("3.bias", vec![8]),
        ] {
            text.tensors.push((format!("mlp1.{name}"), shape));
        }
        text
    }

    /// Returns its directory.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("tiny")
    }

    /// Writes one of its files.
    pub fn write(&self, file: &str, content: &str) {
        std::fs::write(self.path().join(file), content).unwrap();
    }

    /// Writes all files.
    pub fn save(&self, value: impl Fn(&str, usize) -> f32) {
        std::fs::create_dir_all(self.path()).unwrap();
        self.write("config.json", &self.config.to_string());
        self.write("tokenizer_config.json", &self.tokenizer.to_string());
        self.write("vocab.json", r#"{"a": 0, "b": 1, "ab": 2, "c": 3}"#);
        self.write("merges.txt", "#version: 0.2\na b\n");
        let json = self.path().join("tokenizer.json");
        match &self.tokenizer_json {
            Some(tokenizer) => std::fs::write(json, tokenizer.to_string()).unwrap(),
            None if json.exists() => std::fs::remove_file(json).unwrap(),
            None => {}
        }
        let tensors: Vec<(&str, Vec<usize>)> =
            self.tensors.iter().map(|(name, shape)| (name.as_str(), shape.clone())).collect();
        write_safetensors(&self.path().join("model.safetensors"), &tensors, value);
    }

    /// Saves it with small integers as weights, and plans its conversion.
    pub fn plan(&self, weight_type: WeightType) -> Result<ConversionPlan, ConvertError> {
        self.save(|_, index| index as f32);
        self.plan_saved(weight_type)
    }

    /// Plans the conversion of the saved files.
    pub fn plan_saved(&self, weight_type: WeightType) -> Result<ConversionPlan, ConvertError> {
        plan(&self.path(), &self.directory.path().join("out"), &ConvertOptions::new(weight_type))
    }

    /// Saves and converts it.
    pub fn converted(&self, weight_type: WeightType) -> Vec<GgufFile> {
        let plan = self.plan(weight_type).unwrap();
        plan.write(&mut no_progress).unwrap();
        plan.files.iter().map(|file| GgufFile::open(&file.path).unwrap()).collect()
    }

    /// Saves it and expects the conversion to be refused with a message.
    pub fn refused(&self, expected: &str) {
        let message = self.plan(WeightType::F32).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}, expected {expected}");
    }

    /// Removes the tensors whose names contain `part`.
    pub fn remove(&mut self, part: &str) {
        self.tensors.retain(|(name, _)| !name.contains(part));
    }
}

/// Calls `change` with the path of every key below `value`.
pub fn each_key(value: &Value, path: &str, change: &mut dyn FnMut(&str)) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        change(&path);
        each_key(value, &path, change);
    }
}
