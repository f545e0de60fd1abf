//! Fields of records by their names, also of fields within others.
//!
//! What single fields mean is left to the readers of each kind of record.
//!
//! ```
//! use mmprm::data::fields::group;
//! let record = serde_json::json!({"level": 3, "metadata": {"task": "algebra"}});
//! let group = |field| group(record.as_object().unwrap(), field);
//! assert_eq!([group("level"), group("metadata.task"), group("subject")], ["3", "algebra", "(none)"]);
//! ```

use serde_json::{Map, Value};

/// The value of a field; of one within another as in `metadata.task`.
pub fn field<'a>(record: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    record.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        record.get(outer)?.get(inner)
    })
}

/// The group of a record by the value of a [field]; `(none)` without one.
pub fn group(record: &Map<String, Value>, name: &str) -> String {
    match field(record, name) {
        Some(Value::String(value)) => value.clone(),
        Some(Value::Null) | None => "(none)".to_owned(),
        Some(other) => other.to_string(),
    }
}
