//! Turning a row into a record: taking columns, keeping the others.

use serde_json::{Map, Value};

use super::row::{Image, Row};
use crate::util::io::FileError;

/// Which column holds each field of a problem, as `(field, column)`.
pub type Mapping = Vec<(String, String)>;

/// A record with its images, which are not among its fields yet.
#[derive(Debug, Default)]
pub struct Imported {
    /// The record.
    pub record: Map<String, Value>,
    /// Its images, in order.
    pub images: Vec<Image>,
}

/// Why a row is not imported.
#[derive(Debug)]
pub enum Dropped {
    /// The row cannot be used: the reason by which such rows are counted, and what was found.
    Row(&'static str, String),
    /// An image could not be written.
    Failed(FileError),
}

/// A row that is turned into a record.
pub(super) struct Builder {
    row: Row,
    imported: Imported,
}

impl Builder {
    pub fn new(row: Row) -> Self {
        Self { row, imported: Imported::default() }
    }

    /// Takes a column out of the row; null counts as absent.
    pub fn take(&mut self, column: &str) -> Option<Value> {
        self.row.fields.shift_remove(column).filter(|value| !value.is_null())
    }

    /// The text in the first of these columns that has one.
    pub fn text(&mut self, columns: &[impl AsRef<str>]) -> Option<String> {
        columns.iter().find_map(|column| match self.row.fields.get(column.as_ref())? {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// The text in a column that has to be there.
    pub fn needed(&mut self, reason: &'static str, columns: &[impl AsRef<str>]) -> Result<String, Dropped> {
        self.text(columns).ok_or_else(|| Dropped::Row(reason, String::new()))
    }

    /// Sets the question to the first of these columns that has one; it has to be there.
    pub fn question(&mut self, columns: &[impl AsRef<str>]) -> Result<(), Dropped> {
        let question = self.needed("no question", columns)?;
        self.set("question", question);
        Ok(())
    }

    /// Sets the expected answer to the first of these columns that has one.
    pub fn answer(&mut self, columns: &[impl AsRef<str>]) {
        if let Some(answer) = self.text(columns) {
            self.set("correct_answer", answer);
        }
    }

    pub fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.imported.record.insert(field.to_owned(), value.into());
    }

    /// Sets the id to the first of these columns that has one.
    pub fn id(&mut self, columns: &[impl AsRef<str>]) {
        if let Some(id) = self.text(columns) {
            self.set("id", id);
        }
    }

    /// Takes the images of these columns: with their bytes, or by their paths. Of several columns with the same image, the first
    /// that has any counts.
    pub fn images(&mut self, columns: &[impl AsRef<str>]) -> Result<(), Dropped> {
        for column in columns.iter().map(AsRef::as_ref) {
            let mut own: Vec<Image> = Vec::new();
            for (name, bytes) in &mut self.row.embedded {
                if name == column {
                    own.push(Image::Bytes(std::mem::take(bytes)));
                }
            }
            self.row.embedded.retain(|(name, _)| name != column);
            if let Some(value) = self.take(column)
                && own.is_empty()
            {
                paths(&value, &mut own).map_err(|found| Dropped::Row("image of an unknown form", found))?;
            }
            if self.imported.images.is_empty() {
                self.imported.images = own;
            }
        }
        Ok(())
    }

    /// Takes numbered image columns (`image_1`, …), in their order.
    pub fn numbered_images(&mut self) -> Result<(), Dropped> {
        let number = |name: &str| name.strip_prefix("image_")?.parse::<u32>().ok();
        let mut columns: Vec<(u32, String)> =
            self.row.columns().into_iter().filter_map(|name| Some((number(name)?, name.to_owned()))).collect();
        columns.sort();
        let mut all = std::mem::take(&mut self.imported.images);
        for (_, column) in columns {
            self.images(&[&column])?;
            all.append(&mut self.imported.images);
        }
        self.imported.images = all;
        Ok(())
    }

    /// The record, with the columns that are left. A column of bytes that nobody read is an error: it may be an image.
    pub fn done(mut self, used: &[impl AsRef<str>]) -> Result<Imported, Dropped> {
        if let Some((column, _)) = self.row.embedded.first() {
            return Err(Dropped::Row("bytes in an unknown column", column.clone()));
        }
        for (name, value) in self.row.fields {
            if used.iter().any(|used| used.as_ref() == name) {
                continue;
            }
            // A column with the name of a field that came from another one, or that has the same text.
            let name = match self.imported.record.get(&name) {
                None => name,
                Some(own) if *own == value || own.as_str() == Some(&value.to_string()) => continue,
                Some(_) => format!("{name}_original"),
            };
            self.imported.record.insert(name, value);
        }
        Ok(self.imported)
    }
}

/// The paths in a value: a path, a list of them, or Hugging Face's `{path, bytes: null}`.
fn paths(value: &Value, found: &mut Vec<Image>) -> Result<(), String> {
    match value {
        Value::String(path) if path.is_empty() => Ok(()),
        Value::String(path) => {
            found.push(Image::Path(path.clone()));
            Ok(())
        }
        Value::Array(values) => values.iter().try_for_each(|value| paths(value, found)),
        Value::Object(parts) if parts.get("path").is_some_and(Value::is_string) => paths(&parts["path"], found),
        Value::Null => Ok(()),
        other => Err(crate::data::images::shown(other)),
    }
}
