//! The inference engine: llama.cpp, driven by one thread, for many callers.
//!
//! It works on prompts, tokens and sequences; problems, steps and searches are left to `policy`,
//! `prm` and `search`. A caller blocks in [`Engine::generate`] (n rollouts of one prompt) or
//! [`Engine::probe`] (logits of a few tokens at marked positions). Requests of different callers
//! are decoded together, or one by one where a result must not depend on the others.
//!
//! | part | does |
//! |---|---|
//! | `ffi` | owns llama.cpp's models, contexts, adapters and vision towers |
//! | `cache` | tracks which prefixes are in the KV cache, as a radix tree |
//! | `exec` | runs requests: batched, serial (fixed schedule) or as one trie of prompts |
//! | `sampling` | draws tokens from logits and counter-based random streams |
//! | [`memory`] | predicts memory, and chooses cells, width and threads |
//!
#![cfg_attr(feature = "engine", doc = "```no_run")]
#![cfg_attr(not(feature = "engine"), doc = "```ignore")]
//! use mmprm::engine::{Chunk, Engine, EngineOptions, GenerateRequest, Model, ModelOptions, Prompt, Sampling, Stream};
//! # fn main() -> Result<(), mmprm::engine::EngineError> {
//! let model = Model::load("policy.gguf".as_ref(), ModelOptions::default())?;
//! let engine = Engine::start(&model, EngineOptions::default())?;
//! let prompt = Prompt::new([Chunk::Tokens(model.tokenize("1 + 1 =", true)?)])?;
//! let request = GenerateRequest::new(prompt, Sampling::GREEDY, vec![Stream::named(0, "sum", 0, 0)], 8);
//! println!("{}", model.detokenize(&engine.generate(request)?[0].tokens));
//! # Ok(()) }
//! ```

mod error;
mod sampling;
mod trained;

#[cfg(feature = "engine")]
mod cache;
#[cfg(feature = "engine")]
mod exec;
#[cfg(feature = "engine")]
pub(crate) mod ffi;
#[cfg(feature = "engine")]
mod handle;
#[cfg(feature = "engine")]
pub mod memory;
#[cfg(feature = "engine")]
mod prompt;
#[cfg(feature = "engine")]
mod request;
#[cfg(feature = "engine")]
mod stats;
#[cfg(all(test, feature = "engine"))]
mod testing;

pub use error::{EngineError, LimitError, PromptError, TokenizeError};
#[cfg(feature = "engine")]
#[doc(hidden)]
pub use ffi::{BuildInfo, build_info};
#[cfg(feature = "engine")]
pub(crate) use ffi::{Specials, apply_chat_template, refuse_other_kinds};
#[doc(hidden)]
pub use sampling::{Sampler, Scratch, draw_all};
pub use sampling::{Sampling, Stream};
#[doc(hidden)]
pub use trained::TrainedContext;
#[cfg(feature = "engine")]
pub use {
    ffi::{Device, LlamaEncoder, LoraAdapter, Model, ModelOptions, QwenEncoder, gpu_devices},
    handle::Engine,
    prompt::{Chunk, Embeddings, Grid, Prompt},
    request::{Completion, EngineOptions, Finish, GenerateRequest},
    stats::EngineStats,
};

/// The index of a token in a model's vocabulary.
pub type Token = i32;
