//! The GGUF container: a validating reader over a memory map and a streaming writer.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3,
//! little-endian. The reader is at least as strict as llama.cpp's (`ggml/src/gguf.cpp`), so that a
//! file it accepts can be passed to C++: unique keys and names, known types, rows of whole blocks,
//! tensors packed one after another at the file's alignment and inside the file. The keys that a
//! model needs are checked by [`crate::check`] and by the users of [`GgufFile`].
//!
//! ```
//! use mmprm_quant::blocks::GgmlType;
//! use mmprm_quant::gguf::{GgufFile, GgufValue, GgufWriter, TensorSpec};
//! let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("tiny.gguf");
//! let metadata = vec![("general.architecture".to_owned(), GgufValue::from("qwen2"))];
//! let tensors = vec![TensorSpec { name: "token_embd.weight".into(), dims: vec![2, 1], ggml_type: GgmlType::F32 }];
//! let mut writer = GgufWriter::create(&path, &metadata, &tensors).unwrap();
//! writer.write(&[0; 8]).unwrap();
//! writer.finish().unwrap();
//!
//! let file = GgufFile::open(&path).unwrap();
//! assert_eq!(file.get_str("general.architecture").unwrap(), "qwen2");
//! assert_eq!(file.tensor_data(&file.tensors()[0]), [0; 8]);
//! ```

mod cursor;
mod error;
mod file;
mod format;
mod outline;
mod parse;
mod texts;
mod value;
mod write;

pub use error::GgufError;
pub use file::GgufFile;
pub use format::{TensorInfo, TensorSpec};
pub use texts::Texts;
pub use value::{GgufArray, GgufValue, Metadata};
pub use write::GgufWriter;
