//! Elementary functions and sums over `f32` that vectorise.
//!
//! The functions have neither branches nor calls; their coefficients are Chebyshev fits made for
//! this crate. Sums run over 32 fixed lanes, so that results are bit-identical on every processor.
#![allow(clippy::inline_always, reason = "has to be inlined into vectorised loops")]

use super::simd::vectorised;

/// Computes eˣ, to 2 ulp for −87.3 ≤ x ≤ 88; 0 below, e⁸⁸ above, NaN for NaN.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2, and eʳ by a polynomial of degree 6 (error of the fit
/// 2·10⁻⁹).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits; baseline x86-64 has no
    // rounding instruction.
    const ROUNDER: f32 = 12_582_912.0;
    // The low bits of the first part of ln 2 are zero, so that its product with n is exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let near = x.clamp(-87.3, 88.0);
    let rounded = near * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = (near - n * LN_2.0) - n * LN_2.1;
    let mut power = 0.001_394_113_9;
    for coefficient in [0.008_375_151, 0.041_666_35, 0.166_664_15, 0.5, 1.0, 1.0] {
        power = power * r + coefficient;
    }
    let two_to_n = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { power * two_to_n }
}

/// Computes 1 / (1 + e⁻ˣ), to 3 ulp for |x| < 87.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Computes `erfc(t)` and `exp(−t²)` for t ≥ 0: relative error 3·10⁻⁷ + 1.2·10⁻⁷·t², absolute error
/// at most 2.5·10⁻⁷.
///
/// erfc(t) = exp(−t²) · g(s) with s = 1 / (1 + t/2), and g by a polynomial of degree 11 (error of
/// the fit 8·10⁻⁹).
#[inline(always)]
pub(crate) fn erfc_and_gauss(t: f32) -> (f32, f32) {
    let gauss = exp(-t * t);
    let s = 1.0 / (1.0 + 0.5 * t);
    let mut g = 0.041_562_62;
    for coefficient in [
        -0.225_324_65,
        0.470_111_76,
        -0.421_259_4,
        0.101_885_8,
        -0.041_445_62,
        0.086_622_78,
        0.177_008_53,
        0.246_629_41,
        0.282_114_7,
        0.282_094_1,
        0.0,
    ] {
        g = g * s + coefficient;
    }
    (g * gauss, gauss)
}

/// Computes the error function, with an absolute error of at most 2.5·10⁻⁷.
#[cfg(test)]
fn erf(x: f32) -> f32 {
    (1.0 - erfc_and_gauss(x.abs()).0).copysign(x)
}

/// Lanes of a sum.
const LANES: usize = 32;

/// Computes Σ term(aᵢ, bᵢ) over two rows of equal length.
#[inline(always)]
fn lane_sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += term(*a, *b);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

vectorised! {
    /// Σ aᵢ
    pub(crate) fn sum(a: &[f32]) -> f32 {
        lane_sum(a, a, |a, _| a)
    }
}

vectorised! {
    /// Σ aᵢ·bᵢ
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
        lane_sum(a, b, |a, b| a * b)
    }
}

vectorised! {
    /// Σ (aᵢ − centre)²
    pub(crate) fn squares_around(a: &[f32], centre: f32) -> f32 {
        lane_sum(a, a, |a, _| (a - centre) * (a - centre))
    }
}

vectorised! {
    /// Returns the largest value, −∞ for an empty row.
    pub(crate) fn max(a: &[f32]) -> f32 {
        let (chunks, rest) = a.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = if *value > *lane { *value } else { *lane };
            }
        }
        lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max)
    }
}

vectorised! {
    /// Replaces each value by e^(value − shift) and returns their sum.
    pub(crate) fn exp_shifted(row: &mut [f32], shift: f32) -> f32 {
        for value in row.iter_mut() {
            *value = exp(*value - shift);
        }
        lane_sum(row, row, |a, _| a)
    }
}

vectorised! {
    /// `row[i] *= factor`
    pub(crate) fn scale(row: &mut [f32], factor: f32) {
        for value in row {
            *value *= factor;
        }
    }
}

vectorised! {
    /// `row[i] += other[i]`
    pub(crate) fn add(row: &mut [f32], other: &[f32]) {
        for (value, other) in row.iter_mut().zip(other) {
            *value += other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let worst = (-8730..8800).map(|i| i as f32 * 0.01).map(|x| {
            let expected = f64::from(x).exp();
            (f64::from(exp(x)) - expected).abs() / expected
        });
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= 2.0 * 2f64.powi(-23), "{worst:e}");
        assert!(exp(f32::NEG_INFINITY) == 0.0 && exp(1e9).is_finite() && exp(0.0) == 1.0 && exp(f32::NAN).is_nan());
    }

    /// The Taylor series of erf for |x| < 3, in f64.
    fn erf_series(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn erf_stays_within_its_absolute_error() {
        for i in -3000..3000 {
            let x = i as f32 * 0.001;
            let error = (f64::from(erf(x)) - erf_series(f64::from(x))).abs();
            assert!(error <= 2.5e-7, "erf({x}) is off by {error:e}");
        }
        // erfc at 3, 5 and 9 (Abramowitz and Stegun, and asymptotic series).
        for (t, expected) in [(3.0f32, 2.209_049_7e-5), (5.0, 1.537_459_8e-12), (9.0, 4.137_032e-37)] {
            let bound = 3e-7 + 1.2e-7 * t * t;
            assert!((erfc_and_gauss(t).0 / expected - 1.0).abs() <= bound, "erfc({t})");
        }
    }

    #[test]
    fn sums_match_f64_at_every_length() {
        let values = crate::nn::testing::Random::new(3).normals(70);
        for length in 0..70 {
            let row = &values[..length];
            let wide: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
            let near = |value: f32, expected: f64| (f64::from(value) - expected).abs() < 1e-5;
            assert!(near(sum(row), wide.iter().sum()));
            assert!(near(dot(row, row), wide.iter().map(|value| value * value).sum()));
            assert!(near(squares_around(row, 0.5), wide.iter().map(|value| (value - 0.5).powi(2)).sum()));
            assert_eq!(max(row), row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
