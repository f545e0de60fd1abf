//! llama.cpp's multimodal library as a [`VisionEncoder`].

use super::encoder::fingerprint;
use super::{VisionEncoder, VisionError};
use crate::engine::LlamaEncoder;
use crate::image::Tile;

impl VisionEncoder for LlamaEncoder {
    fn tile_size(&self) -> usize {
        LlamaEncoder::tile_size(self)
    }

    fn tokens_per_tile(&self) -> usize {
        LlamaEncoder::tokens_per_tile(self)
    }

    fn width(&self) -> usize {
        LlamaEncoder::width(self)
    }

    fn encode(&self, tiles: &[Tile]) -> Result<Vec<f32>, VisionError> {
        let mut values = Vec::with_capacity(tiles.len() * self.tokens_per_tile() * self.width());
        for tile in tiles {
            values.extend(LlamaEncoder::encode(self, &tile.rgb)?);
        }
        Ok(values)
    }

    fn fingerprint(&self) -> [u8; 32] {
        // Part of the names of cached embeddings.
        let device = if self.on_gpu() { "device" } else { "cpu" };
        fingerprint(self.file(), &format!("llama.cpp {device}"))
    }
}
