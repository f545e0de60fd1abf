//! The whole model: loss and gradients of a packed sequence, vision features, hidden states.

use std::sync::Arc;

use super::blocks::{self, Block, SaveMode};
use super::input::{InputLayer, project};
use super::language::LanguageLayer;
use super::layout::Layout;
use super::losses::{Head, Loss};
use super::packed::{InputError, Packed, Targets, Tiles};
use super::parameters::Weights;
use super::pass::{Pass, matrix, matrix_mut};
use super::qkv::RotaryTables;
use super::trainable::{Gradients, Trainable};
use super::vision::VisionTower;
use crate::nn::attention::{Heads, Mask, Segments};
use crate::nn::embedding;
use crate::nn::gemm::Precision;
use crate::nn::workspace;

/// How a pass is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ComputeOptions {
    /// Precision of the operands of matrix products.
    pub precision: Precision,
    /// Gradient checkpointing: saves only the input of each block and repeats its forward in the
    /// backward, which takes less memory and a third more compute.
    pub checkpointing: bool,
}

/// Residual streams of a pass: after the embeddings, and after each block.
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenStates {
    /// Vision tower, `[tiles · tokens, width]`; empty without pixel values.
    pub vision: Vec<Vec<f32>>,
    /// Language model, `[tokens, width]`; the last one is after the final norm.
    pub language: Vec<Vec<f32>>,
}

/// An InternVL2.5 model. Weights are passed to each call.
#[derive(Debug, Clone)]
pub struct Model {
    layout: Arc<Layout>,
}

impl Model {
    /// Creates a model with these tensors.
    pub fn new(layout: &Arc<Layout>) -> Self {
        Self { layout: Arc::clone(layout) }
    }

