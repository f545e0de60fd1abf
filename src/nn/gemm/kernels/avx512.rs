//! AVX-512 kernels: 12 rows by two vectors of 16 columns, 24 sums in registers.
//!
//! Both families share the shape: `f32` multiplies and adds one k at a time, pairs of bf16 two (`vdpbf16ps`, which rounds
//! to nearest even after each of the two products and takes denormal numbers as zero).

use std::arch::x86_64::{
    __m512, __m512bh, __mmask16, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::{MicroKernel, Scale, check, check_loose};
use crate::nn::tensor::MatMut;

const MR: usize = 12;
const NR: usize = 32;

pub(super) static SINGLE: MicroKernel<f32> =
    MicroKernel { mr: MR, nr: NR, depth: 1, tile: single::tile, loose: Some(loose) };
pub(super) static PAIRS: MicroKernel<u32> = MicroKernel { mr: MR, nr: NR, depth: 1, tile: pairs::tile, loose: None };

/// Where a tile's sums go.
#[derive(Clone, Copy)]
struct Target {
    start: *mut f32,
    stride: usize,
    /// Columns of each of the two vectors that are inside of C.
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
    /// `start` is the place of a tile with `ROWS` rows and the columns that `masks` names.
    #[target_feature(enable = "avx512f")]
    unsafe fn write<const ROWS: usize, const VECTORS: usize>(self, sums: &[[__m512; VECTORS]; ROWS]) {
        let alpha = _mm512_set1_ps(self.scale.alpha);
        let beta = _mm512_set1_ps(self.scale.beta);
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                // SAFETY: masked loads and stores touch no element that is outside of the mask.
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
                // SAFETY: `check` saw that the panels are long enough and that C is a tile; the kernel is handed out
                // only where the processor has its features.
                unsafe { sums(units, a.as_ptr(), 1, b.as_ptr(), target) };
            }

            pub(super) type Tile = unsafe fn(usize, *const $unit, usize, *const $unit, Target);

            /// The kernel for every number of rows and of vectors.
            static TILES: [[Tile; 2]; MR] = kernel!(@rows $family, true, 1 2 3 4 5 6 7 8 9 10 11 12);

            /// # Safety
            /// `a` points to `units · MR` units if it is packed, else to `ROWS` rows of `units` units, `stride` apart; `b` to
            /// `units · NR` units; `target` is as for [`Target::write`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn sums<const PACKED: bool, const ROWS: usize, const VECTORS: usize>(
                units: usize,
                mut a: *const $unit,
                stride: usize,
                mut b: *const $unit,
                target: Target,
            ) {
                let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
                // SAFETY: each step reads a unit of each row and NR of B, `units` times.
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

#[target_feature(enable = "avx512f")]
unsafe fn load_pairs(place: *const u32) -> __m512bh {
    // SAFETY: the caller gives 16 units; 16 pairs of bf16 are 512 bits however they are typed.
    unsafe { std::mem::transmute(_mm512_loadu_si512(place.cast())) }
}

#[target_feature(enable = "avx512f")]
unsafe fn splat_pair(pair: u32) -> __m512bh {
    // SAFETY: 16 pairs of bf16 are 512 bits however they are typed.
    unsafe { std::mem::transmute(_mm512_set1_epi32(pair as i32)) }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_pairs(a: __m512bh, b: __m512bh, sum: __m512) -> __m512 {
    _mm512_dpbf16_ps(sum, a, b)
}

kernel!(single, SINGLE, f32, "avx512f", _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps);
kernel!(pairs, PAIRS, u32, "avx512f,avx512bf16", load_pairs, splat_pair, dot_pairs);

/// The tiles of [`SINGLE`] over rows of A that are not packed.
static LOOSE_TILES: [[single::Tile; 2]; MR] = kernel!(@rows single, false, 1 2 3 4 5 6 7 8 9 10 11 12);

fn loose(units: usize, a: &[f32], stride: usize, b: &[f32], scale: Scale, c: MatMut<'_, f32>) {
    check_loose(&SINGLE, units, a, stride, b, &c);
    let (rows, vectors) = (c.rows(), c.cols().div_ceil(16));
    let target = Target::new(c, scale);
    let sums = LOOSE_TILES[rows - 1][vectors - 1];
    // SAFETY: `check_loose` saw that the rows of A and the panel of B are long enough and that C is a tile; the kernel is
    // handed out only where the processor has its features.
    unsafe { sums(units, a.as_ptr(), stride, b.as_ptr(), target) };
}
