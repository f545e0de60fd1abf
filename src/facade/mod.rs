//! What the crate root offers: models that open in one line, and one error type.
//!
//! Everything here is assembled from the rooms; a program that needs more control uses those directly.

mod error;
mod judge;
#[cfg(feature = "engine")]
mod models;
#[cfg(feature = "engine")]
mod policy;
#[cfg(feature = "engine")]
mod prm;

pub use error::{Error, ErrorKind};
pub use judge::Judge;
#[cfg(feature = "engine")]
pub use policy::Policy;
#[cfg(feature = "engine")]
pub use prm::{Best, Prm, best_of_n};
