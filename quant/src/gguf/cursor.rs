//! Reads little-endian values from a byte slice, never past its end.

use std::path::Path;

use super::error::GgufError;

/// A position in a file's bytes; errors carry the byte offset.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    path: &'a Path,
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {$(
        pub(super) fn $name(&mut self, place: &str) -> Result<$type, GgufError> {
            let bytes = self.take(size_of::<$type>(), place)?;
            Ok(<$type>::from_le_bytes(bytes.try_into().expect("take returns `count` bytes")))
        }
    )*};
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], path: &'a Path) -> Self {
        Self { bytes, position: 0, path }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    numbers!(u8: u8, i8: i8, u16: u16, i16: i16, u32: u32, i32: i32, f32: f32, u64: u64, i64: i64, f64: f64);

    pub(super) fn take(&mut self, count: usize, place: &str) -> Result<&'a [u8], GgufError> {
        if count > self.remaining() {
            let problem = format!("{} bytes remain, expected {count}", self.remaining());
            return Err(self.error(place, problem));
        }
        let bytes = &self.bytes[self.position..self.position + count];
        self.position += count;
        Ok(bytes)
    }

    /// Reads a boolean: one byte, 0 or 1.
    pub(super) fn bool(&mut self, place: &str) -> Result<bool, GgufError> {
        match self.u8(place)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.error(place, format!("a boolean of {other}, expected 0 or 1"))),
        }
    }

    /// Reads a string: 64-bit length, then UTF-8 of at most `max_len` bytes.
    pub(super) fn string(&mut self, max_len: usize, place: &str) -> Result<&'a str, GgufError> {
        let length = self.count(1, place)?;
        if length > max_len {
            return Err(self.error(place, format!("a string of {length} bytes, expected at most {max_len}")));
        }
        let bytes = self.take(length, place)?;
        std::str::from_utf8(bytes).map_err(|error| self.error(place, format!("text is not UTF-8: {error}")))
    }

    /// Reads the name of a key or tensor: not empty, and without NUL, at which C ends a name, so that
    /// it would find another one than is here.
    pub(super) fn name(&mut self, max_len: usize, place: &str) -> Result<&'a str, GgufError> {
        let name = self.string(max_len, place)?;
        if name.is_empty() {
            return Err(self.error(place, "is empty, expected a name".into()));
        }
        if name.contains('\0') {
            return Err(self.error(place, "contains a NUL byte, expected a name without".into()));
        }
        Ok(name)
    }

    /// Reads a 64-bit count of elements of at least `size` bytes each; a count that exceeds the
    /// remaining bytes is refused before anything is allocated for it.
    pub(super) fn count(&mut self, size: usize, place: &str) -> Result<usize, GgufError> {
        let count = self.u64(place)?;
        let max_count = (self.remaining() / size) as u64;
        if count > max_count {
            let problem =
                format!("a count of {count}, but the remaining {} bytes hold at most {max_count}", self.remaining());
            return Err(self.error(place, problem));
        }
        Ok(count as usize)
    }

    pub(super) fn error(&self, place: &str, problem: String) -> GgufError {
        GgufError::Malformed {
            path: self.path.to_owned(),
            place: place.to_owned(),
            offset: self.position as u64,
            problem,
        }
    }
}
