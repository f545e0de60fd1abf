//! Rotary position embedding (arXiv 2104.09864), forward and backward, with linear and dynamic NTK
//! scaling.
//!
//! Llama's "rotate half" form: dimensions i and i + d/2 of a head are rotated together, by the
//! angle `position / base^(2i/d)`. Angles are `f32` products as in MM-PRM's code, which matters at
//! large positions.
//!
//! ```
//! use mmprm::nn::rope::{Rope, RopeScaling};
//! use mmprm::nn::tensor::MatMut;
//! let rope = Rope { dim: 2, base: 10_000.0, scaling: RopeScaling::None };
//! let mut q = [1.0, 0.0, 1.0, 0.0]; // 2 tokens, 1 head of 2 dimensions
//! rope.table(&[0, 1], 2).forward(MatMut::new(&mut q, 2, 2));
//! assert_eq!(q, [1.0, 0.0, 1f32.cos(), 1f32.sin()]);
//! ```

use super::rows;
use super::simd::vectorised;
use super::tensor::MatMut;

/// How positions beyond the trained context length are scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// No scaling.
    None,
    /// Divides positions by the factor.
    Linear {
        /// Context extension factor.
        factor: f32,
    },
    /// Dynamic NTK scaling: for sequences longer than `trained` the base becomes
    /// `base · (factor · length / trained − (factor − 1))^(d / (d − 2))`.
    Dynamic {
        /// Growth factor.
        factor: f32,
        /// Maximum length without scaling (`max_position_embeddings`).
        trained: usize,
    },
}

/// Parameters of a rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Head dimension, even.
    pub dim: usize,
    /// `rope_theta` in `config.json`.
    pub base: f32,
    /// Scaling of long sequences.
    pub scaling: RopeScaling,
}

/// Sines and cosines for the tokens of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryTable {
    /// Cosines of the d/2 angles of each token.
    cosines: Vec<f32>,
    sines: Vec<f32>,
    /// d/2
    half: usize,
}

impl Rope {
    /// Computes the table for tokens at `positions` of a sequence; its `length` in tokens selects
    /// dynamic scaling.
    ///
    /// # Panics
    /// If `dim` is odd or 0.
    pub fn table(&self, positions: &[u32], length: usize) -> RotaryTable {
        self.divided_table(positions, length, &[])
    }

    /// Computes the table as [`Rope::table`] with each of the d/2 frequencies divided by a number, as
    /// Llama 3's scaling does; by none if there are no numbers.
    ///
    /// # Panics
    /// If `dim` is odd or 0, or there are not d/2 divisors.
    pub fn divided_table(&self, positions: &[u32], length: usize, divisors: &[f32]) -> RotaryTable {
        assert!(self.dim > 0 && self.dim.is_multiple_of(2), "head dimension {}, expected an even number", self.dim);
        let half = self.dim / 2;
        let base = self.base_for(length);
        let exponent = |i: usize| f64::from((2 * i) as f32 / self.dim as f32);
        assert!(divisors.is_empty() || divisors.len() == half, "{} divisors of {half} frequencies", divisors.len());
        let mut frequencies: Vec<f32> = (0..half).map(|i| 1.0 / f64::from(base).powf(exponent(i)) as f32).collect();
        frequencies.iter_mut().zip(divisors).for_each(|(frequency, divisor)| *frequency /= divisor);
        let divisor = if let RopeScaling::Linear { factor } = self.scaling { factor } else { 1.0 };
        let angles = positions.iter().flat_map(|position| {
            let position = *position as f32 / divisor;
            frequencies.iter().map(move |frequency| f64::from(position * frequency))
        });
        let (cosines, sines) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        RotaryTable { cosines, sines, half }
    }

    fn base_for(&self, length: usize) -> f32 {
        match self.scaling {
            RopeScaling::Dynamic { factor, trained } if length > trained => {
                let (factor, dim) = (f64::from(factor), self.dim as f64);
                let growth = factor * length as f64 / trained as f64 - (factor - 1.0);
                (f64::from(self.base) * growth.powf(dim / (dim - 2.0))) as f32
            }
            _ => self.base,
        }
    }
}

