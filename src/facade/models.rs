//! The files of a model and how to run it, loaded at first use.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use mmprm_quant::gguf::GgufFile;

use super::Error;
use crate::engine::{Engine, EngineOptions, Model, ModelOptions};
use crate::util::io::FileError;
use crate::vision::prompts::{PromptEncoder, PromptEncoderOptions};

/// A GGUF pair and its run-time options.
#[derive(Debug, Clone)]
pub(super) struct ModelFiles {
    model: PathBuf,
    mmproj: Option<PathBuf>,
    pub gpu_layers: Option<u32>,
    pub threads: Option<u32>,
    pub parallel: Option<u32>,
    pub deterministic: bool,
}

impl ModelFiles {
    /// Checks that `model` is a GGUF file whose header and tables are sound; weights are loaded later.
    pub fn open(model: &Path) -> Result<Self, Error> {
        GgufFile::open_outline(model)?;
        let model = model.to_owned();
        Ok(Self { model, mmproj: None, gpu_layers: None, threads: None, parallel: None, deterministic: false })
    }

    /// Returns the path of the model.
    pub fn model(&self) -> &Path {
        &self.model
    }

    /// Adds the vision projector, checked as the model is.
    pub fn with_mmproj(mut self, mmproj: &Path) -> Result<Self, Error> {
        GgufFile::open_outline(mmproj)?;
        self.mmproj = Some(mmproj.to_owned());
        Ok(self)
    }

    /// Takes the run-time options of another pair.
    pub fn with_options_of(self, other: &Self) -> Self {
        let Self { gpu_layers, threads, parallel, deterministic, .. } = *other;
        Self { gpu_layers, threads, parallel, deterministic, ..self }
    }

    /// Loads both files and starts the engine. On a CPU, `exact` makes scores independent of batch composition, at no
    /// cost.
    pub fn start(&self, exact: bool) -> Result<(Engine, PromptEncoder), Error> {
        let model = Model::load(&self.model, ModelOptions { gpu_layers: self.gpu_layers, ..ModelOptions::default() })?;
        let gpu = self.gpu_layers != Some(0);
        let options = PromptEncoderOptions { threads: self.threads, gpu, ..PromptEncoderOptions::default() };
        let encoder = PromptEncoder::load(model.clone(), self.mmproj.as_deref(), options)?;
        let options = EngineOptions {
            context: None,
            parallel: self.parallel,
            threads: self.threads,
            deterministic: self.deterministic || exact && !model.is_offloaded(),
        };
        Ok((Engine::start(&model, options)?, encoder))
    }
}

/// A value made at first use; a failure is not kept, so that the next use tries again.
#[derive(Debug)]
pub(super) struct Lazy<T> {
    value: OnceLock<T>,
    making: Mutex<()>,
}

impl<T> Lazy<T> {
    pub fn new() -> Self {
        Self { value: OnceLock::new(), making: Mutex::new(()) }
    }

    pub fn get(&self, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = make()?;
        Ok(self.value.get_or_init(|| value))
    }
}

/// Absolute paths of images that a caller names relative to the working directory.
pub(super) fn absolute<P: AsRef<Path>>(images: &[P]) -> Result<Vec<String>, Error> {
    let absolute = |path: &P| {
        let path = path.as_ref();
        std::path::absolute(path)
            .map(|path| path.to_string_lossy().into_owned())
            .map_err(|source| crate::image::ImageError::from(FileError::reading(path)(source)).into())
    };
    images.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_a_failure_is_tried_again() {
        let lazy = Lazy::new();
        let cancelled = || Error::from(crate::engine::EngineError::Cancelled);
        assert!(lazy.get(|| Err::<i32, _>(cancelled())).is_err());
        assert_eq!(*lazy.get(|| Ok(1)).unwrap(), 1);
        assert_eq!(*lazy.get(|| Ok(2)).unwrap(), 1);
    }
}
