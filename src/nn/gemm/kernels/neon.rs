//! The NEON kernel: 6 rows by four vectors of 4 columns, 24 sums in registers.

use std::arch::aarch64::{vdupq_n_f32, vfmaq_n_f32, vld1q_f32, vst1q_f32};

use super::micro::{MicroKernel, Scale, check, write_sums};
use crate::nn::tensor::MatMut;

const MR: usize = 6;
const NR: usize = 16;

pub(super) static KERNEL: MicroKernel<f32> = MicroKernel { mr: MR, nr: NR, depth: 1, tile, unpacked: None };

fn tile(units: usize, a: &[f32], b: &[f32], scale: Scale, c: MatMut<'_, f32>) {
    check(&KERNEL, units, a, b, &c);
    let tile = [sums::<1>, sums::<2>, sums::<3>, sums::<4>, sums::<5>, sums::<6>][c.rows() - 1];
    // SAFETY: `check` made sure that the panels are long enough; every AArch64 processor has NEON.
    unsafe { tile(units, a.as_ptr(), b.as_ptr(), scale, c) };
}

/// # Safety
/// `a` points to `units · MR` and `b` to `units · NR` numbers.
#[target_feature(enable = "neon")]
unsafe fn sums<const ROWS: usize>(
    units: usize,
    mut a: *const f32,
    mut b: *const f32,
    scale: Scale,
    c: MatMut<'_, f32>,
) {
    let mut sums = [[vdupq_n_f32(0.0); 4]; ROWS];
    let mut out = [[0.0; NR]; ROWS];
    // SAFETY: each of `units` steps reads MR and NR numbers; a row of `out` holds four vectors.
    unsafe {
        for _ in 0..units {
            let columns: [_; 4] = std::array::from_fn(|vector| vld1q_f32(b.add(4 * vector)));
            for (row, sums) in sums.iter_mut().enumerate() {
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = vfmaq_n_f32(*sum, column, *a.add(row));
                }
            }
            a = a.add(MR);
            b = b.add(NR);
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                vst1q_f32(out.as_mut_ptr(), sum);
            }
        }
    }
    write_sums(out.as_flattened(), NR, scale, c);
}
