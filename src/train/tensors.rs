//! Writing safetensors: a header, then tensors streamed in the type asked for, in a file that appears whole or not at all.
//!
//! Reading them is [`mmprm_quant::safetensors`]'s business; which tensors there are that of [`super::checkpoint`] and
//! [`super::state`].
//!
//! ```
//! use mmprm::train::tensors::{Stored, Tensor, Values, write};
//! use mmprm_quant::safetensors::{Checkpoint, Dtype};
//! let folder = tempfile::tempdir().unwrap();
//! let tensors = [Tensor { name: "w".into(), shape: &[2], values: Values::F32(&[1.0, 0.5]), stored: Stored::Bf16 }];
//! write(&folder.path().join("model.safetensors"), &tensors, &[]).unwrap();
//! let checkpoint = Checkpoint::open(folder.path()).unwrap();
//! let tensor = checkpoint.get("w").unwrap();
//! assert_eq!((tensor.dtype, checkpoint.data(tensor)), (Dtype::BF16, [0x80, 0x3f, 0, 0x3f].as_slice()));
//! ```

use std::io::{self, Write};
use std::path::Path;

use half::{bf16, f16};
use mmprm_quant::atomic::AtomicFile;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::nn::tensor::Element;

/// Values converted at a time.
const CHUNK: usize = 1 << 16;

/// The type that values are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16, as most checkpoints are.
    #[default]
    Bf16,
}

impl Stored {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// Values as they are in memory.
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

    /// Hands them on, wide, a chunk at a time.
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
    /// The type they are written in, each rounded to the nearest.
    pub stored: Stored,
}

/// Why tensors were not written. What was there before is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The disk is full, or the like.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A value has no place in the type asked for.
    #[error("cannot write {path}: tensor '{name}' has a value of {value}, too large for f16; save as bf16 or f32")]
    Overflow {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
        /// Its value.
        value: f32,
    },
}

/// Writes tensors, and pieces of bytes under names of their own (stored as `U8`).
///
/// # Errors
/// [`WriteError`].
///
/// # Panics
/// If a tensor has not as many values as its shape says.
pub fn write(path: &Path, tensors: &[Tensor<'_>], pieces: &[(&str, &[u8])]) -> Result<(), WriteError> {
    let mut header = Map::new();
    // transformers refuses files that do not say which framework's they are.
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    let mut entry = |name: &str, dtype: &str, shape: &[usize], bytes: usize| {
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert(name.to_owned(), entry);
        end += bytes;
    };
    for tensor in tensors {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len(), "values of {}", tensor.name);
        entry(&tensor.name, tensor.stored.name(), tensor.shape, tensor.values.len() * tensor.stored.bytes());
    }
    for (name, bytes) in pieces {
        entry(name, "U8", &[bytes.len()], bytes.len());
    }
    let mut header = serde_json::Value::from(header).to_string();
    // Tensors begin at a multiple of 8.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = AtomicFile::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
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
            Stored::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Stored::Bf16 => bytes.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
            Stored::F16 => {
                let lost = |value: &&f32| value.is_finite() && !f16::from_f32(**value).is_finite();
                if let Some(value) = values.iter().find(lost) {
                    let (path, name) = (path.display().to_string(), tensor.name.clone());
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
    use mmprm_quant::safetensors::{Checkpoint, Dtype};

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..CHUNK as u32 + 3).map(|value| value as f32).collect();
        let shape = [values.len()];
        let tensor =
            |name: &str, stored| Tensor { name: name.into(), shape: &shape, values: Values::F32(&values), stored };
        let tensors = [tensor("b", Stored::F32), tensor("a", Stored::Bf16)];
        write(&folder.path().join("model.safetensors"), &tensors, &[("note", b"{}")]).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let data = |name: &str| checkpoint.data(checkpoint.get(name).unwrap());
        assert_eq!(checkpoint.get("note").unwrap().dtype, Dtype::U8);
        assert_eq!(data("note"), b"{}");
        assert_eq!(data("b")[4 * CHUNK..][..4], (CHUNK as f32).to_le_bytes());
        assert_eq!(data("a").len(), 2 * values.len());
    }

    #[test]
    fn a_value_beyond_f16_is_named_and_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let write_one = |value: f32| {
            write(
                &path,
                &[Tensor { name: "w".into(), shape: &[1], values: Values::F32(&[value]), stored: Stored::F16 }],
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
