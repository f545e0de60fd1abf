//! Bounded reading of small files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::HfError;

/// Maximum size of a configuration or tokenizer file in bytes; real ones are below 40 MB.
const MAX_FILE: u64 = 256 << 20;

/// Reads a small file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, HfError> {
    let fail = |source| HfError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(HfError::invalid(path, "file", "not a regular file"));
    }
    let mut bytes = Vec::new();
    // The limit applies to what is read, not to the reported size, so that a growing file is
    // bounded too.
    File::open(path).map_err(fail)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(HfError::invalid(path, "file", format!("larger than {MAX_FILE} bytes, the maximum")));
    }
    Ok(bytes)
}

/// Reads a small text file.
pub(super) fn read_text(path: &Path) -> Result<String, HfError> {
    String::from_utf8(read_file(path)?).map_err(|source| HfError::Text { path: path.to_owned(), source })
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HfError> {
    serde_json::from_slice(&read_file(path)?).map_err(|source| HfError::Json { path: path.to_owned(), source })
}

/// Reads a JSON file if it exists.
pub(super) fn read_optional_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, HfError> {
    if path.exists() { read_json(path).map(Some) } else { Ok(None) }
}
