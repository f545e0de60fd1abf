//! The whole model: from a packed sequence to its loss, and back to the gradients.

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
use crate::nn::attention::{Heads, Segments};
use crate::nn::embedding;
use crate::nn::gemm::Precision;
use crate::nn::workspace;

/// How a pass is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ComputeOptions {
    /// How exactly operands enter the products.
    pub precision: Precision,
    /// SaveMode only each block's input for the backward, and do the block's forward again there: less memory for a third more
    /// work.
    pub checkpointing: bool,
}

/// Streams of a pass: after the embeddings, and after each block.
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenStates {
    /// The vision tower's `[tiles · tokens, width]`; nothing if there are no pixel values.
    pub vision: Vec<Vec<f32>>,
    /// The language model's `[tokens, width]`; the last one after the final norm.
    pub language: Vec<Vec<f32>>,
}

/// InternVL2.5.
#[derive(Debug, Clone)]
pub struct Model {
    layout: Arc<Layout>,
}

impl Model {
    /// The model with these tensors.
    pub fn new(layout: &Arc<Layout>) -> Self {
        Self { layout: Arc::clone(layout) }
    }

    /// The tensors.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// What the vision tower makes of tiles, for [`Tiles::Features`]: pixel values `[tiles, 3, side, side]` to
    /// `[tiles · tokens per tile, features]`.
    ///
    /// # Errors
    /// [`InputError::TileValues`].
    pub fn vision_features<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        pixels: &[f32],
        options: ComputeOptions,
    ) -> Result<Vec<f32>, InputError> {
        let config = self.layout.config();
        let (found, tile) = (pixels.len(), config.vision.pixels());
        if !found.is_multiple_of(tile) {
            return Err(InputError::TileValues { found, tile });
        }
        let segments = VisionTower::segments(config, found / tile);
        let pass = Pass { weights: weights.into(), precision: options.precision };
        let tower = VisionTower { pass, tensors: &self.layout.vision, config, segments: &segments };
        Ok(tower.features(&tower.run(pixels)))
    }

    /// What the language model reads of tiles: pixel values `[tiles, 3, side, side]` to
    /// `[tiles · tokens per tile, width of the language model]`.
    ///
    /// What comes of a tile depends on that tile alone.
    ///
    /// # Errors
    /// [`InputError::TileValues`].
    pub fn vision_embeddings<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        pixels: &[f32],
        options: ComputeOptions,
    ) -> Result<Vec<f32>, InputError> {
        let weights = weights.into();
        let features = self.vision_features(weights, pixels, options)?;
        let pass = Pass { weights, precision: options.precision };
        let config = self.layout.config();
        // A product with a single row is summed in another order, so tiles of a single token may not meet.
        let together = if config.tokens_per_tile() == 1 { config.features() } else { features.len().max(1) };
        Ok(features.chunks(together).flat_map(|features| project(&pass, &self.layout, features).0).collect())
    }

    /// The loss of a sequence.
    ///
    /// # Errors
    /// [`InputError`] for what does not fit.
    pub fn loss<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        packed: &Packed,
        targets: &Targets,
        options: ComputeOptions,
    ) -> Result<Loss, InputError> {
        self.run(weights.into(), packed, targets, options, None)
    }

    /// The loss of a sequence; adds its gradients.
    ///
    /// # Errors
    /// [`InputError`] for what does not fit; nothing is added then.
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
        let learns_vision = trained.is_some_and(|trained| trained.indices().any(|index| self.layout.is_vision(index)));
        if learns_vision && !packed.images.is_empty() && matches!(packed.tiles, Tiles::Features(_)) {
            return Err(InputError::FrozenFeatures);
        }
        let (stream, saved_input) = input.forward(if learns_vision { mode } else { SaveMode::Nothing });
        let mut rows = targets.rows().to_vec();
        rows.dedup();
        let rotary = RotaryTables::new(&config.language, &packed.segments.positions());
        let layers = self.blocks(pass, &packed.segments, &rotary, Some(&rows));
        let lowest = trained.map_or(0, |trained| self.lowest(trained));
        let (stream, saved) = blocks::forward(&layers, stream, mode, lowest);
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
        if lowest == 0 {
            input.backward(saved_input, d_stream, gradients);
        }
        Ok(loss)
    }

    /// All streams of a sequence.
    ///
    /// # Errors
    /// [`InputError`] for what does not fit.
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
        if let Tiles::Pixels(pixels) = &packed.tiles {
            let tower = VisionTower { pass, tensors: &layout.vision, config, segments: &tiles };
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

    /// The language model's blocks on a sequence, of which only `rows` are wanted in the end.
    fn blocks<'a>(
        &'a self,
        pass: Pass<'a>,
        segments: &'a Segments,
        rotary: &'a RotaryTables,
        rows: Option<&'a [usize]>,
    ) -> Vec<LanguageLayer<'a>> {
        let config = &self.layout.config().language;
        let heads = Heads { query: config.heads, key: config.kv_heads, dim: config.head() };
        let last = config.layers - 1;
        let layer = |(index, tensors)| {
            let rows = rows.filter(|_| index == last);
            LanguageLayer { pass, tensors, width: config.hidden, heads, segments, rotary, rows }
        };
        self.layout.language.blocks.iter().enumerate().map(layer).collect()
    }

    /// One segment for each tile of pixel values.
    fn tile_segments(&self, packed: &Packed) -> Segments {
        let config = self.layout.config();
        let pixels = if let Tiles::Pixels(pixels) = &packed.tiles { pixels.len() } else { 0 };
        VisionTower::segments(config, pixels / config.vision.pixels())
    }

    /// The first block that the backward has to reach.
    fn lowest(&self, trained: &Trainable) -> usize {
        let language = &self.layout.language;
        let above = |index: &usize| *index == language.norm.weight || *index == language.head;
        let bases = trained.indices().map(|index| self.layout.base_of(index));
        let needed = bases.filter(|index| *index == language.embedding || !above(index));
        let block = |index: usize| language.blocks.iter().position(|block| block.indices.contains(&index));
        needed.map(|index| block(index).unwrap_or(0)).min().unwrap_or(language.blocks.len())
    }
}

/// Where each target's row is among the distinct rows.
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
