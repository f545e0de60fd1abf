//! The vision tower, `InternViT`, forward and backward: pixel values of tiles to features.

use rayon::prelude::*;

use super::blocks::{self, Block, SaveMode, SavedBlocks};
use super::config::VisionConfig;
use super::layout::{Linear, Vision, VisionBlock};
use super::pass::{Pass, Scales, activate, matrix, matrix_mut};
use super::trainable::Gradients;
use crate::nn::activation::Activation;
use crate::nn::attention::{Attention, Heads, Mask, SavedAttention, Segments};
use crate::nn::columns::{layer_scale, layer_scale_backward};
use crate::nn::gemm::Precision;
use crate::nn::pixel_shuffle::PixelShuffle;
use crate::nn::simd::vectorised;
use crate::nn::tensor::{Mat, MatMut};

/// The vision tower on some tiles.
#[derive(Clone, Copy)]
pub(super) struct VisionTower<'a> {
    pub pass: Pass<'a>,
    pub tensors: &'a Vision,
    pub config: &'a VisionConfig,
    /// One segment per tile.
    pub segments: &'a Segments,
}

/// Activations saved for the backward.
pub(super) struct SavedTower {
    layers: SavedBlocks<SavedLayer>,
}

impl<'a> VisionTower<'a> {
    /// Creates one segment per tile.
    pub fn segments(config: &VisionConfig, tiles: usize) -> Segments {
        Segments::plain(&vec![config.tokens(); tiles], Mask::Full)
    }

    /// Returns the blocks.
    pub fn blocks(&self) -> Vec<VisionLayer<'a>> {
        let VisionConfig { hidden, heads, .. } = *self.config;
        let heads = Heads { query: heads, key: heads, dim: hidden / heads };
        let layer = |tensors| VisionLayer { pass: self.pass, tensors, width: hidden, heads, segments: self.segments };
        self.tensors.blocks.iter().map(layer).collect()
    }

    fn shuffle(&self) -> PixelShuffle {
        PixelShuffle { side: self.config.side(), factor: self.config.shuffle, leading: 1 }
    }

    /// Embeds pixel values `[tiles, 3, side, side]` as the residual stream before the blocks,
    /// `[tiles · tokens, width]`.
    pub fn embed(&self, pixels: &[f32]) -> Vec<f32> {
        let config = self.config;
        let width = config.hidden;
        let embedded = if self.pass.precision == Precision::Exact {
            convolve_patches(&self.pass, self.tensors.patch, config, pixels)
        } else {
            let patches = patch_rows(config, pixels);
            self.pass.linear(self.tensors.patch, matrix(&patches, 3 * config.patch * config.patch))
        };
        let class = self.pass.weights.vector(self.tensors.class);
        let position = self.pass.weights.vector(self.tensors.position);
        let mut stream = Vec::with_capacity(pixels.len() / config.pixels() * position.len());
        for tile in embedded.chunks_exact((config.tokens() - 1) * width) {
            let tokens = class.iter().chain(tile);
            stream.extend(tokens.zip(position).map(|(token, position)| token + position));
        }
        stream
    }

    /// Runs the blocks; returns the residual stream after them and what is saved.
    pub fn forward(&self, pixels: &[f32], mode: SaveMode) -> (Vec<f32>, SavedTower) {
        let (stream, layers) = blocks::forward(&self.blocks(), self.embed(pixels), mode, 0);
        (stream, SavedTower { layers })
    }

    /// Runs the blocks for inference; returns the residual stream after them.
    pub fn run(&self, pixels: &[f32]) -> Vec<f32> {
        let mut stream = self.embed(pixels);
        let mut buffers = Buffers::new(self.config, self.segments.tokens());
        self.blocks().iter().for_each(|block| block.advance(&mut stream, &mut buffers));
        stream
    }

    /// Shuffles the residual stream after the blocks to features
    /// `[tiles · tokens per tile, features]`.
    pub fn features(&self, stream: &[f32]) -> Vec<f32> {
        let config = self.config;
        let stream = matrix(stream, config.hidden);
        let rows = stream.rows() / config.tokens() * config.tokens_per_tile();
        let mut out = vec![0.0; rows * config.features()];
        self.shuffle().forward(stream, MatMut::new(&mut out, rows, config.features()));
        out
    }

    /// Adds the gradients of the tower's tensors, given that of the features.
    pub fn backward(&self, saved: SavedTower, pixels: &[f32], d_features: &[f32], gradients: &mut Gradients) {
        let config = self.config;
        let width = config.hidden;
        let mut d_stream = vec![0.0; self.segments.tokens() * width];
        self.shuffle().backward(matrix(d_features, self.config.features()), matrix_mut(&mut d_stream, width));
        let d_stream = blocks::backward(&self.blocks(), saved.layers, d_stream, gradients);
        let mut d_patches = Vec::with_capacity(d_stream.len());
        for tile in d_stream.chunks_exact(config.tokens() * width) {
            if let Some(d_class) = gradients.get_mut(self.tensors.class) {
                d_class.iter_mut().zip(tile).for_each(|(sum, d)| *sum += d);
            }
            if let Some(d_position) = gradients.get_mut(self.tensors.position) {
                d_position.iter_mut().zip(tile).for_each(|(sum, d)| *sum += d);
            }
            d_patches.extend_from_slice(&tile[width..]);
        }
        let patches = patch_rows(config, pixels);
        let patches = matrix(&patches, 3 * config.patch * config.patch);
        self.pass.weight_gradient(self.tensors.patch, patches, matrix(&d_patches, width), gradients);
    }
}

