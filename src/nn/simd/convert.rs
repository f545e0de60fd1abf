//! Converts rows between number formats.
//!
//! Widening is exact; rounding is to nearest, ties to even; NaN stays NaN. All levels give the same
//! bits (for NaN: the same sign, and quiet or signalling alike).

use half::{bf16, f16};

use super::vectorised;
#[cfg(target_arch = "x86_64")]
use super::{Level, level};

vectorised! {
    /// Widens: `out[i] = row[i]`.
    pub(crate) fn bf16_to_f32(row: &[bf16], out: &mut [f32]) {
        assert_eq!(row.len(), out.len());
        for (out, value) in out.iter_mut().zip(row) {
            *out = f32::from_bits(u32::from(value.to_bits()) << 16);
        }
    }
}

vectorised! {
    /// Rounds: `out[i] = row[i]`.
    pub(crate) fn f32_to_bf16(row: &[f32], out: &mut [bf16]) {
        assert_eq!(row.len(), out.len());
        for (out, value) in out.iter_mut().zip(row) {
            *out = bf16::from_bits(bf16_bits(*value));
        }
    }
}

/// Returns the bits of the nearest bf16; branch-free, so that loops vectorise.
#[allow(clippy::inline_always, reason = "has to be inlined into vectorised loops")]
#[inline(always)]
pub(crate) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let quiet_nan = bits | 0x0040_0000;
    ((if value.is_nan() { quiet_nan } else { rounded }) >> 16) as u16
}

/// Widens: `out[i] = row[i]`.
pub(crate) fn f16_to_f32(row: &[f16], out: &mut [f32]) {
    assert_eq!(row.len(), out.len());
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: `level` returns AVX-512 only where the processor has it.
        Level::Avx512 => return unsafe { x86::f16_to_f32_avx512(row, out) },
        // SAFETY: `level` returns AVX2 only where the processor has F16C too.
        Level::Avx2 => return unsafe { x86::f16_to_f32_f16c(row, out) },
        Level::Baseline => {}
    }
    scalar::f16_to_f32(row, out);
}

/// Rounds: `out[i] = row[i]`.
pub(crate) fn f32_to_f16(row: &[f32], out: &mut [f16]) {
    assert_eq!(row.len(), out.len());
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: `level` returns AVX-512 only where the processor has it.
        Level::Avx512 => return unsafe { x86::f32_to_f16_avx512(row, out) },
        // SAFETY: `level` returns AVX2 only where the processor has F16C too.
        Level::Avx2 => return unsafe { x86::f32_to_f16_f16c(row, out) },
        Level::Baseline => {}
    }
    scalar::f32_to_f16(row, out);
}

/// Packs neighbours as bf16 pairs: `out[i]` holds `row[2i]` in its lower and `row[2i + 1]` in its
/// upper half, rounded; an odd row is padded with a zero.
///
/// For kernels that treat denormal numbers as zero: some levels flush them to zero here already.
pub(crate) fn f32_to_bf16_pairs(row: &[f32], out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if bf16_level() {
        // SAFETY: the processor has AVX-512 BF16.
        return unsafe { x86::pairs_avx512(row, out) };
    }
    scalar::pairs(row, out);
}

/// Packs two rows as bf16 pairs: `out[i]` holds `first[i]` and `second[i]`; rounding as in
/// [`f32_to_bf16_pairs`].
pub(crate) fn f32_to_bf16_interleaved(first: &[f32], second: &[f32], out: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if bf16_level() {
        // SAFETY: the processor has AVX-512 BF16.
        return unsafe { x86::interleaved_avx512(first, second, out) };
    }
    scalar::interleaved(first, second, out);
}

/// Whether the processor has instructions that round to bf16.
#[cfg(target_arch = "x86_64")]
fn bf16_level() -> bool {
    level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
}

mod scalar {
    use half::f16;

    use super::{bf16_bits, vectorised};

    vectorised! {
        pub(super) fn pairs(row: &[f32], out: &mut [u32]) {
            let (pairs, rest) = row.as_chunks::<2>();
            for (out, [a, b]) in out.iter_mut().zip(pairs) {
                *out = u32::from(bf16_bits(*a)) | u32::from(bf16_bits(*b)) << 16;
            }
            if let [last] = rest {
                out[pairs.len()] = u32::from(bf16_bits(*last));
            }
        }
    }

    vectorised! {
        pub(super) fn interleaved(first: &[f32], second: &[f32], out: &mut [u32]) {
            for ((out, a), b) in out.iter_mut().zip(first).zip(second) {
                *out = u32::from(bf16_bits(*a)) | u32::from(bf16_bits(*b)) << 16;
            }
        }
    }

