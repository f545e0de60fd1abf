//! The model that the trainer optimises, as a list of tensors with gradients.
//!
//! The [trainer](super::trainer) handles sequences, losses and named tensors; how a model computes them and becomes a
//! checkpoint is up to its [`Learner`]. [`super::full`] trains a model's weights, [`super::lora`] adapters.
//!
//! ```
//! use mmprm::internvl::Loss;
//! use mmprm::train::checkpoint::CheckpointError;
//! use mmprm::train::learner::{Learner, LearnerError};
//! use mmprm::train::optim::Parameter;
//! use mmprm::train::pack::Sequence;
//! /// One number that should be 3.
//! struct Number { value: [f32; 1], gradient: [f32; 1] }
//! impl Learner for Number {
//!     fn tensors(&self) -> Vec<(String, Vec<usize>)> { vec![("number".into(), vec![1])] }
//!     fn values(&self) -> Vec<&[f32]> { vec![&self.value] }
//!     fn gradients(&self) -> Vec<&[f32]> { vec![&self.gradient] }
//!     fn for_each_parameter(&mut self, work: &mut dyn FnMut(usize, Parameter<'_>)) {
//!         work(0, Parameter { values: &mut self.value, gradient: &self.gradient });
//!     }
//!     fn zero_gradients(&mut self) { self.gradient = [0.0] }
//!     fn accumulate(&mut self, _: &Sequence, factor: f64) -> Result<Loss, LearnerError> {
//!         self.gradient[0] += 2.0 * (self.value[0] - 3.0) * factor as f32;
//!         Ok(Loss { loss: factor * f64::from(self.value[0] - 3.0).powi(2), ..Loss::default() })
//!     }
//!     fn loss(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnerError> {
//!         self.accumulate(sequence, factor)
//!     }
//!     fn on_update(&mut self) {}
//!     fn save(&self, _: &std::path::Path) -> Result<(), CheckpointError> { Ok(()) }
//! }
//! ```

use std::path::{Path, PathBuf};

use super::checkpoint::CheckpointError;
use super::optim::Parameter;
use super::pack::Sequence;
use crate::image::ImageError;
use crate::internvl::{InputError, Loss};

/// An error of computing a sequence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnerError {
    /// The sequence does not fit the model.
    #[error("a packed sequence does not fit the model: {0}")]
    Input(#[from] InputError),
    /// An image has become unreadable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An image is another one than when the samples were read.
    #[error("{}: the image has changed since the samples were read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Features cannot be written to disk.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A model to train; see the [module](self).
pub trait Learner {
    /// Names and shapes of the trained tensors.
    fn tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// Values of the trained tensors, in the order of [`Learner::tensors`].
    fn values(&self) -> Vec<&[f32]>;

    /// Accumulated gradients, in the same order.
    fn gradients(&self) -> Vec<&[f32]>;

    /// Calls `work` with the index and the parameter of each trained tensor.
    fn for_each_parameter(&mut self, work: &mut dyn FnMut(usize, Parameter<'_>));

    /// Sets all gradients to 0.
    fn zero_gradients(&mut self);

    /// Begins step number `step` (from 1) with gradients of 0. Dropout depends on the step's number and on the number of
    /// sequences accumulated in it.
    fn begin_step(&mut self, step: u64) {
        let _ = step;
        self.zero_gradients();
    }

    /// Adds the gradients of `factor` times the weighted sum of a sequence's losses; returns that sum.
    ///
    /// # Errors
    /// [`LearnerError`].
    fn accumulate(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnerError>;

    /// Computes that sum without gradients.
    ///
    /// # Errors
    /// [`LearnerError`].
    fn loss(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnerError>;

    /// Refreshes what is derived from the values; called after each update of them.
    fn on_update(&mut self);

    /// Writes the model to a directory, replacing an earlier save.
    ///
    /// # Errors
    /// [`CheckpointError`].
    fn save(&self, directory: &Path) -> Result<(), CheckpointError>;
}