    /// Returns the layout.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Runs the vision tower: pixel values `[tiles, 3, side, side]` to
    /// `[tiles · tokens per tile, features]`, as in [`Tiles::Features`].
    ///
    /// # Errors
    /// [`InputError::TileValues`] for incomplete tiles, [`InputError::TextModel`] without a vision tower.
    pub fn vision_features<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        pixels: &[f32],
        options: ComputeOptions,
    ) -> Result<Vec<f32>, InputError> {
        let (tensors, config) = self.layout.tower().ok_or(InputError::TextModel)?;
        let (found, tile) = (pixels.len(), config.pixels());
        if !found.is_multiple_of(tile) {
            return Err(InputError::TileValues { found, tile });
        }
        let segments = VisionTower::segments(config, found / tile);
        let pass = Pass { weights: weights.into(), precision: options.precision };
        let tower = VisionTower { pass, tensors, config, segments: &segments };
        Ok(tower.features(&tower.run(pixels)))
    }

    /// Runs vision tower and projector: pixel values `[tiles, 3, side, side]` to
    /// `[tiles · tokens per tile, width]`, where `width` is that of the language model.
    ///
    /// The result for a tile does not depend on the other tiles.
    ///
    /// # Errors
    /// As [`Model::vision_features`].
    pub fn vision_embeddings<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        pixels: &[f32],
        options: ComputeOptions,
    ) -> Result<Vec<f32>, InputError> {
        let weights = weights.into();
        let features = self.vision_features(weights, pixels, options)?;
        let pass = Pass { weights, precision: options.precision };
        let (_, config) = self.layout.tower().ok_or(InputError::TextModel)?;
        // Products with one row sum in another order, so tiles of one token must not share a
        // product.
        let chunk = if config.tokens_per_tile() == 1 { config.features() } else { features.len().max(1) };
        Ok(features.chunks(chunk).flat_map(|features| project(&pass, &self.layout, features).0).collect())
    }

    /// Computes the loss of a sequence.
    ///
    /// # Errors
    /// [`InputError`] if sequence and targets do not fit the model.
    pub fn loss<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        packed: &Packed,
        targets: &Targets,
        options: ComputeOptions,
    ) -> Result<Loss, InputError> {
        self.run(weights.into(), packed, targets, options, None)
    }

    /// Computes the loss of a sequence and adds its gradients.
    ///
    /// # Errors
    /// [`InputError`] if sequence and targets do not fit the model; the gradients are unchanged
    /// then.
    pub fn gradients<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        packed: &Packed,
        targets: &Targets,
        options: ComputeOptions,
        gradients: &mut Gradients,
    ) -> Result<Loss, InputError> {
        self.run(weights.into(), packed, targets, options, Some(gradients))
    }

    fn run(
        &self,
        weights: Weights<'_>,
        packed: &Packed,
        targets: &Targets,
        options: ComputeOptions,
        gradients: Option<&mut Gradients>,
    ) -> Result<Loss, InputError> {
        let config = self.layout.config();
        packed.check(config)?;
        targets.check(packed.tokens.len(), config)?;
        if targets.rows().is_empty() {
            return Ok(Loss::default());
        }
        let _recycling = workspace::recycling();
        let pass = Pass { weights, precision: options.precision };
        let tiles = self.tile_segments(packed);
        let input = InputLayer { pass, layout: &self.layout, packed, tiles: &tiles };
        let trained = gradients.as_deref().map(Gradients::trainable);
        let mode = match (trained, options.checkpointing) {
            (None, _) => SaveMode::Nothing,
            (Some(_), true) => SaveMode::Inputs,
            (Some(_), false) => SaveMode::Everything,
        };
        let trains_vision = trained.is_some_and(|trained| trained.indices().any(|index| self.layout.is_vision(index)));
        if trains_vision && !packed.images.is_empty() && matches!(packed.tiles, Tiles::Features(_)) {
            return Err(InputError::FrozenFeatures);
        }
        let (stream, saved_input) = input.forward(if trains_vision { mode } else { SaveMode::Nothing });
        let mut rows = targets.rows().to_vec();
        rows.dedup();
        let rotary = RotaryTables::new(&config.language, &packed.segments.positions());
        let layers = self.blocks(pass, &packed.segments, &rotary, Some(&rows));
        let first_block = trained.map_or(0, |trained| self.first_block(trained));
        let (stream, saved) = blocks::forward(&layers, stream, mode, first_block);
        let places = places(&rows, targets.rows());
        let width = config.language.hidden;
        let mut at_targets = vec![0.0; places.len() * width];
        embedding::gather(matrix(&stream, width), &places, matrix_mut(&mut at_targets, width));
        let head = self.head(pass);
        let Some(gradients) = gradients else {
            return Ok(head.run(&at_targets, targets, None).0);
        };
        let (loss, d_targets) = head.run(&at_targets, targets, Some(gradients));
        let mut d_stream = vec![0.0; rows.len() * width];
        embedding::scatter_add(&places, matrix(&d_targets, width), matrix_mut(&mut d_stream, width));
        drop(stream);
        let d_stream = blocks::backward(&layers, saved, d_stream, gradients);
        if first_block == 0 {
            input.backward(saved_input, d_stream, gradients);
        }
        Ok(loss)
    }

    /// Computes the hidden states of a sequence, to compare implementations layer by layer.
    ///
    /// # Errors
    /// [`InputError`] if sequence and targets do not fit the model.
    pub fn hidden_states<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        packed: &Packed,
        options: ComputeOptions,
    ) -> Result<HiddenStates, InputError> {
        let layout = self.layout();
        let config = layout.config();
        packed.check(config)?;
        let pass = Pass { weights: weights.into(), precision: options.precision };
        let tiles = self.tile_segments(packed);
        let mut vision = Vec::new();
        if let (Tiles::Pixels(pixels), Some((tensors, config))) = (&packed.tiles, layout.tower()) {
            let tower = VisionTower { pass, tensors, config, segments: &tiles };
            vision = streams(&tower.blocks(), tower.embed(pixels));
        }
        let input = InputLayer { pass, layout, packed, tiles: &tiles };
        let rotary = RotaryTables::new(&config.language, &packed.segments.positions());
        let layers = self.blocks(pass, &packed.segments, &rotary, None);
        let mut language = streams(&layers, input.forward(SaveMode::Nothing).0);
        if let Some(last) = language.last_mut() {
            *last = pass.norm(layout.language.norm, matrix(last, config.language.hidden)).0;
        }
        Ok(HiddenStates { vision, language })
    }

    fn head<'a>(&'a self, pass: Pass<'a>) -> Head<'a> {
        let config = &self.layout.config().language;
        Head { pass, tensors: &self.layout.language, width: config.hidden, vocabulary: config.vocabulary }
    }

    /// Returns the blocks of the language model; only `rows` of the last one's output are needed.
    fn blocks<'a>(
        &'a self,
        pass: Pass<'a>,
        segments: &'a Segments,
        rotary: &'a RotaryTables,
        rows: Option<&'a [usize]>,
    ) -> Vec<LanguageLayer<'a>> {
        let config = &self.layout.config().language;
        let heads = Heads { query: config.heads, key: config.kv_heads, dim: config.head };
        let last = config.layers - 1;
        let layer = |(index, tensors)| {
            let rows = rows.filter(|_| index == last);
            LanguageLayer { pass, tensors, width: config.hidden, heads, segments, rotary, rows }
        };
        self.layout.language.blocks.iter().enumerate().map(layer).collect()
    }

    /// Creates one segment per tile of pixel values.
    fn tile_segments(&self, packed: &Packed) -> Segments {
        match (&packed.tiles, &self.layout.config().vision) {
            (Tiles::Pixels(pixels), Some(config)) => VisionTower::segments(config, pixels.len() / config.pixels()),
            _ => Segments::plain(&[], Mask::Full),
        }
    }

    /// Returns the first block that the backward has to reach.
    fn first_block(&self, trained: &Trainable) -> usize {
        let language = &self.layout.language;
        let is_above = |index: &usize| *index == language.norm.weight || *index == language.head;
        let bases = trained.indices().map(|index| self.layout.base_of(index));
        let needed = bases.filter(|index| *index == language.embedding || !is_above(index));
        let block = |index: usize| language.blocks.iter().position(|block| block.indices.contains(&index));
        needed.map(|index| block(index).unwrap_or(0)).min().unwrap_or(language.blocks.len())
    }
}

/// Returns the index of each target's row in the distinct rows.
fn places(rows: &[usize], targets: &[usize]) -> Vec<u32> {
    let mut place = 0;
    let places = targets.iter().map(|target| {
        while rows[place] < *target {
            place += 1;
        }
        place as u32
    });
    places.collect()
}

fn streams<B: Block>(blocks: &[B], first: Vec<f32>) -> Vec<Vec<f32>> {
    let mut streams = vec![first];
    for block in blocks {
        let stream = streams[streams.len() - 1].clone();
        streams.push(block.output(&block.forward(stream)));
    }
    streams
}
