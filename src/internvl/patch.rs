//! Pixel values to patches: the vision tower's convolution, whose windows do not overlap.

use rayon::prelude::*;

use super::config::VisionConfig;
use super::layout::Linear;
use super::linear::Pass;
use crate::nn::simd::vectorised;
use crate::nn::tensor::MatMut;

/// Pixel values of each patch in the order of the convolution's weight, channel by channel: `[tiles · patches, 3 · patch²]`.
pub(super) fn rows(config: &VisionConfig, pixels: &[f32]) -> Vec<f32> {
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

/// The convolution with its bias, `[tiles · patches, width]`, each sum one chain of fused multiply-adds, pixel by pixel and of
/// each pixel channel by channel.
///
/// The sums are long, and of everything before the blocks only they round much: in this order, which is that of the
/// reference's library, they give its bits.
pub(super) fn convolved(pass: &Pass<'_>, linear: Linear, config: &VisionConfig, pixels: &[f32]) -> Vec<f32> {
    /// Patches whose sums run side by side, so that each weight is read once for all of them.
    const TOGETHER: usize = 8;
    let (area, width) = (config.patch * config.patch, config.hidden);
    let length = 3 * area;
    let mut weight = vec![0.0; width * length];
    let all: Vec<u32> = (0..width as u32).collect();
    pass.weights.gather(linear.weight, &all, MatMut::new(&mut weight, width, length));
    let place = |k: usize| k % 3 * area + k / 3;
    let weight: Vec<f32> = (0..length * width).map(|i| weight[i % width * length + place(i / width)]).collect();
    let patches: Vec<f32> =
        rows(config, pixels).chunks_exact(length).flat_map(|row| (0..length).map(|k| row[place(k)])).collect();
    let bias = linear.bias.map_or(&[][..], |bias| pass.weights.vector(bias));
    let mut out = vec![0.0; patches.len() / length * width];
    let groups = out.par_chunks_mut(TOGETHER * width).zip(patches.par_chunks(TOGETHER * length));
    groups.for_each(|(out, patches)| {
        for (k, weight) in weight.chunks_exact(width).enumerate() {
            for (out, patch) in out.chunks_exact_mut(width).zip(patches.chunks_exact(length)) {
                chain(patch[k], weight, out);
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
    fn chain(value: f32, weight: &[f32], sums: &mut [f32]) {
        for (sum, weight) in sums.iter_mut().zip(weight) {
            *sum = value.mul_add(*weight, *sum);
        }
    }
}
