//! Matrix-vector products, without packing: reading the matrix once is all the work.

use rayon::prelude::*;

use super::operand::{COLUMN_ALIGNMENT, Operand, Source};
use crate::nn::math;
use crate::nn::simd::vectorised;
use crate::nn::workspace;

/// Matrix rows per task.
const ROWS: usize = 64;
/// Matrix columns per task, aligned to what row sources can generate.
const COLUMNS: usize = 2 * COLUMN_ALIGNMENT;

/// Computes `out = matrix · vector`; `matrix` is `[out.len(), vector.len()]`.
pub(super) fn multiply(matrix: &Operand<'_>, vector: &[f32], out: &mut [f32], parallel: bool) {
    let (source, size) = (&matrix.source, if parallel { ROWS } else { out.len() });
    if matrix.transposed {
        // Stored rows are columns of the matrix: each is added to the sums, times its element of
        // the vector.
        let size = if parallel { COLUMNS } else { out.len() };
        for_chunks(out, size, |start, out| {
            out.fill(0.0);
            let columns = start..start + out.len();
            workspace::with(4 * out.len(), |scratch: &mut [f32]| {
                let (four, rest) = vector.as_chunks::<4>();
                for (k, factors) in (0..).step_by(4).zip(four) {
                    let (first, second) = scratch.split_at_mut(2 * out.len());
                    let ((a, b), (c, d)) = (first.split_at_mut(out.len()), second.split_at_mut(out.len()));
                    let row = |k, scratch| source.row(k, columns.clone(), scratch);
                    add_four([row(k, a), row(k + 1, b), row(k + 2, c), row(k + 3, d)], *factors, out);
                }
                for (k, factor) in (4 * four.len()..).zip(rest) {
                    add_scaled(source.row(k, columns.clone(), &mut scratch[..out.len()]), *factor, out);
                }
            });
        });
    } else {
        for_chunks(out, size, |start, out| {
            workspace::with(vector.len(), |scratch: &mut [f32]| {
                for (row, out) in (start..).zip(out) {
                    *out = math::dot(source.row(row, 0..vector.len(), scratch), vector);
                }
            });
        });
    }
}

/// Writes the values of an operand with one row or one column to `out`.
pub(super) fn values(operand: &Operand<'_>, out: &mut [f32]) {
    let source: &Source<'_> = &operand.source;
    let cols = if operand.transposed { operand.rows() } else { operand.cols() };
    for (row, out) in out.chunks_exact_mut(cols).enumerate() {
        source.copy_row(row, 0..cols, out);
    }
}

fn for_chunks(out: &mut [f32], size: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if size < out.len() {
        out.par_chunks_mut(size).enumerate().for_each(|(i, out)| work(i * size, out));
    } else {
        work(0, out);
    }
}

vectorised! {
    /// `out += Σ factorᵢ · rowᵢ`
    fn add_four(rows: [&[f32]; 4], factors: [f32; 4], out: &mut [f32]) {
        let [a, b, c, d] = rows;
        let [fa, fb, fc, fd] = factors;
        for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out += (fa * a + fb * b) + (fc * c + fd * d);
        }
    }
}

vectorised! {
    /// `out += factor · row`
    fn add_scaled(row: &[f32], factor: f32, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(row) {
            *out += factor * value;
        }
    }
}
