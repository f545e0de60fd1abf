//! The small files of a checkpoint as JSON and text.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::HfError;
use crate::read::{self, without_bom};

/// Maximum size of a configuration or tokenizer file in bytes; real ones are below 40 MB.
const MAX_FILE: u64 = 256 << 20;

/// Reads a small file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, HfError> {
    read::bytes(path, MAX_FILE).map_err(|source| HfError::Read { path: path.to_owned(), source })
}

/// Reads a small text file, without a byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String, HfError> {
    let bytes = read_file(path)?;
    String::from_utf8(without_bom(&bytes).to_vec()).map_err(|source| HfError::Text { path: path.to_owned(), source })
}

/// Reads a text file whose content becomes part of a result: not through a link that leaves its
/// directory.
pub(super) fn read_text_inside(directory: &Path, path: &Path) -> Result<String, HfError> {
    read::inside(directory, path).map_err(|source| HfError::Read { path: path.to_owned(), source })?;
    read_text(path)
}

/// Reads a JSON file, which may begin with a byte order mark.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HfError> {
    parse_json(&read_file(path)?, path)
}

/// Parses the content of a JSON file, which may begin with a byte order mark.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T, HfError> {
    serde_json::from_slice(without_bom(bytes)).map_err(|source| HfError::Json { path: path.to_owned(), source })
}

/// Reads a JSON file if it exists.
pub(super) fn read_optional_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, HfError> {
    if present(path) { read_json(path).map(Some) } else { Ok(None) }
}

/// Returns whether a directory has an entry of this name; a link to nothing is one, so that it is
/// not taken for a missing file.
pub(crate) fn present(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
