//! Pairs of bf16 in 32-bit units, and the split of `f32` into a high and a low bf16.
//!
//! `high` is the nearest bf16 and `low` the nearest to what is left. An f16 has 11 significant bits and two bf16 hold 16, so
//! `high + low` is the f16 exactly; of an `f32` about 2⁻¹⁷ of the value is lost.

use half::bf16;

use crate::nn::simd::convert::{self, bf16_bits};
use crate::nn::simd::vectorised;

/// How values become units of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// As they are (panels of `f32`), or already bf16.
    Exact,
    /// Rounded to bf16.
    High,
    /// High, high, low: one side of a product of split values.
    SplitLeft,
    /// High, low, high: the other side.
    SplitRight,
}

impl Parts {
    /// Times that each value appears along k.
    pub fn count(self) -> usize {
        self.low_halves().len()
    }

    /// For each appearance, whether it is the low part.
    pub fn low_halves(self) -> &'static [bool] {
        match self {
            Self::Exact | Self::High => &[false],
            Self::SplitLeft => &[false, false, true],
            Self::SplitRight => &[false, true, false],
        }
    }
}

/// Bits of the low part, as the lower half of a word.
#[allow(clippy::inline_always, reason = "has to become part of vectorised loops")]
#[inline(always)]
fn low_bits(value: f32) -> u32 {
    let high = u32::from(bf16_bits(value));
    u32::from(bf16_bits(value - f32::from_bits(high << 16)))
}

vectorised! {
    /// `values[i] = bf16(values[i])`.
    pub(super) fn round_to_bf16(values: &mut [f32]) {
        for value in values {
            *value = f32::from_bits(u32::from(bf16_bits(*value)) << 16);
        }
    }
}

/// Pair neighbours of a row, once for each part; `out` takes `row.len().div_ceil(2)` words a part.
pub(super) fn pair(row: &[f32], parts: Parts, out: &mut [u32]) {
    let length = row.len().div_ceil(2);
    for (low, out) in parts.low_halves().iter().zip(out.chunks_exact_mut(length.max(1))) {
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
    /// Pair neighbours of a row that is bf16 already.
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

/// Pair the values of two rows that lie below each other.
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
    fn high_and_low_together_are_every_f16() {
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
    fn a_split_side_meets_every_part_but_low_times_low() {
        let pairs: Vec<_> = Parts::SplitLeft.low_halves().iter().zip(Parts::SplitRight.low_halves()).collect();
        assert_eq!(pairs, [(&false, &false), (&false, &true), (&true, &false)]);
    }

    #[test]
    fn an_odd_row_ends_with_a_zero() {
        let mut words = [9u32; 6];
        pair(&[1.0, 2.0, 3.0 + 1.0 / 512.0], Parts::SplitRight, &mut words);
        let half = |word: u32, which: usize| f32::from_bits(word >> (16 * which) << 16);
        assert_eq!((half(words[0], 0), half(words[0], 1)), (1.0, 2.0));
        assert_eq!((half(words[1], 0), half(words[1], 1)), (3.0, 0.0));
        assert_eq!((half(words[3], 0), half(words[3], 1)), (1.0 / 512.0, 0.0));
        assert_eq!(words[4..], words[..2]);
    }
}
