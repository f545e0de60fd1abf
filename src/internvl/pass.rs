//! One pass through the model: how its matrices and norms are applied, forward and backward.

use std::borrow::Cow;

use super::layout::{Adapter, Language, Linear, Norm};
use super::parameters::Weights;
use super::trainable::Gradients;
use crate::nn::activation::Activation;
use crate::nn::columns::add_bias_gradient;
use crate::nn::embedding;
use crate::nn::gemm::{Gemm, Operand, Precision};
use crate::nn::math;
use crate::nn::norm::{LayerNorm, Moments, RmsNorm};
use crate::nn::tensor::{Mat, MatMut};
use crate::nn::workspace;

/// Inputs that an exact forward sums at once. Sums of sums round less than one long sum, and the reference's own forward
/// rounds its losses by up to 10⁻⁶, so that there is little room beside it.
const DEPTH: usize = 64;

/// What every layer of a pass uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub weights: Weights<'a>,
    pub precision: Precision,
}

/// What a norm leaves for its backward.
#[derive(Debug)]
pub(super) enum Scales {
    Rms(Vec<f32>),
    Layer { moments: Vec<Moments>, bias: usize },
}

impl Pass<'_> {
    pub fn gemm<'b>(&self) -> Gemm<'b> {
        Gemm::new().precision(self.precision)
    }

    /// `y = x · Wᵀ + b + residual`, the last two if there are such.
    fn product(&self, linear: Linear, x: Mat<'_, f32>, residual: Option<Mat<'_, f32>>, mut y: MatMut<'_, f32>) {
        let inputs = x.cols();
        let cut = self.precision == Precision::Exact && self.weights.is_stored(linear.weight);
        let depth = if cut { DEPTH } else { inputs };
        for start in (0..inputs).step_by(depth) {
            let part = start..(start + depth).min(inputs);
            let mut product = if start > 0 { self.gemm().accumulate() } else { self.gemm() };
            if part.end == inputs {
                product = linear.bias.map_or(product, |bias| product.bias(self.weights.vector(bias)));
                product = residual.map_or(product, |residual| product.residual(residual));
            }
            let weight = self.weights.columns(linear.weight, part.clone());
            product.run(x.sub(0..x.rows(), part), weight.t(), y.reborrow());
        }
        if let Some(adapter) = linear.adapter {
            let inner = self.inner(linear, adapter, &self.adapter_input(linear, x));
            let up = self.weights.operand(adapter.up).t();
            self.gemm().alpha(adapter.scale).accumulate().run(matrix(&inner, adapter.rank), up, y);
        }
    }

    /// What goes into the adapter of a matrix.
    fn adapter_input<'b>(&self, linear: Linear, x: Mat<'b, f32>) -> Cow<'b, [f32]> {
        assert_eq!(x.stride(), x.cols(), "streams are dense");
        let values = &x.data()[..x.rows() * x.cols()];
        self.weights.dropout().map_or(values.into(), |dropout| dropout.applied(linear.weight, values, x.cols()))
    }

    /// What an adapter's first matrix makes of that, `[rows, rank]`.
    fn inner(&self, linear: Linear, adapter: Adapter, dropped: &[f32]) -> Vec<f32> {
        let x = matrix(dropped, self.weights.layout().tensors()[linear.weight].matrix().1);
        let mut inner = vec![0.0; x.rows() * adapter.rank];
        self.gemm().run(x, self.weights.operand(adapter.down).t(), matrix_mut(&mut inner, adapter.rank));
        inner
    }

    /// The gradient of that from the gradient of the matrix's output.
    fn inner_gradient(&self, adapter: Adapter, d_y: Mat<'_, f32>) -> Vec<f32> {
        let mut d_inner = vec![0.0; d_y.rows() * adapter.rank];
        let product = self.gemm().alpha(adapter.scale);
        product.run(d_y, self.weights.operand(adapter.up), matrix_mut(&mut d_inner, adapter.rank));
        d_inner
    }

    /// `y = x · Wᵀ + b`
    pub fn linear_into(&self, linear: Linear, x: Mat<'_, f32>, y: MatMut<'_, f32>) {
        self.product(linear, x, None, y);
    }

    /// `x · Wᵀ + b` in a new buffer.
    pub fn linear(&self, linear: Linear, x: Mat<'_, f32>) -> Vec<f32> {
        let mut y = workspace::take(x.rows() * linear.outputs);
        self.linear_into(linear, x, MatMut::new(&mut y, x.rows(), linear.outputs));
        y
    }

    /// `stream + x · Wᵀ + b` in a new buffer.
    pub fn linear_residual(&self, linear: Linear, x: Mat<'_, f32>, stream: Mat<'_, f32>) -> Vec<f32> {
        let mut y = workspace::take(x.rows() * linear.outputs);
        let y_matrix = MatMut::new(&mut y, x.rows(), linear.outputs);
        self.product(linear, x, Some(stream), y_matrix);
        y
    }

    /// `d_x = d_y · W`, or `d_x += d_y · W`.
    pub fn input_gradient(&self, linear: Linear, d_y: Mat<'_, f32>, mut d_x: MatMut<'_, f32>, add: bool) {
        let product = if add { self.gemm().accumulate() } else { self.gemm() };
        product.run(d_y, self.weights.operand(linear.weight), d_x.reborrow());
        let Some(adapter) = linear.adapter else { return };
        let d_inner = self.inner_gradient(adapter, d_y);
        let (d_inner, down) = (matrix(&d_inner, adapter.rank), self.weights.operand(adapter.down));
        let Some(dropout) = self.weights.dropout() else {
            self.gemm().accumulate().run(d_inner, down, d_x);
            return;
        };
        let mut d_dropped = vec![0.0; d_x.rows() * d_x.cols()];
        self.gemm().run(d_inner, down, matrix_mut(&mut d_dropped, d_x.cols()));
        dropout.apply(linear.weight, &mut d_dropped, d_x.cols());
        for (row, d_dropped) in d_dropped.chunks_exact(d_x.cols()).enumerate() {
            math::add(d_x.row_mut(row), d_dropped);
        }
    }

    /// Gradients of weight, bias and adapter, where they are trained: `d_W += d_yᵀ · x`, `d_A += d_innerᵀ · x`,
    /// `d_B += scale · d_yᵀ · inner`.
    pub fn weight_gradient(&self, linear: Linear, x: Mat<'_, f32>, d_y: Mat<'_, f32>, gradients: &mut Gradients) {
        if let Some(d_weight) = gradients.get_mut(linear.weight) {
            let d_weight = MatMut::new(d_weight, linear.outputs, x.cols());
            self.gemm().accumulate().run(Operand::from(d_y).t(), x, d_weight);
        }
        if let Some(d_bias) = linear.bias.and_then(|bias| gradients.get_mut(bias)) {
            add_bias_gradient(d_y, d_bias);
        }
        let Some(adapter) = linear.adapter else { return };
        let dropped = self.adapter_input(linear, x);
        if let Some(d_down) = gradients.get_mut(adapter.down) {
            let d_inner = self.inner_gradient(adapter, d_y);
            let d_inner = Operand::from(matrix(&d_inner, adapter.rank)).t();
            self.gemm().accumulate().run(d_inner, matrix(&dropped, x.cols()), matrix_mut(d_down, x.cols()));
        }
        if let Some(d_up) = gradients.get_mut(adapter.up) {
            let inner = self.inner(linear, adapter, &dropped);
            let product = self.gemm().alpha(adapter.scale).accumulate();
            product.run(Operand::from(d_y).t(), matrix(&inner, adapter.rank), matrix_mut(d_up, adapter.rank));
        }
    }

    /// The norm of x in a new buffer, and what its backward needs.
    pub fn norm(&self, norm: Norm, x: Mat<'_, f32>) -> (Vec<f32>, Scales) {
        let mut y = workspace::take(x.rows() * x.cols());
        let scales = self.norm_into(norm, x, MatMut::new(&mut y, x.rows(), x.cols()));
        (y, scales)
    }

    /// The norm of x, and what its backward needs.
    pub fn norm_into(&self, norm: Norm, x: Mat<'_, f32>, y: MatMut<'_, f32>) -> Scales {
        let weight = self.weights.vector(norm.weight);
        if let Some(bias) = norm.bias {
            let mut moments = vec![Moments::default(); x.rows()];
            let layer = LayerNorm { weight, bias: self.weights.vector(bias), epsilon: norm.epsilon };
            layer.forward(x, y, &mut moments);
            Scales::Layer { moments, bias }
        } else {
            let mut scales = vec![0.0; x.rows()];
            RmsNorm { weight, epsilon: norm.epsilon }.forward(x, y, &mut scales);
            Scales::Rms(scales)
        }
    }

    /// Add the gradient of x to `d_x`, and those of the norm's parameters where they are trained.
    pub fn norm_backward(
        &self,
        norm: Norm,
        x: Mat<'_, f32>,
        scales: &Scales,
        d_y: Mat<'_, f32>,
        d_x: MatMut<'_, f32>,
        gradients: &mut Gradients,
    ) {
        let weight = self.weights.vector(norm.weight);
        match scales {
            Scales::Layer { moments, bias } => {
                let layer = LayerNorm { weight, bias: self.weights.vector(*bias), epsilon: norm.epsilon };
                gradients.with_pair(norm.weight, *bias, |pair| layer.backward(x, moments, d_y, d_x, pair));
            }
            Scales::Rms(scales) => {
                let rms = RmsNorm { weight, epsilon: norm.epsilon };
                rms.backward(x, scales, d_y, d_x, gradients.get_mut(norm.weight));
            }
        }
    }
}

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
    pub fn gather_rows(&self, table: Table<'_>, tokens: &[u32], mut out: MatMut<'_, f32>) {
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
    pub fn gather_rows_backward(table: Table<'_>, tokens: &[u32], d_rows: Mat<'_, f32>, gradients: &mut Gradients) {
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

/// A matrix over a buffer of `cols` columns.
pub(super) fn matrix(values: &[f32], cols: usize) -> Mat<'_, f32> {
    Mat::new(values, values.len() / cols, cols)
}

/// A matrix over a buffer of `cols` columns, to write.
pub(super) fn matrix_mut(values: &mut [f32], cols: usize) -> MatMut<'_, f32> {
    let rows = values.len() / cols;
    MatMut::new(values, rows, cols)
}

/// The activation of x in a new buffer.
pub(super) fn activate(activation: Activation, x: Mat<'_, f32>) -> Vec<f32> {
    let mut out = vec![0.0; x.rows() * x.cols()];
    activation.forward(x, matrix_mut(&mut out, x.cols()));
    out
}
