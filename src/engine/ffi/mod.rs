//! Owning types over llama.cpp and its multimodal library: the only place where this crate calls C.
//!
//! `llama-cpp-2` starts the backend and lists devices. Its other safe types keep their pointers
//! private, and this project needs what only the raw interface offers (batches of embeddings that
//! several sequences share, vision embeddings copied out, abort callbacks), so models, contexts and
//! batches are wrapped here over `llama-cpp-sys-2`. Calls that can throw C++ exceptions go through
//! `shim.cpp`, which catches them. Limits whose violation makes llama.cpp abort
//! the process are checked here and reported as [`EngineError`](super::EngineError). Requests,
//! caches and scheduling are left to the other parts of the engine.
#![allow(unsafe_code)]

mod adapter;
mod build;
mod chat;
mod clip;
mod context;
mod log;
mod model;
mod shim;
mod vision;

pub use adapter::LoraAdapter;
pub use build::{BuildInfo, build_info};
pub(crate) use chat::apply_chat_template;
pub(super) use context::{Batch, Context, ContextOptions, DecodeError};
pub use model::{Device, Model, ModelOptions, gpu_devices};
pub(crate) use model::{Specials, is_cache_f32, refuse_other_kinds};
pub use vision::{LlamaEncoder, QwenEncoder};

use std::ffi::CString;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use llama_cpp_2::llama_backend::LlamaBackend;

use super::EngineError;

/// Starts llama.cpp's backends and redirects its log, once per process.
fn start_backend() -> Result<(), EngineError> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    log::redirect();
    match BACKEND.get_or_init(|| LlamaBackend::init().map_err(|error| error.to_string())) {
        Ok(_) => Ok(()),
        Err(error) => Err(EngineError::Backend(error.clone())),
    }
}

/// Locks the creation of models, contexts and vision towers: llama.cpp's backends initialise a
/// device when it is first used, and not safely from two threads at once (seen with Vulkan: a call
/// through a null pointer).
fn creation_lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path_to_c(path: &Path) -> Result<CString, EngineError> {
    CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| EngineError::Load { path: path.to_owned(), cause: "the path contains a NUL byte".into() })
}
