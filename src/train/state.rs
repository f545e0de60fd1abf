//! The state that resumes a run: master values, optimiser state, and the position in the data.
//!
//! One file, `state/model.safetensors` in the run's directory, that is replaced whole. Every step depends on it and the
//! recipe alone, so a killed run resumes from the last save bit-exactly.
//!
//! ```
//! use mmprm::train::optim::{Optimizer, OptimizerOptions};
//! use mmprm::train::state::{TrainerState, load, save};
//! let folder = tempfile::tempdir().unwrap();
//! let optimizer = || Optimizer::new(OptimizerOptions::default(), [("w", [1].as_slice())]);
//! let state = TrainerState { step: 3, ..TrainerState::default() };
//! save(folder.path(), &["w".into()], &[&[0.5]], &optimizer(), &state).unwrap();
//! let mut saved = load(folder.path()).unwrap().unwrap();
//! let (mut values, mut restored) = ([0.0_f32], optimizer());
//! saved.restore_optimizer(&mut restored).unwrap();
//! saved.restore_values("w", &mut values).unwrap();
//! assert_eq!((saved.trainer.step, values), (3, [0.5]));
//! ```

use std::path::{Path, PathBuf};

use mmprm_quant::safetensors::{Checkpoint, Dtype, NewTensor, SafetensorsError, StoredType, Values, WriteError, write};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::optim::{LossScale, Optimizer};

/// The name of the trainer's own state in the file.
const TRAINER: &str = "position";

/// The progress of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Optimiser steps done, including skipped ones.
    pub step: u64,
    /// The epoch of the next batch.
    pub epoch: u64,
    /// Batches done in that epoch.
    pub batch: usize,
    /// Steps that changed the parameters.
    pub updates: u64,
    /// The loss scale.
    pub scale: LossScale,
    /// Lowest validation loss so far, and its step.
    pub best: Option<(f64, u64)>,
    /// Validations since the best one.
    pub stale: u64,
    /// Tokens computed.
    pub tokens: u64,
    /// Tokens of the samples before sharing.
    pub effective: u64,
    /// All that results depend on, to refuse the state of another run.
    pub identity: Value,
}

impl Default for TrainerState {
    fn default() -> Self {
        Self {
            step: 0,
            epoch: 0,
            batch: 0,
            updates: 0,
            scale: LossScale::none(),
            best: None,
            stale: 0,
            tokens: 0,
            effective: 0,
            identity: Value::Null,
        }
    }
}

