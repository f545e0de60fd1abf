//! Validates what llama.cpp does not: a GGUF file that passes does not abort the process when
//! llama.cpp loads it.
//!
//! [`GgufFile`](crate::gguf::GgufFile) validates the container: sizes, offsets, types. Whatever
//! llama.cpp and its `clip` assert, divide by or look up without a check is checked here, for the
//! architectures that are let in; others are refused by name. One table has type and range of every
//! key that C++ reads. Call [`language`], [`vocabulary`] (if only that is loaded), [`vision`] or
//! [`adapter`] before passing a file to C++.
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
mod apply;
mod config;
mod keys;
mod language;
mod qwen;
mod rules;
mod table;
mod tensors;
mod vision;
mod vocabulary;

pub use adapter::adapter;
#[doc(hidden)]
pub use apply::table_keys;
pub use config::language_config;
pub use language::language;
pub use vision::vision;
pub use vocabulary::vocabulary;
