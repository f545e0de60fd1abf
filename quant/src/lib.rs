//! Checkpoint containers, conversion and quantisation.
//!
//! Knows safetensors, GGUF and ggml's block formats, and how a Hugging Face directory becomes a GGUF pair. Knows nothing
//! of problems, steps or search.
//!
//! Every file read here is treated as hostile: sizes and counts are checked against the file before anything is
//! allocated, and a bad file gives one error that names the file, the place in it and what was expected. Nothing here
//! prints; long work reports through [`progress::Watch`].

pub mod adapter;
pub mod atomic;
pub mod blocks;
pub mod check;
pub mod convert;
pub mod gguf;
pub mod hf;
pub mod inspect;
pub mod map;
pub mod progress;
pub mod quantize;
pub mod safetensors;
pub mod synth;
