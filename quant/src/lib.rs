//! Reads, converts and quantises model checkpoints: safetensors, GGUF, ggml's block formats.
//!
//! The supported checkpoints are those of MM-PRM (arXiv 2505.13427), `InternVL2.5`, and of its
//! successors `InternVL3` and 3.5, and text models of the families `InternLM2`, `Qwen2`, `Qwen3`,
//! `Llama` and `Mistral`, also with a head that scores steps. Needs no Python; memory use does not grow with the
//! checkpoint.
//!
//! Convert a Hugging Face checkpoint directory to a pair of GGUF files that llama.cpp loads
//! ([`convert`]):
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let checkpoint = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/checkpoints/mini-mm-policy");
//! # let output = folder.path();
//! use mmprm_quant::{ConvertOptions, WeightType, convert, no_progress};
//! let plan = convert::plan(&checkpoint, output, &ConvertOptions::new(WeightType::F16))?;
//! plan.write(&mut no_progress)?;
//! assert!(output.join("mini-mm-policy-f16.gguf").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Quantise a GGUF file with ggml's own quantisers ([`mod@quantize`], feature `ggml`):
//!
//! ```
//! # #[cfg(feature = "ggml")] {
//! # let folder = tempfile::tempdir()?;
//! # let checkpoint = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/checkpoints/mini-mm-policy");
//! # let converted = mmprm_quant::convert::plan(
//! #     &checkpoint, folder.path(), &mmprm_quant::ConvertOptions::new(mmprm_quant::WeightType::F16))?;
//! # converted.write(&mut mmprm_quant::no_progress)?;
//! # let (model, output) = (&converted.files[0].path, folder.path().join("q4.gguf"));
//! use mmprm_quant::{GgufFile, QuantType, QuantizeOptions, no_progress, quantize};
//! let input = GgufFile::open(model)?;
//! let plan = quantize::plan(&input, &QuantizeOptions::new(QuantType::Q4_K_M))?;
//! plan.write(&output, &mut no_progress)?;
//! assert!(output.metadata()?.len() < model.metadata()?.len());
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Read a GGUF file ([`gguf`]) and summarise it ([`inspect`]):
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # let checkpoint = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/checkpoints/mini-mm-policy");
//! # let converted = mmprm_quant::convert::plan(
//! #     &checkpoint, folder.path(), &mmprm_quant::ConvertOptions::new(mmprm_quant::WeightType::F16))?;
//! # converted.write(&mut mmprm_quant::no_progress)?;
//! # let model = &converted.files[0].path;
//! use mmprm_quant::{GgufFile, inspect};
//! let file = GgufFile::open(model)?;
//! println!("{} has {} tensors", file.get_str("general.architecture")?, file.tensors().len());
//! let summary = inspect::summary(&file);
//! println!("{} parameters, {:.2} bits each", summary.parameters, summary.bits_per_parameter());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every file is treated as untrusted: sizes and counts are checked against the file before anything
//! is allocated, and an invalid file gives one error that names the file, the key or tensor, what
//! was found and what was expected. Nothing here prints; long work reports [`Progress`] and can be
//! cancelled.
//!
//! # Features
//!
//! * `ggml` (default): links ggml (through `llama-cpp-sys-2`, which needs cmake, a C++ compiler and
//!   libclang) for block formats. Without it, floats are converted, every container is read and
//!   written, and a block format returns [`BlockError::NeedsGgml`](blocks::BlockError::NeedsGgml).
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod adapter;
#[doc(hidden)]
pub mod atomic;
pub mod blocks;
pub mod check;
pub mod convert;
pub mod gguf;
pub mod head;
pub mod hf;
pub mod inspect;
mod map;
pub mod progress;
pub mod quantize;
#[doc(hidden)]
pub mod random;
#[doc(hidden)]
pub mod read;
pub mod safetensors;
#[doc(hidden)]
pub mod synth;
#[doc(hidden)]
pub mod temporary;

pub use blocks::GgmlType;
pub use convert::{ConvertError, ConvertOptions, WeightType};
pub use gguf::{GgufError, GgufFile, GgufWriter};
pub use progress::{Progress, no_progress};
pub use quantize::{QuantType, QuantizeError, QuantizeOptions};
pub use safetensors::Checkpoint;
