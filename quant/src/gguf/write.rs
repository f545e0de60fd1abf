//! Writes a file: the header first, then the tensors' data in order, in pieces of any size.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::format::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, MAX_HEADER, MAX_KEY, MAX_TENSOR_NAME, TensorSpec, VERSION,
};
use super::value::{GgufArray, GgufValue, with_items};
use crate::atomic::{AtomicFile, CompleteFile};

/// A GGUF file (version 3) being written; it appears at its path when [`GgufWriter::finish`]
/// succeeds.
#[derive(Debug)]
pub struct GgufWriter {
    file: AtomicFile,
    path: PathBuf,
    tensors: Vec<(String, u64)>,
    current: usize,
    /// Bytes of the current tensor still to be written.
    remaining: u64,
}

impl GgufWriter {
    /// Validates and writes the header.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a key or tensor violates the format, [`GgufError::Write`] if
    /// the file cannot be written.
    pub fn create(path: &Path, metadata: &[(String, GgufValue)], tensors: &[TensorSpec]) -> Result<Self, GgufError> {
        let (header, sizes) = header(path, metadata, tensors)?;
        let mut file = AtomicFile::create(path).map_err(|source| GgufError::Write { source })?;
        file.write_all(&header).map_err(|source| GgufError::Write { source })?;
        let tensors: Vec<_> = tensors.iter().map(|tensor| tensor.name.clone()).zip(sizes).collect();
        let remaining = tensors.first().map_or(0, |(_, size)| *size);
        Ok(Self { file, path: path.to_owned(), tensors, current: 0, remaining })
    }

    /// Appends bytes to the current tensor; a complete tensor is padded and the next one becomes
    /// current.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if `bytes` exceed the tensor, [`GgufError::Write`] if the file
    /// cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        if bytes.len() as u64 > self.remaining {
            let problem = format!("{} bytes of data, expected at most {}", bytes.len(), self.remaining);
            return Err(self.unwritable(problem));
        }
        self.put(bytes)?;
        self.remaining -= bytes.len() as u64;
        if self.remaining == 0 && self.current < self.tensors.len() {
            let (_, size) = self.tensors[self.current];
            let padding = size.next_multiple_of(u64::from(DEFAULT_ALIGNMENT)) - size;
            self.put(&vec![0; padding as usize])?;
            self.current += 1;
            self.remaining = self.tensors.get(self.current).map_or(0, |(_, size)| *size);
        }
        Ok(())
    }

    /// Moves the file to its path.
    ///
    /// # Errors
    /// [`GgufError::Unwritable`] if a tensor's data is incomplete, [`GgufError::Write`] if the file
    /// cannot be moved; the unfinished file is removed.
    pub fn finish(self) -> Result<(), GgufError> {
        self.complete()?.put_in_place().map_err(|source| GgufError::Write { source })
    }

    /// Completes the file, which is then still to be moved to its path.
    ///
    /// # Errors
    /// As [`GgufWriter::finish`].
    pub fn complete(self) -> Result<CompleteFile, GgufError> {
        if self.current < self.tensors.len() {
            return Err(self.unwritable(format!("{} bytes of its data were not written", self.remaining)));
        }
        self.file.complete().map_err(|source| GgufError::Write { source })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        self.file.write_all(bytes).map_err(|source| GgufError::Write { source })
    }

    fn unwritable(&self, problem: String) -> GgufError {
        let place = match self.tensors.get(self.current) {
            Some((name, _)) => format!("tensor '{name}'"),
            None => "after the last tensor".to_owned(),
        };
        GgufError::Unwritable { path: self.path.clone(), place, problem }
    }
}

