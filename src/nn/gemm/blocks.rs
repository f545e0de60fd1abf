//! Loops around the micro-kernel: blocks for the caches, tiles for the threads.
//!
//! k is split at fixed places and never across threads, so each element of C is always summed in
//! the same order.

use std::ops::Range;

use rayon::prelude::*;

use super::bf16_split::Encoding;
use super::epilogue::Epilogue;
use super::kernels::{MicroKernel, Scale, Unpacked};
use super::operand::Operand;
use super::pack::{PackUnit, Packing, panel};
use crate::nn::tensor::{Mat, MatMut};
use crate::nn::workspace;

/// Units along k per block; a panel of B of this depth fits the L1 cache.
const UNITS: usize = 512;
/// Rows of A packed at once; they and the block of B fit the last-level cache.
const ROWS: usize = 3072;
/// Columns of B packed at once.
const COLUMNS: usize = 3072;
/// Rows of a thread's tile, whose panels of A fit the L2 cache.
const TILE_ROWS: usize = 192;
/// Units of B per thread's tile, which fit the L2 cache.
const TILE_UNITS: usize = 256 * UNITS;

/// A product whose kernel is chosen.
pub(super) struct Job<'a> {
    pub a: Operand<'a>,
    pub b: Operand<'a>,
    pub scale: Scale,
    pub epilogue: Epilogue<'a>,
    /// Encodings of A and B.
    pub encodings: [Encoding; 2],
    /// Whether to run on all threads.
    pub parallel: bool,
}

/// Computes `job` into C `[m, n]`; no dimension is 0.
pub(super) fn run<U: PackUnit>(job: &Job<'_>, kernel: &MicroKernel<U>, mut c: MatMut<'_, f32>) {
    let (m, n, k) = (c.rows(), c.cols(), job.a.cols());
    // Values of k per block: as many as fill UNITS units, rounded up to what row sources can
    // generate.
    let depth = UNITS * UNITS / U::count(UNITS, job.encodings[0]);
    let depth = depth.next_multiple_of(super::operand::COLUMN_ALIGNMENT);
    for columns in blocks(n, COLUMNS) {
        for ks in blocks(k, depth) {
            let units = U::count(ks.len(), job.encodings[0]).next_multiple_of(kernel.depth);
            let (source, k_along_rows) = Packing::of_columns(&job.b);
            let (width, encoding) = (kernel.nr, job.encodings[1]);
            let lines = columns.clone();
            let b = Packing { source, k_along_rows, lines, ks: ks.clone(), width, depth: 1, units, encoding };
            workspace::with(b.length(), |packed_b: &mut [U]| {
                pack(&b, packed_b, job.parallel);
                let beta = if ks.start == 0 { job.scale.beta } else { 1.0 };
                let scale = Scale { beta, ..job.scale };
                let epilogue = |row| (ks.end == k).then(|| job.epilogue.at(row, columns.start));
                if let Some(tile) = kernel.unpacked
                    && n <= kernel.nr
                    && let Some(a) = U::unpacked(&job.a, job.encodings[0])
                {
                    let a = RowsOfA::Unpacked(a.sub(0..m, ks.clone()), tile);
                    let update = Update { kernel, units, a, b: packed_b, scale, epilogue: epilogue(0) };
                    update.multiply(c.reborrow(), job.parallel);
                    return;
                }
                for rows in blocks(m, ROWS) {
                    let (source, k_along_rows) = Packing::of_rows(&job.a);
                    let (width, depth, encoding) = (kernel.mr, kernel.depth, job.encodings[0]);
                    let lines = rows.clone();
                    let a = Packing { source, k_along_rows, lines, ks: ks.clone(), width, depth, units, encoding };
                    workspace::with(a.length(), |packed_a: &mut [U]| {
                        pack(&a, packed_a, job.parallel);
                        let block = c.sub_mut(rows.start, columns.start, rows.len(), columns.len());
                        let (a, epilogue) = (RowsOfA::Packed(packed_a), epilogue(rows.start));
                        let update = Update { kernel, units, a, b: packed_b, scale, epilogue };
                        update.multiply(block, job.parallel);
                    });
                }
            });
        }
    }
}