/// Buffers for inference, shared by all blocks.
struct Buffers {
    /// `[tokens, width]`
    narrow: Vec<f32>,
    /// `[tokens, max(3 · width, feed-forward width)]`
    wide: Vec<f32>,
    /// `[tokens, heads]`
    lse: Vec<f32>,
}

impl Buffers {
    fn new(config: &VisionConfig, tokens: usize) -> Self {
        let buffer = |width: usize| vec![0.0; tokens * width];
        let wide = buffer(config.feed_forward.max(3 * config.hidden));
        Self { narrow: buffer(config.hidden), wide, lse: buffer(config.heads) }
    }
}

/// A block of the vision tower.
#[derive(Clone, Copy)]
pub(super) struct VisionLayer<'a> {
    pass: Pass<'a>,
    tensors: &'a VisionBlock,
    width: usize,
    heads: Heads,
    segments: &'a Segments,
}

/// Activations of the forward, all of which the backward needs.
pub(super) struct SavedLayer {
    x: Vec<f32>,
    first_scales: Scales,
    projected: Projected,
    /// The attention's output and log-sum-exp.
    mixed: Vec<f32>,
    lse: Vec<f32>,
    /// Before `LayerScale`.
    attended: Vec<f32>,
    /// The residual stream after the attention.
    middle: Vec<f32>,
    second_scales: Scales,
    /// Before the activation.
    inner: Vec<f32>,
}

/// Queries, keys and values.
struct Projected {
    /// Output of the projection.
    qkv: Vec<f32>,
    /// Normalised queries and keys, if the tower normalises them.
    normed: Option<Normed>,
}

/// Normalised queries and keys, each with its scales.
type Normed = [(Vec<f32>, Scales); 2];

/// Returns the queries, keys and values that the attention reads.
fn parts<'a>(qkv: &'a [f32], normed: Option<&'a Normed>, width: usize) -> [Mat<'a, f32>; 3] {
    let qkv = matrix(qkv, 3 * width);
    let part = |index: usize| qkv.sub(0..qkv.rows(), index * width..(index + 1) * width);
    match normed {
        Some([(q, _), (k, _)]) => [matrix(q, width), matrix(k, width), part(2)],
        None => [part(0), part(1), part(2)],
    }
}

