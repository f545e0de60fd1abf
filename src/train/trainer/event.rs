//! Events, errors and results of a run.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::train::checkpoint::CheckpointError;
use crate::train::learner::LearnerError;
use crate::train::state::StateError;
use crate::train::validation::Validation;
use mmprm_quant::safetensors::WriteError;

/// An error that ends a run; the last save stays valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A batch could not be computed.
    #[error(transparent)]
    Compute(#[from] LearnerError),
    /// A checkpoint cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state cannot be saved.
    #[error(transparent)]
    Save(#[from] WriteError),
    /// The saved state cannot be loaded.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log, or the run's directory, cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Another process holds the directory's lock.
    #[error("{}: another process is training there", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Training diverged.
    #[error("step {step}: {what} is not finite; lower the learning rate or set `clip`")]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// The loss, or the gradient of a tensor.
        what: String,
    },
    /// The directory has the state of another run.
    #[error("{}: a run with another recipe or other samples (`{key}` differs); resume with those or choose another `output`", path.display())]
    OtherRun {
        /// The directory.
        path: PathBuf,
        /// What differs.
        key: String,
    },
}

/// Progress of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Keys of the model's configuration that are unknown and ignored, if there are any.
    UnknownKeys(Vec<String>),
    /// Data and model are loaded; steps follow.
    Ready(Ready),
    /// The run resumes after this many steps.
    Resumed {
        /// Steps done.
        step: u64,
    },
    /// A step is done.
    Step(Step),
    /// The gradients of a step overflowed; it was skipped.
    Skipped {
        /// The step, from 1.
        step: u64,
        /// The new loss scale.
        scale: f64,
    },
    /// A validation is done.
    Validated {
        /// Steps done.
        step: u64,
        /// Its results.
        results: Validation,
        /// Whether its loss is the lowest so far.
        best: bool,
    },
    /// State and checkpoint are saved.
    Saved {
        /// Steps done.
        step: u64,
    },
}

/// Sizes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Training samples.
    pub samples: usize,
    /// Validation samples.
    pub held_out: usize,
    /// Samples left out because nothing to learn is within the length limit.
    pub left_out: usize,
    /// Trained values.
    pub trained: usize,
}

/// A completed step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its number, from 1.
    #[serde(skip)]
    pub step: u64,
    /// Steps of the run.
    #[serde(skip)]
    pub total: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Mean loss of the batch, before the update.
    pub loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens computed.
    pub tokens: usize,
    /// Tokens of the samples before sharing.
    pub effective_tokens: usize,
    /// Tokens computed per second.
    pub tokens_per_second: f64,
    /// Estimated time for the remaining steps.
    #[serde(skip)]
    pub left: Duration,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Steps done.
    pub steps: u64,
    /// Steps of the run.
    pub total: u64,
    /// Whether it was cancelled.
    pub interrupted: bool,
    /// Whether it stopped for lack of improvement (`patience`).
    pub stopped_early: bool,
    /// Steps skipped because of gradient overflow.
    pub skipped: u64,
    /// Loss of the last step of this session.
    pub loss: Option<f64>,
    /// The last validation of this session.
    pub validation: Option<Validation>,
    /// Lowest validation loss, and its step.
    pub best: Option<(f64, u64)>,
    /// Tokens computed in all sessions.
    pub tokens: u64,
    /// Tokens of the samples before sharing.
    pub effective_tokens: u64,
}
