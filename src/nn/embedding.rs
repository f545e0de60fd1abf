//! Embedding tables: gathers rows for tokens, and scatters gradients back to them.
//!
//! ```
//! use mmprm::nn::embedding::{gather, scatter_add};
//! use mmprm::nn::tensor::{Mat, MatMut};
//! let table = [1.0f32, 2.0, 3.0, 4.0]; // 2 tokens of width 2
//! let mut out = [0.0; 6];
//! gather(Mat::new(&table, 2, 2), &[1, 0, 1], MatMut::new(&mut out, 3, 2));
//! assert_eq!(out, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
//! let mut gradient = [0.0; 4];
//! scatter_add(&[1, 0, 1], Mat::new(&out, 3, 2), MatMut::new(&mut gradient, 2, 2));
//! assert_eq!(gradient, [1.0, 2.0, 6.0, 8.0]);
//! ```

use rayon::prelude::*;

use super::math;
use super::rows;
use super::tensor::{Element, Mat, MatMut};

/// Computes `out[i] = table[indices[i]]`: `table` `[vocabulary, width]`, `out`
/// `[indices.len(), width]`.
///
/// # Panics
/// If an index is out of bounds, or the shapes do not match.
pub fn gather<T: Element>(table: Mat<'_, T>, indices: &[u32], out: MatMut<'_, f32>) {
    assert!(out.rows() == indices.len() && out.cols() == table.cols(), "one row per index, as wide as the table");
    rows::each(out, |i, out| T::widen(table.row(indices[i] as usize), out));
}

/// Computes `table[indices[i]] += d_out[i]`: `d_out` `[indices.len(), width]`, `table`
/// `[vocabulary, width]`.
///
/// # Panics
/// If an index is out of bounds, or the shapes do not match.
pub fn scatter_add(indices: &[u32], d_out: Mat<'_, f32>, table: MatMut<'_, f32>) {
    /// Columns of a task. Work is split by columns, not by indices, because an index may occur
    /// several times.
    const COLUMNS: usize = 128;
    assert!(d_out.rows() == indices.len() && d_out.cols() == table.cols(), "one row per index, as wide as the table");
    let rows = table.rows().max(1);
    table.tiles(rows, COLUMNS).into_par_iter().enumerate().for_each(|(task, mut table)| {
        let columns = task * COLUMNS..task * COLUMNS + table.cols();
        for (i, index) in indices.iter().enumerate() {
            math::add(table.row_mut(*index as usize), &d_out.row(i)[columns.clone()]);
        }
    });
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::nn::testing::Random;

    #[test]
    fn repeated_indices_add_their_gradients_in_order() {
        let mut random = Random::new(61);
        let (vocabulary, width, count) = (11, 300, 50);
        let indices: Vec<u32> = (0..count).map(|_| random.below(vocabulary) as u32).collect();
        let d_out = random.normals(count * width);
        let mut table = vec![0.25; vocabulary * width];
        let mut expected = table.clone();
        scatter_add(&indices, Mat::new(&d_out, count, width), MatMut::new(&mut table, vocabulary, width));
        for (i, index) in indices.iter().enumerate() {
            for col in 0..width {
                expected[*index as usize * width + col] += d_out[i * width + col];
            }
        }
        assert_eq!(table, expected);
    }

    #[test]
    fn half_precision_tables_are_widened() {
        let table = [0.5, -2.0, 7.0].map(f16::from_f32);
        let mut out = [0.0; 2];
        gather(Mat::new(&table, 3, 1), &[2, 0], MatMut::new(&mut out, 2, 1));
        assert_eq!(out, [7.0, 0.5]);
    }
}
