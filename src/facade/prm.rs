//! A process reward model on this machine, and Best-of-N with it.

use std::path::{Path, PathBuf};

use super::models::{Lazy, ModelFiles, absolute};
use super::{Error, Policy};
use crate::data::problem::Problem;
use crate::data::solution::Rollout;
use crate::eval::metrics::{Aggregator, best};
use crate::prm::{LocalPrm, PrmForm, PrmOptions, ScoreRequest, StepScorer};

/// A model that scores the steps of solutions, from a GGUF file.
///
/// Files are checked when they are named; the model is loaded at first use. Scores depend on the candidate, the question and
/// the images alone, not on the other candidates, the batch or the number of threads (on a GPU with
/// [`Prm::deterministic`]).
///
/// ```no_run
/// # fn main() -> Result<(), mmprm::Error> {
/// let prm = mmprm::Prm::open("prm.gguf")?.mmproj("mmproj.gguf")?;
/// let candidates = vec![vec!["2 + 2 = 4.".to_owned(), "The final answer is 4.".to_owned()]];
/// let scores = prm.score("What is 2 + 2?", &["figure.png"], &candidates)?;
/// assert_eq!(scores[0].len(), 2);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Prm {
    files: ModelFiles,
    form: Option<PrmForm>,
    reference: Option<ModelFiles>,
    loaded: Lazy<LocalPrm>,
}

impl Prm {
    /// Opens a PRM, a GGUF file that `mmprm convert` wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) for a file that is missing or not a sound GGUF file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self { files: ModelFiles::open(path.as_ref())?, form: None, reference: None, loaded: Lazy::new() })
    }

    /// Adds the vision projector, which problems with images need.
    ///
    /// # Errors
    /// As [`Prm::open`].
    pub fn mmproj(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        self.files = self.files.with_mmproj(path.as_ref())?;
        Ok(self.with(|_| ()))
    }

    /// Adds the reference model of an implicit PRM that scores by log-probability ratios, with its vision projector if problems have
    /// images.
    ///
    /// # Errors
    /// As [`Prm::open`].
    pub fn reference(mut self, path: impl AsRef<Path>, mmproj: Option<&Path>) -> Result<Self, Error> {
        let files = ModelFiles::open(path.as_ref())?;
        self.reference = Some(mmproj.map_or(Ok(files.clone()), |mmproj| files.with_mmproj(mmproj))?);
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
        self.with(|prm| prm.files.gpu_layers = Some(layers))
    }

    /// Sets the number of compute threads; without it, one per core.
    #[must_use]
    pub fn threads(self, threads: u32) -> Self {
        self.with(|prm| prm.files.threads = Some(threads))
    }

    /// Makes scores independent of batch composition on a GPU too, at some cost; on a CPU they always are.
    #[must_use]
    pub fn deterministic(self) -> Self {
        self.with(|prm| prm.files.deterministic = true)
    }

    /// Sets the form in which candidates are read, instead of the one in the model's metadata.
    #[must_use]
    pub fn form(self, form: PrmForm) -> Self {
        self.with(|prm| prm.form = Some(form))
    }

    /// Scores every step: one list a candidate, one number a step, the probability (0 to 1) that the step is right. `images`
    /// are the problem's image files, perhaps none; a candidate without steps has an empty list.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) where the file is not a PRM, an image cannot be used, or a candidate is longer
    /// than the context; [`ErrorKind::Failed`](crate::ErrorKind::Failed) where the engine fails.
    pub fn score<P: AsRef<Path>>(
        &self,
        question: &str,
        images: &[P],
        candidates: &[Rollout],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let images = absolute(images)?;
        let scores = self.loaded()?.score(&ScoreRequest { question, images: &images, solutions: candidates })?;
        Ok(scores.into_iter().map(|steps| steps.into_iter().map(|score| score as f32).collect()).collect())
    }

    fn loaded(&self) -> Result<&LocalPrm, Error> {
        self.loaded.get(|| {
            let form = LocalPrm::form_of(self.files.model(), &[], self.form.as_ref())?;
            LocalPrm::check_vocabulary(self.files.model(), &form)?;
            LocalPrm::check_reference(self.files.model(), &form, self.reference.as_ref().map(ModelFiles::model))?;
            let (engine, encoder) = self.files.start(true)?;
            let options = PrmOptions { data_root: PathBuf::from("/"), form: self.form.clone() };
            let Some(reference) = &self.reference else { return Ok(LocalPrm::new(engine, encoder, options)?) };
            let reference = reference.clone().with_options_of(&self.files).start(true)?;
            Ok(LocalPrm::with_reference(engine, encoder, reference, options)?)
        })
    }
}

/// The candidate that a PRM prefers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Best {
    /// Its index among the candidates.
    pub index: usize,
    /// Its steps; the last one holds the answer.
    pub steps: Rollout,
    /// The score of each step, 0 to 1.
    pub scores: Vec<f32>,
}

/// Draws `n` solutions of `problem`, scores their steps, and returns the one with the largest product of step scores; the
/// first of equals.
///
/// # Errors
/// As [`Policy::sample`] and [`Prm::score`]; [`ErrorKind::Input`](crate::ErrorKind::Input) for `n` 0.
pub fn best_of_n(policy: &Policy, prm: &Prm, problem: &Problem, n: usize) -> Result<Best, Error> {
    let mut candidates = policy.sample(problem, n)?;
    let mut scores = prm.score(&problem.question, &policy.image_paths(problem)?, &candidates)?;
    let products: Vec<f64> = scores
        .iter()
        .map(|steps| {
            let steps: Vec<f64> = steps.iter().map(|score| f64::from(*score)).collect();
            Aggregator::Product.apply(&steps).unwrap_or(f64::NEG_INFINITY)
        })
        .collect();
    let index = best(&products).ok_or(Error::NoCandidates)?;
    Ok(Best { index, steps: candidates.swap_remove(index), scores: scores.swap_remove(index) })
}
