//! Rows of a source, one at a time: Parquet, a JSON array, JSON Lines or CSV, told apart by content.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::ImportError;
use super::row::{OnRow, Row};
use crate::util::io::FileError;

/// Maximum size of a row in bytes.
const MAX_ROW: u64 = 1 << 30;

/// Reads the rows of a file.
pub(in crate::data) fn read(path: &Path, on_row: OnRow<'_>) -> Result<(), ImportError> {
    // A device may never end, and a row of it may be of any length.
    let kind = std::fs::metadata(path).map_err(FileError::reading(path))?;
    if !kind.is_file() {
        return Err(ImportError::Syntax {
            place: path.display().to_string(),
            expected: "a file: Parquet, JSON, JSON Lines or CSV",
            cause: if kind.is_dir() { "it is a directory" } else { "it is no regular file" }.into(),
        });
    }
    let file = File::open(path).map_err(FileError::reading(path))?;
    let mut reader = BufReader::new(file);
    let start = reader.fill_buf().map_err(FileError::reading(path))?;
    if start.starts_with(b"PAR1") {
        return parquet(path, on_row);
    }
    match start.iter().find(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte)) {
        Some(b'[') => array(path, reader, on_row),
        Some(b'{') => lines(path, reader, on_row),
        Some(_) => csv(path, reader, on_row),
        None => Ok(()),
    }
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path, on_row: OnRow<'_>) -> Result<(), ImportError> {
    super::parquet::read(path, on_row)
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path, _: OnRow<'_>) -> Result<(), ImportError> {
    Err(ImportError::Syntax {
        place: path.display().to_string(),
        expected: "JSON, JSON Lines or CSV",
        cause: "Parquet needs a build with the feature `parquet`".into(),
    })
}

fn lines(path: &Path, mut reader: impl BufRead, on_row: OnRow<'_>) -> Result<(), ImportError> {
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let place = || format!("{}:{number}", path.display());
        let read = reader.by_ref().take(MAX_ROW).read_until(b'\n', &mut line).map_err(FileError::reading(path))?;
        let syntax = |cause: String| ImportError::Syntax { place: place(), expected: "one object a line", cause };
        if read as u64 == MAX_ROW {
            return Err(syntax(format!("the line is longer than {MAX_ROW} bytes")));
        }
        if read == 0 {
            return Ok(());
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let fields = serde_json::from_slice(text).map_err(|error| syntax(error.to_string()))?;
        if !on_row(place(), Row::of_json(fields))? {
            return Ok(());
        }
    }
}

/// Hands over the elements of an array as they are parsed.
struct Elements<'a, 'b> {
    path: &'a Path,
    on_row: OnRow<'b>,
    outcome: Result<(), ImportError>,
}

fn array(path: &Path, mut reader: impl BufRead, on_row: OnRow<'_>) -> Result<(), ImportError> {
    if reader.fill_buf().is_ok_and(|start| start.starts_with(b"\xef\xbb\xbf")) {
        reader.consume(3);
    }
    let mut elements = Elements { path, on_row, outcome: Ok(()) };
    let parsed = (&mut elements).deserialize(&mut serde_json::Deserializer::from_reader(reader));
    elements.outcome?;
    let syntax = |error: serde_json::Error| ImportError::Syntax {
        place: format!("{}:{}", path.display(), error.line()),
        expected: "an array of objects",
        cause: error.to_string(),
    };
    match parsed {
        // The rest was not asked for.
        Err(error) if error.to_string().starts_with(STOPPED) => Ok(()),
        parsed => parsed.map_err(syntax),
    }
}

const STOPPED: &str = "no further rows are wanted";

impl<'de> DeserializeSeed<'de> for &mut Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(fields) = elements.next_element::<Map<String, Value>>()? {
            match (self.on_row)(format!("{}[{index}]", self.path.display()), Row::of_json(fields)) {
                Ok(true) => {}
                Ok(false) => return Err(serde::de::Error::custom(STOPPED)),
                Err(error) => {
                    self.outcome = Err(error);
                    return Err(serde::de::Error::custom(STOPPED));
                }
            }
            index += 1;
        }
        Ok(())
    }
}

/// Reads CSV with a header; every field is text.
fn csv(path: &Path, reader: impl Read, on_row: OnRow<'_>) -> Result<(), ImportError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(reader);
    let syntax = |error: csv::Error| {
        let line = error.position().map_or_else(String::new, |position| format!(":{}", position.line()));
        ImportError::Syntax {
            place: format!("{}{line}", path.display()),
            expected: "CSV with a header",
            cause: error.to_string(),
        }
    };
    let header = reader.headers().map_err(syntax)?.clone();
    for record in reader.records() {
        let record = record.map_err(syntax)?;
        let line = record.position().map_or(0, csv::Position::line);
        let fields = header.iter().zip(&record).map(|(name, value)| (name.trim().to_owned(), Value::from(value)));
        let row = Row { fields: fields.collect(), embedded: Vec::new() };
        if !on_row(format!("{}:{line}", path.display()), row)? {
            return Ok(());
        }
    }
    Ok(())
}
