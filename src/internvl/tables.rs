//! Tables with a row for each token, embedding and head, some of whose rows may be replaced by others that are trained.

use super::layout::Language;
use super::linear::{Pass, matrix, matrix_mut};
use super::trainable::Gradients;
use crate::nn::embedding;
use crate::nn::gemm::Operand;
use crate::nn::math;
use crate::nn::tensor::{Mat, MatMut};

/// A table `[vocabulary, width]`, as numbers of tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    weight: usize,
    /// The tokens with rows of their own, and the tensor of those.
    rows: Option<(&'a [u32], usize)>,
}

impl Language {
    pub fn embedding_table(&self) -> Table<'_> {
        let rows = self.rows.as_ref().map(|rows| (rows.tokens.as_slice(), rows.embedding));
        Table { weight: self.embedding, rows }
    }

    pub fn head_table(&self) -> Table<'_> {
        let rows = self.rows.as_ref().map(|rows| (rows.tokens.as_slice(), rows.head));
        Table { weight: self.head, rows }
    }
}

/// Where a token's row is among the replaced ones.
fn place(tokens: &[u32], token: u32) -> Option<usize> {
    tokens.binary_search(&token).ok()
}

impl Pass<'_> {
    /// The rows of tokens: `out` `[tokens, width]`.
    pub fn rows(&self, table: Table<'_>, tokens: &[u32], mut out: MatMut<'_, f32>) {
        self.weights.gather(table.weight, tokens, out.reborrow());
        let Some((new, rows)) = table.rows else { return };
        for (row, token) in tokens.iter().enumerate() {
            if let Some(place) = place(new, *token) {
                let last = out.sub_mut(row, 0, 1, out.cols());
                self.weights.gather(rows, &[place as u32], last);
            }
        }
    }

    /// Adds the gradients of rows that were taken, where they are trained.
    pub fn rows_gradient(table: Table<'_>, tokens: &[u32], d_rows: Mat<'_, f32>, gradients: &mut Gradients) {
        let width = d_rows.cols();
        let Some((new, rows)) = table.rows else {
            if let Some(d_table) = gradients.get_mut(table.weight) {
                embedding::scatter_add(tokens, d_rows, matrix_mut(d_table, width));
            }
            return;
        };
        for (row, token) in tokens.iter().enumerate() {
            let (tensor, row_there) = place(new, *token).map_or((table.weight, *token as usize), |place| (rows, place));
            if let Some(gradient) = gradients.get_mut(tensor) {
                math::add(&mut gradient[row_there * width..][..width], d_rows.row(row));
            }
        }
    }

    /// `x · tableᵀ`: logits `[rows of x, vocabulary]`.
    pub fn logits(&self, table: Table<'_>, x: Mat<'_, f32>, mut logits: MatMut<'_, f32>) {
        self.gemm().run(x, self.weights.operand(table.weight).t(), logits.reborrow());
        let Some((new, rows)) = table.rows else { return };
        let mut own = vec![0.0; x.rows() * new.len()];
        self.gemm().run(x, self.weights.operand(rows).t(), matrix_mut(&mut own, new.len()));
        for (row, own) in own.chunks_exact(new.len()).enumerate() {
            let logits = logits.row_mut(row);
            new.iter().zip(own).for_each(|(token, own)| logits[*token as usize] = *own);
        }
    }

    /// From the gradient of logits, which is spoilt, that of x, written to `d_x`, and those of the table where it is trained.
    pub fn logits_gradient(
        &self,
        table: Table<'_>,
        x: Mat<'_, f32>,
        d_logits: &mut [f32],
        mut d_x: MatMut<'_, f32>,
        gradients: &mut Gradients,
    ) {
        let vocabulary = d_logits.len() / x.rows();
        let mut own = Vec::new();
        if let Some((new, _)) = table.rows {
            for d_logits in d_logits.chunks_exact_mut(vocabulary) {
                own.extend(new.iter().map(|token| std::mem::take(&mut d_logits[*token as usize])));
            }
        }
        let d_logits = matrix(d_logits, vocabulary);
        self.gemm().run(d_logits, self.weights.operand(table.weight), d_x.reborrow());
        if let Some(d_table) = gradients.get_mut(table.weight) {
            let d_table = matrix_mut(d_table, x.cols());
            self.gemm().accumulate().run(Operand::from(d_logits).t(), x, d_table);
        }
        let Some((new, rows)) = table.rows else { return };
        let own = matrix(&own, new.len());
        self.gemm().accumulate().run(own, self.weights.operand(rows), d_x);
        if let Some(d_rows) = gradients.get_mut(rows) {
            self.gemm().accumulate().run(Operand::from(own).t(), x, matrix_mut(d_rows, x.cols()));
        }
    }
}
