//! What a run needs to go on where it was: master values, the optimiser's memory, the position in the data.
//!
//! All of it is one file, `state/model.safetensors` in the run's directory, that is replaced whole; a run killed at any
//! instant goes on from the last one and, since every step depends on it and the recipe alone, ends with the same bits.
//!
//! ```
//! use mmprm::train::optim::{Optimizer, Options};
//! use mmprm::train::state::{Position, load, save};
//! let folder = tempfile::tempdir().unwrap();
//! let optimizer = || Optimizer::new(Options::default(), [("w", [1].as_slice())]);
//! let position = Position { step: 3, ..Position::default() };
//! save(folder.path(), &["w".into()], &[&[0.5]], &optimizer(), &position).unwrap();
//! let mut saved = load(folder.path()).unwrap().unwrap();
//! let (mut values, mut restored) = ([0.0_f32], optimizer());
//! saved.restore(&mut restored).unwrap();
//! saved.values("w", &mut values).unwrap();
//! assert_eq!((saved.position.step, values), (3, [0.5]));
//! ```

use std::path::{Path, PathBuf};

use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::optim::{LossScale, Optimizer};
use super::tensors::{Stored, Tensor, Values, WriteError, write};

/// The name of the piece that is no tensor of the model.
const POSITION: &str = "position";

/// Where a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Optimiser steps done, skipped ones too.
    pub step: u64,
    /// The epoch of the next batch.
    pub epoch: u64,
    /// Batches of that epoch that are done.
    pub batch: usize,
    /// Steps that changed the parameters.
    pub updates: u64,
    /// The loss scale.
    pub scale: LossScale,
    /// Lowest validation loss so far, and the step it was found at.
    pub best: Option<(f64, u64)>,
    /// Validations since then.
    pub stale: u64,
    /// Tokens computed.
    pub tokens: u64,
    /// Tokens of the samples one by one.
    pub effective: u64,
    /// What the run's results depend on, to refuse another run's state.
    pub identity: Value,
}