impl VisionLayer<'_> {
    fn attention(&self) -> Attention<'_> {
        Attention::new(self.heads, self.segments).precision(self.pass.precision)
    }

    /// Runs the block in place for inference: `forward` and `output` without saving activations.
    fn advance(&self, stream: &mut [f32], buffers: &mut Buffers) {
        let Self { pass, tensors, width, heads, .. } = *self;
        let tokens = stream.len() / width;
        let (narrow, hidden) = (&mut buffers.narrow[..], tensors.up.outputs);
        pass.norm_into(tensors.norms[0], matrix(stream, width), matrix_mut(narrow, width));
        let qkv = &mut buffers.wide[..tokens * 3 * width];
        pass.linear_into(tensors.qkv, matrix(narrow, width), matrix_mut(qkv, 3 * width));
        let normed = self.normed(qkv);
        let [q, k, v] = parts(qkv, normed.as_ref(), width);
        let lse = matrix_mut(&mut buffers.lse, heads.query);
        self.attention().forward(q, k, v, matrix_mut(narrow, width), lse);
        let attended = &mut buffers.wide[..tokens * width];
        pass.linear_into(tensors.out, matrix(narrow, width), matrix_mut(attended, width));
        let [first, second] = tensors.scales.map(|index| pass.weights.vector(index));
        layer_scale(matrix(attended, width), first, matrix_mut(stream, width));
        pass.norm_into(tensors.norms[1], matrix(stream, width), matrix_mut(narrow, width));
        let inner = &mut buffers.wide[..tokens * hidden];
        pass.linear_into(tensors.up, matrix(narrow, width), matrix_mut(inner, hidden));
        inner.par_chunks_mut(hidden).for_each(|row| Activation::Gelu.apply(row));
        pass.linear_into(tensors.down, matrix(inner, hidden), matrix_mut(narrow, width));
        layer_scale(matrix(narrow, width), second, matrix_mut(stream, width));
    }

    /// Normalises queries and keys, if the tower does.
    fn normed(&self, qkv: &[f32]) -> Option<Normed> {
        let norms = self.tensors.qk_norms?;
        let qkv = matrix(qkv, 3 * self.width);
        let part = |part: usize| qkv.sub(0..qkv.rows(), part * self.width..(part + 1) * self.width);
        Some([0, 1].map(|index| self.pass.norm(norms[index], part(index))))
    }

    /// Computes the feed-forward layers' output before `LayerScale`.
    fn feed_forward(&self, saved: &SavedLayer) -> Vec<f32> {
        let hidden = self.tensors.up.outputs;
        let active = activate(Activation::Gelu, matrix(&saved.inner, hidden));
        self.pass.linear(self.tensors.down, matrix(&active, hidden))
    }

    /// Backward of a half's `LayerScale`: returns the gradient of the half's output before it.
    fn layer_scale_backward(
        &self,
        half: usize,
        output: &[f32],
        d_stream: &[f32],
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        let index = self.tensors.scales[half];
        let (scale, width) = (self.pass.weights.vector(index), self.width);
        let mut d_output = vec![0.0; d_stream.len()];
        let (output, d_stream) = (matrix(output, width), matrix(d_stream, width));
        layer_scale_backward(output, scale, d_stream, matrix_mut(&mut d_output, width), gradients.get_mut(index));
        d_output
    }

    /// Backward of the feed-forward half: turns the gradient of the stream after it, in `d_stream`,
    /// into that before it.
    fn feed_forward_backward(&self, saved: &SavedLayer, d_stream: &mut [f32], gradients: &mut Gradients) {
        let Self { pass, tensors, width, .. } = *self;
        let hidden = tensors.up.outputs;
        let d_output = self.layer_scale_backward(1, &self.feed_forward(saved), d_stream, gradients);
        let inner = matrix(&saved.inner, hidden);
        let active = activate(Activation::Gelu, inner);
        pass.weight_gradient(tensors.down, matrix(&active, hidden), matrix(&d_output, width), gradients);
        drop(active);
        let mut d_inner = vec![0.0; saved.inner.len()];
        pass.input_gradient(tensors.down, matrix(&d_output, width), matrix_mut(&mut d_inner, hidden), false);
        Activation::Gelu.backward(inner, matrix_mut(&mut d_inner, hidden));
        let middle = matrix(&saved.middle, width);
        let (normed, _) = pass.norm(tensors.norms[1], middle);
        let d_inner = matrix(&d_inner, hidden);
        pass.weight_gradient(tensors.up, matrix(&normed, width), d_inner, gradients);
        let mut d_normed = normed;
        pass.input_gradient(tensors.up, d_inner, matrix_mut(&mut d_normed, width), false);
        let (d_normed, d_stream) = (matrix(&d_normed, width), matrix_mut(d_stream, width));
        pass.norm_backward(tensors.norms[1], middle, &saved.second_scales, d_normed, d_stream, gradients);
    }

    /// Returns the gradient of the fused queries, keys and values, given that of the attention's
    /// output.
    fn attention_backward(&self, saved: &SavedLayer, d_mixed: &[f32], gradients: &mut Gradients) -> Vec<f32> {
        let width = self.width;
        let Projected { qkv, normed } = &saved.projected;
        let mut d_qkv = vec![0.0; qkv.len()];
        let mut d_normed = normed.as_ref().map(|_| [0; 2].map(|_| vec![0.0; saved.x.len()]));
        let (d_q, rest) = matrix_mut(&mut d_qkv, 3 * width).split_columns(width);
        let (d_k, d_v) = rest.split_columns(width);
        let [q, k, v] = parts(qkv, normed.as_ref(), width);
        let (out, lse) = (matrix(&saved.mixed, width), matrix(&saved.lse, self.heads.query));
        let (given, d_mixed) = (SavedAttention { q, k, v, out, lse }, matrix(d_mixed, width));
        match &mut d_normed {
            None => self.attention().backward(given, d_mixed, d_q, d_k, d_v),
            Some([d_q, d_k]) => {
                let (d_q, d_k) = (matrix_mut(d_q, width), matrix_mut(d_k, width));
                self.attention().backward(given, d_mixed, d_q, d_k, d_v);
            }
        }
        if let (Some(normed), Some(d_normed), Some(norms)) = (normed, &d_normed, self.tensors.qk_norms) {
            let qkv = matrix(qkv, 3 * width);
            for (part, norm) in norms.into_iter().enumerate() {
                let before = qkv.sub(0..qkv.rows(), part * width..(part + 1) * width);
                let mut d_qkv = matrix_mut(&mut d_qkv, 3 * width);
                let d_before = d_qkv.sub_mut(0, part * width, qkv.rows(), width);
                self.pass.norm_backward(
                    norm,
                    before,
                    &normed[part].1,
                    matrix(&d_normed[part], width),
                    d_before,
                    gradients,
                );
            }
        }
        d_qkv
    }
}

