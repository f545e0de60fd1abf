//! `config.json`: the dimensions and constants of a model.
//!
//! Supports `InternVL` (vision tower, projector and language model), in the layout of its own code
//! (`internvl_chat`) and of transformers (`internvl`), `Qwen2-VL`, `Qwen2.5-VL` and `Qwen3-VL`, and plain `internlm2`, `qwen2`, `qwen3`,
//! `llama` and `mistral`, also with a head that scores positions. Defaults are those of the Hugging Face configuration classes; settings that llama.cpp
//! computes differently are refused here by name, as is every key that would make it another model
//! ([`check_keys`]). Tensors are mapped by [`crate::convert`].
//!
//! ```
//! use mmprm_quant::hf::config::{LanguageArch, ModelConfig};
//! let dir = tempfile::tempdir().unwrap();
//! let config = r#"{"model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
//!     "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 512}"#;
//! std::fs::write(dir.path().join("config.json"), config).unwrap();
//! let config = ModelConfig::read(dir.path()).unwrap();
//! assert_eq!((config.language.arch, config.language.head()), (LanguageArch::Qwen2, 16));
//! ```

mod error;
mod family;
mod keys;
mod model;
mod qwen;
mod read;
mod read_qwen;
mod rope;
mod tables;
mod tables_qwen;

pub use error::KeyError;
pub use keys::check as check_keys;
pub(crate) use keys::is_off;
pub use model::{
    Activation, DYNAMIC_ROPE, LanguageArch, LanguageConfig, ModelConfig, QwenTower, QwenVisionConfig, RopeScaling,
    ScoringHead, TensorNames, VisionConfig, VisionNorm, WINDOW,
};
pub use rope::{RopeConfig, read as read_rope};
