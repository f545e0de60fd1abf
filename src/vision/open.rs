//! Choosing a vision encoder.

use std::path::Path;
use std::sync::Arc;

use super::{EncoderChoice, NativeEncoder, NativeOptions, VisionEncoder, VisionError};
use crate::engine::{EngineError, LlamaEncoder, Model, gpu_devices};
use crate::internvl::MmprojError;

/// Loads the projector at `path`, made for `model`, into the chosen encoder. `threads` is the
/// number of compute threads (`None`: one per core); `gpu` permits the use of a GPU.
///
/// # Errors
/// [`VisionError`] for a file that is invalid, that the encoder cannot run, or that is not
/// `model`'s.
pub fn open(
    path: &Path,
    model: &Arc<Model>,
    choice: EncoderChoice,
    threads: Option<u32>,
    gpu: bool,
) -> Result<Box<dyn VisionEncoder>, VisionError> {
    model.check_pair(path)?;
    if model.has_sections() {
        let cause = format!("expected a projector of Qwen-VL, for {}", model.path().display());
        return Err(EngineError::Load { path: path.to_owned(), cause }.into());
    }
    let on_gpu = gpu && !gpu_devices().is_empty();
    if choice == EncoderChoice::LlamaCpp || (choice == EncoderChoice::Auto && on_gpu) {
        return Ok(Box::new(LlamaEncoder::load(path, model, threads, gpu)?));
    }
    match NativeEncoder::load(path, NativeOptions { threads, ..NativeOptions::default() }) {
        Ok(encoder) => {
            model.check_projector(path, encoder.width())?;
            Ok(Box::new(encoder))
        }
        Err(VisionError::Native(error)) if choice == EncoderChoice::Auto && is_unsupported(&error) => {
            tracing::warn!("{error}; using llama.cpp's vision encoder instead");
            Ok(Box::new(LlamaEncoder::load(path, model, threads, gpu)?))
        }
        Err(error) => Err(error),
    }
}

fn is_unsupported(error: &MmprojError) -> bool {
    matches!(error, MmprojError::Unsupported { .. })
}
