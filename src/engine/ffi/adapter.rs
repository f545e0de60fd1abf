//! `LoRA` adapters in GGUF form, applied whenever their model runs.

use std::path::PathBuf;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;
use mmprm_quant::check;
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::hf::origin::{FORM_KEY, TASK_KEY, TEMPLATE_KEY};

use super::shim::{self, caught};
use super::{Model, log, path_to_c};
use crate::engine::EngineError;

/// A `LoRA` adapter to apply to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraAdapter {
    /// The adapter, a GGUF file made for the model's architecture and shape.
    pub path: PathBuf,
    /// Factor on the adapter's own scale (alpha over rank); 1 applies it as trained.
    pub scale: f32,
}

impl LoraAdapter {
    /// Returns the adapter at `path`, applied as trained.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), scale: 1.0 }
    }
}

/// Keys by which an adapter says what it makes of its model.
const OWN_KEYS: [&str; 3] = [TASK_KEY, TEMPLATE_KEY, FORM_KEY];

/// A loaded adapter; llama.cpp frees it with its model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adapter {
    pointer: NonNull<sys::llama_adapter_lora>,
    scale: f32,
}

impl Adapter {
    /// Loads an adapter of `model`, which must not have contexts yet; also returns the texts under
    /// `mmprm.` keys in its metadata.
    pub(super) fn load(model: &Model, adapter: &LoraAdapter) -> Result<(Self, Vec<(String, String)>), EngineError> {
        let LoraAdapter { path, scale } = adapter;
        let refuse = |cause: String| EngineError::Load { path: path.clone(), cause };
        let file = GgufFile::open(path)?;
        check::adapter(&file, model.file())?;
        let texts = OWN_KEYS.iter().filter_map(|key| Some(((*key).to_owned(), file.get_str(key).ok()?.to_owned())));
        let texts = texts.collect();
        if !scale.is_finite() {
            return Err(refuse(format!("its scale is {scale}, expected a finite number")));
        }
        let c_path = path_to_c(path)?;
        let errors = log::collect();
        // SAFETY: the model is valid and has no contexts yet, the path is a valid C string for the
        // duration of the call.
        let pointer =
            caught(|cause| unsafe { shim::mmprm_llama_adapter_lora_init(model.as_ptr(), c_path.as_ptr(), cause) });
        let pointer =
            NonNull::new(pointer.map_err(refuse)?).ok_or_else(|| refuse(errors.error_or("llama.cpp gave no cause")))?;
        Ok((Self { pointer, scale: *scale }, texts))
    }

    /// Applies the adapters in a context of their model.
    ///
    /// # Errors
    /// The cause, if llama.cpp does not accept them.
    pub(super) fn apply(adapters: &[Self], context: NonNull<sys::llama_context>) -> Result<(), String> {
        if adapters.is_empty() {
            return Ok(());
        }
        let mut pointers: Vec<_> = adapters.iter().map(|adapter| adapter.pointer.as_ptr()).collect();
        let mut scales: Vec<f32> = adapters.iter().map(|adapter| adapter.scale).collect();
        let (first, first_scale) = (pointers.as_mut_ptr(), scales.as_mut_ptr());
        let errors = log::collect();
        // SAFETY: context and adapters are valid and of the same model; both arrays have the given
        // length, and llama.cpp copies them.
        let status = caught(|cause| unsafe {
            shim::mmprm_llama_set_adapters_lora(context.as_ptr(), first, adapters.len(), first_scale, cause)
        })?;
        if status == 0 { Ok(()) } else { Err(errors.error_or("llama.cpp refused its adapters")) }
    }
}
