//! Validates what llama.cpp does not: a GGUF file that passes does not abort the process when
//! llama.cpp loads it.
//!
//! [`GgufFile`](crate::gguf::GgufFile) validates the container. llama.cpp validates shapes and
//! types of a language model's tensors and reports errors; it asserts or ignores what is checked
//! here: distinct tokens, head counts that divide the width, every shape of a vision tower, and
//! that the two factors of an adapter match. Call [`language`], [`vision`] or [`adapter`] before
//! passing a file to C++.
//!
//! ```
//! use mmprm_quant::check;
//! use mmprm_quant::gguf::{GgufFile, GgufWriter};
//! let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("empty.gguf");
//! GgufWriter::create(&path, &[], &[]).unwrap().finish().unwrap();
//! let error = check::language(&GgufFile::open(&path).unwrap()).unwrap_err();
//! assert!(error.to_string().contains("key 'general.architecture': missing"));
//! ```

mod adapter;
mod keys;
mod language;
mod vision;

pub use adapter::adapter;
pub use language::language;
pub use vision::vision;
