//! Dropout of what goes into adapters.

use std::borrow::Cow;

use rayon::prelude::*;

use super::counter::Counter;

/// Which values are dropped: those where a random number of their own says so, which depends on the pass, the matrix and the
/// value's place in it, and on nothing else. The others grow so that sums stay what they are on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    rate: f32,
    key: u64,
}

impl Dropout {
    /// Dropout of this share of the values, in the pass that these numbers stand for.
    ///
    /// # Panics
    /// If the rate is not from 0 to less than 1.
    pub fn new(rate: f32, seed: u64, step: u64, sequence: u64) -> Self {
        assert!((0.0..1.0).contains(&rate), "dropout of {rate}");
        let key = Counter::new(Counter::new(seed, step).bits(0), sequence).bits(0);
        Self { rate, key }
    }

    /// The values `[rows, cols]` that go into the adapter of a matrix.
    pub(super) fn applied<'a>(&self, matrix: usize, values: &'a [f32], cols: usize) -> Cow<'a, [f32]> {
        if self.rate == 0.0 {
            return values.into();
        }
        let mut kept = values.to_vec();
        self.apply(matrix, &mut kept, cols);
        kept.into()
    }

    /// Drops values `[rows, cols]`, or their gradients, in place.
    pub(super) fn apply(&self, matrix: usize, values: &mut [f32], cols: usize) {
        if self.rate == 0.0 {
            return;
        }
        let counter = Counter::new(self.key, matrix as u64);
        let limit = (f64::from(self.rate) * 2f64.powi(64)) as u64;
        let grown = 1.0 / (1.0 - self.rate);
        values.par_chunks_mut(cols).enumerate().for_each(|(row, values)| {
            for (col, value) in values.iter_mut().enumerate() {
                let drawn = counter.bits((row * cols + col) as u64);
                *value = if drawn < limit { 0.0 } else { *value * grown };
            }
        });
    }
}
