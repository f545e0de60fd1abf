//! Checks of single keys, and the errors of this module.

use crate::gguf::{GgufError, GgufFile};

/// Returns the integer of a key, at least 1.
pub(super) fn positive(file: &GgufFile, key: &str) -> Result<u32, GgufError> {
    match file.get_u32(key)? {
        0 => Err(unsound_key(file, key, "0, expected at least 1".to_owned())),
        value => Ok(value),
    }
}

/// Checks that `part`, the value of a key, divides `whole`.
pub(super) fn divides(file: &GgufFile, key: &str, part: u32, whole: u32) -> Result<(), GgufError> {
    if whole.is_multiple_of(part) {
        Ok(())
    } else {
        Err(unsound_key(file, key, format!("{part}, expected a divisor of {whole}")))
    }
}

/// Returns an error about a key.
pub(super) fn unsound_key(file: &GgufFile, key: &str, problem: String) -> GgufError {
    unsound(file, format!("key '{key}'"), problem)
}

/// Returns an error about a key or tensor.
pub(super) fn unsound(file: &GgufFile, place: String, problem: String) -> GgufError {
    GgufError::Unsound { path: file.path().to_owned(), place, problem }
}
