//! A low-rank adapter that is applied whenever its model runs.

use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;
use mmprm_quant::check;
use mmprm_quant::gguf::GgufFile;

use super::{Model, ModelOptions, log, path_to_c};
use crate::engine::EngineError;

/// A loaded adapter; llama.cpp frees it with its model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adapter(NonNull<sys::llama_adapter_lora>);

impl Adapter {
    /// Applies the adapter in a context of its model.
    pub(super) fn apply(self, context: NonNull<sys::llama_context>) -> bool {
        let (mut adapter, mut scale) = (self.0.as_ptr(), 1.0);
        // SAFETY: context and adapter are valid and of the same model; llama.cpp copies the one pointer and the one scale.
        let status = unsafe { sys::llama_set_adapters_lora(context.as_ptr(), &raw mut adapter, 1, &raw mut scale) };
        status == 0
    }
}

impl Model {
    /// Loads a model, and an adapter in GGUF form that every engine over it applies.
    ///
    /// # Errors
    /// [`EngineError::Gguf`] for a file that is not sound, or an adapter of another model; [`EngineError::Load`] with
    /// llama.cpp's own reason otherwise.
    pub fn load_adapted(path: &Path, adapter: &Path, options: ModelOptions) -> Result<Arc<Self>, EngineError> {
        let mut model = Self::open(path, options)?;
        check::adapter(&GgufFile::open(adapter)?, model.file())?;
        let c_path = path_to_c(adapter)?;
        log::clear();
        // SAFETY: the model is valid and has no contexts yet, the path is a valid C string for the duration of the call.
        let loaded = unsafe { sys::llama_adapter_lora_init(model.as_ptr(), c_path.as_ptr()) };
        let loaded = NonNull::new(loaded).ok_or_else(|| EngineError::Load {
            path: adapter.to_owned(),
            cause: log::complaint("llama.cpp gave no reason"),
        })?;
        model.adapter = Some(Adapter(loaded));
        Ok(Arc::new(model))
    }
}
