//! Choosing an encoder and loading a projector into it.

use std::path::Path;
use std::sync::Arc;

use super::{EncoderChoice, NativeEncoder, NativeOptions, VisionEncoder, VisionError};
use crate::engine::{self, Model, Vision};
use crate::internvl::MmprojError;

/// Loads the projector at `path`, made for `model`. `threads` are compute threads, one a core where it is `None`; `gpu`
/// says whether a GPU may be used.
///
/// # Errors
/// [`VisionError`] for a file that is not sound, that the encoder cannot run, or that is not `model`'s.
pub fn open(
    path: &Path,
    model: &Arc<Model>,
    choice: EncoderChoice,
    threads: Option<u32>,
    gpu: bool,
) -> Result<Box<dyn VisionEncoder>, VisionError> {
    let on_device = gpu && !engine::gpu_devices().is_empty();
    if choice == EncoderChoice::LlamaCpp || (choice == EncoderChoice::Auto && on_device) {
        return Ok(Box::new(Vision::load(path, model, threads, gpu)?));
    }
    match NativeEncoder::load(path, NativeOptions { threads, ..NativeOptions::default() }) {
        Ok(encoder) => {
            model.check_projector(path, encoder.width())?;
            Ok(Box::new(encoder))
        }
        Err(VisionError::Native(error)) if choice == EncoderChoice::Auto && is_unsupported(&error) => {
            tracing::warn!("{error}; llama.cpp's vision encoder takes its place");
            Ok(Box::new(Vision::load(path, model, threads, gpu)?))
        }
        Err(error) => Err(error),
    }
}

fn is_unsupported(error: &MmprojError) -> bool {
    matches!(error, MmprojError::Unsupported { .. })
}
