//! Packing: converts parts of operands and interleaves them into the panels that micro-kernels
//! read.
//!
//! A is packed by rows and B by columns. Both are called *lines* here, because packing treats them
//! alike: a panel holds `width` lines, each with its units along k. If k runs along the stored
//! rows, packing transposes; else it copies.

use std::ops::Range;

use super::bf16_split::{self, Encoding};
use super::operand::{Operand, Source};
use crate::nn::simd::transpose::transpose;
use crate::nn::tensor::Mat;
use crate::nn::workspace::{self, Unit};

/// A part of an operand, and how to pack it.
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
    /// Consecutive units per line.
    pub depth: usize,
    /// Units per line, padding included.
    pub units: usize,
    /// How values become units.
    pub encoding: Encoding,
}

impl<'a> Packing<'a> {
    /// Returns the source of `op(A)`'s rows, and whether k runs along its stored rows.
    pub fn of_rows(operand: &Operand<'a>) -> (Source<'a>, bool) {
        (operand.source, !operand.transposed)
    }

    /// Returns the source of `op(B)`'s columns, and whether k runs along its stored rows.
    pub fn of_columns(operand: &Operand<'a>) -> (Source<'a>, bool) {
        (operand.source, operand.transposed)
    }

    /// Returns the units of all panels.
    pub fn length(&self) -> usize {
        self.lines.len().div_ceil(self.width) * self.panel()
    }

    /// Returns the units from one panel to the next.
    pub fn panel(&self) -> usize {
        panel(self.width, self.units)
    }

    /// Returns the panels packed per task, so that row sources are read in aligned ranges.
    pub fn panels_per_chunk(&self) -> usize {
        const LINES: usize = super::operand::COLUMN_ALIGNMENT;
        if self.k_along_rows {
            LINES.div_ceil(2 * self.width)
        } else if self.source.is_aligned() {
            // The smallest number of lines that ends both a panel and an aligned range.
            LINES / gcd(LINES, self.width)
        } else {
            // Long runs of each row, for paging and prefetching.
            (2 * LINES).div_ceil(self.width)
        }
    }

    /// Returns the part of this packing that fills chunk `chunk` of panels.
    pub fn chunk(&self, chunk: usize) -> Self {
        let lines = self.panels_per_chunk() * self.width;
        let start = self.lines.start + chunk * lines;
        let lines = start..(start + lines).min(self.lines.end);
        Self { lines, ks: self.ks.clone(), ..*self }
    }
}

/// Returns the units from one panel to the next: its size plus a cache line, because panels that
/// are a power of two apart would compete for the same cache sets.
pub(super) fn panel(width: usize, units: usize) -> usize {
    const LINE: usize = 16;
    width * units + LINE
}

/// Returns the greatest common divisor.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An element of packed panels.
pub(super) trait PackUnit: Unit {
    /// Returns the units along k for `ks` values.
    fn count(ks: usize, encoding: Encoding) -> usize;

    /// Returns the operand's stored rows, if packing would copy them unchanged.
    fn unpacked<'a>(operand: &Operand<'a>, encoding: Encoding) -> Option<Mat<'a, Self>>;

    /// Fills the panels of `packing`.
    fn pack(packing: &Packing<'_>, out: &mut [Self]);
}

impl PackUnit for f32 {
    fn count(ks: usize, _: Encoding) -> usize {
        ks
    }

    fn unpacked<'a>(operand: &Operand<'a>, encoding: Encoding) -> Option<Mat<'a, Self>> {
        match operand.source {
            Source::F32(matrix) if !operand.transposed && encoding == Encoding::Exact => Some(matrix),
            _ => None,
        }
    }

    fn pack(packing: &Packing<'_>, out: &mut [Self]) {
        let Packing { source, lines, ks, width, units, encoding, .. } = packing;
        let rounded = !matches!(encoding, Encoding::Exact);
        if packing.k_along_rows {
            transpose_lines(packing, rounded, out);
        } else {
            // Several stored rows at once, which together fill whole cache lines of the panels.
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
            bf16_split::round_to_bf16(out);
        }
    }
}

impl PackUnit for u32 {
    fn count(ks: usize, encoding: Encoding) -> usize {
        ks.div_ceil(2) * encoding.count()
    }

    fn unpacked<'a>(_: &Operand<'a>, _: Encoding) -> Option<Mat<'a, Self>> {
        None
    }

    fn pack(packing: &Packing<'_>, out: &mut [Self]) {
        let filled = Self::count(packing.ks.len(), packing.encoding);
        if packing.k_along_rows {
            pack_lines(packing, filled, out);
        } else {
            pack_columns(packing, filled, out);
        }
    }
}

/// Packs stored rows along k by transposing them into panels.
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

/// Packs pairs of neighbours within a stored row.
fn pack_lines(packing: &Packing<'_>, filled: usize, out: &mut [u32]) {
    let Packing { source, lines, ks, width, depth, units, encoding, .. } = packing;
    workspace::with(ks.len(), |values: &mut [f32]| {
        workspace::with(width * units, |rows: &mut [u32]| {
            for (panel, first) in out.chunks_exact_mut(packing.panel()).zip(lines.clone().step_by(*width)) {
                let count = (*width).min(lines.end - first);
                for (line, row) in (first..).zip(rows.chunks_exact_mut(*units)).take(count) {
                    if let (Source::Bf16(matrix), 1) = (source, encoding.count()) {
                        bf16_split::pair_bf16(&matrix.row(line)[ks.clone()], row);
                    } else {
                        bf16_split::pair(source.row(line, ks.clone(), values), *encoding, row);
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

/// Packs pairs of values from two consecutive stored rows.
fn pack_columns(packing: &Packing<'_>, filled: usize, out: &mut [u32]) {
    let Packing { source, lines, ks, width, depth, units, encoding, .. } = packing;
    let (width, depth, units, length) = (*width, *depth, *units, lines.len());
    let steps = filled / encoding.count();
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
                for (part, low) in encoding.low_halves().iter().enumerate() {
                    let row = &mut row[..length];
                    bf16_split::interleave(first, second, *low, row);
                    scatter(&[row], part * steps + unit, (width, units), out);
                }
            }
            for panel in out.chunks_exact_mut(packing.panel()) {
                let panel = &mut panel[..width * units];
                panel[filled * width..].fill(0);
                if depth > 1 {
                    // Transpose blocks of `depth` units by `width` lines in place.
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

/// Writes a few units of every line, starting at `unit`, to the panels `[units, width]`; pads
/// missing lines with 0.
fn scatter<U: Unit>(rows: &[&[U]], unit: usize, (width, units): (usize, usize), out: &mut [U]) {
    // Copies of constant length compile to a few moves instead of a call.
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

/// [`scatter`] for any width, starting with line `from`.
fn scatter_rest<U: Unit>(rows: &[&[U]], from: usize, unit: usize, (width, units): (usize, usize), out: &mut [U]) {
    for (unit, row) in (unit..).zip(rows) {
        for (values, panel) in row[from..].chunks(width).zip(out.chunks_exact_mut(panel(width, units))) {
            let (place, rest) = panel[unit * width..][..width].split_at_mut(values.len());
            place.copy_from_slice(values);
            rest.fill(U::default());
        }
    }
}
