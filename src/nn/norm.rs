//! `RMSNorm` and `LayerNorm`, forward and backward, over the rows of `[tokens, width]`.
//!
//! `RMSNorm` (arXiv 1910.07467): `y = w · x / √(mean(x²) + ε)`. `LayerNorm` (arXiv 1607.06450):
//! `y = w · (x − mean(x)) / √(var(x) + ε) + b`. The forward saves each row's reciprocal root (and
//! mean) for the backward. Gradients are *added*: that of x because a norm branches off a residual
//! stream, those of weights because micro-batches accumulate.
//!
//! ```
//! use mmprm::nn::norm::RmsNorm;
//! use mmprm::nn::tensor::{Mat, MatMut};
//! let x = [3.0f32, 4.0];
//! let (mut y, mut scale) = ([0.0; 2], [0.0; 1]);
//! let norm = RmsNorm { weight: &[1.0, 2.0], epsilon: 0.0 };
//! norm.forward(Mat::new(&x, 1, 2), MatMut::new(&mut y, 1, 2), &mut scale);
//! assert!((y[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6 && (y[1] - 8.0 / 12.5f32.sqrt()).abs() < 1e-6);
//! ```

use super::math;
use super::rows;
use super::simd::vectorised;
use super::tensor::{Element, Mat, MatMut};

/// Root mean square norm with one weight per column.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm<'a> {
    /// `[width]`
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub epsilon: f32,
}

impl RmsNorm<'_> {
    /// Computes `y = norm(x)`, both `[tokens, width]`; writes each row's reciprocal root to
    /// `scales` `[tokens]`.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn forward<T: Element>(&self, x: Mat<'_, T>, y: MatMut<'_, f32>, scales: &mut [f32]) {
        let (tokens, width) = (x.rows(), self.weight.len());
        assert!(
            x.cols() == width && y.cols() == width && y.rows() == tokens,
            "input, output and parameters have matching shapes"
        );
        rows::each_with(y, scales, |row, y, scale| {
            T::widen(x.row(row), y);
            *scale = 1.0 / (math::dot(y, y) / width as f32 + self.epsilon).sqrt();
            scale_by(y, *scale, self.weight);
        });
    }

    /// Adds the gradient of x to `d_x` and, if given, that of the weight to `d_weight`; `scales`
    /// are the forward's.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn backward<T: Element>(
        &self,
        x: Mat<'_, T>,
        scales: &[f32],
        d_y: Mat<'_, f32>,
        d_x: MatMut<'_, f32>,
        d_weight: Option<&mut [f32]>,
    ) {
        let (tokens, width) = (x.rows(), self.weight.len());
        assert!(
            x.cols() == width && d_y.cols() == width && d_x.cols() == width,
            "input, output and parameters have matching shapes"
        );
        assert!(
            d_y.rows() == tokens && d_x.rows() == tokens && scales.len() == tokens,
            "input, output and parameters have matching shapes"
        );
        rows::each(d_x, |row, d_x| {
            rows::with_row(x, row, |x| {
                // With h = x · s: dx = s · (w·dy − h · mean(w·dy · h)).
                let (d_y, scale) = (d_y.row(row), scales[row]);
                let along = weighted_dot(d_y, self.weight, x) * scale * scale / width as f32;
                add_slope((d_y, self.weight), scale, x, along * scale, d_x);
            });
        });
        if let Some(d_weight) = d_weight {
            assert_eq!(d_weight.len(), width, "one gradient per weight");
            rows::add_sums(tokens, d_weight, |row, sums| {
                rows::with_row(x, row, |x| add_product(d_y.row(row), x, 0.0, scales[row], sums));
            });
        }
    }
}

/// Layer norm with one weight and one bias per column.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[width]`
    pub weight: &'a [f32],
    /// `[width]`
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Mean and reciprocal standard deviation of a row, saved by [`LayerNorm::forward`] for the
/// backward.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// Mean of the row.
    pub mean: f32,
    /// 1 / √(variance + ε).
    pub scale: f32,
}

