//! Writes a file: the header first, then the tensors' data in order, streamed; the file appears
//! complete or not at all.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde_json::json;

use super::dtype::{Dtype, FloatType};
use crate::atomic::AtomicFile;

/// Values converted at a time.
const CHUNK: usize = 1 << 16;

/// An error of writing tensors. A file that was there before is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot be written; the message of the cause names it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A value exceeds the range of the type.
    #[error("cannot write {}: tensor '{name}' has a value of {value}, too large for f16; save as bf16 or f32", path.display())]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
    },
    /// A name occurs twice, or the data of a tensor does not match its shape.
    #[error("cannot write {}: tensor '{name}': {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
}

/// A tensor announced in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape, row-major, the contiguous dimension last.
    pub shape: Vec<usize>,
}

/// A safetensors file being written; it appears at its path when [`SafetensorsWriter::finish`]
/// succeeds.
///
/// ```
/// use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsWriter, TensorEntry};
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("model.safetensors");
/// let entries = [TensorEntry { name: "w".into(), dtype: Dtype::U8, shape: vec![3] }];
/// let mut writer = SafetensorsWriter::create(&path, &entries).unwrap();
/// writer.write(&[1, 2]).unwrap();
/// writer.write(&[3]).unwrap();
/// writer.finish().unwrap();
/// let checkpoint = Checkpoint::open(dir.path()).unwrap();
/// assert_eq!(checkpoint.data(checkpoint.get("w").unwrap()), [1, 2, 3]);
/// ```
#[derive(Debug)]
pub struct SafetensorsWriter {
    file: AtomicFile,
    path: PathBuf,
    /// Names and sizes in bytes, in file order.
    tensors: Vec<(String, u64)>,
    current: usize,
    /// Bytes of the current tensor still to be written.
    remaining: u64,
}

impl SafetensorsWriter {
    /// Writes the header, with the tensors in the given order.
    ///
    /// # Errors
    /// [`WriteError::Invalid`] for a name that occurs twice or a size that is not whole bytes or
    /// overflows, [`WriteError::Io`] if the file cannot be written.
    pub fn create(path: &Path, tensors: &[TensorEntry]) -> Result<Self, WriteError> {
        let (header, sizes) = header(path, tensors)?;
        let mut file = AtomicFile::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let tensors = tensors.iter().map(|tensor| tensor.name.clone()).zip(sizes).collect();
        let mut writer = Self { file, path: path.to_owned(), tensors, current: 0, remaining: 0 };
        writer.remaining = writer.size(0);
        writer.skip_complete();
        Ok(writer)
    }

    /// Appends little-endian bytes to the current tensor; after a complete tensor the next one
    /// becomes current.
    ///
    /// # Errors
    /// [`WriteError::Invalid`] if `bytes` exceed the tensor, [`WriteError::Io`] if the file cannot
    /// be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if bytes.len() as u64 > self.remaining {
            return Err(self.invalid(format!("{} bytes of data, expected at most {}", bytes.len(), self.remaining)));
        }
        self.file.write_all(bytes)?;
        self.remaining -= bytes.len() as u64;
        self.skip_complete();
        Ok(())
    }

    /// Syncs the file and moves it to its path.
    ///
    /// # Errors
    /// [`WriteError::Invalid`] if a tensor's data is incomplete, [`WriteError::Io`] if the file
    /// cannot be moved; the unfinished file is removed.
    pub fn finish(self) -> Result<(), WriteError> {
        if self.current < self.tensors.len() {
            return Err(self.invalid(format!("{} bytes of its data were not written", self.remaining)));
        }
        Ok(self.file.commit()?)
    }

    /// Advances past complete tensors, of which there may be several: empty ones take no bytes.
    fn skip_complete(&mut self) {
        while self.remaining == 0 && self.current < self.tensors.len() {
            self.current += 1;
            self.remaining = self.size(self.current);
        }
    }

    fn size(&self, index: usize) -> u64 {
        self.tensors.get(index).map_or(0, |(_, size)| *size)
    }

    fn invalid(&self, problem: String) -> WriteError {
        let last = self.tensors.last().map_or("none", |(name, _)| name.as_str());
        let name = self.tensors.get(self.current).map_or(last, |(name, _)| name.as_str());
        WriteError::Invalid { path: self.path.clone(), name: name.to_owned(), problem }
    }
}

