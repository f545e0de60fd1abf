//! The safetensors container: a validating, memory-mapped reader of files and sharded checkpoints,
//! and a streaming writer.
//!
//! Format: <https://huggingface.co/docs/safetensors>. [`Checkpoint`] validates everything the
//! header claims against the file: the header's length, each tensor's byte range, that type and
//! shape take as many bytes as the range has, and that the ranges cover the data without overlap or
//! gap. [`SafetensorsWriter`] writes a file piece by piece; [`write()`] writes tensors that are in
//! memory. Which tensors a model needs is checked by [`crate::convert`].
//!
//! ```
//! use mmprm_quant::safetensors::{Checkpoint, Dtype, StoredType, NewTensor, Values, write};
//! let dir = tempfile::tempdir().unwrap();
//! let values = Values::F32(&[1.0, 0.5]);
//! let tensors = [NewTensor { name: "w".into(), shape: &[2], values, stored: StoredType::Bf16 }];
//! write(&dir.path().join("model.safetensors"), &tensors, &[]).unwrap();
//!
//! let checkpoint = Checkpoint::open(dir.path()).unwrap();
//! let tensor = checkpoint.get("w").unwrap();
//! assert_eq!((tensor.dtype, tensor.shape.as_slice()), (Dtype::BF16, [2].as_slice()));
//! assert_eq!(checkpoint.data(tensor), [0x80, 0x3f, 0, 0x3f]); // little-endian bfloat16
//! ```

mod dtype;
mod pytorch;
mod read;
mod write;

pub use dtype::{Dtype, StoredType};
pub use read::{Checkpoint, SafetensorsError, Tensor};
pub use write::{NewTensor, SafetensorsWriter, TensorSpec, Values, WriteError, write};
