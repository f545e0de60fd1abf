//! The memory of this process and machine, from [`crate::util::machine`].

pub use crate::util::machine::{budget as available, peak, reset_peak, resident};