/// Returns the header, padded so that data begins at a multiple of 8 bytes, and the size of each
/// tensor in bytes.
fn header(path: &Path, tensors: &[TensorEntry]) -> Result<(String, Vec<u64>), WriteError> {
    // transformers refuses files that do not name a framework.
    let mut header = r#"{"__metadata__":{"format":"pt"}"#.to_owned();
    let mut sizes = Vec::with_capacity(tensors.len());
    let mut names = HashSet::new();
    let mut start = 0_u64;
    for TensorEntry { name, dtype, shape } in tensors {
        let invalid = |problem: String| WriteError::Invalid { path: path.to_owned(), name: name.clone(), problem };
        if name == "__metadata__" || !names.insert(name) {
            return Err(invalid("the name is taken, expected unique names".into()));
        }
        let elements = shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim as u64));
        let bits = elements.and_then(|elements| elements.checked_mul(dtype.bits() as u64));
        let size = bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8);
        let Some((size, end)) = size.and_then(|size| Some((size, start.checked_add(size)?))) else {
            return Err(invalid(format!("{dtype} {shape:?}, expected whole bytes below 2^64")));
        };
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        header.extend([",", &json!(name).to_string(), ":", &entry.to_string()]);
        sizes.push(size);
        start = end;
    }
    header.push('}');
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    Ok((header, sizes))
}

/// Values in memory.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 16-bit IEEE floats.
    F16(&'a [f16]),
    /// bfloat16.
    Bf16(&'a [bf16]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Calls `each` with the values as `f32`, a chunk at a time.
    fn chunks(&self, mut each: impl FnMut(&[f32]) -> Result<(), WriteError>) -> Result<(), WriteError> {
        fn widened<T: Copy>(
            values: &[T],
            to_f32: impl Fn(T) -> f32,
            each: &mut impl FnMut(&[f32]) -> Result<(), WriteError>,
        ) -> Result<(), WriteError> {
            let mut wide = Vec::with_capacity(CHUNK.min(values.len()));
            values.chunks(CHUNK).try_for_each(|chunk| {
                wide.clear();
                wide.extend(chunk.iter().map(|value| to_f32(*value)));
                each(&wide)
            })
        }
        match self {
            Self::F32(values) => values.chunks(CHUNK).try_for_each(each),
            Self::F16(values) => widened(values, f16::to_f32, &mut each),
            Self::Bf16(values) => widened(values, bf16::to_f32, &mut each),
        }
    }
}

/// A tensor in memory, to be written.
#[derive(Debug, Clone)]
pub struct NewTensor<'a> {
    /// Name.
    pub name: String,
    /// Shape, row-major, the contiguous dimension last.
    pub shape: &'a [usize],
    /// Values.
    pub values: Values<'a>,
    /// The type they are stored in, each value rounded to the nearest.
    pub stored: FloatType,
}

