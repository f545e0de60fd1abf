//! A row of a source: its fields, and the images inside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::ImportError;
use crate::data::images::shown;

/// An image of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// The file itself.
    Bytes(Vec<u8>),
    /// Its path, relative to the source's image root.
    Path(String),
}

/// A row: its fields, and the images that were inside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Fields other than images with their bytes.
    pub fields: Map<String, Value>,
    /// Images with their bytes, by their column.
    pub embedded: Vec<(String, Vec<u8>)>,
}

impl Row {
    /// A row of JSON: images inside it as `{"bytes": base64, …}` are taken out.
    pub fn of_json(fields: Map<String, Value>) -> Self {
        let mut row = Self::default();
        for (name, value) in fields {
            let own = match &value {
                Value::Object(parts) => parts.get("bytes").and_then(Value::as_str).map(|text| STANDARD.decode(text)),
                _ => None,
            };
            match own {
                Some(Ok(bytes)) => row.embedded.push((name, bytes)),
                _ => drop(row.fields.insert(name, value)),
            }
        }
        row
    }

    /// Names of all columns.
    pub fn columns(&self) -> Vec<&str> {
        self.fields.keys().map(String::as_str).chain(self.embedded.iter().map(|(name, _)| name.as_str())).collect()
    }

    /// Whether there is a column of this name.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name) || self.embedded.iter().any(|(own, _)| own == name)
    }

    /// The row's id for messages, if it has one.
    pub(super) fn id(&self) -> Option<String> {
        ["id", "pid", "sample_index", "idx", "unique_id"].iter().find_map(|name| self.fields.get(*name)).map(shown)
    }
}

/// Receives a row with its place; returns whether to read on.
pub(in crate::data) type OnRow<'a> = &'a mut dyn FnMut(String, Row) -> Result<bool, ImportError>;
