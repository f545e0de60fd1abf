//! Parallel loops over matrix rows, and row sums that are bit-identical for any number of threads.

use rayon::prelude::*;

use super::math;
use super::tensor::{Element, Mat, MatMut};
use super::workspace;

/// Elements per task; fewer do not repay the cost of a task.
const TASK: usize = 1 << 14;

/// Returns the rows per task, for rows of `cols` elements.
fn rows_in_task(cols: usize) -> usize {
    (TASK / cols.max(1)).max(1)
}

/// Runs `work` on every row of `out`.
pub(super) fn each<T: Send + Sync>(out: MatMut<'_, T>, work: impl Fn(usize, &mut [T]) + Sync) {
    let (rows, cols) = (rows_in_task(out.cols()), out.cols());
    out.tiles(rows, cols.max(1)).into_par_iter().enumerate().for_each(|(task, mut tile)| {
        for row in 0..tile.rows() {
            work(task * rows + row, tile.row_mut(row));
        }
    });
}

/// Runs `work` on every row of three matrices of the same shape.
pub(super) fn each_three<T: Send + Sync>(
    (first, second, third): (MatMut<'_, T>, MatMut<'_, T>, MatMut<'_, T>),
    work: impl Fn(usize, &mut [T], &mut [T], &mut [T]) + Sync,
) {
    let (rows, cols) = (rows_in_task(3 * first.cols()), first.cols().max(1));
    let fits = |other: &MatMut<'_, T>| other.rows() == first.rows() && other.cols() == first.cols();
    assert!(fits(&second) && fits(&third), "the matrices have the same shape");
    let others = second.tiles(rows, cols).into_par_iter().zip(third.tiles(rows, cols));
    first.tiles(rows, cols).into_par_iter().zip(others).enumerate().for_each(
        |(task, (mut first, (mut second, mut third)))| {
            for row in 0..first.rows() {
                work(task * rows + row, first.row_mut(row), second.row_mut(row), third.row_mut(row));
            }
        },
    );
}

/// Runs `work` on every row of `out` with the matching element of `each`.
pub(super) fn each_with<T: Send + Sync, U: Send + Sync>(
    out: MatMut<'_, T>,
    each: &mut [U],
    work: impl Fn(usize, &mut [T], &mut U) + Sync,
) {
    assert_eq!(out.rows(), each.len(), "one element per row");
    let (rows, cols) = (rows_in_task(out.cols()), out.cols());
    let parts = out.tiles(rows, cols.max(1)).into_par_iter().zip(each.par_chunks_mut(rows));
    parts.enumerate().for_each(|(task, (mut tile, each))| {
        for (row, element) in each.iter_mut().enumerate() {
            work(task * rows + row, tile.row_mut(row), element);
        }
    });
}

/// Adds a sum over rows to `sums`; `work` adds the contribution of one row to the buffer that it
/// gets.
///
/// Rows are summed in groups, whose size depends on the number of rows only, and groups are summed
/// in order.
pub(super) fn add_sums(rows: usize, sums: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    const GROUPS: usize = 64;
    const MIN_ROWS: usize = 32;
    let group = rows.div_ceil(GROUPS).max(MIN_ROWS);
    let mut partial = vec![0.0; rows.div_ceil(group) * sums.len()];
    if sums.is_empty() {
        return;
    }
    partial.par_chunks_mut(sums.len()).enumerate().for_each(|(task, partial)| {
        for row in task * group..((task + 1) * group).min(rows) {
            work(row, partial);
        }
    });
    for partial in partial.chunks(sums.len()) {
        math::add(sums, partial);
    }
}

/// Runs `work` with a row as `f32`.
pub(super) fn with_row<T: Element, R>(matrix: Mat<'_, T>, row: usize, work: impl FnOnce(&[f32]) -> R) -> R {
    workspace::with(matrix.cols(), |scratch: &mut [f32]| work(T::widened(matrix.row(row), scratch)))
}
