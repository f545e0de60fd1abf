//! Pixel values for the vision tower, and the hash that identifies an image's tiles.

use sha2::{Digest, Sha256};

use super::Tile;

/// `InternVL`'s mean of each channel, for values from 0 to 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// `InternVL`'s standard deviation of each channel, for values from 0 to 1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Returns a tile's pixel values as input of the vision tower: shape 3 × size × size (channels
/// first), `(value / 255 − mean) / std` in f32.
pub fn normalise(tile: &Tile, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let mut values = Vec::with_capacity(tile.rgb.len());
    for channel in 0..3 {
        // There are only 256 different values.
        let levels: [f32; 256] = std::array::from_fn(|level| (level as f32 / 255.0 - mean[channel]) / std[channel]);
        values.extend(tile.rgb.iter().skip(channel).step_by(3).map(|&level| levels[usize::from(level)]));
    }
    values
}

/// Returns the SHA-256 of an image's tiles in order: equal hashes mean equal embeddings under the
/// same vision tower.
pub(crate) fn content_hash(tiles: &[Tile]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for tile in tiles {
        // The size distinguishes tile lists whose concatenated bytes are equal.
        hasher.update((tile.size as u64).to_le_bytes());
        hasher.update(&tile.rgb);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_values_are_channels_first() {
        let tile = Tile { size: 1, rgb: vec![255, 0, 51] };
        let values = normalise(&tile, [0.5, 0.5, 0.0], [0.5, 0.25, 1.0]);
        approx::assert_relative_eq!(values.as_slice(), [1.0, -2.0, 0.2].as_slice());
    }

    #[test]
    fn the_content_hash_depends_on_bytes_sizes_and_order() {
        let tile = |byte, size| Tile { size, rgb: vec![byte; size * size * 3] };
        let hash = content_hash(&[tile(1, 2), tile(2, 2)]);
        assert_eq!(hash, content_hash(&[tile(1, 2), tile(2, 2)]));
        assert_ne!(hash, content_hash(&[tile(2, 2), tile(1, 2)]));
        assert_ne!(content_hash(&[tile(1, 2)]), content_hash(&vec![tile(1, 1); 4]));
    }
}
