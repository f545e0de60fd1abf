//! AVX-512 kernels: 12 rows by two vectors of 16 columns, 24 sums in registers.
//!
//! Both families share this shape: `f32` multiplies one k at a time, pairs of bf16 two
//! (`vdpbf16ps`, which rounds to nearest even after each of the two products and treats denormal
//! numbers as zero).

use std::arch::x86_64::{
    __m512, __m512bh, __mmask16, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::micro::{MicroKernel, Scale, check, check_unpacked};
use crate::nn::tensor::MatMut;

const MR: usize = 12;
const NR: usize = 32;

pub(super) static F32: MicroKernel<f32> =
    MicroKernel { mr: MR, nr: NR, depth: 1, tile: f32_rows::tile, unpacked: Some(unpacked) };
pub(super) static BF16_PAIRS: MicroKernel<u32> =
    MicroKernel { mr: MR, nr: NR, depth: 1, tile: bf16_pairs::tile, unpacked: None };

/// The tile of C that sums are written to.
#[derive(Clone, Copy)]
struct Target {
    start: *mut f32,
    stride: usize,
    /// Which columns of each of the two vectors are inside C.
    masks: [__mmask16; 2],
    scale: Scale,
}

impl Target {
    fn new(mut c: MatMut<'_, f32>, scale: Scale) -> Self {
        let inside = u32::MAX >> (NR - c.cols());
        let masks = [inside as u16, (inside >> 16) as u16];
        Self { start: c.start(), stride: c.stride(), masks, scale }
    }

    /// # Safety
    /// `start` points to a writable tile with `ROWS` rows `stride` apart and the columns selected
    /// by `masks`.
    #[target_feature(enable = "avx512f")]
    unsafe fn write<const ROWS: usize, const VECTORS: usize>(self, sums: &[[__m512; VECTORS]; ROWS]) {
        let alpha = _mm512_set1_ps(self.scale.alpha);
        let beta = _mm512_set1_ps(self.scale.beta);
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                // SAFETY: masked loads and stores access no element outside the mask.
                unsafe {
                    let place = self.start.add(row * self.stride + 16 * vector);
                    let mask = self.masks[vector];
                    let scaled = _mm512_mul_ps(alpha, *sum);
                    let value = if self.scale.beta == 0.0 {
                        scaled
                    } else {
                        _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(mask, place), scaled)
                    };
                    _mm512_mask_storeu_ps(place, mask, value);
                }
            }
        }
    }
}

macro_rules! kernel {
    ($family:ident, $kernel:ident, $unit:ty, $features:literal, $load:path, $splat:path, $dot:path) => {
        mod $family {
            use super::*;

            pub(super) fn tile(units: usize, a: &[$unit], b: &[$unit], scale: Scale, c: MatMut<'_, f32>) {
                check(&$kernel, units, a, b, &c);
                let (rows, vectors) = (c.rows(), c.cols().div_ceil(16));
                let target = Target::new(c, scale);
                let sums = TILES[rows - 1][vectors - 1];
                // SAFETY: `check` made sure that the panels are long enough and that C is a tile;
                // `Kernel::family` returns this kernel only where the processor has its features.
                unsafe { sums(units, a.as_ptr(), 1, b.as_ptr(), target) };
            }

            pub(super) type Tile = unsafe fn(usize, *const $unit, usize, *const $unit, Target);

            /// One kernel per number of rows and of vectors.
            static TILES: [[Tile; 2]; MR] = kernel!(@rows $family, true, 1 2 3 4 5 6 7 8 9 10 11 12);

            /// # Safety
            /// `a` points to `units · MR` units if `PACKED`, else to `ROWS` rows of `units` units,
            /// `stride` apart; `b` points to `units · NR` units; `target` is as [`Target::write`]
            /// requires.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn sums<const PACKED: bool, const ROWS: usize, const VECTORS: usize>(
                units: usize,
                mut a: *const $unit,
                stride: usize,
                mut b: *const $unit,
                target: Target,
            ) {
                let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
                // SAFETY: each of `units` steps reads one unit of each row of A and NR units of B.
                unsafe {
                    for _ in 0..units {
                        let columns: [_; VECTORS] = std::array::from_fn(|vector| $load(b.add(16 * vector)));
                        for row in 0..ROWS {
                            let value = $splat(*a.add(if PACKED { row } else { row * stride }));
                            for vector in 0..VECTORS {
                                sums[row][vector] = $dot(value, columns[vector], sums[row][vector]);
                            }
                        }
                        a = a.add(if PACKED { MR } else { 1 });
                        b = b.add(NR);
                    }
                    target.write(&sums);
                }
            }
        }
    };
    (@rows $of:ident, $packed:literal, $($rows:literal)*) => {
        [$([$of::sums::<$packed, $rows, 1>, $of::sums::<$packed, $rows, 2>]),*]
    };
}

/// # Safety
/// `place` points to 16 units.
#[target_feature(enable = "avx512f")]
unsafe fn load_pairs(place: *const u32) -> __m512bh {
    // SAFETY: the caller provides 16 units; both types are 512 plain bits.
    unsafe { std::mem::transmute(_mm512_loadu_si512(place.cast())) }
}

#[target_feature(enable = "avx512f")]
fn splat_pair(pair: u32) -> __m512bh {
    // SAFETY: both types are 512 plain bits.
    unsafe { std::mem::transmute(_mm512_set1_epi32(pair as i32)) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_pairs(a: __m512bh, b: __m512bh, sum: __m512) -> __m512 {
    _mm512_dpbf16_ps(sum, a, b)
}

kernel!(f32_rows, F32, f32, "avx512f", _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps);
kernel!(bf16_pairs, BF16_PAIRS, u32, "avx512f,avx512bf16", load_pairs, splat_pair, dot_pairs);

/// The kernels of [`F32`] over unpacked rows of A.
static UNPACKED_TILES: [[f32_rows::Tile; 2]; MR] = kernel!(@rows f32_rows, false, 1 2 3 4 5 6 7 8 9 10 11 12);

fn unpacked(units: usize, a: &[f32], stride: usize, b: &[f32], scale: Scale, c: MatMut<'_, f32>) {
    check_unpacked(&F32, units, a, stride, b, &c);
    let (rows, vectors) = (c.rows(), c.cols().div_ceil(16));
    let target = Target::new(c, scale);
    let sums = UNPACKED_TILES[rows - 1][vectors - 1];
    // SAFETY: `check_unpacked` made sure that the rows of A and the panel of B are long enough and
    // that C is a tile; `Kernel::family` returns this kernel only where the processor has its
    // features.
    unsafe { sums(units, a.as_ptr(), stride, b.as_ptr(), target) };
}
