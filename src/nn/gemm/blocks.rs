//! The loops around the micro-kernel: blocks for the caches, tiles for the threads.
//!
//! k is cut at fixed places and never among threads: each element of C is summed in the same order whoever computes it.

use std::ops::Range;

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::kernels::{Loose, MicroKernel, Scale};
use super::operand::Operand;
use super::pack::{PackUnit, Packing, panel};
use super::words::Parts;

use crate::nn::tensor::{Mat, MatMut};
use crate::nn::workspace;

/// Units of k in a block. A panel of B of this depth stays in the first-level cache.
const UNITS: usize = 512;
/// Rows of A packed at once; they and the block of B stay in the last-level cache.
const ROWS: usize = 3072;
/// Columns of B packed at once.
const COLUMNS: usize = 3072;
/// Rows of a thread's tile, whose panels of A stay in the second-level cache.
const TILE_ROWS: usize = 192;
/// Units of B under a thread's tile, which stay in the second-level cache.
const TILE_UNITS: usize = 256 * UNITS;

/// One product, with its kernel chosen.
pub(super) struct Job<'a> {
    pub a: Operand<'a>,
    pub b: Operand<'a>,
    pub scale: Scale,
    pub epilogue: Epilogue<'a>,
    /// How values of A and B become units.
    pub parts: [Parts; 2],
    /// Whether to use other threads.
    pub parallel: bool,
}

/// Compute `job` into C `[m, n]`; no dimension is 0.
pub(super) fn run<U: PackUnit>(job: &Job<'_>, kernel: &MicroKernel<U>, mut c: MatMut<'_, f32>) {
    let (m, n, k) = (c.rows(), c.cols(), job.a.cols());
    // Values of k in a block: as many as give UNITS units, and whole blocks of rows made on demand.
    let depth = UNITS * UNITS / U::count(UNITS, job.parts[0]);
    let depth = depth.next_multiple_of(super::operand::COLUMN_ALIGNMENT);
    for columns in blocks(n, COLUMNS) {
        for ks in blocks(k, depth) {
            let units = U::count(ks.len(), job.parts[0]).next_multiple_of(kernel.depth);
            let (source, k_along_rows) = Packing::of_columns(&job.b);
            let (width, parts) = (kernel.nr, job.parts[1]);
            let lines = columns.clone();
            let b = Packing { source, k_along_rows, lines, ks: ks.clone(), width, depth: 1, units, parts };
            workspace::with(b.length(), |packed_b: &mut [U]| {
                pack(&b, packed_b, job.parallel);
                let beta = if ks.start == 0 { job.scale.beta } else { 1.0 };
                let scale = Scale { beta, ..job.scale };
                let epilogue = |row| (ks.end == k).then(|| job.epilogue.at(row, columns.start));
                if let Some(tile) = kernel.loose
                    && n <= kernel.nr
                    && let Some(a) = U::plain(&job.a, job.parts[0])
                {
                    let a = Left::Loose(a.sub(0..m, ks.clone()), tile);
                    let pass = Pass { kernel, units, a, b: packed_b, scale, epilogue: epilogue(0) };
                    pass.multiply(c.reborrow(), job.parallel);
                    return;
                }
                for rows in blocks(m, ROWS) {
                    let (source, k_along_rows) = Packing::of_rows(&job.a);
                    let (width, depth, parts) = (kernel.mr, kernel.depth, job.parts[0]);
                    let lines = rows.clone();
                    let a = Packing { source, k_along_rows, lines, ks: ks.clone(), width, depth, units, parts };
                    workspace::with(a.length(), |packed_a: &mut [U]| {
                        pack(&a, packed_a, job.parallel);
                        let block = c.sub_mut(rows.start, columns.start, rows.len(), columns.len());
                        let (a, epilogue) = (Left::Packed(packed_a), epilogue(rows.start));
                        let pass = Pass { kernel, units, a, b: packed_b, scale, epilogue };
                        pass.multiply(block, job.parallel);
                    });
                }
            });
        }
    }
}

/// Ranges of `step` that cover `0..end`.
fn blocks(end: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..end).step_by(step).map(move |start| start..(start + step).min(end))
}

fn pack<U: PackUnit>(packing: &Packing<'_>, out: &mut [U], parallel: bool) {
    let chunk = packing.panels_together() * packing.panel();
    if parallel && out.len() > chunk {
        out.par_chunks_mut(chunk).enumerate().for_each(|(i, out)| U::pack(&packing.chunk(i), out));
    } else {
        out.chunks_mut(chunk).enumerate().for_each(|(i, out)| U::pack(&packing.chunk(i), out));
    }
}

/// Where the rows of A are.
enum Left<'a, U: 'static> {
    Packed(&'a [U]),
    Loose(Mat<'a, U>, Loose<U>),
}

/// One pass over a block of C with packed panels.
struct Pass<'a, U: 'static> {
    kernel: &'a MicroKernel<U>,
    units: usize,
    a: Left<'a, U>,
    b: &'a [U],
    scale: Scale,
    /// What to do after the last pass.
    epilogue: Option<Epilogue<'a>>,
}

impl<U: PackUnit> Pass<'_, U> {
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

    /// Whole panels, at most the constants above, small enough to keep all threads busy to the end.
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

    /// The part of the block from (`row`, `column`) on, panel of A by panel of A.
    fn tile(&self, row: usize, column: usize, mut c: MatMut<'_, f32>) {
        let MicroKernel { mr, nr, .. } = *self.kernel;
        for rows in blocks(c.rows(), mr) {
            for columns in blocks(c.cols(), nr) {
                let b = &self.b[(column + columns.start) / nr * panel(nr, self.units)..];
                let tile = c.sub_mut(rows.start, columns.start, rows.len(), columns.len());
                match &self.a {
                    Left::Packed(a) => {
                        let a = &a[(row + rows.start) / mr * panel(mr, self.units)..];
                        (self.kernel.tile)(self.units, a, b, self.scale, tile);
                    }
                    Left::Loose(a, loose) => {
                        let (a, stride) = (a.sub(row + rows.start..a.rows(), 0..self.units), a.stride());
                        loose(self.units, a.data(), stride, b, self.scale, tile);
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
