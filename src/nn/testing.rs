//! Random numbers and comparisons for tests.

use crate::util::random::{STEP, mix};

/// A `SplitMix64` generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        bits
    }

    /// Draws from `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Draws an approximately standard normal number: a sum of 12 uniform ones.
    pub(crate) fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.next() >> 11) as f64 * 2f64.powi(-53)).sum();
        (sum - 6.0) as f32
    }

    pub(crate) fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    /// Draws pairs of bf16, packed as the bf16 kernels read them.
    pub(crate) fn pairs(&mut self, count: usize) -> Vec<u32> {
        let mut bits = || u32::from(half::bf16::from_f32(self.normal()).to_bits());
        (0..count).map(|_| bits() | bits() << 16).collect()
    }
}

/// Returns the largest difference of two rows, relative to the largest magnitude in the second.
pub(crate) fn deviation(values: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(values.len(), expected.len());
    let size = expected.iter().fold(1e-30, |size: f64, value| size.max(value.abs()));
    let difference = |(value, expected): (&f32, &f64)| (f64::from(*value) - expected).abs();
    // `f64::max` ignores NaN.
    assert!(values.iter().all(|value| value.is_finite()));
    values.iter().zip(expected).map(difference).fold(0.0, f64::max) / size
}

/// Checks an analytic gradient against central differences of `loss`, computed in `f64`.
pub(crate) fn check_gradient(at: &[f64], gradient: &[f32], tolerance: f64, loss: &dyn Fn(&[f64]) -> f64) {
    assert_eq!(at.len(), gradient.len());
    let expected: Vec<f64> = (0..at.len())
        .map(|i| {
            let step = 1e-5;
            let moved = |by: f64| {
                let mut moved = at.to_vec();
                moved[i] += by;
                loss(&moved)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
        .collect();
    let deviation = deviation(gradient, &expected);
    assert!(deviation <= tolerance, "the gradient deviates by {deviation:e}");
}

/// Converts to `f64`.
pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
