//! What the loop trains: a model with gradients, seen as a list of tensors.
//!
//! The loop knows losses of sequences and lists of values; how a model computes them, and how it becomes a checkpoint, is
//! its learner's business. [`super::full`] trains a model's own weights.
//!
//! ```
//! use mmprm::internvl::Loss;
//! use mmprm::train::checkpoint::CheckpointError;
//! use mmprm::train::learner::{LearnError, Learner};
//! use mmprm::train::optim::Parameter;
//! use mmprm::train::pack::Sequence;
//! /// One number that should be 3.
//! struct Number { value: [f32; 1], gradient: [f32; 1] }
//! impl Learner for Number {
//!     fn tensors(&self) -> Vec<(String, Vec<usize>)> { vec![("number".into(), vec![1])] }
//!     fn values(&self) -> Vec<&[f32]> { vec![&self.value] }
//!     fn sums(&self) -> Vec<&[f32]> { vec![&self.gradient] }
//!     fn each(&mut self, work: &mut dyn FnMut(usize, Parameter<'_>)) {
//!         work(0, Parameter { values: &mut self.value, gradient: &self.gradient });
//!     }
//!     fn clear(&mut self) { self.gradient = [0.0] }
//!     fn gradients(&mut self, _: &Sequence, factor: f64) -> Result<Loss, LearnError> {
//!         self.gradient[0] += 2.0 * (self.value[0] - 3.0) * factor as f32;
//!         Ok(Loss { loss: factor * f64::from(self.value[0] - 3.0).powi(2), ..Loss::default() })
//!     }
//!     fn loss(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnError> { self.gradients(sequence, factor) }
//!     fn updated(&mut self) {}
//!     fn save(&self, _: &std::path::Path) -> Result<(), CheckpointError> { Ok(()) }
//! }
//! ```

use std::path::{Path, PathBuf};

use super::checkpoint::CheckpointError;
use super::optim::Parameter;
use super::pack::Sequence;
use crate::image::ImageError;
use crate::internvl::{InputError, Loss};

/// Why a sequence could not be learnt from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// It does not fit the model.
    #[error("a packed sequence does not fit the model: {0}")]
    Input(#[from] InputError),
    /// A image has become unreadable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A image is no longer what it was when the samples were read.
    #[error("{}: the image has changed since the samples were read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Features cannot be kept.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A model that learns; see the [module](self).
pub trait Learner {
    /// Names and shapes of the trained tensors.
    fn tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// Their values, in the same order.
    fn values(&self) -> Vec<&[f32]>;

    /// Their gradients, in the same order.
    fn sums(&self) -> Vec<&[f32]>;

    /// Hands out each tensor by its place, to be changed.
    fn each(&mut self, work: &mut dyn FnMut(usize, Parameter<'_>));

    /// Sets the gradients to zero.
    fn clear(&mut self);

    /// Begins the step of this number, from 1: sets the gradients to zero. What is random about a step's gradients, such as
    /// dropout, depends on its number and on how many of its sequences went before.
    fn begin(&mut self, step: u64) {
        let _ = step;
        self.clear();
    }

    /// Adds the gradients of `factor` times the sum of a sequence's losses, each counted as often as samples have it.
    ///
    /// # Errors
    /// [`LearnError`].
    fn gradients(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnError>;

    /// That sum alone.
    ///
    /// # Errors
    /// [`LearnError`].
    fn loss(&mut self, sequence: &Sequence, factor: f64) -> Result<Loss, LearnError>;

    /// Takes notice that values have changed.
    fn updated(&mut self);

    /// Writes the model as it is now, replacing what was written before.
    ///
    /// # Errors
    /// [`CheckpointError`].
    fn save(&self, directory: &Path) -> Result<(), CheckpointError>;
}
