//! Random numbers addressed by position (`SplitMix64`): the same in any order and on any number of
//! threads.

use crate::util::random::{STEP, finalise, mix};

/// One stream of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counter(u64);

impl Counter {
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(finalise(seed ^ mix(stream)))
    }

    /// Returns the 64 random bits at a position.
    pub fn bits(self, place: u64) -> u64 {
        finalise(self.0.wrapping_add(place.wrapping_mul(STEP)))
    }

    /// Returns the uniform number at a position, strictly between 0 and 1.
    pub fn uniform(self, place: u64) -> f64 {
        ((self.bits(place) >> 11) as f64 + 0.5) * 2f64.powi(-53)
    }

    /// Returns the standard normal number at a position (Box–Muller transform).
    pub fn normal(self, place: u64) -> f64 {
        let (radius, angle) = (self.uniform(2 * place), self.uniform(2 * place + 1));
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
