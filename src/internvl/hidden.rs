//! The streams between blocks, for finding where two implementations part.

use super::heads::Rotary;
use super::input::Input;
use super::linear::{Pass, matrix};
use super::model::{Model, Settings};
use super::packed::{InputError, Packed, Tiles};
use super::parameters::Weights;
use super::stack::{Block, Keep};
use super::vision::Tower;

/// Streams of a pass: after the embeddings, and after each block.
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenStates {
    /// The vision tower's `[tiles · tokens, width]`; nothing if there are no pixel values.
    pub vision: Vec<Vec<f32>>,
    /// The language model's `[tokens, width]`; the last one after the final norm.
    pub language: Vec<Vec<f32>>,
}

impl Model {
    /// All streams of a sequence.
    ///
    /// # Errors
    /// [`InputError`] for what does not fit.
    pub fn states<'w>(
        &self,
        weights: impl Into<Weights<'w>>,
        packed: &Packed,
        settings: Settings,
    ) -> Result<HiddenStates, InputError> {
        let layout = self.layout();
        let config = layout.config();
        packed.check(config)?;
        let pass = Pass { weights: weights.into(), precision: settings.precision };
        let tiles = self.tile_segments(packed);
        let mut vision = Vec::new();
        if let Tiles::Pixels(pixels) = &packed.tiles {
            let tower = Tower { pass, tensors: &layout.vision, config, segments: &tiles };
            vision = streams(&tower.blocks(), tower.embed(pixels));
        }
        let input = Input { pass, layout, packed, tiles: &tiles };
        let rotary = Rotary::new(&config.language, &packed.segments.positions());
        let blocks = self.blocks(pass, &packed.segments, &rotary, None);
        let mut language = streams(&blocks, input.forward(Keep::Nothing).0);
        if let Some(last) = language.last_mut() {
            *last = pass.norm(layout.language.norm, matrix(last, config.language.hidden)).0;
        }
        Ok(HiddenStates { vision, language })
    }
}

fn streams<B: Block>(blocks: &[B], first: Vec<f32>) -> Vec<Vec<f32>> {
    let mut streams = vec![first];
    for block in blocks {
        let stream = streams[streams.len() - 1].clone();
        streams.push(block.output(&block.forward(stream)));
    }
    streams
}
