//! The small files of a Hugging Face checkpoint directory: `config.json` and the tokenizer.
//!
//! Reads and validates them: [`config::ModelConfig`], and [`vocabulary::Vocabulary`] from
//! `tokenizer.model`, `vocab.json` + `merges.txt` or `tokenizer.json`, whichever the directory has.
//! Their GGUF form is written by [`crate::convert`]; weights are read by [`crate::safetensors`].
//!
//! ```
//! use mmprm_quant::hf::{HfError, config::ModelConfig};
//! let dir = tempfile::tempdir().unwrap();
//! std::fs::write(dir.path().join("config.json"), "{").unwrap();
//! let error = ModelConfig::read(dir.path()).unwrap_err();
//! assert!(matches!(error, HfError::Json { .. }));
//! assert!(error.to_string().contains("config.json"));
//! ```

mod added;
mod bpe;
pub mod config;
mod error;
mod files;
pub mod origin;
mod protobuf;
mod sentencepiece;
pub mod shapes;
pub mod source;
mod template;
mod token;
#[doc(hidden)]
pub mod vocabulary;

pub(crate) use config::is_off;
pub use error::HfError;
pub(crate) use files::{present, read_json};