impl Default for Position {
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

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is broken.
    #[error(transparent)]
    Read(#[from] SafetensorsError),
    /// It is not that of these tensors.
    #[error("{}: tensor '{name}': {problem}", path.display())]
    Tensor {
        /// The directory.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// The directory of the state of a run in `directory`.
pub fn path(directory: &Path) -> PathBuf {
    directory.join("state")
}

/// Saves a run whose trained tensors have these names and values.
///
/// # Errors
/// [`WriteError`]; the state before is then untouched.
///
/// # Panics
/// Never: a position is made of what JSON has.
pub fn save(
    directory: &Path,
    names: &[String],
    values: &[&[f32]],
    optimizer: &Optimizer,
    position: &Position,
) -> Result<(), WriteError> {
    let shapes: Vec<[usize; 1]> = values.iter().map(|values| [values.len()]).collect();
    let masters = names.iter().zip(values).zip(&shapes).map(|((name, values), shape)| Tensor {
        name: format!("value.{name}"),
        shape: shape.as_slice(),
        values: Values::F32(values),
        stored: Stored::F32,
    });
    let memory = optimizer.memory().map(|(name, shape, values)| Tensor {
        name,
        shape,
        values: Values::F32(values),
        stored: Stored::F32,
    });
    let tensors: Vec<Tensor<'_>> = masters.chain(memory).collect();
    let position = serde_json::to_vec(position).expect("a position is JSON");
    write(&path(directory).join("model.safetensors"), &tensors, &[(POSITION, &position)])
}

/// A saved run.
#[derive(Debug)]
pub struct Saved {
    /// Where it was.
    pub position: Position,
    checkpoint: Checkpoint,
    directory: PathBuf,
}

/// The saved run of a directory; nothing where none was saved.
///
/// # Errors
/// [`StateError`].
pub fn load(directory: &Path) -> Result<Option<Saved>, StateError> {
    let directory = path(directory);
    if !directory.join("model.safetensors").exists() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(&directory)?;
    Ok(Some(Saved { position: read_position(&directory, &checkpoint)?, checkpoint, directory }))
}

impl Saved {
    /// Fills in the values of a trained tensor.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    pub fn values(&self, name: &str, values: &mut [f32]) -> Result<(), StateError> {
        fill(&self.directory, &self.checkpoint, &format!("value.{name}"), values)
    }

    /// Fills in the optimiser's memory.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    pub fn restore(&self, optimizer: &mut Optimizer) -> Result<(), StateError> {
        let mut memory = optimizer.restore(self.position.updates);
        memory.try_for_each(|(name, values)| fill(&self.directory, &self.checkpoint, &name, values))
    }
}

fn read_position(directory: &Path, checkpoint: &Checkpoint) -> Result<Position, StateError> {
    let wrong = |problem: String| StateError::Tensor { path: directory.to_owned(), name: POSITION.into(), problem };
    let tensor = checkpoint.get(POSITION).ok_or_else(|| wrong("missing, expected the state of a run".into()))?;
    serde_json::from_slice(checkpoint.data(tensor)).map_err(|error| wrong(format!("not a position: {error}")))
}

fn fill(directory: &Path, checkpoint: &Checkpoint, name: &str, values: &mut [f32]) -> Result<(), StateError> {
    let wrong = |problem: String| StateError::Tensor { path: directory.to_owned(), name: name.to_owned(), problem };
    let tensor =
        checkpoint.get(name).ok_or_else(|| wrong("missing, expected it for this model and optimiser".into()))?;
    let data = checkpoint.data(tensor);
    if tensor.dtype != Dtype::F32 || data.len() != values.len() * 4 {
        let (dtype, shape) = (tensor.dtype, &tensor.shape);
        return Err(wrong(format!("{dtype} {shape:?}, expected F32 with {} values", values.len())));
    }
    for (value, bytes) in values.iter_mut().zip(data.chunks_exact(4)) {
        *value = f32::from_le_bytes(bytes.try_into().expect("chunks of 4 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optim::{Options, Parameter};

    fn optimizer(length: usize) -> Optimizer {
        Optimizer::new(Options { rate: 0.1, ..Options::default() }, [("w", [length].as_slice())])
    }

    #[test]
    fn a_run_without_a_state_is_new() {
        assert!(load(tempfile::tempdir().unwrap().path()).unwrap().is_none());
    }

    #[test]
    fn values_memory_and_position_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let (mut values, mut saved) = ([0.1_f32, -7.5], optimizer(2));
        saved.step(1.0, 1.0).update(0, Parameter { values: &mut values, gradient: &[0.3, 1e-30] });
        let mut scale = LossScale::dynamic();
        scale.overflowed();
        let at = Position { step: 2, updates: 1, scale, best: Some((0.1 + 0.2, 1)), ..Position::default() };
        save(folder.path(), &["w".into()], &[&values], &saved, &at).unwrap();
        let found = load(folder.path()).unwrap().unwrap();
        assert_eq!(found.position, at);
        let (mut again, mut restored) = ([0.0; 2], optimizer(2));
        found.values("w", &mut again).unwrap();
        found.restore(&mut restored).unwrap();
        assert_eq!(again, values);
        assert_eq!(restored.steps(), 1);
        assert!(restored.memory().map(|(_, _, values)| values.to_vec()).eq(saved.memory().map(|(_, _, v)| v.to_vec())));
    }

    #[test]
    fn a_state_of_another_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &["w".into()], &[&[1.0, 2.0]], &optimizer(2), &Position::default()).unwrap();
        let found = load(folder.path()).unwrap().unwrap();
        let error = found.values("w", &mut [0.0; 3]).unwrap_err();
        assert!(error.to_string().ends_with("tensor 'value.w': F32 [2], expected F32 with 3 values"), "{error}");
        let error = found.values("v", &mut [0.0]).unwrap_err();
        assert!(error.to_string().contains("tensor 'value.v': missing"), "{error}");
        assert!(found.restore(&mut optimizer(3)).is_err());
        std::fs::write(path(folder.path()).join("model.safetensors"), b"half").unwrap();
        assert!(matches!(load(folder.path()), Err(StateError::Read(_))));
    }
}
