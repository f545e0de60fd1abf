//! Writes a file: the header first, then the tensors' data in order, streamed; the file appears
//! complete or not at all.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde_json::json;

use super::dtype::{Dtype, StoredType};
use crate::atomic::{AtomicFile, CompleteFile};

/// Values converted at a time.
const CHUNK: usize = 1 << 16;

/// The header is padded so that data begins at a multiple of this many bytes.
const ALIGNMENT: usize = 8;

/// A tensor to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorSpec<'a> {
    /// Name.
    pub name: &'a str,
    /// Element type.
    pub dtype: Dtype,
    /// Shape, row-major, the contiguous dimension last.
    pub shape: &'a [usize],
}

impl TensorSpec<'_> {
    /// Returns the size in bytes; `None` if it overflows or is not whole bytes.
    fn size(&self) -> Option<u64> {
        let elements = self.shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim as u64))?;
        let bits = elements.checked_mul(self.dtype.bits() as u64)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// A safetensors file being written; the tensors' bytes are written through [`io::Write`],
/// little-endian, in the order of the header. The file appears at its path when
/// [`SafetensorsWriter::commit`] succeeds; dropping the writer leaves nothing behind.
///
/// ```
/// use std::io::Write;
/// use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsWriter, TensorSpec};
/// let dir = tempfile::tempdir()?;
/// let spec = TensorSpec { name: "w", dtype: Dtype::F32, shape: &[1] };
/// let mut writer = SafetensorsWriter::create(&dir.path().join("model.safetensors"), &[spec])?;
/// writer.write_all(&0.5_f32.to_le_bytes())?;
/// writer.commit()?;
/// let checkpoint = Checkpoint::open(dir.path()).unwrap();
/// assert_eq!(checkpoint.data(checkpoint.get("w").unwrap()), 0.5_f32.to_le_bytes());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsWriter {
    file: AtomicFile,
    path: PathBuf,
    /// Bytes of all tensors.
    total: u64,
    written: u64,
}

impl SafetensorsWriter {
    /// Opens a temporary file in the directory of `path` and writes the header.
    ///
    /// # Errors
    /// Any input/output error; its message names the file. [`io::ErrorKind::InvalidInput`] for a
    /// name that occurs twice, or a size that overflows or is not whole bytes.
    pub fn create(path: &Path, tensors: &[TensorSpec<'_>]) -> io::Result<Self> {
        let (header, total) = header(path, tensors)?;
        let mut file = AtomicFile::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        Ok(Self { file, path: path.to_owned(), total, written: 0 })
    }

    /// Syncs the file and moves it to its path.
    ///
    /// # Errors
    /// Any input/output error; its message names the file. [`io::ErrorKind::InvalidInput`] if data
    /// is missing. The unfinished file is removed.
    pub fn commit(self) -> io::Result<()> {
        self.complete()?.put_in_place()
    }

    /// Completes and syncs the file, which is then still to be moved to its path.
    ///
    /// # Errors
    /// As [`SafetensorsWriter::commit`].
    pub fn complete(self) -> io::Result<CompleteFile> {
        if self.written != self.total {
            let problem = format!("{} bytes of data, expected {} from the header", self.written, self.total);
            return Err(invalid(&self.path, &problem));
        }
        self.file.complete()
    }
}

impl Write for SafetensorsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.written + bytes.len() as u64;
        if end > self.total {
            let problem = format!("{end} bytes of data, expected {} from the header", self.total);
            return Err(invalid(&self.path, &problem));
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn invalid(path: &Path, problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("cannot write {}: {problem}", path.display()))
}

/// Returns the padded header and the size of all data in bytes.
fn header(path: &Path, tensors: &[TensorSpec<'_>]) -> io::Result<(String, u64)> {
    // transformers refuses files that do not name a framework.
    let mut header = r#"{"__metadata__":{"format":"pt"}"#.to_owned();
    let mut names = HashSet::new();
    let mut start = 0_u64;
    for tensor in tensors {
        let TensorSpec { name, dtype, shape } = *tensor;
        if name == "__metadata__" || !names.insert(name) {
            return Err(invalid(path, &format!("tensor '{name}': the name is taken, expected unique names")));
        }
        let Some(end) = tensor.size().and_then(|size| start.checked_add(size)) else {
            let problem = format!("tensor '{name}': {dtype} {shape:?}, expected whole bytes below 2^64");
            return Err(invalid(path, &problem));
        };
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        header.extend([",", &json!(name).to_string(), ":", &entry.to_string()]);
        start = end;
    }
    header.push('}');
    header.push_str(&" ".repeat(header.len().next_multiple_of(ALIGNMENT) - header.len()));
    Ok((header, start))
}

/// An error of writing tensors that are in memory. A file that was there before is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot be written; the message of the cause names it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A value exceeds the range of the stored type.
    #[error("cannot write {}: tensor '{name}' has a value of {value}, too large for f16; save as bf16 or f32", path.display())]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
    },
    /// The number of values does not match the shape.
    #[error("cannot write {}: tensor '{name}' has {values} values, expected those of shape {shape:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The number of values.
        values: usize,
        /// The shape.
        shape: Vec<usize>,
    },
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
    pub stored: StoredType,
}

