//! The residual stream before the language model: token embeddings, and images through vision tower
//! and projector.

use super::blocks::SaveMode;
use super::layout::{Layout, Projector};
use super::packed::{ImageSpan, Packed, Tiles};
use super::pass::{Pass, Scales, activate, matrix, matrix_mut};
use super::trainable::Gradients;
use super::vision::{SavedTower, VisionTower};
use crate::nn::activation::Activation;
use crate::nn::attention::Segments;

/// Input layers on a packed sequence.
#[derive(Clone, Copy)]
pub(super) struct InputLayer<'a> {
    pub pass: Pass<'a>,
    pub layout: &'a Layout,
    pub packed: &'a Packed,
    /// One segment per tile.
    pub tiles: &'a Segments,
}

/// Activations saved for the backward.
pub(super) struct SavedInput {
    images: Option<SavedImages>,
}

struct SavedImages {
    tower: Option<SavedTower>,
    /// Features computed from pixel values; `None` if the sequence provides them.
    features: Option<Vec<f32>>,
    scales: Scales,
    /// The projector's hidden layer before the activation.
    inner: Vec<f32>,
}

impl InputLayer<'_> {
    fn width(&self) -> usize {
        self.layout.config().language.hidden
    }

    /// The vision tower, which a sequence with images has.
    fn tower(&self) -> VisionTower<'_> {
        let (tensors, config) = self.layout.tower().expect(IMAGES);
        VisionTower { pass: self.pass, tensors, config, segments: self.tiles }
    }

    /// Computes the residual stream before the first block; `mode` applies to the vision tower.
    pub fn forward(&self, mode: SaveMode) -> (Vec<f32>, SavedInput) {
        let width = self.width();
        let mut stream = vec![0.0; self.packed.tokens.len() * width];
        let table = self.layout.language.embedding_table();
        self.pass.gather_rows(table, &self.packed.tokens, matrix_mut(&mut stream, width));
        if self.packed.images.is_empty() {
            return (stream, SavedInput { images: None });
        }
        let (tower, features) = match &self.packed.tiles {
            Tiles::Features(_) => (None, None),
            Tiles::Pixels(pixels) => {
                let tower = self.tower();
                let (states, saved) = tower.forward(pixels, mode);
                ((mode != SaveMode::Nothing).then_some(saved), Some(tower.features(&states)))
            }
        };
        let (projected, scales, inner) = project(&self.pass, self.layout, self.features(features.as_ref()));
        for (tokens, rows) in self.places() {
            stream[tokens].copy_from_slice(&projected[rows]);
        }
        (stream, SavedInput { images: Some(SavedImages { tower, features, scales, inner }) })
    }

    /// Adds gradients, given that of the residual stream before the first block.
    pub fn backward(&self, saved: SavedInput, d_stream: Vec<f32>, gradients: &mut Gradients) {
        let width = self.width();
        let mut d_stream = d_stream;
        if let Some(images) = saved.images {
            self.images_backward(images, &d_stream, gradients);
            for (tokens, _) in self.places() {
                d_stream[tokens].fill(0.0);
            }
        }
        let table = self.layout.language.embedding_table();
        Pass::gather_rows_backward(table, &self.packed.tokens, matrix(&d_stream, width), gradients);
    }

    fn images_backward(&self, saved: SavedImages, d_stream: &[f32], gradients: &mut Gradients) {
        let Projector { norm, first, second } = self.layout.projector.expect(IMAGES);
        let indices = [Some(norm.weight), norm.bias, Some(first.weight), first.bias, Some(second.weight), second.bias];
        let trains = |index: usize| gradients.trainable().contains(index);
        if saved.tower.is_none() && !indices.into_iter().flatten().any(trains) {
            return;
        }
        let (pass, width) = (self.pass, self.width());
        let features = self.features(saved.features.as_ref());
        let features = matrix(features, self.tower().config.features());
        let mut d_projected = vec![0.0; features.rows() * width];
        for (tokens, rows) in self.places() {
            d_projected[rows].iter_mut().zip(&d_stream[tokens]).for_each(|(sum, d)| *sum += d);
        }
        let d_projected = matrix(&d_projected, width);
        let inner = matrix(&saved.inner, width);
        let active = activate(Activation::Gelu, inner);
        pass.weight_gradient(second, matrix(&active, width), d_projected, gradients);
        let mut d_inner = active;
        pass.input_gradient(second, d_projected, matrix_mut(&mut d_inner, width), false);
        Activation::Gelu.backward(inner, matrix_mut(&mut d_inner, width));
        let (normed, _) = pass.norm(norm, features);
        let d_inner = matrix(&d_inner, width);
        pass.weight_gradient(first, matrix(&normed, features.cols()), d_inner, gradients);
        let mut d_normed = normed;
        pass.input_gradient(first, d_inner, matrix_mut(&mut d_normed, features.cols()), false);
        let mut d_features = vec![0.0; d_normed.len()];
        let (d_normed, out) = (matrix(&d_normed, features.cols()), matrix_mut(&mut d_features, features.cols()));
        pass.norm_backward(norm, features, &saved.scales, d_normed, out, gradients);
        if let (Some(tower), Tiles::Pixels(pixels)) = (saved.tower, &self.packed.tiles) {
            self.tower().backward(tower, pixels, &d_features, gradients);
        }
    }

    fn features<'b>(&'b self, computed: Option<&'b Vec<f32>>) -> &'b [f32] {
        match (&self.packed.tiles, computed) {
            (Tiles::Features(given), _) => given,
            (Tiles::Pixels(_), computed) => computed.map_or(&[], Vec::as_slice),
        }
    }

    /// Returns for each image the ranges of its elements in the stream and in the projected tiles.
    fn places(&self) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
        let (width, tile) = (self.width(), self.layout.config().tokens_per_tile());
        self.packed.images.iter().map(move |ImageSpan { first, tiles }| {
            let tokens = first * width..(first + tiles.len() * tile) * width;
            (tokens, tiles.start * tile * width..tiles.end * tile * width)
        })
    }
}

/// Why a layout has a vision tower and a projector.
const IMAGES: &str = "`Packed::check` refuses images for a text model";

/// Projects features; returns the output, the scales of the norm, and the hidden layer before the
/// activation.
pub(super) fn project(pass: &Pass<'_>, layout: &Layout, features: &[f32]) -> (Vec<f32>, Scales, Vec<f32>) {
    let Projector { norm, first, second } = layout.projector.expect(IMAGES);
    let channels = layout.tower().expect(IMAGES).1.features();
    let (normed, scales) = pass.norm(norm, matrix(features, channels));
    let inner = pass.linear(first, matrix(&normed, channels));
    let active = activate(Activation::Gelu, matrix(&inner, first.outputs));
    (pass.linear(second, matrix(&active, first.outputs)), scales, inner)
}
