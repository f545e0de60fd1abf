//! Checks a plan as the written files will be checked on loading, so that a conversion does not end
//! in files that are refused.

use std::path::{Path, PathBuf};

use super::error::ConvertError;
use super::planned::PlannedFile;
use crate::check;
use crate::gguf::{GgufError, GgufFile};

/// Checks the files of a plan: the language model, then the vision tower, if there is one.
///
/// # Errors
/// [`ConvertError::Unloadable`], which names the part of the checkpoint.
pub(super) fn check(files: &[PlannedFile], checkpoint: &Path) -> Result<(), ConvertError> {
    for (file, check) in files.iter().zip([check::language, check::vision]) {
        let specs: Vec<_> = file.tensors.iter().map(|tensor| &tensor.spec).collect();
        check(&GgufFile::unwritten(&file.path, &file.metadata, &specs)).map_err(|error| cause(error, checkpoint))?;
    }
    Ok(())
}

fn cause(error: GgufError, checkpoint: &Path) -> ConvertError {
    let (path, part, found, expected) = match error {
        GgufError::UnsoundKey { key, found, expected, .. } => {
            (source_of(&key, checkpoint), format!("key '{key}'"), found, expected)
        }
        GgufError::MissingKey { key, expected, .. } => {
            (source_of(&key, checkpoint), format!("key '{key}'"), "missing".to_owned(), expected.to_owned())
        }
        GgufError::UnsoundTensor { tensor, found, expected, .. } => {
            (checkpoint.to_owned(), format!("tensor '{tensor}'"), found, expected)
        }
        error => return error.into(),
    };
    ConvertError::Unloadable { path, part, found, expected }
}

/// Returns what a key's value was read from.
fn source_of(key: &str, checkpoint: &Path) -> PathBuf {
    let from = match key {
        // The name is that of the directory.
        "general.name" => return checkpoint.to_owned(),
        "tokenizer.ggml.tokens" | "tokenizer.ggml.scores" | "tokenizer.ggml.token_type" | "tokenizer.ggml.merges" => {
            let files = ["tokenizer.model", "tokenizer.json", "vocab.json"];
            files.into_iter().find(|name| checkpoint.join(name).exists()).unwrap_or("vocab.json")
        }
        key if key.starts_with("tokenizer.") => "tokenizer_config.json",
        _ => "config.json",
    };
    checkpoint.join(from)
}
