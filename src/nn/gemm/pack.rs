//! Packing: parts of operands, converted and interleaved into the panels that micro-kernels read.
//!
//! A is packed by rows and B by columns; both are called *lines* here, since apart from the names packing is the same: a
//! panel holds `width` lines, and of each line the units along k. Where the matrix is stored with k along its rows a panel is
//! a transpose; where it is stored the other way, a copy.

use std::ops::Range;

use super::operand::{Operand, Source};
use super::words::{self, Parts};
use crate::nn::simd::transpose::transpose;
use crate::nn::tensor::Mat;
use crate::nn::workspace::{self, Unit};

/// A part of an operand to be packed, and how.
pub(super) struct Packing<'a> {
    pub source: Source<'a>,
    /// Whether k runs along the stored rows.
    pub k_along_rows: bool,
    /// Lines to pack.
    pub lines: Range<usize>,
    /// Part of k to pack.
    pub ks: Range<usize>,
    /// Lines in a panel.
    pub width: usize,
    /// Units of a line that lie together.
    pub depth: usize,
    /// Units of each line, padding included.
    pub units: usize,
    /// How values become units.
    pub parts: Parts,
}

impl<'a> Packing<'a> {
    /// `op(A)`'s rows.
    pub fn of_rows(operand: &Operand<'a>) -> (Source<'a>, bool) {
        (operand.source, !operand.transposed)
    }

    /// `op(B)`'s columns.
    pub fn of_columns(operand: &Operand<'a>) -> (Source<'a>, bool) {
        (operand.source, operand.transposed)
    }

    /// Units that all panels take.
    pub fn length(&self) -> usize {
        self.lines.len().div_ceil(self.width) * self.panel()
    }

    /// Units from one panel to the next.
    pub fn panel(&self) -> usize {
        panel(self.width, self.units)
    }

    /// Panels that are packed together, so that rows made on demand are asked for in whole blocks.
    pub fn panels_together(&self) -> usize {
        const LINES: usize = super::operand::COLUMN_ALIGNMENT;
        if self.k_along_rows {
            LINES.div_ceil(2 * self.width)
        } else if self.source.is_aligned() {
            // As many lines as end with a panel and with a block both.
            LINES / common_divisor(LINES, self.width)
        } else {
            // Long runs of each row, which pages and prefetching reward.
            (2 * LINES).div_ceil(self.width)
        }
    }

    /// The part of this packing that fills chunk `chunk` of panels.
    pub fn chunk(&self, chunk: usize) -> Self {
        let lines = self.panels_together() * self.width;
        let start = self.lines.start + chunk * lines;
        let lines = start..(start + lines).min(self.lines.end);
        Self { lines, ks: self.ks.clone(), ..*self }
    }
}

/// Units from one panel to the next: a cache line more than it holds, because panels a power of two apart would share
/// their places in the caches.
pub(super) fn panel(width: usize, units: usize) -> usize {
    const LINE: usize = 16;
    width * units + LINE
}

/// The largest number that divides both.
fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// A unit that panels can be packed into.
pub(super) trait PackUnit: Unit {
    /// Units along k for `ks` values.
    fn count(ks: usize, parts: Parts) -> usize;

    /// The operand's rows as they are stored, if that is what packing would copy.
    fn plain<'a>(operand: &Operand<'a>, parts: Parts) -> Option<Mat<'a, Self>>;

    /// Fill the panels of `packing`.
    fn pack(packing: &Packing<'_>, out: &mut [Self]);
}

impl PackUnit for f32 {
    fn count(ks: usize, _: Parts) -> usize {
        ks
    }

    fn plain<'a>(operand: &Operand<'a>, parts: Parts) -> Option<Mat<'a, Self>> {
        match operand.source {
            Source::F32(matrix) if !operand.transposed && parts == Parts::Exact => Some(matrix),
            _ => None,
        }
    }

    fn pack(packing: &Packing<'_>, out: &mut [Self]) {
        let Packing { source, lines, ks, width, units, parts, .. } = packing;
        let rounded = !matches!(parts, Parts::Exact);
        if packing.k_along_rows {
            transpose_lines(packing, rounded, out);
        } else {
            // A few stored rows at once, because they fill whole cache lines of the panels together.
            const ROWS: usize = 4;
            workspace::with(ROWS * lines.len(), |scratch: &mut [f32]| {
                for first in ks.clone().step_by(ROWS) {
                    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
                    let ks = first..(first + ROWS).min(ks.end);
                    for ((row, k), scratch) in rows.iter_mut().zip(ks.clone()).zip(scratch.chunks_mut(lines.len())) {
                        *row = source.row(k, lines.clone(), scratch);
                    }
                    scatter(&rows[..ks.len()], first - packing.ks.start, (*width, *units), out);
                }
            });
        }
        if rounded {
            words::round_to_bf16(out);
        }
    }
}

impl PackUnit for u32 {
    fn count(ks: usize, parts: Parts) -> usize {
        ks.div_ceil(2) * parts.count()
    }

    fn plain<'a>(_: &Operand<'a>, _: Parts) -> Option<Mat<'a, Self>> {
        None
    }

    fn pack(packing: &Packing<'_>, out: &mut [Self]) {
        let filled = Self::count(packing.ks.len(), packing.parts);
        if packing.k_along_rows {
            pack_lines(packing, filled, out);
        } else {
            pack_columns(packing, filled, out);
        }
    }
}