impl Block for VisionLayer<'_> {
    type Activations = SavedLayer;
    type Saved = SavedLayer;

    fn forward(&self, x: Vec<f32>) -> SavedLayer {
        let Self { pass, tensors, width, heads, .. } = *self;
        let (normed, first_scales) = pass.norm(tensors.norms[0], matrix(&x, width));
        let qkv = pass.linear(tensors.qkv, matrix(&normed, width));
        drop(normed);
        let projected = Projected { normed: self.normed(&qkv), qkv };
        let (mut mixed, mut lse) = (vec![0.0; x.len()], vec![0.0; x.len() / width * heads.query]);
        let [q, k, v] = parts(&projected.qkv, projected.normed.as_ref(), width);
        self.attention().forward(q, k, v, matrix_mut(&mut mixed, width), matrix_mut(&mut lse, heads.query));
        let attended = pass.linear(tensors.out, matrix(&mixed, width));
        let mut middle = x.clone();
        let scale = pass.weights.vector(tensors.scales[0]);
        layer_scale(matrix(&attended, width), scale, matrix_mut(&mut middle, width));
        let (normed, second_scales) = pass.norm(tensors.norms[1], matrix(&middle, width));
        let inner = pass.linear(tensors.up, matrix(&normed, width));
        SavedLayer { x, first_scales, projected, mixed, lse, attended, middle, second_scales, inner }
    }

    fn output(&self, saved: &SavedLayer) -> Vec<f32> {
        let mut y = saved.middle.clone();
        let scale = self.pass.weights.vector(self.tensors.scales[1]);
        layer_scale(matrix(&self.feed_forward(saved), self.width), scale, matrix_mut(&mut y, self.width));
        y
    }

    fn input(saved: SavedLayer) -> Vec<f32> {
        saved.x
    }

    fn save(&self, activations: SavedLayer) -> SavedLayer {
        activations
    }

    fn backward(&self, saved: SavedLayer, d_y: Vec<f32>, gradients: &mut Gradients) -> Vec<f32> {
        let Self { pass, tensors, width, .. } = *self;
        let mut d_stream = d_y;
        self.feed_forward_backward(&saved, &mut d_stream, gradients);
        let d_attended = self.layer_scale_backward(0, &saved.attended, &d_stream, gradients);
        let d_attended = matrix(&d_attended, width);
        pass.weight_gradient(tensors.out, matrix(&saved.mixed, width), d_attended, gradients);
        let mut d_mixed = vec![0.0; d_stream.len()];
        pass.input_gradient(tensors.out, d_attended, matrix_mut(&mut d_mixed, width), false);
        let d_qkv = self.attention_backward(&saved, &d_mixed, gradients);
        let (x, d_qkv) = (matrix(&saved.x, width), matrix(&d_qkv, 3 * width));
        let (normed, _) = pass.norm(tensors.norms[0], x);
        pass.weight_gradient(tensors.qkv, matrix(&normed, width), d_qkv, gradients);
        let mut d_normed = d_mixed;
        pass.input_gradient(tensors.qkv, d_qkv, matrix_mut(&mut d_normed, width), false);
        let (d_normed, d_x) = (matrix(&d_normed, width), matrix_mut(&mut d_stream, width));
        pass.norm_backward(tensors.norms[0], x, &saved.first_scales, d_normed, d_x, gradients);
        d_stream
    }
}

