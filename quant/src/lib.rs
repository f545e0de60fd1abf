//! Checkpoint containers, conversion and quantisation.
//!
//! Knows safetensors, GGUF and ggml's block formats, and how a Hugging Face directory becomes a GGUF pair. Knows nothing
//! of problems, steps or search.

pub mod atomic;