/// Rows of values along k, turned over into panels.
fn transpose_lines(packing: &Packing<'_>, rounded: bool, out: &mut [f32]) {
    let Packing { source, lines, ks, width, .. } = packing;
    workspace::with(width * ks.len(), |scratch: &mut [f32]| {
        for (panel, first) in out.chunks_exact_mut(packing.panel()).zip(lines.clone().step_by(*width)) {
            let count = (*width).min(lines.end - first);
            if count < *width {
                panel.fill(0.0);
            }
            if let (Source::F32(matrix), false) = (source, rounded) {
                let data = &matrix.data()[first * matrix.stride() + ks.start..];
                transpose(data, matrix.stride(), (count, ks.len()), panel, *width);
                continue;
            }
            for (line, scratch) in (first..).zip(scratch.chunks_exact_mut(ks.len())).take(count) {
                source.copy_row(line, ks.clone(), scratch);
            }
            transpose(scratch, ks.len(), (count, ks.len()), panel, *width);
        }
    });
}

/// Pairs of values that follow each other in a stored row.
fn pack_lines(packing: &Packing<'_>, filled: usize, out: &mut [u32]) {
    let Packing { source, lines, ks, width, depth, units, parts, .. } = packing;
    workspace::with(ks.len(), |values: &mut [f32]| {
        workspace::with(width * units, |rows: &mut [u32]| {
            for (panel, first) in out.chunks_exact_mut(packing.panel()).zip(lines.clone().step_by(*width)) {
                let count = (*width).min(lines.end - first);
                for (line, row) in (first..).zip(rows.chunks_exact_mut(*units)).take(count) {
                    if let (Source::Bf16(matrix), 1) = (source, parts.count()) {
                        words::pair_bf16(&matrix.row(line)[ks.clone()], row);
                    } else {
                        words::pair(source.row(line, ks.clone(), values), *parts, row);
                    }
                    row[filled..].fill(0);
                }
                rows[count * units..].fill(0);
                if *depth == 1 {
                    transpose(rows, *units, (*width, *units), panel, *width);
                } else {
                    for (line, row) in rows.chunks_exact(*units).enumerate() {
                        for (block, words) in row.chunks_exact(*depth).enumerate() {
                            panel[(block * width + line) * depth..][..*depth].copy_from_slice(words);
                        }
                    }
                }
            }
        });
    });
}

/// Pairs of values that lie below each other in two stored rows.
fn pack_columns(packing: &Packing<'_>, filled: usize, out: &mut [u32]) {
    let Packing { source, lines, ks, width, depth, units, parts, .. } = packing;
    let (width, depth, units, length) = (*width, *depth, *units, lines.len());
    let steps = filled / parts.count();
    workspace::with(2 * length, |values: &mut [f32]| {
        workspace::with(length.max(depth * width), |row: &mut [u32]| {
            let (upper, lower) = values.split_at_mut(length);
            for unit in 0..steps {
                let k = ks.start + 2 * unit;
                let first = source.row(k, lines.clone(), upper);
                let second = if k + 1 < ks.end {
                    source.row(k + 1, lines.clone(), lower)
                } else {
                    lower.fill(0.0);
                    &*lower
                };
                for (part, low) in parts.low_halves().iter().enumerate() {
                    let row = &mut row[..length];
                    words::interleave(first, second, *low, row);
                    scatter(&[row], part * steps + unit, (width, units), out);
                }
            }
            for panel in out.chunks_exact_mut(packing.panel()) {
                let panel = &mut panel[..width * units];
                panel[filled * width..].fill(0);
                if depth > 1 {
                    // Blocks of `depth` units by `width` lines are turned over in place.
                    for block in panel.chunks_exact_mut(depth * width) {
                        let copy = &mut row[..depth * width];
                        copy.copy_from_slice(block);
                        transpose(copy, width, (depth, width), block, depth);
                    }
                }
            }
        });
    });
}

/// Put a few units of every line, from `unit` on, into their places in the panels `[units, width]`; lines beyond the last
/// are 0.
fn scatter<U: Unit>(rows: &[&[U]], unit: usize, (width, units): (usize, usize), out: &mut [U]) {
    // Copies of a length known to the compiler are a few moves instead of a call.
    match width {
        32 => scatter_wide::<U, 32>(rows, unit, units, out),
        16 => scatter_wide::<U, 16>(rows, unit, units, out),
        12 => scatter_wide::<U, 12>(rows, unit, units, out),
        6 => scatter_wide::<U, 6>(rows, unit, units, out),
        _ => scatter_rest(rows, 0, unit, (width, units), out),
    }
}

fn scatter_wide<U: Unit, const WIDTH: usize>(rows: &[&[U]], unit: usize, units: usize, out: &mut [U]) {
    let lines = rows.first().map_or(0, |row| row.len());
    let mut panels = out.chunks_exact_mut(panel(WIDTH, units));
    for (index, panel) in panels.by_ref().take(lines / WIDTH).enumerate() {
        let places = &mut panel.as_chunks_mut::<WIDTH>().0[unit..];
        for (place, row) in places.iter_mut().zip(rows) {
            *place = row.as_chunks::<WIDTH>().0[index];
        }
    }
    if !lines.is_multiple_of(WIDTH) {
        let rest = panels.next().unwrap_or_default();
        scatter_rest(rows, lines / WIDTH * WIDTH, unit, (WIDTH, units), rest);
    }
}

/// [`scatter`] for any width, of the lines from `from` on.
fn scatter_rest<U: Unit>(rows: &[&[U]], from: usize, unit: usize, (width, units): (usize, usize), out: &mut [U]) {
    for (unit, row) in (unit..).zip(rows) {
        for (values, panel) in row[from..].chunks(width).zip(out.chunks_exact_mut(panel(width, units))) {
            let (place, rest) = panel[unit * width..][..width].split_at_mut(values.len());
            place.copy_from_slice(values);
            rest.fill(U::default());
        }
    }
}
