//! The small files of a Hugging Face checkpoint directory: `config.json` and the tokenizer.
//!
//! Reads them into checked Rust types: [`config::ModelConfig`], and [`vocabulary::Vocabulary`] for whichever of
//! `tokenizer.model`, `vocab.json` + `merges.txt` or `tokenizer.json` the directory has. How they become GGUF metadata is
//! left to [`crate::convert`]; the weights are read by [`crate::safetensors`].
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
mod protobuf;
pub mod sentencepiece;
pub mod shapes;
pub mod vocabulary;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Largest configuration or tokenizer file that is read, in bytes; real ones are below 40 MB.
const MAX_FILE: u64 = 256 << 20;

/// An error of reading a checkpoint's configuration or tokenizer; every message names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HfError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not JSON of the expected form.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file's content is not what a checkpoint has, or not supported.
    #[error("{}: {place}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, token or line.
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

impl HfError {
    pub(crate) fn invalid(path: &Path, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), place: place.into(), problem: problem.into() }
    }
}

/// Reads a whole small file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, HfError> {
    let fail = |source| HfError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(HfError::invalid(path, "file", "not a regular file"));
    }
    let mut bytes = Vec::new();
    // The limit is on what is read, not on what the file system says, so that a growing file is bounded too.
    File::open(path).map_err(fail)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(HfError::invalid(path, "file", format!("is larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HfError> {
    serde_json::from_slice(&read_file(path)?).map_err(|source| HfError::Json { path: path.to_owned(), source })
}

/// Reads a JSON file if it exists.
fn read_optional_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, HfError> {
    if path.exists() { read_json(path).map(Some) } else { Ok(None) }
}
