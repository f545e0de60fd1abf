//! The inference engine: llama.cpp driven by one thread, for many callers.
//!
//! Knows prompts, tokens and sequences; knows no problem, step or search. A caller blocks in [`Engine::generate`] (n
//! rollouts of one prompt) or [`Engine::probe`] (logits of a few tokens at marked positions); requests of different callers
//! are decoded together, or one by one where their results must not depend on each other.
//!
//! ```no_run
//! use mmprm::engine::{Chunk, Engine, EngineOptions, GenerateRequest, Model, ModelOptions, Prompt, Sampling, Stream};
//! # fn main() -> Result<(), mmprm::engine::EngineError> {
//! let model = Model::load("policy.gguf".as_ref(), ModelOptions::default())?;
//! let engine = Engine::start(&model, EngineOptions::default())?;
//! let prompt = Prompt::new([Chunk::Tokens(model.tokenize("1 + 1 =", true)?)])?;
//! let request = GenerateRequest::new(prompt, Sampling::GREEDY, vec![Stream::named(0, "sum", 0, 0)], 8);
//! println!("{}", model.detokenize(&engine.generate(request)?[0].tokens));
//! # Ok(()) }
//! ```

#[cfg(feature = "engine")]
mod admission;
#[cfg(feature = "engine")]
mod batching;
#[cfg(feature = "engine")]
mod cache;
mod error;
#[cfg(feature = "engine")]
pub(crate) mod ffi;
#[cfg(feature = "engine")]
mod governor;
#[cfg(feature = "engine")]
mod job;
#[cfg(feature = "engine")]
pub mod memory;
#[cfg(feature = "engine")]
mod planning;
#[cfg(feature = "engine")]
mod prompt;
#[cfg(feature = "engine")]
mod radix;
#[cfg(feature = "engine")]
mod request;
mod sampling;
#[cfg(feature = "engine")]
mod schedule;
#[cfg(feature = "engine")]
mod scheduler;
mod select;
#[cfg(feature = "engine")]
mod serial;
#[cfg(feature = "engine")]
mod start;
#[cfg(feature = "engine")]
mod stats;
#[cfg(all(test, feature = "engine"))]
mod testing;
#[cfg(feature = "engine")]
mod trie;

pub use error::EngineError;
#[cfg(feature = "engine")]
#[doc(hidden)]
pub use ffi::{BuildInfo, build_info};
pub use sampling::{Sampler, Sampling, Scratch, Stream, draw_all};
#[cfg(feature = "engine")]
pub use {
    ffi::{Device, Model, ModelOptions, Vision},
    planning::sequence_ids,
    prompt::{Chunk, Embeddings, Prompt},
    request::{Completion, EngineOptions, Finish, GenerateRequest},
    schedule::FIXED_BATCH,
    serial::WIDTH,
    start::{BATCH, Engine, gpu_devices},
    stats::Snapshot,
};

/// A token of a model's vocabulary.
pub type Token = i32;
