use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::train::checkpoint::CheckpointError;
use crate::train::learner::LearnError;
use crate::train::state::StateError;
use crate::train::tensors::WriteError;
use crate::train::validation::Validation;

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A batch could not be computed.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// A checkpoint was not made.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state was not saved.
    #[error(transparent)]
    Save(#[from] WriteError),
    /// The state that was saved cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log, or the run's directory, cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Another process is at work there.
    #[error("{}: another process is training there", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Numbers have got out of hand.
    #[error("step {step}: {what} is not finite; a lower learning rate, or clipping, may help")]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// The loss, or the gradient of a tensor by its name.
        what: String,
    },
    /// The directory belongs to another run.
    #[error("{}: a run with another recipe or other samples (`{key}` differs); continue it with those, or choose another `out`", path.display())]
    OtherRun {
        /// The directory.
        path: PathBuf,
        /// What differs.
        key: String,
    },
}

/// What a run tells while it goes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// It goes on after this many steps.
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
        /// The loss scale from now on.
        scale: f64,
    },
    /// A validation is done.
    Validated {
        /// Steps done.
        step: u64,
        /// Its results.
        results: Validation,
        /// Whether no loss was lower.
        best: bool,
    },
    /// State and checkpoint were saved.
    Saved {
        /// Steps done.
        step: u64,
    },
}

/// A step that is done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Which, from 1.
    #[serde(skip)]
    pub step: u64,
    /// Steps of the whole run.
    #[serde(skip)]
    pub total: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Mean loss of the batch before the step.
    pub loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Length of the gradient before clipping.
    pub grad_norm: f64,
    /// Tokens computed.
    pub tokens: usize,
    /// Tokens of the samples one by one.
    pub effective_tokens: usize,
    /// Tokens computed in a second.
    pub tokens_per_second: f64,
    /// Time that the rest will take.
    #[serde(skip)]
    pub left: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Steps done.
    pub steps: u64,
    /// Steps that there are.
    pub total: u64,
    /// Whether it was asked to stop.
    pub interrupted: bool,
    /// Whether it stopped because validations got no better.
    pub stopped_early: bool,
    /// Steps skipped because gradients overflowed.
    pub skipped: u64,
    /// Loss of the last step of this session, if there was one.
    pub loss: Option<f64>,
    /// The last validation of this session, if there was one.
    pub validation: Option<Validation>,
    /// Lowest validation loss and the step it was found at.
    pub best: Option<(f64, u64)>,
    /// Tokens computed, in all sessions.
    pub tokens: u64,
    /// Tokens of the samples one by one.
    pub effective_tokens: u64,
}