/// An error of loading a state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is broken.
    #[error(transparent)]
    Read(#[from] SafetensorsError),
    /// A tensor is missing.
    #[error("{}: tensor '{name}': missing, expected it for this model and optimiser", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another type or length.
    #[error("{}: tensor '{name}': {dtype} {shape:?}, expected F32 with {expected} values", path.display())]
    Shape {
        /// The directory.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
        /// The expected number of values.
        expected: usize,
    },
    /// The trainer's own state is not what this version writes.
    #[error("{}: tensor '{TRAINER}': not a trainer's state: {source}", path.display())]
    Trainer {
        /// The directory.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
}

/// The state's directory in a run's directory.
pub fn path(directory: &Path) -> PathBuf {
    directory.join("state")
}

/// Saves the state of a run whose trained tensors have these names and values.
///
/// # Errors
/// [`WriteError`]; the old state is then untouched.
///
/// # Panics
/// Never: a trainer's state is representable in JSON.
pub fn save(
    directory: &Path,
    names: &[String],
    values: &[&[f32]],
    optimizer: &Optimizer,
    trainer: &TrainerState,
) -> Result<(), WriteError> {
    let shapes: Vec<[usize; 1]> = values.iter().map(|values| [values.len()]).collect();
    let masters = names.iter().zip(values).zip(&shapes).map(|((name, values), shape)| NewTensor {
        name: format!("value.{name}"),
        shape: shape.as_slice(),
        values: Values::F32(values),
        stored: StoredType::F32,
    });
    let state = optimizer.state().map(|(name, shape, values)| NewTensor {
        name,
        shape,
        values: Values::F32(values),
        stored: StoredType::F32,
    });
    let tensors: Vec<NewTensor<'_>> = masters.chain(state).collect();
    let trainer = serde_json::to_vec(trainer).expect("a trainer's state is JSON");
    write(&path(directory).join("model.safetensors"), &tensors, &[(TRAINER, &trainer)])
}

/// A saved run.
#[derive(Debug)]
pub struct SavedState {
    /// Its progress.
    pub trainer: TrainerState,
    checkpoint: Checkpoint,
    directory: PathBuf,
}

/// Opens the saved state in a run's directory; `None` if there is none.
///
/// # Errors
/// [`StateError`].
pub fn load(directory: &Path) -> Result<Option<SavedState>, StateError> {
    let directory = path(directory);
    if !directory.join("model.safetensors").exists() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(&directory)?;
    Ok(Some(SavedState { trainer: read_trainer(&directory, &checkpoint)?, checkpoint, directory }))
}

impl SavedState {
    /// Fills in the values of a trained tensor.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Shape`].
    pub fn restore_values(&self, name: &str, values: &mut [f32]) -> Result<(), StateError> {
        self.fill(&format!("value.{name}"), values)
    }

    /// Fills in the optimiser's state.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Shape`].
    pub fn restore_optimizer(&self, optimizer: &mut Optimizer) -> Result<(), StateError> {
        optimizer.restore(self.trainer.updates).try_for_each(|(name, values)| self.fill(&name, values))
    }

    fn fill(&self, name: &str, values: &mut [f32]) -> Result<(), StateError> {
        let (path, name) = (|| self.directory.clone(), || name.to_owned());
        let tensor = self.checkpoint.get(&name()).ok_or_else(|| StateError::Missing { path: path(), name: name() })?;
        let data = self.checkpoint.data(tensor);
        if tensor.dtype != Dtype::F32 || data.len() != values.len() * 4 {
            let (dtype, shape) = (tensor.dtype, tensor.shape.clone());
            return Err(StateError::Shape { path: path(), name: name(), dtype, shape, expected: values.len() });
        }
        for (value, bytes) in values.iter_mut().zip(data.chunks_exact(4)) {
            *value = f32::from_le_bytes(bytes.try_into().expect("chunks of 4 bytes"));
        }
        Ok(())
    }
}

fn read_trainer(directory: &Path, checkpoint: &Checkpoint) -> Result<TrainerState, StateError> {
    let missing = || StateError::Missing { path: directory.to_owned(), name: TRAINER.into() };
    let tensor = checkpoint.get(TRAINER).ok_or_else(missing)?;
    let wrong = |source| StateError::Trainer { path: directory.to_owned(), source };
    serde_json::from_slice(checkpoint.data(tensor)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optim::{OptimizerOptions, Parameter};

    fn optimizer(length: usize) -> Optimizer {
        Optimizer::new(OptimizerOptions { lr: 0.1, ..OptimizerOptions::default() }, [("w", [length].as_slice())])
    }

    #[test]
    fn a_run_without_a_state_is_new() {
        assert!(load(tempfile::tempdir().unwrap().path()).unwrap().is_none());
    }

    #[test]
    fn values_optimiser_and_progress_are_restored_bit_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let (mut values, mut saved) = ([0.1_f32, -7.5], optimizer(2));
        saved.step(1.0, 1.0).update(0, Parameter { values: &mut values, gradient: &[0.3, 1e-30] });
        let mut scale = LossScale::dynamic();
        scale.overflowed();
        let at = TrainerState { step: 2, updates: 1, scale, best: Some((0.1 + 0.2, 1)), ..TrainerState::default() };
        save(folder.path(), &["w".into()], &[&values], &saved, &at).unwrap();
        let found = load(folder.path()).unwrap().unwrap();
        assert_eq!(found.trainer, at);
        let (mut again, mut restored) = ([0.0; 2], optimizer(2));
        found.restore_values("w", &mut again).unwrap();
        found.restore_optimizer(&mut restored).unwrap();
        assert_eq!(again, values);
        assert_eq!(restored.steps(), 1);
        assert!(restored.state().map(|(_, _, values)| values.to_vec()).eq(saved.state().map(|(_, _, v)| v.to_vec())));
    }

    #[test]
    fn a_state_of_another_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &["w".into()], &[&[1.0, 2.0]], &optimizer(2), &TrainerState::default()).unwrap();
        let found = load(folder.path()).unwrap().unwrap();
        let error = found.restore_values("w", &mut [0.0; 3]).unwrap_err();
        assert!(error.to_string().ends_with("tensor 'value.w': F32 [2], expected F32 with 3 values"), "{error}");
        let error = found.restore_values("v", &mut [0.0]).unwrap_err();
        assert!(error.to_string().contains("tensor 'value.v': missing"), "{error}");
        assert!(found.restore_optimizer(&mut optimizer(3)).is_err());
        std::fs::write(path(folder.path()).join("model.safetensors"), b"half").unwrap();
        assert!(matches!(load(folder.path()), Err(StateError::Read(_))));
    }
}
