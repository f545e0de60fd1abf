//! Helpers that every room may use.

pub mod cancel;
pub mod journal;
pub mod random;
