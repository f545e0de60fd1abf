//! The one place where this crate calls C: small owning types over llama.cpp and its multimodal library.
//!
//! `llama-cpp-2` starts the backend and lists devices; its other safe types keep their pointers private, and this project
//! needs what only the raw interface offers (batches of embeddings that several sequences share, vision embeddings copied
//! out, abort callbacks), so models, contexts and batches are wrapped here over `llama-cpp-sys-2`. Every limit whose
//! violation makes llama.cpp abort the process is checked here and becomes an [`EngineError`](super::EngineError).
//! Nothing here knows of requests, caches or scheduling.
#![allow(unsafe_code)]

mod adapter;
mod build;
mod context;
mod log;
mod model;
mod vision;

pub use build::{BuildInfo, build_info};
pub(crate) use context::{Batch, Context, ContextOptions, DecodeError};
pub(crate) use model::gpu_devices;
pub use model::{Device, Model, ModelOptions};
pub use vision::Vision;

use std::ffi::CString;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use llama_cpp_2::llama_backend::LlamaBackend;

use super::EngineError;

/// Starts llama.cpp's backends once for the process and redirects what it prints.
fn start_backend() -> Result<(), EngineError> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    log::redirect();
    match BACKEND.get_or_init(|| LlamaBackend::init().map_err(|error| error.to_string())) {
        Ok(_) => Ok(()),
        Err(error) => Err(EngineError::Backend(error.clone())),
    }
}

/// Held while llama.cpp makes a model, a context or a vision tower: its backends set a device up when it is first used, and not
/// for two threads at once (seen with Vulkan: a call through a null pointer).
fn making() -> MutexGuard<'static, ()> {
    static MAKING: Mutex<()> = Mutex::new(());
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path_to_c(path: &Path) -> Result<CString, EngineError> {
    CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| EngineError::Load { path: path.to_owned(), cause: "the path contains a NUL byte".into() })
}
