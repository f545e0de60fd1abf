//! What is done to C while it is still in the cache: bias, activation, residual.

use crate::nn::activation::Activation;
use crate::nn::math::add;
use crate::nn::tensor::{Mat, MatMut};

/// `C = activation(C + bias) + residual`, each part optional.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Epilogue<'a> {
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
    pub residual: Option<Mat<'a, f32>>,
}

impl Epilogue<'_> {
    /// The same for the part of C from (`row`, `column`) on.
    pub fn at(&self, row: usize, column: usize) -> Self {
        Self {
            bias: self.bias.map(|bias| &bias[column..]),
            residual: self.residual.map(|all| all.sub(row..all.rows(), column..all.cols())),
            activation: self.activation,
        }
    }

    /// Apply to C, whose first element is the one that bias and residual begin with.
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
