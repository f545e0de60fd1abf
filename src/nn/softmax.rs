//! Softmax over rows, forward and backward.
//!
//! ```
//! use mmprm::nn::softmax::softmax;
//! use mmprm::nn::tensor::MatMut;
//! let mut row = [0.0, f32::NEG_INFINITY, 0.0];
//! softmax(MatMut::new(&mut row, 1, 3));
//! assert_eq!(row, [0.5, 0.0, 0.5]);
//! ```

use super::math;
use super::rows;
use super::simd::vectorised;
use super::tensor::{Mat, MatMut};

/// Replaces every row of `x` `[rows, cols]` by its softmax; −∞ becomes 0, a row of −∞ only becomes
/// NaN.
pub fn softmax(x: MatMut<'_, f32>) {
    rows::each(x, |_, row| {
        let sum = math::exp_shifted(row, math::max(row));
        math::scale(row, 1.0 / sum);
    });
}

/// Computes the gradient in place: `d_y = y · (d_y − Σ d_y · y)`, where y is the forward's output;
/// both `[rows, cols]`.
///
/// # Panics
/// If the shapes do not match.
pub fn softmax_backward(y: Mat<'_, f32>, d_y: MatMut<'_, f32>) {
    assert!(y.rows() == d_y.rows() && y.cols() == d_y.cols(), "output and gradient have the same shape");
    rows::each(d_y, |row, d_y| {
        let y = y.row(row);
        slope(y, math::dot(y, d_y), d_y);
    });
}

vectorised! {
    /// `d_y = y · (d_y − level)`
    fn slope(y: &[f32], level: f32, d_y: &mut [f32]) {
        for (d_y, y) in d_y.iter_mut().zip(y) {
            *d_y = y * (*d_y - level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::{Random, check_gradient, deviation, wide};

    fn naive(x: &[f64], cols: usize) -> Vec<f64> {
        let rows = x.chunks(cols).flat_map(|row| {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            row.iter().map(move |x| x.exp() / sum)
        });
        rows.collect()
    }

    #[test]
    fn softmax_matches_f64_and_its_gradient_finite_differences() {
        let mut random = Random::new(51);
        for (rows, cols) in [(1, 1), (3, 17), (40, 70)] {
            let (x, weights) = (random.normals(rows * cols), random.normals(rows * cols));
            let mut y = x.clone();
            softmax(MatMut::new(&mut y, rows, cols));
            assert!(deviation(&y, &naive(&wide(&x), cols)) < 1e-6);
            let mut gradient = weights.clone();
            softmax_backward(Mat::new(&y, rows, cols), MatMut::new(&mut gradient, rows, cols));
            if cols > 1 {
                check_gradient(&wide(&x), &gradient, 1e-5, &|x| {
                    naive(x, cols).iter().zip(&weights).map(|(y, weight)| y * f64::from(*weight)).sum()
                });
            }
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut row = [1e30, 1e30, -1e30];
        softmax(MatMut::new(&mut row, 1, 3));
        assert!((row[0] - 0.5).abs() < 1e-6 && row[2] < 1e-30);
    }
}
