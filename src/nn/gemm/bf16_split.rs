//! Packs bf16 in pairs into 32-bit words, and splits `f32` into the sum of a high and a low bf16.
//!
//! `high` is the nearest bf16 and `low` the nearest to the remainder. An f16 has 11 significant
//! bits and two bf16 have 16, so `high + low` equals an f16 exactly; for an `f32` the relative
//! error is about 2⁻¹⁷.

use half::bf16;

use crate::nn::simd::convert::{self, bf16_bits};
use crate::nn::simd::vectorised;

/// How values are encoded in the units of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Unchanged: `f32` panels, or operands that are already bf16.
    Exact,
    /// Rounded to bf16.
    Bf16,
    /// High, high, low: the left operand of a product of split values.
    SplitLeft,
    /// High, low, high: the right operand.
    SplitRight,
}

impl Encoding {
    /// Returns how many times each value occurs along k.
    pub fn count(self) -> usize {
        self.low_halves().len()
    }

    /// Returns for each occurrence whether it is the low part.
    pub fn low_halves(self) -> &'static [bool] {
        match self {
            Self::Exact | Self::Bf16 => &[false],
            Self::SplitLeft => &[false, false, true],
            Self::SplitRight => &[false, true, false],
        }
    }
}

/// Returns the bits of the low part, in the lower half of a word.
#[allow(clippy::inline_always, reason = "has to be inlined into vectorised loops")]
#[inline(always)]
fn low_bits(value: f32) -> u32 {
    let high = u32::from(bf16_bits(value));
    u32::from(bf16_bits(value - f32::from_bits(high << 16)))
}

vectorised! {
    /// Rounds to bf16 in place.
    pub(super) fn round_to_bf16(values: &mut [f32]) {
        for value in values {
            *value = f32::from_bits(u32::from(bf16_bits(*value)) << 16);
        }
    }
}

/// Packs neighbours of a row in pairs, once per occurrence; each takes `row.len().div_ceil(2)`
/// words of `out`.
pub(super) fn pair(row: &[f32], encoding: Encoding, out: &mut [u32]) {
    let length = row.len().div_ceil(2);
    for (low, out) in encoding.low_halves().iter().zip(out.chunks_exact_mut(length.max(1))) {
        if *low { pair_low(row, out) } else { convert::f32_to_bf16_pairs(row, out) }
    }
}

vectorised! {
    fn pair_low(row: &[f32], out: &mut [u32]) {
        let (pairs, rest) = row.as_chunks::<2>();
        for (out, [a, b]) in out.iter_mut().zip(pairs) {
            *out = low_bits(*a) | low_bits(*b) << 16;
        }
        if let [last] = rest {
            out[pairs.len()] = low_bits(*last);
        }
    }
}

vectorised! {
    /// Packs neighbours of a bf16 row in pairs.
    pub(super) fn pair_bf16(row: &[bf16], out: &mut [u32]) {
        let (pairs, rest) = row.as_chunks::<2>();
        for (out, [a, b]) in out.iter_mut().zip(pairs) {
            *out = u32::from(a.to_bits()) | u32::from(b.to_bits()) << 16;
        }
        if let [last] = rest {
            out[pairs.len()] = u32::from(last.to_bits());
        }
    }
}

/// Packs the values of two consecutive rows in pairs, column by column.
pub(super) fn interleave(first: &[f32], second: &[f32], low: bool, out: &mut [u32]) {
    if low { interleave_low(first, second, out) } else { convert::f32_to_bf16_interleaved(first, second, out) }
}

vectorised! {
    fn interleave_low(first: &[f32], second: &[f32], out: &mut [u32]) {
        for ((out, a), b) in out.iter_mut().zip(first).zip(second) {
            *out = low_bits(*a) | low_bits(*b) << 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_plus_low_is_exact_for_every_f16() {
        for bits in 0..=u16::MAX {
            let value = half::f16::from_bits(bits).to_f32();
            if !value.is_finite() {
                continue;
            }
            let [high, low] = [u32::from(bf16_bits(value)), low_bits(value)].map(|bits| f32::from_bits(bits << 16));
            assert_eq!(high + low, value);
        }
    }

    #[test]
    fn split_operands_multiply_all_parts_except_low_times_low() {
        let pairs: Vec<_> = Encoding::SplitLeft.low_halves().iter().zip(Encoding::SplitRight.low_halves()).collect();
        assert_eq!(pairs, [(&false, &false), (&false, &true), (&true, &false)]);
    }

    #[test]
    fn an_odd_row_is_padded_with_a_zero() {
        let mut words = [9u32; 6];
        pair(&[1.0, 2.0, 3.0 + 1.0 / 512.0], Encoding::SplitRight, &mut words);
        let half = |word: u32, which: usize| f32::from_bits(word >> (16 * which) << 16);
        assert_eq!((half(words[0], 0), half(words[0], 1)), (1.0, 2.0));
        assert_eq!((half(words[1], 0), half(words[1], 1)), (3.0, 0.0));
        assert_eq!((half(words[3], 0), half(words[3], 1)), (1.0 / 512.0, 0.0));
        assert_eq!(words[4..], words[..2]);
    }
}
