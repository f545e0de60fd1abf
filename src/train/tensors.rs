//! Writing trained tensors as safetensors, rounded to a stored type while they are streamed.
//!
//! The file format is [`mmprm_quant::safetensors`]'s; [`super::checkpoint`] and [`super::state`] choose the tensors.
//!
//! ```
//! use mmprm::train::tensors::{StoredType, Tensor, Values, write};
//! use mmprm_quant::safetensors::{Checkpoint, Dtype};
//! let folder = tempfile::tempdir().unwrap();
//! let tensors = [Tensor { name: "w".into(), shape: &[2], values: Values::F32(&[1.0, 0.5]), stored: StoredType::Bf16 }];
//! write(&folder.path().join("model.safetensors"), &tensors, &[]).unwrap();
//! let checkpoint = Checkpoint::open(folder.path()).unwrap();
//! let tensor = checkpoint.get("w").unwrap();
//! assert_eq!((tensor.dtype, checkpoint.data(tensor)), (Dtype::BF16, [0x80, 0x3f, 0, 0x3f].as_slice()));
//! ```

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use mmprm_quant::safetensors::{Dtype, SafetensorsWriter, TensorSpec};
use serde::{Deserialize, Serialize};

use crate::nn::tensor::Element;

/// Values converted at a time.
const CHUNK: usize = 1 << 16;

/// The type of values in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16, as most checkpoints are.
    #[default]
    Bf16,
}

impl StoredType {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }
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

    /// Passes the values to `each` as f32, a chunk at a time.
    fn chunks(&self, mut each: impl FnMut(&[f32]) -> Result<(), WriteError>) -> Result<(), WriteError> {
        fn widened<T: Element>(
            values: &[T],
            mut each: impl FnMut(&[f32]) -> Result<(), WriteError>,
        ) -> Result<(), WriteError> {
            let mut scratch = vec![0.0; CHUNK.min(values.len())];
            values.chunks(CHUNK).try_for_each(|chunk| each(T::widened(chunk, &mut scratch)))
        }
        match self {
            Self::F32(values) => values.chunks(CHUNK).try_for_each(each),
            Self::F16(values) => widened(values, &mut each),
            Self::Bf16(values) => widened(values, &mut each),
        }
    }
}

/// A tensor to write.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: String,
    /// Its shape, row-major.
    pub shape: &'a [usize],
    /// Its values.
    pub values: Values<'a>,
    /// The type to write, values rounded to nearest.
    pub stored: StoredType,
}

/// An error of writing tensors; the file before is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An input/output error, with the path in its message.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A value is out of range of the stored type.
    #[error("cannot write {}: tensor '{name}' has a value of {value}, too large for f16; save as bf16 or f32", path.display())]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its value.
        value: f32,
    },
}

/// Writes tensors, and named byte strings (stored as `U8`).
///
/// # Errors
/// [`WriteError`].
///
/// # Panics
/// If the number of a tensor's values is not that of its shape.
pub fn write(path: &Path, tensors: &[Tensor<'_>], pieces: &[(&str, &[u8])]) -> Result<(), WriteError> {
    for tensor in tensors {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len(), "values of {}", tensor.name);
    }
    let lengths: Vec<[usize; 1]> = pieces.iter().map(|(_, bytes)| [bytes.len()]).collect();
    let mut specs = Vec::with_capacity(tensors.len() + pieces.len());
    for tensor in tensors {
        specs.push(TensorSpec { name: &tensor.name, dtype: tensor.stored.dtype(), shape: tensor.shape });
    }
    for ((name, _), shape) in pieces.iter().zip(&lengths) {
        specs.push(TensorSpec { name, dtype: Dtype::U8, shape });
    }
    let mut file = SafetensorsWriter::create(path, &specs)?;
    for tensor in tensors {
        write_values(&mut file, tensor, path)?;
    }
    for (_, bytes) in pieces {
        file.write_all(bytes)?;
    }
    file.commit()?;
    Ok(())
}

fn write_values(file: &mut impl Write, tensor: &Tensor<'_>, path: &Path) -> Result<(), WriteError> {
    let mut bytes = Vec::with_capacity(CHUNK * 4);
    tensor.values.chunks(|values| {
        bytes.clear();
        match tensor.stored {
            StoredType::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            StoredType::Bf16 => bytes.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
            StoredType::F16 => {
                let lost = |value: &&f32| value.is_finite() && !f16::from_f32(**value).is_finite();
                if let Some(value) = values.iter().find(lost) {
                    let (path, name) = (path.to_owned(), tensor.name.clone());
                    return Err(WriteError::Overflow { path, name, value: *value });
                }
                bytes.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()));
            }
        }
        file.write_all(&bytes)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use mmprm_quant::safetensors::Checkpoint;

    use super::*;

    #[test]
    fn written_tensors_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..CHUNK as u32 + 3).map(|value| value as f32).collect();
        let shape = [values.len()];
        let tensor =
            |name: &str, stored| Tensor { name: name.into(), shape: &shape, values: Values::F32(&values), stored };
        let tensors = [tensor("b", StoredType::F32), tensor("a", StoredType::Bf16)];
        write(&folder.path().join("model.safetensors"), &tensors, &[("note", b"{}")]).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let data = |name: &str| checkpoint.data(checkpoint.get(name).unwrap());
        assert_eq!(checkpoint.get("note").unwrap().dtype, Dtype::U8);
        assert_eq!(data("note"), b"{}");
        assert_eq!(data("b")[4 * CHUNK..][..4], (CHUNK as f32).to_le_bytes());
        assert_eq!(data("a").len(), 2 * values.len());
    }

    #[test]
    fn a_value_too_large_for_f16_is_named_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let write_one = |value: f32| {
            write(
                &path,
                &[Tensor { name: "w".into(), shape: &[1], values: Values::F32(&[value]), stored: StoredType::F16 }],
                &[],
            )
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
}
