//! Per-column parameters: the gradient of a bias, and `LayerScale` (arXiv 2103.17239) forward and
//! backward.
//!
//! ```
//! use mmprm::nn::columns::add_bias_gradient;
//! use mmprm::nn::tensor::Mat;
//! let mut d_bias = [0.0, 100.0];
//! add_bias_gradient(Mat::new(&[1.0, 2.0, 3.0, 4.0], 2, 2), &mut d_bias);
//! assert_eq!(d_bias, [4.0, 106.0]);
//! ```

use super::math;
use super::rows;
use super::simd::vectorised;
use super::tensor::{Element, Mat, MatMut};

/// Adds the column sums of `d_y` `[tokens, width]` to `d_bias` `[width]`.
///
/// # Panics
/// If the shapes do not match.
pub fn add_bias_gradient(d_y: Mat<'_, f32>, d_bias: &mut [f32]) {
    assert_eq!(d_y.cols(), d_bias.len(), "one gradient per column");
    rows::add_sums(d_y.rows(), d_bias, |row, sums| math::add(sums, d_y.row(row)));
}

/// Adds a scaled residual branch: `stream += scale · x`; both matrices `[tokens, width]`, `scale`
/// `[width]`.
///
/// # Panics
/// If the shapes do not match.
pub fn layer_scale<T: Element>(x: Mat<'_, T>, scale: &[f32], stream: MatMut<'_, f32>) {
    let fits = x.rows() == stream.rows() && x.cols() == stream.cols() && scale.len() == x.cols();
    assert!(fits, "the residual branch has the shape of the stream");
    rows::each(stream, |row, stream| rows::with_row(x, row, |x| add_scaled(x, scale, stream)));
}

/// Computes the gradients of [`layer_scale`] from that of the stream, which itself passes through
/// unchanged: writes `d_x` and, if given, adds to `d_scale`.
///
/// # Panics
/// If the shapes do not match.
pub fn layer_scale_backward<T: Element>(
    x: Mat<'_, T>,
    scale: &[f32],
    d_stream: Mat<'_, f32>,
    d_x: MatMut<'_, f32>,
    d_scale: Option<&mut [f32]>,
) {
    let shape = (d_stream.rows(), scale.len());
    let fits = shape == (x.rows(), x.cols()) && shape == (d_x.rows(), d_x.cols()) && d_stream.cols() == shape.1;
    assert!(fits, "the residual branch has the shape of the stream");
    rows::each(d_x, |row, d_x| {
        d_x.fill(0.0);
        add_scaled(d_stream.row(row), scale, d_x);
    });
    if let Some(d_scale) = d_scale {
        assert_eq!(d_scale.len(), shape.1, "one gradient per column");
        rows::add_sums(shape.0, d_scale, |row, sums| {
            rows::with_row(x, row, |x| add_scaled(x, d_stream.row(row), sums));
        });
    }
}

vectorised! {
    /// `out += a · b`
    fn add_scaled(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out += a * b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::{Random, check_gradient, deviation, wide};

    #[test]
    fn layer_scale_matches_f64_and_its_gradients_finite_differences() {
        let mut random = Random::new(31);
        for (tokens, width) in [(1, 1), (100, 7), (5, 33)] {
            let (x, scale, old) =
                (random.normals(tokens * width), random.normals(width), random.normals(tokens * width));
            let d_stream = random.normals(tokens * width);
            let naive = |x: &[f64], scale: &[f64]| -> Vec<f64> {
                (0..x.len()).map(|i| f64::from(old[i]) + x[i] * scale[i % width]).collect()
            };
            let loss = |y: &[f64]| -> f64 { y.iter().zip(&d_stream).map(|(y, d)| y * f64::from(*d)).sum() };
            let mut stream = old.clone();
            layer_scale(Mat::new(&x, tokens, width), &scale, MatMut::new(&mut stream, tokens, width));
            assert!(deviation(&stream, &naive(&wide(&x), &wide(&scale))) < 1e-6);
            let (mut d_x, mut d_scale) = (vec![f32::NAN; x.len()], vec![0.0; width]);
            layer_scale_backward(
                Mat::new(&x, tokens, width),
                &scale,
                Mat::new(&d_stream, tokens, width),
                MatMut::new(&mut d_x, tokens, width),
                Some(&mut d_scale),
            );
            check_gradient(&wide(&x), &d_x, 1e-6, &|x| loss(&naive(x, &wide(&scale))));
            check_gradient(&wide(&scale), &d_scale, 1e-5, &|scale| loss(&naive(&wide(&x), scale)));
        }
    }

    #[test]
    fn column_sums_do_not_depend_on_the_thread_count() {
        let d_y = Random::new(32).normals(5000 * 13);
        let sums = |threads: usize| {
            let mut sums = [0.5; 13];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| add_bias_gradient(Mat::new(&d_y, 5000, 13), &mut sums));
            sums
        };
        assert_eq!(sums(1), sums(4));
    }
}
