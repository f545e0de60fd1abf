//! Bias, activation and residual, applied to C while it is in the cache.

use crate::nn::activation::Activation;
use crate::nn::math::add;
use crate::nn::tensor::{Mat, MatMut};

/// `C = activation(C + bias) + residual`, each term optional.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Epilogue<'a> {
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
    pub residual: Option<Mat<'a, f32>>,
}

impl Epilogue<'_> {
    /// Returns the epilogue for the part of C that starts at (`row`, `column`).
    pub fn at(&self, row: usize, column: usize) -> Self {
        Self {
            bias: self.bias.map(|bias| &bias[column..]),
            residual: self.residual.map(|all| all.sub(row..all.rows(), column..all.cols())),
            activation: self.activation,
        }
    }

    /// Applies the epilogue to C, whose first element belongs to the first ones of bias and
    /// residual.
    pub fn apply(&self, mut c: MatMut<'_, f32>) {
        if self.bias.is_none() && self.activation.is_none() && self.residual.is_none() {
            return;
        }
        for i in 0..c.rows() {
            let row = c.row_mut(i);
            if let Some(bias) = self.bias {
                add(row, bias);
            }
            if let Some(activation) = self.activation {
                activation.apply(row);
            }
            if let Some(residual) = self.residual {
                add(row, residual.row(i));
            }
        }
    }
}
