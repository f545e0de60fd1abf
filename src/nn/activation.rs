//! Activations, forward and backward: GELU, `SiLU` and `SwiGLU`.
//!
//! GELU is the exact x · Φ(x), where Φ is the standard normal CDF (absolute error 1.5·10⁻⁷ · |x|);
//! `SiLU` is x · σ(x).
//!
//! ```
//! use mmprm::nn::activation::{Activation, swiglu};
//! use mmprm::nn::tensor::{Mat, MatMut};
//! let mut row = [0.0, 1.0];
//! Activation::Gelu.apply(&mut row);
//! assert!((row[1] - 0.841_344_75).abs() < 2e-7); // Φ(1)
//!
//! let (gate, up) = ([0.0f32, 40.0], [3.0f32, 3.0]);
//! let mut out = [9.0; 2];
//! swiglu(Mat::new(&gate, 1, 2), Mat::new(&up, 1, 2), MatMut::new(&mut out, 1, 2));
//! assert_eq!(out, [0.0, 120.0]);
//! ```

use super::math::{erfc_and_gauss, sigmoid};
use super::rows;
use super::simd::vectorised;
use super::tensor::{Element, Mat, MatMut};

/// An element-wise activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · Φ(x)
    Gelu,
    /// x · σ(x)
    Silu,
}

impl Activation {
    /// Applies the activation to a row in place.
    pub fn apply(self, row: &mut [f32]) {
        match self {
            Self::Gelu => gelu_row(row),
            Self::Silu => silu_row(row),
        }
    }

    /// Computes `out = f(x)`; both `[rows, cols]`.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn forward<T: Element>(self, x: Mat<'_, T>, out: MatMut<'_, f32>) {
        assert!(x.rows() == out.rows() && x.cols() == out.cols(), "input and output have the same shape");
        rows::each(out, |row, out| {
            T::widen(x.row(row), out);
            self.apply(out);
        });
    }

    /// Computes `gradient *= f′(x)`, where x is the forward's input; both `[rows, cols]`.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn backward<T: Element>(self, x: Mat<'_, T>, gradient: MatMut<'_, f32>) {
        assert!(x.rows() == gradient.rows() && x.cols() == gradient.cols(), "input and output have the same shape");
        rows::each(gradient, |row, gradient| {
            rows::with_row(x, row, |x| match self {
                Self::Gelu => gelu_slope(x, gradient),
                Self::Silu => silu_slope(x, gradient),
            });
        });
    }
}

/// Computes `out = silu(gate) · up`; all `[rows, cols]`. Gate and up may be halves of one matrix.
///
/// # Panics
/// If the shapes do not match.
pub fn swiglu(gate: Mat<'_, f32>, up: Mat<'_, f32>, out: MatMut<'_, f32>) {
    let fits = |matrix: &Mat<'_, f32>| matrix.rows() == out.rows() && matrix.cols() == out.cols();
    assert!(fits(&gate) && fits(&up), "gate, up and output have the same shape");
    rows::each(out, |row, out| swiglu_row(gate.row(row), up.row(row), out));
}

/// Computes the gradients of [`swiglu`]: writes `d_gate` and `d_up`, and replaces the output's
/// gradient in `out` by the output itself, which the next step of a backward needs. All
/// `[rows, cols]`.
///
/// # Panics
/// If the shapes do not match.
pub fn swiglu_backward<T: Element>(
    gate: Mat<'_, T>,
    up: Mat<'_, T>,
    out: MatMut<'_, f32>,
    d_gate: MatMut<'_, f32>,
    d_up: MatMut<'_, f32>,
) {
    let shape = (out.rows(), out.cols());
    assert!(
        shape == (gate.rows(), gate.cols()) && shape == (up.rows(), up.cols()),
        "gate, up and output have the same shape"
    );
    assert!(
        shape == (d_gate.rows(), d_gate.cols()) && shape == (d_up.rows(), d_up.cols()),
        "gradients have the same shape"
    );
    rows::each_three((out, d_gate, d_up), |row, out, d_gate, d_up| {
        rows::with_row(gate, row, |gate| {
            rows::with_row(up, row, |up| swiglu_slope((gate, up), out, d_gate, d_up));
        });
    });
}

vectorised! {
    fn gelu_row(row: &mut [f32]) {
        for x in row {
            let (erfc, _) = erfc_and_gauss(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
            let tail = 0.5 * erfc;
            *x *= if *x < 0.0 { tail } else { 1.0 - tail };
        }
    }
}

vectorised! {
    /// f′ = Φ(x) + x · φ(x) with φ(x) = exp(−x²/2) / √(2π).
    fn gelu_slope(x: &[f32], gradient: &mut [f32]) {
        const DENSITY_AT_0: f32 = 0.398_942_3;
        for (gradient, &x) in gradient.iter_mut().zip(x) {
            let (erfc, gauss) = erfc_and_gauss(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
            let tail = 0.5 * erfc;
            *gradient *= if x < 0.0 { tail } else { 1.0 - tail } + x * DENSITY_AT_0 * gauss;
        }
    }
}

vectorised! {
    fn silu_row(row: &mut [f32]) {
        for x in row {
            *x *= sigmoid(*x);
        }
    }
}

vectorised! {
    /// f′ = σ(x) · (1 + x · (1 − σ(x))).
    fn silu_slope(x: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(x) {
            let sigmoid = sigmoid(x);
            *gradient *= sigmoid * (1.0 + x * (1.0 - sigmoid));
        }
    }
}

vectorised! {
    fn swiglu_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate * sigmoid(*gate) * up;
        }
    }
}