impl LayerNorm<'_> {
    /// Computes `y = norm(x)`, both `[tokens, width]`; writes each row's moments to `moments`
    /// `[tokens]`.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn forward<T: Element>(&self, x: Mat<'_, T>, y: MatMut<'_, f32>, moments: &mut [Moments]) {
        let (tokens, width) = (x.rows(), self.weight.len());
        assert!(
            x.cols() == width && y.cols() == width && y.rows() == tokens,
            "input, output and parameters have matching shapes"
        );
        assert!(
            self.bias.len() == width && moments.len() == tokens,
            "input, output and parameters have matching shapes"
        );
        rows::each_with(y, moments, |row, y, moments| {
            T::widen(x.row(row), y);
            let mean = math::sum(y) / width as f32;
            let scale = 1.0 / (math::squares_around(y, mean) / width as f32 + self.epsilon).sqrt();
            *moments = Moments { mean, scale };
            normalise(y, *moments, self.weight, self.bias);
        });
    }

    /// Adds the gradient of x to `d_x` and, if given, those of weight and bias to `d_parameters`.
    ///
    /// # Panics
    /// If the shapes do not match.
    pub fn backward<T: Element>(
        &self,
        x: Mat<'_, T>,
        moments: &[Moments],
        d_y: Mat<'_, f32>,
        d_x: MatMut<'_, f32>,
        d_parameters: Option<(&mut [f32], &mut [f32])>,
    ) {
        let (tokens, width) = (x.rows(), self.weight.len());
        assert!(
            x.cols() == width && d_y.cols() == width && d_x.cols() == width,
            "input, output and parameters have matching shapes"
        );
        assert!(
            d_y.rows() == tokens && d_x.rows() == tokens && moments.len() == tokens,
            "input, output and parameters have matching shapes"
        );
        rows::each(d_x, |row, d_x| {
            rows::with_row(x, row, |x| {
                // With h = (x − m) · s and g = w·dy: dx = s · (g − mean(g) − h · mean(g · h)).
                let (d_y, Moments { mean, scale }) = (d_y.row(row), moments[row]);
                let level = math::dot(d_y, self.weight) / width as f32;
                let along = centred_dot((d_y, self.weight), x, mean) * scale / width as f32;
                let slope = along * scale * scale;
                add_slope((d_y, self.weight), scale, x, slope, d_x);
                shift(d_x, slope * mean - level * scale);
            });
        });
        if let Some((d_weight, d_bias)) = d_parameters {
            assert!(d_weight.len() == width && d_bias.len() == width, "one gradient per parameter");
            rows::add_sums(tokens, d_weight, |row, sums| {
                let Moments { mean, scale } = moments[row];
                rows::with_row(x, row, |x| add_product(d_y.row(row), x, mean, scale, sums));
            });
            rows::add_sums(tokens, d_bias, |row, sums| math::add(sums, d_y.row(row)));
        }
    }
}

vectorised! {
    fn scale_by(row: &mut [f32], scale: f32, weight: &[f32]) {
        for (value, weight) in row.iter_mut().zip(weight) {
            *value = *value * scale * weight;
        }
    }
}

vectorised! {
    fn normalise(row: &mut [f32], moments: Moments, weight: &[f32], bias: &[f32]) {
        for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *value = (*value - moments.mean) * moments.scale * weight + bias;
        }
    }
}

vectorised! {
    /// `d_x += scale · weight · d_y − slope · x`
    fn add_slope(weighted: (&[f32], &[f32]), scale: f32, x: &[f32], slope: f32, d_x: &mut [f32]) {
        let (d_y, weight) = weighted;
        for (((d_x, d_y), weight), x) in d_x.iter_mut().zip(d_y).zip(weight).zip(x) {
            *d_x += scale * weight * d_y - slope * x;
        }
    }
}

vectorised! {
    fn shift(row: &mut [f32], by: f32) {
        for value in row {
            *value += by;
        }
    }
}

vectorised! {
    /// `sums += d_y · (x − mean) · scale`
    fn add_product(d_y: &[f32], x: &[f32], mean: f32, scale: f32, sums: &mut [f32]) {
        for ((sum, d_y), x) in sums.iter_mut().zip(d_y).zip(x) {
            *sum += d_y * ((x - mean) * scale);
        }
    }
}

/// Σ a·b·c
fn weighted_dot(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    centred_dot((a, b), c, 0.0)
}

/// Σ a·b·(c − centre)
fn centred_dot(weighted: (&[f32], &[f32]), c: &[f32], centre: f32) -> f32 {
    super::workspace::with(c.len(), |products: &mut [f32]| {
        multiply(weighted, c, centre, products);
        math::sum(products)
    })
}

