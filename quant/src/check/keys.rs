//! Errors about keys and tensors, and the checks that relate one key to another.

use crate::gguf::{GgufError, GgufFile, GgufValue};

/// Returns an error about a key's value.
pub(super) fn bad_key(file: &GgufFile, key: &str, found: impl Into<String>, expected: impl Into<String>) -> GgufError {
    let (path, key) = (file.path().to_owned(), key.to_owned());
    GgufError::UnsoundKey { path, key, found: found.into(), expected: expected.into() }
}

/// Returns an error about a tensor.
pub(super) fn bad_tensor(
    file: &GgufFile,
    tensor: &str,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> GgufError {
    let (path, tensor) = (file.path().to_owned(), tensor.to_owned());
    GgufError::UnsoundTensor { path, tensor, found: found.into(), expected: expected.into() }
}

/// Returns a required `u32`; the table has checked its range.
pub(super) fn number(file: &GgufFile, key: &str) -> Result<u64, GgufError> {
    file.get_u32(key).map(u64::from)
}

/// Returns an optional `u32`; the table has checked its range.
pub(super) fn optional(file: &GgufFile, key: &str) -> Option<u64> {
    file.get(key).and_then(GgufValue::as_u64)
}

/// Checks that `part`, the value of a key, divides `whole`.
pub(super) fn divides(file: &GgufFile, key: &str, part: u64, whole: u64) -> Result<(), GgufError> {
    if part > 0 && whole.is_multiple_of(part) {
        Ok(())
    } else {
        Err(bad_key(file, key, part.to_string(), format!("a divisor of {whole}")))
    }
}

/// Checks that the value of an optional key, if present, is `expected`; `meaning` is what it is.
pub(super) fn equals(file: &GgufFile, key: &str, expected: u64, meaning: &str) -> Result<(), GgufError> {
    match optional(file, key) {
        Some(found) if found != expected => {
            Err(bad_key(file, key, found.to_string(), format!("{meaning}, {expected}")))
        }
        _ => Ok(()),
    }
}
