//! The whole training job of a recipe: tokenizer, samples, memory check, distillation, model or adapters, and the loop.

use crate::internvl;
use crate::util::cancel::CancelToken;

use super::data::{Dataset, Tokenizer, TokenizerError};
use super::distillation::{Distillation, DistillationError, relabel};
use super::full::{self, FullModel};
use super::learner::Learner;
use super::lora::{self, LoraModel};
use super::memory::{MemoryReport, Workload};
use super::prepare::{PrepareError, prepare};
use super::recipe::{Recipe, RecipeError};
use super::reference::{self, ReferenceError};
use super::trainer::{self, Event, Ready, RunError, Summary};
#[cfg(feature = "engine")]
use super::vocabulary::Vocabulary;

/// An error of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe's values are invalid.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] internvl::WeightsError),
    /// The model's tokenizer cannot be read.
    #[error("cannot read the model's tokenizer: {0}")]
    Tokenizer(#[source] TokenizerError),
    /// The samples cannot be used.
    #[error(transparent)]
    Data(#[from] PrepareError),
    /// The policy of a distillation cannot be used.
    #[error(transparent)]
    Distillation(#[from] DistillationError),
    /// The reference model cannot be used.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The model cannot be trained by this recipe.
    #[error(transparent)]
    Open(#[from] full::OpenError),
    /// Adapters cannot be trained by this recipe.
    #[error(transparent)]
    OpenLora(#[from] lora::OpenError),
    /// The run does not fit into memory.
    #[error("the run needs about {} MiB of memory, {} MiB are available", .0.total >> 20, .0.available.unwrap_or(0) >> 20)]
    Memory(Box<MemoryReport>),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl TrainError {
    /// Whether the recipe or a file that it names is at fault, not the machine or the run.
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Memory(_) | Self::Run(_))
    }
}

/// Trains by a recipe, or resumes the run in its directory, with the tokenizer of the recipe's model. `cancel` ends the run
/// after the current step, saved.
///
/// ```no_run
/// use mmprm::train::{self, Event, recipe::Recipe};
/// use mmprm::util::cancel::CancelToken;
/// let recipe = Recipe::read("prm.toml".as_ref())?;
/// let mut on_event = |event: &Event| {
///     if let Event::Step(step) = event {
///         println!("step {} of {}: loss {:.4}", step.step, step.total, step.loss);
///     }
/// };
/// let summary = train::train(&recipe, &mut on_event, &CancelToken::new())?;
/// println!("{} steps; checkpoints are in {}", summary.steps, recipe.output.display());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`TrainError`]; the last save of the run stays valid.
#[cfg(feature = "engine")]
pub fn train(recipe: &Recipe, on_event: &mut dyn FnMut(&Event), cancel: &CancelToken) -> Result<Summary, TrainError> {
    train_with(recipe, &open_tokenizer(recipe)?, on_event, cancel)
}

/// As `train`, with the caller's tokenizer; works without the feature `engine`.
///
/// # Errors
/// [`TrainError`]; the last save of the run stays valid.
pub fn train_with(
    recipe: &Recipe,
    tokenizer: &dyn Tokenizer,
    on_event: &mut dyn FnMut(&Event),
    cancel: &CancelToken,
) -> Result<Summary, TrainError> {
    recipe.check()?;
    let layout = internvl::read_layout(&recipe.model)?;
    reference::check(recipe)?;
    let mut data = prepare(recipe, tokenizer)?;
    let memory = MemoryReport::of(&Workload::of(recipe, &layout, Some(&data)));
    if !memory.fits() {
        return Err(TrainError::Memory(Box::new(memory)));
    }
    let policies = [(Distillation::Logprob, &recipe.logprob_of), (Distillation::Expected, &recipe.expected_of)];
    for (kind, policy) in policies {
        if let Some(policy) = policy {
            let Dataset { samples, images, special, .. } = &mut data.train;
            relabel(samples, kind, policy, recipe, *special, images)?;
        }
    }
    let (special, images) = (data.train.special, data.train.images.clone());
    if recipe.has_reference() {
        let samples = &mut [&mut data.train.samples, &mut data.held_out];
        reference::label(samples, recipe, special, &images, tokenizer, &data.fingerprints)?;
    }
    let mut learner: Box<dyn Learner> = match recipe.lora {
        Some(_) => Box::new(LoraModel::open(recipe, special, images, tokenizer)?),
        None => Box::new(FullModel::open(recipe, special, images)?),
    };
    let trained = learner.gradients().iter().map(|gradient| gradient.len()).sum();
    tracing::info!(
        "loaded {}: {trained} values are trained, about {} MiB of memory, {} threads",
        recipe.model.display(),
        memory.total >> 20,
        rayon::current_num_threads(),
    );
    let unknown = internvl::unknown_keys(&recipe.model)?;
    if !unknown.is_empty() {
        on_event(&Event::UnknownKeys(unknown));
    }
    let (samples, held_out, left_out) = (data.train.samples.len(), data.held_out.len(), data.train.left_out);
    on_event(&Event::Ready(Ready { samples, held_out, left_out, trained }));
    Ok(trainer::run(&mut *learner, &data, recipe, on_event, cancel)?)
}

/// Predicts the peak memory of a recipe's run. A recipe whose `samples` is empty is planned for sequences of
/// `sequence_tokens` tokens, from the model's `config.json` alone.
///
/// # Errors
/// [`TrainError`].
#[cfg(feature = "engine")]
pub fn plan(recipe: &Recipe) -> Result<MemoryReport, TrainError> {
    if recipe.samples.as_os_str().is_empty() {
        let layout = internvl::read_layout(&recipe.model)?;
        return Ok(MemoryReport::of(&Workload::of(recipe, &layout, None)));
    }
    plan_with(recipe, &open_tokenizer(recipe)?)
}

/// As `plan` for a recipe with samples, with the caller's tokenizer.
///
/// # Errors
/// [`TrainError`].
pub fn plan_with(recipe: &Recipe, tokenizer: &dyn Tokenizer) -> Result<MemoryReport, TrainError> {
    let layout = internvl::read_layout(&recipe.model)?;
    let data = prepare(recipe, tokenizer)?;
    Ok(MemoryReport::of(&Workload::of(recipe, &layout, Some(&data))))
}

/// The tokenizer of a recipe's model; a model that cannot be trained is reported first.
#[cfg(feature = "engine")]
fn open_tokenizer(recipe: &Recipe) -> Result<Vocabulary, TrainError> {
    internvl::read_layout(&recipe.model)?;
    Vocabulary::of(recipe).map_err(|error| TrainError::Tokenizer(error.into()))
}