vectorised! {
    fn multiply(weighted: (&[f32], &[f32]), c: &[f32], centre: f32, out: &mut [f32]) {
        let (a, b) = weighted;
        for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *out = a * b * (c - centre);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::{Random, check_gradient, deviation, wide};

    const EPSILON: f64 = 1e-5;

    fn rms_naive(x: &[f64], weight: &[f64]) -> Vec<f64> {
        let rows = x.chunks(weight.len()).flat_map(|row| {
            let square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            row.iter().zip(weight).map(move |(x, weight)| x / (square + EPSILON).sqrt() * weight)
        });
        rows.collect()
    }

    fn layer_naive(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        let rows = x.chunks(weight.len()).flat_map(|row| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            row.iter().zip(weight).zip(bias).map(move |((x, weight), bias)| (x - mean) * scale * weight + bias)
        });
        rows.collect()
    }

    fn weigh(y: &[f64], d_y: &[f32]) -> f64 {
        y.iter().zip(d_y).map(|(y, d_y)| y * f64::from(*d_y)).sum()
    }

    #[test]
    fn rms_norm_matches_f64_and_its_gradients_finite_differences() {
        let mut random = Random::new(21);
        for (tokens, width) in [(1, 1), (3, 17), (70, 5), (9, 64)] {
            let (x, weight) = (random.normals(tokens * width), random.normals(width));
            let d_y = random.normals(tokens * width);
            let norm = RmsNorm { weight: &weight, epsilon: EPSILON as f32 };
            let (mut y, mut scales) = (vec![0.0; x.len()], vec![0.0; tokens]);
            let matrix = Mat::new(&x, tokens, width);
            norm.forward(matrix, MatMut::new(&mut y, tokens, width), &mut scales);
            assert!(deviation(&y, &rms_naive(&wide(&x), &wide(&weight))) < 1e-6);
            let (mut d_x, mut d_weight) = (vec![0.0; x.len()], vec![0.0; width]);
            let d_y_matrix = Mat::new(&d_y, tokens, width);
            norm.backward(matrix, &scales, d_y_matrix, MatMut::new(&mut d_x, tokens, width), Some(&mut d_weight));
            check_gradient(&wide(&x), &d_x, 2e-5, &|x| weigh(&rms_naive(x, &wide(&weight)), &d_y));
            check_gradient(&wide(&weight), &d_weight, 1e-5, &|weight| weigh(&rms_naive(&wide(&x), weight), &d_y));
        }
    }

    #[test]
    fn layer_norm_matches_f64_and_its_gradients_finite_differences() {
        let mut random = Random::new(22);
        for (tokens, width) in [(1, 2), (3, 17), (70, 5), (9, 64)] {
            let x: Vec<f32> = random.normals(tokens * width).iter().map(|x| x + 3.0).collect();
            let (weight, bias) = (random.normals(width), random.normals(width));
            let d_y = random.normals(tokens * width);
            let norm = LayerNorm { weight: &weight, bias: &bias, epsilon: EPSILON as f32 };
            let (mut y, mut moments) = (vec![0.0; x.len()], vec![Moments::default(); tokens]);
            let matrix = Mat::new(&x, tokens, width);
            norm.forward(matrix, MatMut::new(&mut y, tokens, width), &mut moments);
            let naive = |x: &[f64], weight: &[f64], bias: &[f64]| weigh(&layer_naive(x, weight, bias), &d_y);
            assert!(deviation(&y, &layer_naive(&wide(&x), &wide(&weight), &wide(&bias))) < 1e-6);
            let (mut d_x, mut d_weight, mut d_bias) = (vec![0.0; x.len()], vec![0.0; width], vec![0.0; width]);
            norm.backward(
                matrix,
                &moments,
                Mat::new(&d_y, tokens, width),
                MatMut::new(&mut d_x, tokens, width),
                Some((&mut d_weight, &mut d_bias)),
            );
            let (wx, ww, wb) = (wide(&x), wide(&weight), wide(&bias));
            if width > 2 {
                // With two columns the gradient is 0 except for ε, which finite differences cannot
                // resolve.
                check_gradient(&wx, &d_x, 2e-5, &|x| naive(x, &ww, &wb));
            }
            check_gradient(&ww, &d_weight, 1e-5, &|weight| naive(&wx, weight, &wb));
            check_gradient(&wb, &d_bias, 1e-5, &|bias| naive(&wx, &ww, bias));
        }
    }

    #[test]
    fn gradients_are_added_to_existing_values() {
        let norm = RmsNorm { weight: &[1.0, 1.0], epsilon: 0.0 };
        let (x, d_y) = ([1.0f32, 2.0], [0.5f32, -1.0]);
        let run = |start: f32| {
            let mut d_x = [start; 2];
            norm.backward(Mat::new(&x, 1, 2), &[0.6], Mat::new(&d_y, 1, 2), MatMut::new(&mut d_x, 1, 2), None);
            d_x
        };
        assert!(run(0.0).iter().zip(run(1.0)).all(|(zero, one)| (zero + 1.0 - one).abs() < 1e-6));
    }
}
