//! The error of a key of a configuration.

use serde_json::Value;

/// A key with a missing, invalid or unsupported value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {}, expected {expected}", found.as_deref().unwrap_or("missing"))]
#[non_exhaustive]
pub struct KeyError {
    /// The key, such as `llm_config.hidden_size`.
    pub key: String,
    /// Its value; `None` if it is missing.
    pub found: Option<String>,
    /// The supported values.
    pub expected: String,
}

impl KeyError {
    pub(super) fn new(key: impl Into<String>, found: Option<&Value>, expected: impl Into<String>) -> Self {
        Self { key: key.into(), found: found.map(shown), expected: expected.into() }
    }
}

/// Returns a value as it is shown in a message, shortened.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), |text| format!("'{text}'"));
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