/// Returns the bytes before the data, and the size of each tensor's data.
fn header(
    path: &Path,
    metadata: &[(String, GgufValue)],
    tensors: &[TensorSpec],
) -> Result<(Vec<u8>, Vec<u64>), GgufError> {
    let unwritable =
        |place: String, problem: String| Err(GgufError::Unwritable { path: path.to_owned(), place, problem });
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    let mut seen = HashSet::new();
    for (key, value) in metadata {
        let problem = if key.is_empty() || key.len() > MAX_KEY {
            format!("a key of {} bytes, expected 1 to {MAX_KEY}", key.len())
        } else if key.contains('\0') {
            "contains a NUL byte".to_owned()
        } else if !seen.insert(key) {
            "occurs twice, expected unique keys".to_owned()
        } else if key == ALIGNMENT_KEY {
            format!("is set by the writer, which aligns to {DEFAULT_ALIGNMENT}")
        } else {
            put_string(&mut bytes, key);
            put_value(&mut bytes, value);
            continue;
        };
        return unwritable(format!("key '{key}'"), problem);
    }
    let mut seen = HashSet::new();
    let mut offset = 0_u64;
    let mut sizes = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let place = || format!("tensor '{}'", tensor.name);
        if !(1..=MAX_TENSOR_NAME).contains(&tensor.name.len()) {
            return unwritable(
                place(),
                format!("a name of {} bytes, expected 1 to {MAX_TENSOR_NAME}", tensor.name.len()),
            );
        }
        if tensor.name.contains('\0') {
            return unwritable(place(), "contains a NUL byte".to_owned());
        }
        if !seen.insert(&tensor.name) {
            return unwritable(place(), "occurs twice, expected unique names".to_owned());
        }
        let size = tensor.ggml_type.tensor_bytes(&tensor.dims).filter(|_| tensor.dims.len() <= MAX_DIMS);
        let end = size.and_then(|size| offset.checked_add(size)).filter(|end| *end < 1 << 62);
        let Some(end) = end else {
            let problem = format!("dimensions {:?} cannot be {}", tensor.dims, tensor.ggml_type);
            return unwritable(place(), problem);
        };
        put_string(&mut bytes, &tensor.name);
        bytes.extend((tensor.dims.len() as u32).to_le_bytes());
        tensor.dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
        bytes.extend(tensor.ggml_type.id().to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        sizes.push(end - offset);
        offset = end.next_multiple_of(u64::from(DEFAULT_ALIGNMENT));
    }
    bytes.resize(bytes.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
    if bytes.len() > MAX_HEADER {
        return unwritable("header".to_owned(), format!("{} bytes, expected at most {MAX_HEADER}", bytes.len()));
    }
    Ok((bytes, sizes))
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &GgufValue) {
    let mut put = |id: u32, value: &[u8]| {
        bytes.extend(id.to_le_bytes());
        bytes.extend(value);
    };
    match value {
        GgufValue::U8(value) => put(0, &value.to_le_bytes()),
        GgufValue::I8(value) => put(1, &value.to_le_bytes()),
        GgufValue::U16(value) => put(2, &value.to_le_bytes()),
        GgufValue::I16(value) => put(3, &value.to_le_bytes()),
        GgufValue::U32(value) => put(4, &value.to_le_bytes()),
        GgufValue::I32(value) => put(5, &value.to_le_bytes()),
        GgufValue::F32(value) => put(6, &value.to_le_bytes()),
        GgufValue::Bool(value) => put(7, &[u8::from(*value)]),
        GgufValue::U64(value) => put(10, &value.to_le_bytes()),
        GgufValue::I64(value) => put(11, &value.to_le_bytes()),
        GgufValue::F64(value) => put(12, &value.to_le_bytes()),
        GgufValue::String(text) => {
            put(8, &[]);
            put_string(bytes, text);
        }
        GgufValue::Array(array) => {
            put(9, &array.element_type().to_le_bytes());
            put_array(bytes, array);
        }
    }
}

impl GgufValue {
    /// Appends the value as a GGUF file stores it: the type, then the little-endian bytes. The form
    /// is stable, for hashing.
    #[doc(hidden)]
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        put_value(bytes, self);
    }
}

fn put_array(bytes: &mut Vec<u8>, array: &GgufArray) {
    bytes.extend((array.len() as u64).to_le_bytes());
    with_items!(array, items => items.iter().for_each(|item| item.put(bytes)));
}

/// An array element that has little-endian bytes.
trait Put {
    fn put(&self, bytes: &mut Vec<u8>);
}

macro_rules! put_numbers {
    ($($type:ty),*) => {$(
        impl Put for $type {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
        }
    )*};
}

put_numbers!(u8, i8, u16, i16, u32, i32, f32, u64, i64, f64);

impl Put for bool {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }
}

impl Put for &str {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_string(bytes, self);
    }
}