impl RotaryTable {
    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.cosines.len() / self.half
    }

    /// Rotates every head of `x` `[tokens, heads · dim]` in place.
    pub fn forward(&self, x: MatMut<'_, f32>) {
        self.rotate(x, 1.0);
    }

    /// Computes the gradient: rotates every head of `d_x` `[tokens, heads · dim]` back in place.
    pub fn backward(&self, d_x: MatMut<'_, f32>) {
        self.rotate(d_x, -1.0);
    }

    fn rotate(&self, x: MatMut<'_, f32>, direction: f32) {
        assert!(x.rows() == self.tokens() && x.cols().is_multiple_of(2 * self.half), "one row of heads per token");
        rows::each(x, |token, row| {
            let place = token * self.half..(token + 1) * self.half;
            let (cosines, sines) = (&self.cosines[place.clone()], &self.sines[place]);
            rotate_row(row, cosines, sines, direction);
        });
    }
}

vectorised! {
    fn rotate_row(row: &mut [f32], cosines: &[f32], sines: &[f32], direction: f32) {
        let half = cosines.len();
        for head in row.chunks_exact_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for (((low, high), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
                let sine = sine * direction;
                (*low, *high) = (*low * cosine - *high * sine, *high * cosine + *low * sine);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::Random;

    #[test]
    fn dimension_pairs_are_rotated_by_their_angles() {
        let (dim, heads) = (10, 3);
        let rope = Rope { dim, base: 1e6, scaling: RopeScaling::None };
        let positions = [0, 5, 4000];
        let x = Random::new(41).normals(3 * heads * dim);
        let mut rotated = x.clone();
        rope.table(&positions, 4001).forward(MatMut::new(&mut rotated, 3, heads * dim));
        for (token, position) in positions.into_iter().enumerate() {
            for head in 0..heads {
                for i in 0..dim / 2 {
                    let angle = f64::from(position) / 1e6f64.powf(2.0 * i as f64 / dim as f64);
                    let place = token * heads * dim + head * dim + i;
                    let (low, high) = (f64::from(x[place]), f64::from(x[place + dim / 2]));
                    let expected = (low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin());
                    // Angles are f32: at position 4000 their error is up to 2⁻¹² / 2.
                    assert!((f64::from(rotated[place]) - expected.0).abs() < 1e-3);
                    assert!((f64::from(rotated[place + dim / 2]) - expected.1).abs() < 1e-3);
                }
            }
        }
    }

    #[test]
    fn backward_inverts_the_rotation() {
        let table = Rope { dim: 8, base: 1e4, scaling: RopeScaling::None }.table(&[3, 77, 1023], 1024);
        let x = Random::new(42).normals(3 * 16);
        let mut restored = x.clone();
        table.forward(MatMut::new(&mut restored, 3, 16));
        table.backward(MatMut::new(&mut restored, 3, 16));
        assert!(x.iter().zip(&restored).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn scaling_affects_only_long_sequences_and_the_scaled_positions() {
        let plain = Rope { dim: 8, base: 1e4, scaling: RopeScaling::None };
        let linear = Rope { scaling: RopeScaling::Linear { factor: 2.0 }, ..plain };
        assert_eq!(linear.table(&[6], 7), plain.table(&[3], 4));
        let dynamic = Rope { scaling: RopeScaling::Dynamic { factor: 2.0, trained: 100 }, ..plain };
        assert_eq!(dynamic.table(&[99], 100), plain.table(&[99], 100));
        // 2 · 150 / 100 − 1 = 2 times, to the power 8 / 6.
        let grown = Rope { base: 1e4 * 2f32.powf(8.0 / 6.0), ..plain };
        let (long, expected) = (dynamic.table(&[10], 150), grown.table(&[10], 150));
        assert!(long.cosines.iter().zip(&expected.cosines).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