vectorised! {
    fn swiglu_slope(inputs: (&[f32], &[f32]), out: &mut [f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        let (gate, up) = inputs;
        for ((((d_gate, d_up), out), &gate), &up) in d_gate.iter_mut().zip(d_up).zip(out).zip(gate).zip(up) {
            let (d_out, sigmoid) = (*out, sigmoid(gate));
            let silu = gate * sigmoid;
            *out = silu * up;
            *d_up = d_out * silu;
            *d_gate = d_out * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::nn::testing::{Random, check_gradient, deviation, wide};

    fn sigmoid64(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// Φ by Simpson's rule, integrated from 0.
    fn normal_cdf(x: f64) -> f64 {
        let steps = 2000;
        let width = x / f64::from(steps);
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let inner: f64 = (1..steps).map(|i| density(f64::from(i) * width) * if i % 2 == 0 { 2.0 } else { 4.0 }).sum();
        0.5 + width / 3.0 * (density(0.0) + inner + density(x))
    }

    fn naive(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Gelu => x * normal_cdf(x),
            Activation::Silu => x * sigmoid64(x),
        }
    }

    #[test]
    #[cfg_attr(not(feature = "engine"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
    fn forward_matches_f64_and_backward_finite_differences() {
        let mut random = Random::new(1);
        for activation in [Activation::Gelu, Activation::Silu] {
            for (rows, cols) in [(1, 1), (3, 17), (7, 33)] {
                let x: Vec<f32> = random.normals(rows * cols).iter().map(|x| 3.0 * x).collect();
                let weights = random.normals(rows * cols);
                let mut out = vec![0.0; x.len()];
                activation.forward(Mat::new(&x, rows, cols), MatMut::new(&mut out, rows, cols));
                let expected: Vec<f64> = wide(&x).iter().map(|x| naive(activation, *x)).collect();
                assert!(deviation(&out, &expected) < 2e-7);
                let mut gradient = weights.clone();
                activation.backward(Mat::new(&x, rows, cols), MatMut::new(&mut gradient, rows, cols));
                check_gradient(&wide(&x), &gradient, 1e-6, &|x| {
                    x.iter().zip(&weights).map(|(x, weight)| naive(activation, *x) * f64::from(*weight)).sum()
                });
            }
        }
    }

    #[test]
    fn large_inputs_neither_overflow_nor_lose_their_limits() {
        for activation in [Activation::Gelu, Activation::Silu] {
            let x = [-1e30f32, -200.0, -14.0, 14.0, 200.0, 1e30];
            let mut out = x;
            activation.apply(&mut out);
            assert!(out[..2].iter().all(|value| value.abs() < 1e-6), "{out:?}");
            assert!(out[3..].iter().zip(&x[3..]).all(|(out, x)| (out - x).abs() <= x * 2e-6), "{out:?}");
        }
    }

    #[test]
    fn swiglu_matches_f64_and_its_gradients_finite_differences() {
        let mut random = Random::new(2);
        let (rows, cols) = (5, 19);
        let both = random.normals(rows * 2 * cols);
        let weights = random.normals(rows * cols);
        let whole = Mat::new(&both, rows, 2 * cols);
        let (gate, up) = (whole.sub(0..rows, 0..cols), whole.sub(0..rows, cols..2 * cols));
        let loss = |both: &[f64]| -> f64 {
            let term = |i: usize| {
                let (row, col) = (i / cols, i % cols);
                let (gate, up) = (both[row * 2 * cols + col], both[row * 2 * cols + cols + col]);
                gate * sigmoid64(gate) * up * f64::from(weights[i])
            };
            (0..rows * cols).map(term).sum()
        };
        let mut out = vec![0.0; rows * cols];
        swiglu(gate, up, MatMut::new(&mut out, rows, cols));
        let total: f64 = out.iter().zip(&weights).map(|(out, weight)| f64::from(out * weight)).sum();
        assert!((total - loss(&wide(&both))).abs() < 1e-4);
        let mut gradient = vec![0.0; both.len()];
        let (d_gate, d_up) = MatMut::new(&mut gradient, rows, 2 * cols).split_columns(cols);
        let mut gated = weights.clone();
        swiglu_backward(gate, up, MatMut::new(&mut gated, rows, cols), d_gate, d_up);
        assert_eq!(gated, out);
        check_gradient(&wide(&both), &gradient, 1e-6, &loss);
    }

    #[test]
    fn bf16_inputs_are_widened() {
        let x = [bf16::from_f32(0.5), bf16::from_f32(-1.5)];
        let mut out = [0.0; 2];
        Activation::Silu.forward(Mat::new(&x, 2, 1), MatMut::new(&mut out, 2, 1));
        assert!((out[1] + 1.5 * 0.182_425_52).abs() < 1e-6);
    }
}
