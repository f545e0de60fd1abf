//! llama.cpp's multimodal library as a [`VisionEncoder`].

use super::{VisionEncoder, VisionError, fingerprint};
use crate::engine::Vision;
use crate::image::Tile;

impl VisionEncoder for Vision {
    fn tile_size(&self) -> usize {
        Vision::tile_size(self)
    }

    fn tokens_per_tile(&self) -> usize {
        Vision::tokens_per_tile(self)
    }

    fn width(&self) -> usize {
        Vision::width(self)
    }

    fn encode(&self, tiles: &[Tile]) -> Result<Vec<f32>, VisionError> {
        let mut values = Vec::with_capacity(tiles.len() * Vision::tokens_per_tile(self) * Vision::width(self));
        for tile in tiles {
            values.extend(Vision::encode(self, &tile.rgb)?);
        }
        Ok(values)
    }

    fn fingerprint(&self) -> [u8; 32] {
        let device = if self.on_device() { "device" } else { "cpu" };
        fingerprint(self.file(), &format!("llama.cpp {device}"))
    }
}
