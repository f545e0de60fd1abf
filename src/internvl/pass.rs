//! Applies linear layers with their adapters, norms and token tables, forward and backward.

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

/// Inputs per partial sum of an exact forward. Partial sums round less than one long sum; MM-PRM's
/// forward itself rounds its losses by up to 10⁻⁶, which leaves little margin to agree with it.
const PARTIAL_INPUTS: usize = 64;

/// Weights and precision of a pass through the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub weights: Weights<'a>,
    pub precision: Precision,
}

/// What the forward of a norm saves for the backward.
#[derive(Debug)]
pub(super) enum Scales {
    Rms(Vec<f32>),
    Layer { moments: Vec<Moments>, bias: usize },
}

impl Pass<'_> {
    pub fn gemm<'b>(&self) -> Gemm<'b> {
        Gemm::new().precision(self.precision)
    }

    /// Computes `y = x · Wᵀ + b + residual`, with bias and residual if given, and the adapter.
    fn product(&self, linear: Linear, x: Mat<'_, f32>, residual: Option<Mat<'_, f32>>, mut y: MatMut<'_, f32>) {
        let inputs = x.cols();
        let is_split = self.precision == Precision::Exact && self.weights.is_stored(linear.weight);
        let depth = if is_split { PARTIAL_INPUTS } else { inputs };
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

    /// Returns the input of the adapter of a matrix, after dropout.
    fn adapter_input<'b>(&self, linear: Linear, x: Mat<'b, f32>) -> Cow<'b, [f32]> {
        assert_eq!(x.stride(), x.cols(), "adapter inputs are dense");
        let values = &x.data()[..x.rows() * x.cols()];
        self.weights.dropout().map_or(values.into(), |dropout| dropout.applied(linear.weight, values, x.cols()))
    }

    /// Multiplies the input of an adapter by A, `[rows, rank]`.
    fn inner(&self, linear: Linear, adapter: Adapter, input: &[f32]) -> Vec<f32> {
        let x = matrix(input, self.weights.layout().tensors()[linear.weight].matrix().1);
        let mut inner = vec![0.0; x.rows() * adapter.rank];
        self.gemm().run(x, self.weights.operand(adapter.down).t(), matrix_mut(&mut inner, adapter.rank));
        inner
    }

    /// Returns the gradient of [`Pass::inner`], given that of the layer's output.
    fn inner_gradient(&self, adapter: Adapter, d_y: Mat<'_, f32>) -> Vec<f32> {
        let mut d_inner = vec![0.0; d_y.rows() * adapter.rank];
        let product = self.gemm().alpha(adapter.scale);
        product.run(d_y, self.weights.operand(adapter.up), matrix_mut(&mut d_inner, adapter.rank));
        d_inner
    }

    /// Computes `y = x · Wᵀ + b`.
    pub fn linear_into(&self, linear: Linear, x: Mat<'_, f32>, y: MatMut<'_, f32>) {
        self.product(linear, x, None, y);
    }

    /// Returns `x · Wᵀ + b`.
    pub fn linear(&self, linear: Linear, x: Mat<'_, f32>) -> Vec<f32> {
        let mut y = workspace::take(x.rows() * linear.outputs);
        self.linear_into(linear, x, MatMut::new(&mut y, x.rows(), linear.outputs));
        y
    }

    /// Returns `stream + x · Wᵀ + b`.
    pub fn linear_residual(&self, linear: Linear, x: Mat<'_, f32>, stream: Mat<'_, f32>) -> Vec<f32> {
        let mut y = workspace::take(x.rows() * linear.outputs);
        let y_matrix = MatMut::new(&mut y, x.rows(), linear.outputs);
        self.product(linear, x, Some(stream), y_matrix);
        y
    }

    /// Computes `d_x = d_y · W`, or with `add` `d_x += d_y · W`, and the adapter's share.
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

    /// Adds the gradients of weight, bias and adapter, if trained: `d_W += d_yᵀ · x`,
    /// `d_A += d_innerᵀ · x`, `d_B += scale · d_yᵀ · inner`.
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

    /// Returns the norm of x, and what its backward needs.
    pub fn norm(&self, norm: Norm, x: Mat<'_, f32>) -> (Vec<f32>, Scales) {
        let mut y = workspace::take(x.rows() * x.cols());
        let scales = self.norm_into(norm, x, MatMut::new(&mut y, x.rows(), x.cols()));
        (y, scales)
    }

    /// Computes the norm of x into y; returns what its backward needs.
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

    /// Adds the gradient of x to `d_x`, and those of the norm's parameters if trained.
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

/// A token table `[vocabulary, width]`: the embedding or the head, as indices of tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenTable<'a> {
    weight: usize,
    /// Tokens with trained rows, and the tensor of these rows.
    trained: Option<(&'a [u32], usize)>,
}