/// Writes tensors, followed by named byte strings (stored as `U8`).
///
/// # Errors
/// [`WriteError`] with the file and the tensor: a value too large for `f16`, a number of values
/// that does not match the shape, a name that occurs twice, or an input/output error.
pub fn write(path: &Path, tensors: &[NewTensor<'_>], bytes: &[(&str, &[u8])]) -> Result<(), WriteError> {
    for NewTensor { name, shape, values, .. } in tensors {
        if shape.iter().product::<usize>() != values.len() {
            let (path, name, shape) = (path.to_owned(), name.clone(), shape.to_vec());
            return Err(WriteError::Shape { path, name, values: values.len(), shape });
        }
    }
    let lengths: Vec<[usize; 1]> = bytes.iter().map(|(_, bytes)| [bytes.len()]).collect();
    let floats = tensors.iter().map(|tensor| {
        let NewTensor { name, shape, stored, .. } = tensor;
        TensorSpec { name, dtype: stored.dtype(), shape }
    });
    let raw = bytes.iter().zip(&lengths).map(|((name, _), shape)| TensorSpec { name, dtype: Dtype::U8, shape });
    let mut writer = SafetensorsWriter::create(path, &floats.chain(raw).collect::<Vec<_>>())?;
    for tensor in tensors {
        write_values(&mut writer, tensor, path)?;
    }
    for (_, bytes) in bytes {
        writer.write_all(bytes)?;
    }
    Ok(writer.commit()?)
}

fn write_values(writer: &mut SafetensorsWriter, tensor: &NewTensor<'_>, path: &Path) -> Result<(), WriteError> {
    let mut bytes = Vec::with_capacity(4 * CHUNK.min(tensor.values.len()));
    tensor.values.chunks(|values| {
        bytes.clear();
        match tensor.stored {
            StoredType::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            StoredType::Bf16 => bytes.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
            StoredType::F16 => {
                let overflows = |value: &&f32| value.is_finite() && !f16::from_f32(**value).is_finite();
                if let Some(value) = values.iter().find(overflows) {
                    let (path, name) = (path.to_owned(), tensor.name.clone());
                    return Err(WriteError::Overflow { path, name, value: *value });
                }
                bytes.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()));
            }
        }
        Ok(writer.write_all(&bytes)?)
    })
}

#[cfg(test)]
mod tests {
    use super::super::read::Checkpoint;
    use super::*;

    #[test]
    fn written_files_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..CHUNK as u32 + 3).map(|value| value as f32).collect();
        let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value / 256.0)).collect();
        let shape = [values.len()];
        let tensor = |name: &str, values, stored| NewTensor { name: name.into(), shape: &shape, values, stored };
        let tensors = [
            tensor("b", Values::F32(&values), StoredType::F32),
            tensor("a", Values::F32(&values), StoredType::Bf16),
            tensor("half", Values::F16(&halves), StoredType::F16),
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
            write(&path, &[NewTensor { name, shape: &[1], values: Values::F32(&values), stored: StoredType::F16 }], &[])
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
        let spec = |name, shape| TensorSpec { name, dtype: Dtype::F32, shape };
        let message = |error: io::Error| error.to_string();
        let twice = message(SafetensorsWriter::create(&path, &[spec("a", &[1]), spec("a", &[1])]).unwrap_err());
        assert!(twice.contains("x.safetensors: tensor 'a': the name is taken"), "{twice}");
        let huge = message(SafetensorsWriter::create(&path, &[spec("a", &[usize::MAX, 2])]).unwrap_err());
        assert!(huge.contains("expected whole bytes below 2^64"), "{huge}");
        let mut writer = SafetensorsWriter::create(&path, &[spec("e", &[0]), spec("a", &[2])]).unwrap();
        let long = message(writer.write_all(&[0; 9]).unwrap_err());
        assert!(long.contains("x.safetensors: 9 bytes of data, expected 8"), "{long}");
        writer.write_all(&[0; 4]).unwrap();
        let short = message(writer.commit().unwrap_err());
        assert!(short.contains("x.safetensors: 4 bytes of data, expected 8"), "{short}");
        let values = Values::F32(&[1.0]);
        let tensor = NewTensor { name: "w".into(), shape: &[2], values, stored: StoredType::F32 };
        let count = write(&path, &[tensor], &[]).unwrap_err().to_string();
        assert!(count.ends_with("tensor 'w' has 1 values, expected those of shape [2]"), "{count}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