/// Returns ranges of `step` that cover `0..end`.
fn blocks(end: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..end).step_by(step).map(move |start| start..(start + step).min(end))
}

fn pack<U: PackUnit>(packing: &Packing<'_>, out: &mut [U], parallel: bool) {
    let chunk = packing.panels_per_chunk() * packing.panel();
    if parallel && out.len() > chunk {
        out.par_chunks_mut(chunk).enumerate().for_each(|(i, out)| U::pack(&packing.chunk(i), out));
    } else {
        out.chunks_mut(chunk).enumerate().for_each(|(i, out)| U::pack(&packing.chunk(i), out));
    }
}

/// Rows of A.
enum RowsOfA<'a, U: 'static> {
    Packed(&'a [U]),
    Unpacked(Mat<'a, U>, Unpacked<U>),
}

/// One update of a block of C by packed panels.
struct Update<'a, U: 'static> {
    kernel: &'a MicroKernel<U>,
    units: usize,
    a: RowsOfA<'a, U>,
    b: &'a [U],
    scale: Scale,
    /// Applied after the last update.
    epilogue: Option<Epilogue<'a>>,
}

impl<U: PackUnit> Update<'_, U> {
    fn multiply(&self, block: MatMut<'_, f32>, parallel: bool) {
        let (rows, columns) = self.tile_size(block.rows(), block.cols(), parallel);
        let across = block.cols().div_ceil(columns);
        let tile = |(i, tile)| self.tile(i / across * rows, i % across * columns, tile);
        if parallel {
            block.tiles(rows, columns).into_par_iter().enumerate().for_each(tile);
        } else {
            block.tiles(rows, columns).into_iter().enumerate().for_each(tile);
        }
    }

    /// Returns the size of a thread's tile: whole panels, at most the constants above, small enough
    /// for an even load.
    fn tile_size(&self, m: usize, n: usize, parallel: bool) -> (usize, usize) {
        let wanted = if parallel { 4 * rayon::current_num_threads() } else { 1 };
        let MicroKernel { mr, nr, .. } = *self.kernel;
        let mut rows = TILE_ROWS.min(m).next_multiple_of(mr);
        let mut columns = (TILE_UNITS / self.units.max(1)).min(n).next_multiple_of(nr);
        while m.div_ceil(rows) * n.div_ceil(columns) < wanted {
            if columns > nr && (columns >= 2 * rows || rows == mr) {
                columns = (columns / 2).next_multiple_of(nr);
            } else if rows > mr {
                rows = (rows / 2).next_multiple_of(mr);
            } else {
                break;
            }
        }
        (rows, columns)
    }

    /// Computes the part `c` of the block, which starts at (`row`, `column`), one panel of A at a
    /// time.
    fn tile(&self, row: usize, column: usize, mut c: MatMut<'_, f32>) {
        let MicroKernel { mr, nr, .. } = *self.kernel;
        for rows in blocks(c.rows(), mr) {
            for columns in blocks(c.cols(), nr) {
                let b = &self.b[(column + columns.start) / nr * panel(nr, self.units)..];
                let tile = c.sub_mut(rows.start, columns.start, rows.len(), columns.len());
                match &self.a {
                    RowsOfA::Packed(a) => {
                        let a = &a[(row + rows.start) / mr * panel(mr, self.units)..];
                        (self.kernel.tile)(self.units, a, b, self.scale, tile);
                    }
                    RowsOfA::Unpacked(a, unpacked) => {
                        let (a, stride) = (a.sub(row + rows.start..a.rows(), 0..self.units), a.stride());
                        unpacked(self.units, a.data(), stride, b, self.scale, tile);
                    }
                }
            }
            if let Some(epilogue) = &self.epilogue {
                let (height, width) = (rows.len(), c.cols());
                epilogue.at(row + rows.start, column).apply(c.sub_mut(rows.start, 0, height, width));
            }
        }
    }
}
