//! Muon: orthogonalised momentum for matrices.

use serde::{Deserialize, Serialize};

use super::adamw::Rate;
use crate::nn::gemm::{Gemm, Operand, Precision};
use crate::nn::tensor::{Mat, MatMut};

/// Coefficients of the quintic Newton-Schulz iteration, tuned by its author for fast convergence of singular values.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Iterations in an update.
const ITERATIONS: usize = 5;

/// Hyper-parameters of Muon (Jordan and others, 2024, <https://kellerjordan.github.io/posts/muon/>): momentum that a
/// Newton-Schulz iteration makes nearly orthogonal, so that all directions of a matrix change alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Muon {
    /// Decay rate of the momentum.
    pub momentum: f64,
}

impl Default for Muon {
    fn default() -> Self {
        Self { momentum: 0.95 }
    }
}

impl Muon {
    /// Updates a matrix `[rows, cols]` by Nesterov momentum of the gradient times `scale`.
    pub(super) fn update(
        self,
        values: &mut [f32],
        gradient: &[f32],
        [rows, cols]: [usize; 2],
        momentum: &mut [f32],
        scale: f32,
        rate: Rate,
    ) {
        let (beta, blend) = (self.momentum as f32, (1.0 - self.momentum) as f32);
        let mut ahead = Vec::with_capacity(values.len());
        for (momentum, gradient) in momentum.iter_mut().zip(gradient) {
            let gradient = gradient * scale;
            *momentum += blend * (gradient - *momentum);
            ahead.push(gradient + beta * (*momentum - gradient));
        }
        orthogonalise(&mut ahead, rows, cols);
        // A tall matrix spreads its norm over more rows; this keeps the change of its outputs comparable.
        let size = (rate.rate * (rows as f64 / cols as f64).max(1.0).sqrt()) as f32;
        let keep = rate.keep();
        for (value, direction) in values.iter_mut().zip(&ahead) {
            *value = *value * keep - size * direction;
        }
    }
}

/// Moves the singular values of a matrix `[rows, cols]` to about 0.7 to 1.2 and keeps its singular vectors.
fn orthogonalise(matrix: &mut [f32], rows: usize, cols: usize) {
    let norm = matrix.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let scale = 1.0 / (norm as f32 + 1e-7);
    for value in &mut *matrix {
        *value *= scale;
    }
    // The iteration treats X and Xᵀ alike, and Gram matrices of the shorter side are smaller.
    let (short, wide) = (rows.min(cols), rows <= cols);
    let long = rows.max(cols);
    let (mut gram, mut square) = (vec![0.0; short * short], vec![0.0; short * short]);
    let mut next = vec![0.0; matrix.len()];
    let gemm = Gemm::new().precision(Precision::Bf16);
    let [a, b, c] = QUINTIC;
    for _ in 0..ITERATIONS {
        let x = Operand::from(Mat::new(matrix, rows, cols));
        let (left, right) = if wide { (x, x.t()) } else { (x.t(), x) };
        gemm.run(left, right, MatMut::new(&mut gram, short, short));
        let g = Mat::new(&gram, short, short);
        gemm.run(g, g, MatMut::new(&mut square, short, short));
        for (square, gram) in square.iter_mut().zip(&gram) {
            *square = b * gram + c * *square;
        }
        let polynomial = Mat::new(&square, short, short);
        next.copy_from_slice(matrix);
        if wide {
            gemm.beta(a).run(polynomial, Mat::new(matrix, short, long), MatMut::new(&mut next, short, long));
        } else {
            gemm.beta(a).run(Mat::new(matrix, long, short), polynomial, MatMut::new(&mut next, long, short));
        }
        matrix.copy_from_slice(&next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers.
    fn noise(length: usize) -> Vec<f32> {
        let mut state = 1_u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..length).map(|_| draw()).collect()
    }

    #[test]
    fn wide_and_tall_matrices_become_nearly_orthogonal() {
        for (rows, cols) in [(8, 24), (24, 8), (16, 16)] {
            let mut matrix = noise(rows * cols);
            orthogonalise(&mut matrix, rows, cols);
            // The squared norm is the sum of the squared singular values.
            let squares: f32 = matrix.iter().map(|value| value * value).sum();
            let mean = squares / rows.min(cols) as f32;
            assert!((0.5..1.4).contains(&mean), "{rows} × {cols}: mean squared singular value {mean}");
        }
    }

    #[test]
    fn a_matrix_and_its_transpose_give_the_same_directions() {
        let (rows, cols) = (6, 10);
        let matrix = noise(rows * cols);
        let mut transposed: Vec<f32> = (0..cols * rows).map(|i| matrix[(i % rows) * cols + i / rows]).collect();
        let mut straight = matrix;
        orthogonalise(&mut straight, rows, cols);
        orthogonalise(&mut transposed, cols, rows);
        for row in 0..rows {
            for col in 0..cols {
                approx::assert_abs_diff_eq!(straight[row * cols + col], transposed[col * rows + row], epsilon = 2e-2);
            }
        }
    }

    #[test]
    fn an_update_opposes_the_gradient_with_the_size_of_the_rate() {
        let mut values = vec![0.0; 64];
        let gradient: Vec<f32> = noise(64).iter().map(|value| value * 1e-6).collect();
        let mut momentum = vec![0.0; 64];
        Muon::default().update(&mut values, &gradient, [8, 8], &mut momentum, 1.0, Rate { rate: 0.02, decay: 0.0 });
        let against: f32 = values.iter().zip(&gradient).map(|(value, gradient)| value * gradient).sum();
        assert!(against < 0.0);
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt() / 8.0_f32.sqrt();
        assert!((0.012..0.025).contains(&norm), "{norm}");
    }

    #[test]
    fn a_zero_gradient_changes_nothing() {
        let (mut values, mut momentum) = (vec![1.0; 4], vec![0.0; 4]);
        Muon::default().update(&mut values, &[0.0; 4], [2, 2], &mut momentum, 1.0, Rate { rate: 0.02, decay: 0.0 });
        assert_eq!(values, [1.0; 4]);
    }
}