    pub(super) fn f16_to_f32(row: &[f16], out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(row) {
            *out = value.to_f32();
        }
    }

    pub(super) fn f32_to_f16(row: &[f32], out: &mut [f16]) {
        for (out, value) in out.iter_mut().zip(row) {
            *out = f16::from_f32(*value);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256bh, __m256i, __m512bh, __m512i, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128,
        _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_storeu_ps, _mm256_storeu_si256,
        _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_cvtph_ps, _mm512_cvtps_ph,
        _mm512_loadu_ps, _mm512_or_si512, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
    };

    use half::f16;

    use super::scalar;

    #[target_feature(enable = "avx512f")]
    pub(super) fn f16_to_f32_avx512(row: &[f16], out: &mut [f32]) {
        let (halves, half_rest) = row.as_chunks::<16>();
        let (wholes, whole_rest) = out.as_chunks_mut::<16>();
        for (half, whole) in halves.iter().zip(wholes) {
            // SAFETY: both chunks hold 16 elements.
            unsafe { _mm512_storeu_ps(whole.as_mut_ptr(), _mm512_cvtph_ps(_mm256_loadu_si256(half.as_ptr().cast()))) };
        }
        scalar::f16_to_f32(half_rest, whole_rest);
    }

    #[target_feature(enable = "avx,f16c")]
    pub(super) fn f16_to_f32_f16c(row: &[f16], out: &mut [f32]) {
        let (halves, half_rest) = row.as_chunks::<8>();
        let (wholes, whole_rest) = out.as_chunks_mut::<8>();
        for (half, whole) in halves.iter().zip(wholes) {
            // SAFETY: both chunks hold 8 elements.
            unsafe { _mm256_storeu_ps(whole.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(half.as_ptr().cast()))) };
        }
        scalar::f16_to_f32(half_rest, whole_rest);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_to_f16_avx512(row: &[f32], out: &mut [f16]) {
        let (wholes, whole_rest) = row.as_chunks::<16>();
        let (halves, half_rest) = out.as_chunks_mut::<16>();
        for (whole, half) in wholes.iter().zip(halves) {
            // SAFETY: both chunks hold 16 elements.
            unsafe {
                let rounded = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_loadu_ps(whole.as_ptr()));
                _mm256_storeu_si256(half.as_mut_ptr().cast(), rounded);
            }
        }
        scalar::f32_to_f16(whole_rest, half_rest);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn pairs_avx512(row: &[f32], out: &mut [u32]) {
        let (wholes, rest) = row.as_chunks::<32>();
        let (words, word_rest) = out.split_at_mut(16 * wholes.len());
        for (whole, words) in wholes.iter().zip(words.as_chunks_mut::<16>().0) {
            // SAFETY: the chunks hold 32 floats and 16 words; 32 bf16 have 512 bits, as __m512i
            // has.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(whole.as_ptr()), _mm512_loadu_ps(whole.as_ptr().add(16)));
                _mm512_storeu_si512(
                    words.as_mut_ptr().cast(),
                    std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)),
                );
            }
        }
        scalar::pairs(rest, word_rest);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn interleaved_avx512(first: &[f32], second: &[f32], out: &mut [u32]) {
        let (firsts, first_rest) = first.as_chunks::<16>();
        let (seconds, second_rest) = second.as_chunks::<16>();
        let (words, word_rest) = out.split_at_mut(16 * firsts.len().min(seconds.len()));
        for ((first, second), words) in firsts.iter().zip(seconds).zip(words.as_chunks_mut::<16>().0) {
            // SAFETY: the chunks hold 16 floats and 16 words; 16 bf16 have 256 bits, as __m256i
            // has.
            unsafe {
                let half = |values: &[f32; 16]| {
                    let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr()));
                    _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(rounded))
                };
                let pairs = _mm512_or_si512(half(first), _mm512_slli_epi32::<16>(half(second)));
                _mm512_storeu_si512(words.as_mut_ptr().cast(), pairs);
            }
        }
        scalar::interleaved(first_rest, second_rest, word_rest);
    }

    #[target_feature(enable = "avx,f16c")]
    pub(super) fn f32_to_f16_f16c(row: &[f32], out: &mut [f16]) {
        let (wholes, whole_rest) = row.as_chunks::<8>();
        let (halves, half_rest) = out.as_chunks_mut::<8>();
        for (whole, half) in wholes.iter().zip(halves) {
            // SAFETY: both chunks hold 8 elements.
            unsafe {
                let rounded = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(whole.as_ptr()));
                _mm_storeu_si128(half.as_mut_ptr().cast(), rounded);
            }
        }
        scalar::f32_to_f16(whole_rest, half_rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 16-bit pattern.
    fn all_bits() -> Vec<u16> {
        (0..=u16::MAX).collect()
    }

    #[test]
    fn every_f16_widens_to_its_value() {
        let row: Vec<f16> = all_bits().into_iter().map(f16::from_bits).collect();
        let mut out = vec![0.0; row.len()];
        f16_to_f32(&row[3..], &mut out[3..]);
        for (value, wide) in row.iter().zip(&out).skip(3) {
            assert!(value.to_f32() == *wide || value.is_nan() && wide.is_nan());
        }
    }

    #[test]
    fn every_bf16_survives_a_round_trip() {
        let row: Vec<bf16> = all_bits().into_iter().map(bf16::from_bits).collect();
        let mut wide = vec![0.0; row.len()];
        bf16_to_f32(&row, &mut wide);
        let mut back = vec![bf16::ZERO; row.len()];
        f32_to_bf16(&wide, &mut back);
        for (there, back) in row.iter().zip(&back) {
            assert!(there.to_bits() == back.to_bits() || there.is_nan() && back.is_nan());
        }
    }

    #[test]
    fn rounding_equals_the_scalar_version_between_and_at_ties() {
        let row: Vec<f32> = (0..200_003u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1))).collect();
        let ties = [1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), 1.0 + 2f32.powi(-11), 65519.9, 65520.0, 1e-8, 3e38];
        let row: Vec<f32> = row.into_iter().chain(ties).collect();
        let mut halves = vec![f16::ZERO; row.len()];
        f32_to_f16(&row, &mut halves);
        let mut brains = vec![bf16::ZERO; row.len()];
        f32_to_bf16(&row, &mut brains);
        for (i, value) in row.iter().enumerate() {
            if value.is_nan() {
                assert!(halves[i].is_nan() && brains[i].is_nan());
            } else {
                assert_eq!(halves[i], f16::from_f32(*value), "{value:e}");
                assert_eq!(brains[i], bf16::from_f32(*value), "{value:e}");
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn pairs_equal_the_scalar_version_except_for_denormals() {
        let bits =
            (0..1u32 << 17).map(|i| i.wrapping_mul(0x9e37_79b1)).chain((0..512).map(|i| 0x3f80_0000 + (i << 14)));
        let values: Vec<f32> = bits.map(f32::from_bits).filter(|value| value.is_normal()).collect();
        for length in [values.len(), 33, 7] {
            let row = &values[..length];
            let (mut ours, mut expected) = (vec![9; length.div_ceil(2)], vec![9; length.div_ceil(2)]);
            f32_to_bf16_pairs(row, &mut ours);
            scalar::pairs(row, &mut expected);
            assert_eq!(ours, expected);
            let (mut ours, mut expected) = (vec![9; length], vec![9; length]);
            let reversed: Vec<f32> = row.iter().rev().copied().collect();
            f32_to_bf16_interleaved(row, &reversed, &mut ours);
            scalar::interleaved(row, &reversed, &mut expected);
            assert_eq!(ours, expected);
        }
        let mut word = [0];
        f32_to_bf16_interleaved(&[f32::NAN], &[f32::INFINITY], &mut word);
        let half = |word: u32| f32::from_bits(word << 16);
        assert!(half(word[0]).is_nan() && half(word[0] >> 16) == f32::INFINITY);
    }

    #[test]
    fn levels_below_the_best_give_the_same_result() {
        if level() == Level::Baseline {
            return;
        }
        let row: Vec<f32> = (0..77u16).map(|i| f32::from(i) * 0.37 - 11.0).collect();
        for length in 0..row.len() {
            let (mut a, mut b) = (vec![f16::ZERO; length], vec![f16::ZERO; length]);
            scalar::f32_to_f16(&row[..length], &mut a);
            // SAFETY: the level is at least AVX2 with F16C.
            unsafe { x86::f32_to_f16_f16c(&row[..length], &mut b) };
            assert_eq!(a, b);
            let (mut c, mut d) = (vec![0.0; length], vec![0.0; length]);
            scalar::f16_to_f32(&a, &mut c);
            // SAFETY: as above.
            unsafe { x86::f16_to_f32_f16c(&b, &mut d) };
            assert_eq!(c, d);
        }
    }
}
