//! The AVX2 kernel: 6 rows by two vectors of 8 columns, 12 sums in 12 of the 16 registers.

use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps};

use super::micro::{MicroKernel, Scale, check, write_sums};
use crate::nn::tensor::MatMut;

const MR: usize = 6;
const NR: usize = 16;

pub(super) static KERNEL: MicroKernel<f32> = MicroKernel { mr: MR, nr: NR, depth: 1, tile, unpacked: None };

fn tile(units: usize, a: &[f32], b: &[f32], scale: Scale, c: MatMut<'_, f32>) {
    check(&KERNEL, units, a, b, &c);
    let tile = TILES[c.rows() - 1][c.cols().div_ceil(8) - 1];
    // SAFETY: `check` made sure that the panels are long enough; `Kernel::family` returns this
    // kernel only where the processor has AVX2 and FMA.
    unsafe { tile(units, a.as_ptr(), b.as_ptr(), scale, c) };
}

type Tile = unsafe fn(usize, *const f32, *const f32, Scale, MatMut<'_, f32>);

/// One kernel per number of rows and of vectors.
static TILES: [[Tile; 2]; MR] = [
    [sums::<1, 1>, sums::<1, 2>],
    [sums::<2, 1>, sums::<2, 2>],
    [sums::<3, 1>, sums::<3, 2>],
    [sums::<4, 1>, sums::<4, 2>],
    [sums::<5, 1>, sums::<5, 2>],
    [sums::<6, 1>, sums::<6, 2>],
];

/// # Safety
/// `a` points to `units · MR` and `b` to `units · NR` numbers.
#[target_feature(enable = "avx2,fma")]
unsafe fn sums<const ROWS: usize, const VECTORS: usize>(
    units: usize,
    mut a: *const f32,
    mut b: *const f32,
    scale: Scale,
    c: MatMut<'_, f32>,
) {
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    let mut out = [[0.0; NR]; ROWS];
    // SAFETY: each of `units` steps reads MR and NR numbers; a row of `out` holds two vectors.
    unsafe {
        for _ in 0..units {
            let columns: [_; VECTORS] = std::array::from_fn(|vector| _mm256_loadu_ps(b.add(8 * vector)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm256_set1_ps(*a.add(row));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = _mm256_fmadd_ps(value, column, *sum);
                }
            }
            a = a.add(MR);
            b = b.add(NR);
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
                _mm256_storeu_ps(out.as_mut_ptr(), sum);
            }
        }
    }
    write_sums(out.as_flattened(), NR, scale, c);
}