impl Language {
    pub fn embedding_table(&self) -> TokenTable<'_> {
        let trained = self.rows.as_ref().map(|rows| (rows.tokens.as_slice(), rows.embedding));
        TokenTable { weight: self.embedding, trained }
    }

    pub fn head_table(&self) -> TokenTable<'_> {
        let trained = self.rows.as_ref().map(|rows| (rows.tokens.as_slice(), rows.head));
        TokenTable { weight: self.head, trained }
    }
}

/// Returns the index of a token's trained row, if it has one.
fn trained_row(tokens: &[u32], token: u32) -> Option<usize> {
    tokens.binary_search(&token).ok()
}

impl Pass<'_> {
    /// Copies the rows of tokens to `out` `[tokens, width]`.
    pub fn gather_rows(&self, table: TokenTable<'_>, tokens: &[u32], mut out: MatMut<'_, f32>) {
        self.weights.gather(table.weight, tokens, out.reborrow());
        let Some((trained, rows)) = table.trained else { return };
        for (row, token) in tokens.iter().enumerate() {
            if let Some(place) = trained_row(trained, *token) {
                let out = out.sub_mut(row, 0, 1, out.cols());
                self.weights.gather(rows, &[place as u32], out);
            }
        }
    }

    /// Adds the gradients of the rows of tokens, if trained.
    pub fn gather_rows_backward(
        table: TokenTable<'_>,
        tokens: &[u32],
        d_rows: Mat<'_, f32>,
        gradients: &mut Gradients,
    ) {
        let width = d_rows.cols();
        let Some((trained, rows)) = table.trained else {
            if let Some(d_table) = gradients.get_mut(table.weight) {
                embedding::scatter_add(tokens, d_rows, matrix_mut(d_table, width));
            }
            return;
        };
        for (row, token) in tokens.iter().enumerate() {
            let (tensor, table_row) =
                trained_row(trained, *token).map_or((table.weight, *token as usize), |place| (rows, place));
            if let Some(gradient) = gradients.get_mut(tensor) {
                math::add(&mut gradient[table_row * width..][..width], d_rows.row(row));
            }
        }
    }

    /// Computes logits `[rows of x, vocabulary]`, `x · tableᵀ`.
    pub fn logits(&self, table: TokenTable<'_>, x: Mat<'_, f32>, mut logits: MatMut<'_, f32>) {
        self.gemm().run(x, self.weights.operand(table.weight).t(), logits.reborrow());
        let Some((trained, rows)) = table.trained else { return };
        let mut trained_logits = vec![0.0; x.rows() * trained.len()];
        self.gemm().run(x, self.weights.operand(rows).t(), matrix_mut(&mut trained_logits, trained.len()));
        for (row, trained_logits) in trained_logits.chunks_exact(trained.len()).enumerate() {
            let logits = logits.row_mut(row);
            trained
                .iter()
                .zip(trained_logits)
                .for_each(|(token, trained_logits)| logits[*token as usize] = *trained_logits);
        }
    }

    /// Turns the gradient of logits, which is overwritten, into that of x, written to `d_x`; adds
    /// that of the table if trained.
    pub fn logits_gradient(
        &self,
        table: TokenTable<'_>,
        x: Mat<'_, f32>,
        d_logits: &mut [f32],
        mut d_x: MatMut<'_, f32>,
        gradients: &mut Gradients,
    ) {
        let vocabulary = d_logits.len() / x.rows();
        let mut d_trained = Vec::new();
        if let Some((trained, _)) = table.trained {
            for d_logits in d_logits.chunks_exact_mut(vocabulary) {
                d_trained.extend(trained.iter().map(|token| std::mem::take(&mut d_logits[*token as usize])));
            }
        }
        let d_logits = matrix(d_logits, vocabulary);
        self.gemm().run(d_logits, self.weights.operand(table.weight), d_x.reborrow());
        if let Some(d_table) = gradients.get_mut(table.weight) {
            let d_table = matrix_mut(d_table, x.cols());
            self.gemm().accumulate().run(Operand::from(d_logits).t(), x, d_table);
        }
        let Some((trained, rows)) = table.trained else { return };
        let d_trained = matrix(&d_trained, trained.len());
        self.gemm().accumulate().run(d_trained, self.weights.operand(rows), d_x);
        if let Some(d_rows) = gradients.get_mut(rows) {
            self.gemm().accumulate().run(Operand::from(d_trained).t(), x, matrix_mut(d_rows, x.cols()));
        }
    }
}

/// Views a buffer as a matrix of `cols` columns.
pub(super) fn matrix(values: &[f32], cols: usize) -> Mat<'_, f32> {
    Mat::new(values, values.len() / cols, cols)
}

/// Views a buffer as a matrix of `cols` columns, for writing.
pub(super) fn matrix_mut(values: &mut [f32], cols: usize) -> MatMut<'_, f32> {
    let rows = values.len() / cols;
    MatMut::new(values, rows, cols)
}

/// Returns the activation of x.
pub(super) fn activate(activation: Activation, x: Mat<'_, f32>) -> Vec<f32> {
    let mut out = vec![0.0; x.rows() * x.cols()];
    activation.forward(x, matrix_mut(&mut out, x.cols()));
    out
}