/// Returns the pixel values of each patch in the order of the convolution's weight, channel by
/// channel: `[tiles · patches, 3 · patch²]`.
fn patch_rows(config: &VisionConfig, pixels: &[f32]) -> Vec<f32> {
    let VisionConfig { image, patch, .. } = *config;
    let side = config.side();
    let mut out = Vec::with_capacity(pixels.len());
    for tile in pixels.chunks_exact(config.pixels()) {
        for (row, col) in (0..side * side).map(|place| (place / side * patch, place % side * patch)) {
            for (channel, y) in (0..3 * patch).map(|line| (line / patch, line % patch)) {
                let start = (channel * image + row + y) * image + col;
                out.extend_from_slice(&tile[start..start + patch]);
            }
        }
    }
    out
}

/// Computes the patch embedding, a convolution whose windows do not overlap, with its bias:
/// `[tiles · patches, width]`.
///
/// Each sum is one chain of fused multiply-adds, pixel by pixel and channel by channel within a
/// pixel. These long sums are the main source of rounding before the blocks; this order, which is
/// that of MM-PRM's library, makes them bit-identical to it.
pub(super) fn convolve_patches(pass: &Pass<'_>, linear: Linear, config: &VisionConfig, pixels: &[f32]) -> Vec<f32> {
    /// Patches that are summed together, so that each weight is read once for all of them.
    const GROUP: usize = 8;
    let (area, width) = (config.patch * config.patch, config.hidden);
    let length = 3 * area;
    let mut weight = vec![0.0; width * length];
    let all: Vec<u32> = (0..width as u32).collect();
    pass.weights.gather(linear.weight, &all, MatMut::new(&mut weight, width, length));
    let place = |k: usize| k % 3 * area + k / 3;
    let weight: Vec<f32> = (0..length * width).map(|i| weight[i % width * length + place(i / width)]).collect();
    let patches: Vec<f32> =
        patch_rows(config, pixels).chunks_exact(length).flat_map(|row| (0..length).map(|k| row[place(k)])).collect();
    let bias = linear.bias.map_or(&[][..], |bias| pass.weights.vector(bias));
    let mut out = vec![0.0; patches.len() / length * width];
    let groups = out.par_chunks_mut(GROUP * width).zip(patches.par_chunks(GROUP * length));
    groups.for_each(|(out, patches)| {
        for (k, weight) in weight.chunks_exact(width).enumerate() {
            for (out, patch) in out.chunks_exact_mut(width).zip(patches.chunks_exact(length)) {
                multiply_add(patch[k], weight, out);
            }
        }
        for out in out.chunks_exact_mut(width) {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
    });
    out
}

vectorised! {
    /// `sums += value · weight`, rounded once.
    fn multiply_add(value: f32, weight: &[f32], sums: &mut [f32]) {
        for (sum, weight) in sums.iter_mut().zip(weight) {
            *sum = value.mul_add(*weight, *sum);
        }
    }
}
