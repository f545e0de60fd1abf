//! The portable kernel, for processors without a better one.

use super::micro::{MicroKernel, Scale, check, write_sums};
use crate::nn::tensor::MatMut;

const MR: usize = 4;
const NR: usize = 8;

pub(super) static KERNEL: MicroKernel<f32> = MicroKernel { mr: MR, nr: NR, depth: 1, tile, unpacked: None };

fn tile(units: usize, a: &[f32], b: &[f32], scale: Scale, c: MatMut<'_, f32>) {
    check(&KERNEL, units, a, b, &c);
    let mut sums = [[0.0; NR]; MR];
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0).take(units) {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    write_sums(sums.as_flattened(), NR, scale, c);
}
