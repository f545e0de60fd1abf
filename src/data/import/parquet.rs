//! Parquet files, row group by row group.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as Record};
use serde_json::{Map, Value, json};

use super::ImportError;
use super::row::{OnRow, Row};
use crate::util::guard::guarded;
use crate::util::io::FileError;

/// Reads the rows of a Parquet file. Nested groups become objects, lists arrays; `{bytes, path}` groups (Hugging Face's images) and
/// byte columns become embedded images.
pub(super) fn read(path: &Path, on_row: OnRow<'_>) -> Result<(), ImportError> {
    let syntax = |place: String, cause: String| ImportError::Syntax { place, expected: "a Parquet file", cause };
    let file = File::open(path).map_err(FileError::reading(path))?;
    let broken = |error: parquet::errors::ParquetError| syntax(path.display().to_string(), error.to_string());
    let length = file.metadata().map_err(FileError::reading(path))?.len();
    // The reader panics on some damaged files.
    let panicked = |cause: String| syntax(path.display().to_string(), cause);
    let reader = guarded(|| SerializedFileReader::new(file)).map_err(panicked)?.map_err(broken)?;
    check(&reader, length).map_err(panicked)?;
    let mut index = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(broken)?;
        let mut records = guarded(|| group.get_row_iter(None)).map_err(panicked)?.map_err(broken)?;
        while let Some(record) =
            guarded(|| records.next().map(|record| record.map(|record| row(&record)))).map_err(panicked)?
        {
            let place = format!("{}[{index}]", path.display());
            let row = record.map_err(|error| syntax(place.clone(), error.to_string()))?;
            if !on_row(place, row)? {
                return Ok(());
            }
            index += 1;
        }
    }
    Ok(())
}

/// Checks that every column lies inside the file, which the reader takes for granted.
fn check(reader: &impl FileReader, length: u64) -> Result<(), String> {
    for (index, group) in reader.metadata().row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            return Err(format!("row group {index} has {} rows", group.num_rows()));
        }
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let is_inside = start >= 0
                && column.data_page_offset() >= 0
                && column.compressed_size() >= 0
                && column.num_values() >= 0
                && end.is_some_and(|end| end as u64 <= length);
            if !is_inside {
                return Err(format!("column {} of row group {index} is outside the file", column.column_path()));
            }
        }
    }
    Ok(())
}

fn row(record: &Record) -> Row {
    let mut row = Row::default();
    for (name, field) in record.get_column_iter() {
        add(&mut row, name, field);
    }
    row
}

/// Adds a field: images with their bytes to the embedded ones, everything else as JSON.
fn add(row: &mut Row, name: &str, field: &Field) {
    match field {
        Field::Bytes(bytes) => row.embedded.push((name.to_owned(), bytes.data().to_vec())),
        Field::Group(group) => {
            let bytes = group.get_column_iter().find_map(|(name, field)| match (name.as_str(), field) {
                ("bytes", Field::Bytes(bytes)) => Some(bytes.data().to_vec()),
                _ => None,
            });
            match bytes {
                Some(bytes) => row.embedded.push((name.to_owned(), bytes)),
                None => drop(row.fields.insert(name.to_owned(), value(field))),
            }
        }
        Field::ListInternal(list) if list.elements().iter().any(holds_bytes) => {
            for element in list.elements() {
                add(row, name, element);
            }
        }
        field => drop(row.fields.insert(name.to_owned(), value(field))),
    }
}

fn holds_bytes(field: &Field) -> bool {
    match field {
        Field::Bytes(_) => true,
        Field::Group(group) => group.get_column_iter().any(|(name, field)| name == "bytes" && holds_bytes(field)),
        _ => false,
    }
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Str(text) => text.as_str().into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::Group(group) => Value::Object(
            group.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect::<Map<_, _>>(),
        ),
        // Floats that are whole numbers stay floats, as in the source.
        Field::Float(number) => json!(number),
        Field::Double(number) => json!(number),
        Field::Bool(is_true) => json!(is_true),
        Field::Byte(number) => json!(number),
        Field::Short(number) => json!(number),
        Field::Int(number) => json!(number),
        Field::Long(number) => json!(number),
        Field::UByte(number) => json!(number),
        Field::UShort(number) => json!(number),
        Field::UInt(number) => json!(number),
        Field::ULong(number) => json!(number),
        // Decimals, dates and times as their text.
        other => other.to_string().into(),
    }
}