/// Writes tensors, followed by named byte strings (stored as `U8`).
///
/// # Errors
/// [`WriteError`] with the file and the tensor: a value too large for `f16`, a number of values
/// that does not match the shape, a name that occurs twice, or an input/output error.
pub fn write(path: &Path, tensors: &[NewTensor<'_>], bytes: &[(&str, &[u8])]) -> Result<(), WriteError> {
    let floats = tensors.iter().map(|tensor| {
        let elements = tensor.shape.iter().product::<usize>();
        if elements != tensor.values.len() {
            let problem = format!("{} values, expected {elements} for shape {:?}", tensor.values.len(), tensor.shape);
            return Err(WriteError::Invalid { path: path.to_owned(), name: tensor.name.clone(), problem });
        }
        let (name, shape) = (tensor.name.clone(), tensor.shape.to_vec());
        Ok(TensorEntry { name, dtype: tensor.stored.dtype(), shape })
    });
    let raw = bytes
        .iter()
        .map(|(name, bytes)| Ok(TensorEntry { name: (*name).to_owned(), dtype: Dtype::U8, shape: vec![bytes.len()] }));
    let entries: Vec<TensorEntry> = floats.chain(raw).collect::<Result<_, _>>()?;
    let mut writer = SafetensorsWriter::create(path, &entries)?;
    for tensor in tensors {
        write_values(&mut writer, tensor, path)?;
    }
    for (_, bytes) in bytes {
        writer.write(bytes)?;
    }
    writer.finish()
}

fn write_values(writer: &mut SafetensorsWriter, tensor: &NewTensor<'_>, path: &Path) -> Result<(), WriteError> {
    let mut bytes = Vec::with_capacity(4 * CHUNK.min(tensor.values.len()));
    tensor.values.chunks(|values| {
        bytes.clear();
        match tensor.stored {
            FloatType::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            FloatType::Bf16 => bytes.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
            FloatType::F16 => {
                let overflows = |value: &&f32| value.is_finite() && !f16::from_f32(**value).is_finite();
                if let Some(value) = values.iter().find(overflows) {
                    let (path, name) = (path.to_owned(), tensor.name.clone());
                    return Err(WriteError::Overflow { path, name, value: *value });
                }
                bytes.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()));
            }
        }
        writer.write(&bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::super::read::Checkpoint;
    use super::*;

    fn entry(name: &str, shape: &[usize]) -> TensorEntry {
        TensorEntry { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec() }
    }

    #[test]
    fn written_files_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..CHUNK as u32 + 3).map(|value| value as f32).collect();
        let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value / 256.0)).collect();
        let shape = [values.len()];
        let tensor = |name: &str, values, stored| NewTensor { name: name.into(), shape: &shape, values, stored };
        let tensors = [
            tensor("b", Values::F32(&values), FloatType::F32),
            tensor("a", Values::F32(&values), FloatType::Bf16),
            tensor("half", Values::F16(&halves), FloatType::F16),
        ];
        let path = folder.path().join("model.safetensors");
        write(&path, &tensors, &[("note", b"{}")]).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let data = |name: &str| checkpoint.data(checkpoint.get(name).unwrap());
        assert_eq!(checkpoint.get("note").unwrap().dtype, Dtype::U8);
        assert_eq!(data("note"), b"{}");
        assert_eq!(data("b")[4 * CHUNK..][..4], (CHUNK as f32).to_le_bytes());
        assert_eq!(data("a").len(), 2 * values.len());
        assert_eq!(data("half")[2 * CHUNK..][..2], halves[CHUNK].to_le_bytes());
        let bytes = std::fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert!(length.is_multiple_of(8));
        let header =
            r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[65539],"data_offsets":[0,262156]},"#;
        assert!(bytes[8..].starts_with(header.as_bytes()), "tensors keep their order");
    }

    #[test]
    fn a_value_beyond_f16_is_named_and_the_old_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let write_one = |value: f32| {
            let (name, values) = ("w".to_owned(), [value]);
            write(&path, &[NewTensor { name, shape: &[1], values: Values::F32(&values), stored: FloatType::F16 }], &[])
        };
        write_one(1.0).unwrap();
        let before = std::fs::read(&path).unwrap();
        let message = write_one(1e6).unwrap_err().to_string();
        assert!(
            message.ends_with("tensor 'w' has a value of 1000000, too large for f16; save as bf16 or f32"),
            "{message}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn data_that_does_not_match_the_header_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let message = |error: WriteError| error.to_string();
        let twice = message(SafetensorsWriter::create(&path, &[entry("a", &[1]), entry("a", &[1])]).unwrap_err());
        assert!(twice.contains("x.safetensors: tensor 'a': the name is taken"), "{twice}");
        let huge = message(SafetensorsWriter::create(&path, &[entry("a", &[usize::MAX, 2])]).unwrap_err());
        assert!(huge.contains("expected whole bytes below 2^64"), "{huge}");
        let mut writer = SafetensorsWriter::create(&path, &[entry("e", &[0]), entry("a", &[2])]).unwrap();
        let long = message(writer.write(&[0; 9]).unwrap_err());
        assert!(long.contains("tensor 'a': 9 bytes of data, expected at most 8"), "{long}");
        writer.write(&[0; 4]).unwrap();
        let short = message(writer.finish().unwrap_err());
        assert!(short.contains("tensor 'a': 4 bytes of its data were not written"), "{short}");
        let values = NewTensor { name: "w".into(), shape: &[2], values: Values::F32(&[1.0]), stored: FloatType::F32 };
        let count = message(write(&path, &[values], &[]).unwrap_err());
        assert!(count.contains("tensor 'w': 1 values, expected 2 for shape [2]"), "{count}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
