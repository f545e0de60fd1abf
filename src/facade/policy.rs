//! A policy on this machine: samples solutions of a problem.

use std::path::{Path, PathBuf};

use super::Error;
use super::models::{Lazy, ModelFiles, absolute};
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::engine::Sampling;
use crate::policy::{GenerationOptions, LocalPolicy, PolicyError, RolloutModel, RolloutRequest, SampledRollout};
use crate::prompt::ChatTemplate;
use crate::util::cancel::CancelToken;

/// A model that writes step-by-step solutions, from a GGUF file.
///
/// Files are checked when they are named; the model is loaded at first use. Images of a problem are paths relative to the
/// working directory, or to the folder given with [`Policy::images_in`], which they then may not leave.
///
/// ```no_run
/// use mmprm::{Policy, Problem};
/// # fn main() -> Result<(), mmprm::Error> {
/// let policy = Policy::open("policy.gguf")?.mmproj("mmproj-policy.gguf")?.threads(4).seed(1);
/// for steps in policy.sample(&Problem::new("How long is AC?").image("figure.png"), 4)? {
///     println!("{steps:?}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Policy {
    files: ModelFiles,
    images_in: Option<PathBuf>,
    options: GenerationOptions,
    loaded: Lazy<LocalPolicy>,
}

impl Policy {
    /// Opens a language model, a GGUF file that `mmprm convert` or llama.cpp's converter wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) for a file that is missing or not a sound GGUF file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self {
            files: ModelFiles::open(path.as_ref())?,
            images_in: None,
            options: GenerationOptions::default(),
            loaded: Lazy::new(),
        })
    }

    /// Adds the vision projector, which problems with images need.
    ///
    /// # Errors
    /// As [`Policy::open`].
    pub fn mmproj(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        self.files = self.files.with_mmproj(path.as_ref())?;
        Ok(self.with(|_| ()))
    }

    /// Changes a setting. A model that was loaded with other settings is loaded again at the next use.
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self.loaded = Lazy::new();
        self
    }

    /// Places this many layers on the GPU; without it, all that fit.
    #[must_use]
    pub fn gpu_layers(self, layers: u32) -> Self {
        self.with(|policy| policy.files.gpu_layers = Some(layers))
    }

    /// Sets the number of compute threads; without it, one per core.
    #[must_use]
    pub fn threads(self, threads: u32) -> Self {
        self.with(|policy| policy.files.threads = Some(threads))
    }

    /// Sets how many rollouts are decoded side by side, 1 to 128.
    #[must_use]
    pub fn parallel(self, rollouts: u32) -> Self {
        self.with(|policy| policy.files.parallel = Some(rollouts))
    }

    /// Makes results independent of threads, batch composition and what else runs.
    #[must_use]
    pub fn deterministic(self) -> Self {
        self.with(|policy| policy.files.deterministic = true)
    }

    /// Sets how tokens are drawn and the maximum number of new tokens per rollout. The defaults are MM-PRM's annotation
    /// settings: temperature 1, top-k 50, top-p 0.9, repetition penalty 1.05, 4,096 tokens.
    #[must_use]
    pub fn sampling(self, sampling: Sampling, max_tokens: usize) -> Self {
        self.with(|policy| (policy.options.sampling, policy.options.max_tokens) = (sampling, max_tokens))
    }

    /// Sets the random seed (0 without it).
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.with(|policy| policy.options.seed = seed)
    }

    /// Sets the chat template; without it, the model's own.
    #[must_use]
    pub fn template(self, template: ChatTemplate) -> Self {
        self.with(|policy| policy.options.template = Some(template))
    }

    /// Takes image paths as relative to `folder` and refuses images outside it.
    #[must_use]
    pub fn images_in(self, folder: impl Into<PathBuf>) -> Self {
        self.with(|policy| policy.images_in = Some(folder.into()))
    }

    /// Ends requests under way and later ones with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) once `cancel` is set.
    #[must_use]
    pub fn cancelled_by(self, cancel: CancelToken) -> Self {
        self.with(|policy| policy.options.cancel = cancel)
    }

    /// Writes `n` solutions of `problem`, each a list of steps whose last element holds the answer. The list is empty where
    /// the model wrote none of the step tags.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) where the model or an image cannot be used, or the prompt is longer than the
    /// context; [`ErrorKind::Failed`](crate::ErrorKind::Failed) where the engine fails.
    pub fn sample(&self, problem: &Problem, n: usize) -> Result<Vec<Rollout>, Error> {
        let problem = self.placed(problem)?;
        let sampled = self.loaded()?.rollouts(&RolloutRequest::new(&problem, &[], n, 0))?;
        Ok(sampled.into_iter().map(|sampled| sampled.rollout).collect())
    }

    /// The problem's image files, as paths that any working directory resolves.
    pub(super) fn image_paths(&self, problem: &Problem) -> Result<Vec<PathBuf>, Error> {
        match &self.images_in {
            Some(folder) => Ok(problem.images.iter().map(|image| folder.join(image)).collect()),
            None => Ok(absolute(&problem.images)?.into_iter().map(PathBuf::from).collect()),
        }
    }

    /// The problem with image paths that the loaded model resolves.
    fn placed(&self, problem: &Problem) -> Result<Problem, Error> {
        let mut problem = problem.clone();
        if self.images_in.is_none() {
            problem.images = absolute(&problem.images)?;
        }
        Ok(problem)
    }

    fn loaded(&self) -> Result<&LocalPolicy, Error> {
        self.loaded.get(|| {
            let (engine, encoder) = self.files.start(false)?;
            let data_root = self.images_in.clone().unwrap_or_else(|| PathBuf::from("/"));
            let options = GenerationOptions { data_root, ..self.options.clone() };
            Ok(LocalPolicy::new(engine, encoder, options)?.keep_prompts(true))
        })
    }
}

impl RolloutModel for Policy {
    fn rollouts(&self, request: &RolloutRequest<'_>) -> Result<Vec<SampledRollout>, PolicyError> {
        let failed = |error: Error| match error {
            Error::Policy(error) => error,
            error => PolicyError::Model(Box::new(error)),
        };
        let problem = self.placed(request.problem).map_err(failed)?;
        self.loaded().map_err(failed)?.rollouts(&RolloutRequest { problem: &problem, ..*request })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_changed_after_the_first_use_takes_effect() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models");
        let policy = Policy::open(demo.join("policy-q8_0.gguf")).unwrap().gpu_layers(0).threads(1);
        assert_eq!(policy.loaded().unwrap().parallel(), 8, "the default of a small model");
        let policy = policy.parallel(3);
        assert_eq!(policy.loaded().unwrap().parallel(), 3);
    }
}
