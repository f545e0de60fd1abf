//! The file formats: safetensors and GGUF.

#[path = "../common/mod.rs"]
mod common;
mod gguf;
mod safetensors;
