//! The whole model: from a packed sequence to its loss, and back to the gradients.

use std::sync::Arc;

use super::heads::Rotary;
use super::input::{Input, project};
use super::language::Layer;
use super::layout::Layout;
use super::linear::{Pass, matrix, matrix_mut};
use super::losses::{Head, Loss};
use super::packed::{InputError, Packed, Targets, Tiles};
use super::parameters::Weights;
use super::stack::{self, Keep};
use super::trainable::{Gradients, Trainable};
use super::vision::Tower;
use crate::nn::attention::{Heads, Segments};
use crate::nn::embedding;
use crate::nn::gemm::Precision;
use crate::nn::workspace;

/// How a pass is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// How exactly operands enter the products.
    pub precision: Precision,
    /// Keep only each block's input for the backward, and do the block's forward again there: less memory for a third more
    /// work.
    pub checkpointing: bool,
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
        settings: Settings,
    ) -> Result<Vec<f32>, InputError> {
        let config = self.layout.config();
        let (found, tile) = (pixels.len(), config.vision.pixels());
        if !found.is_multiple_of(tile) {
            return Err(InputError::TileValues { found, tile });
        }
        let segments = Tower::segments(config, found / tile);
        let pass = Pass { weights: weights.into(), precision: settings.precision };
        let tower = Tower { pass, tensors: &self.layout.vision, config, segments: &segments };
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
        settings: Settings,
    ) -> Result<Vec<f32>, InputError> {
        let weights = weights.into();
        let features = self.vision_features(weights, pixels, settings)?;
        let pass = Pass { weights, precision: settings.precision };
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
        settings: Settings,
    ) -> Result<Loss, InputError> {
        self.run(weights.into(), packed, targets, settings, None)
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
        settings: Settings,
        gradients: &mut Gradients,
    ) -> Result<Loss, InputError> {
        self.run(weights.into(), packed, targets, settings, Some(gradients))
    }

    fn run(
        &self,
        weights: Weights<'_>,
        packed: &Packed,
        targets: &Targets,
        settings: Settings,
        gradients: Option<&mut Gradients>,
    ) -> Result<Loss, InputError> {
        let config = self.layout.config();
        packed.check(config)?;
        targets.check(packed.tokens.len(), config)?;
        if targets.rows().is_empty() {
            return Ok(Loss::default());
        }
        let _recycling = workspace::recycling();
        let pass = Pass { weights, precision: settings.precision };
        let tiles = self.tile_segments(packed);
        let input = Input { pass, layout: &self.layout, packed, tiles: &tiles };
        let trained = gradients.as_deref().map(Gradients::trainable);
        let keep = match (trained, settings.checkpointing) {
            (None, _) => Keep::Nothing,
            (Some(_), true) => Keep::Inputs,
            (Some(_), false) => Keep::Everything,
        };
        let learns_vision =
            trained.is_some_and(|trained| trained.numbers().any(|number| self.layout.is_vision(number)));
        if learns_vision && !packed.images.is_empty() && matches!(packed.tiles, Tiles::Features(_)) {
            return Err(InputError::FrozenFeatures);
        }
        let (stream, kept_input) = input.forward(if learns_vision { keep } else { Keep::Nothing });
        let mut rows = targets.rows().to_vec();
        rows.dedup();
        let rotary = Rotary::new(&config.language, &packed.segments.positions());
        let blocks = self.blocks(pass, &packed.segments, &rotary, Some(&rows));
        let lowest = trained.map_or(0, |trained| self.lowest(trained));
        let (stream, traces) = stack::forward(&blocks, stream, keep, lowest);
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
        let d_stream = stack::backward(&blocks, traces, d_stream, gradients);
        if lowest == 0 {
            input.backward(kept_input, d_stream, gradients);
        }
        Ok(loss)
    }

    fn head<'a>(&'a self, pass: Pass<'a>) -> Head<'a> {
        let config = &self.layout.config().language;
        Head { pass, tensors: &self.layout.language, width: config.hidden, vocabulary: config.vocabulary }
    }

    /// The language model's blocks on a sequence, of which only `rows` are wanted in the end.
    pub(super) fn blocks<'a>(
        &'a self,
        pass: Pass<'a>,
        segments: &'a Segments,
        rotary: &'a Rotary,
        rows: Option<&'a [usize]>,
    ) -> Vec<Layer<'a>> {
        let config = &self.layout.config().language;
        let heads = Heads { query: config.heads, key: config.kv_heads, dim: config.head() };
        let last = config.layers - 1;
        let layer = |(number, tensors)| {
            let rows = rows.filter(|_| number == last);
            Layer { pass, tensors, width: config.hidden, heads, segments, rotary, rows }
        };
        self.layout.language.blocks.iter().enumerate().map(layer).collect()
    }

    /// One segment for each tile of pixel values.
    pub(super) fn tile_segments(&self, packed: &Packed) -> Segments {
        let config = self.layout.config();
        let pixels = if let Tiles::Pixels(pixels) = &packed.tiles { pixels.len() } else { 0 };
        Tower::segments(config, pixels / config.vision.pixels())
    }

    /// The first block that the backward has to reach.
    fn lowest(&self, trained: &Trainable) -> usize {
        let language = &self.layout.language;
        let above = |number: &usize| *number == language.norm.weight || *number == language.head;
        let owners = trained.numbers().map(|number| self.layout.owner(number));
        let needed = owners.filter(|number| *number == language.embedding || !above(number));
        let block = |number: usize| language.blocks.iter().position(|block| block.numbers.contains(&number));
        needed.map(|number| block(number).unwrap_or(0)).min().unwrap_or(language.blocks.len())
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
