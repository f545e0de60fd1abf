//! The size that `Qwen-VL` resizes an image to, which is then read whole.

use super::{Rgb8, resize};

/// Maximum ratio of an image's sides.
const MAX_RATIO: usize = 200;

/// How images are resized for a vision tower that reads them whole. Each `token_size` × `token_size` pixels become one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// Side of the square of a token in pixels.
    pub token_size: usize,
    /// Smaller images are enlarged to this number of pixels.
    pub min_pixels: usize,
    /// Larger images are reduced to this number of pixels.
    pub max_pixels: usize,
}

/// An image whose longer side is more than 200 times as long as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the image is {width}×{height} pixels, expected sides whose ratio is at most {MAX_RATIO}")]
pub struct TooNarrow {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

impl Sizing {
    /// Returns the size (width, height) that an image is resized to: multiples of the token size, with about the same ratio
    /// (`smart_resize` in transformers).
    ///
    /// ```
    /// use mmprm::image::Sizing;
    /// let sizing = Sizing { token_size: 28, min_pixels: 3136, max_pixels: 1_003_520 };
    /// assert_eq!(sizing.size(101, 75), Ok((112, 84)));
    /// assert_eq!(sizing.size(4000, 3000), Ok((1148, 840)));
    /// ```
    ///
    /// # Errors
    /// [`TooNarrow`].
    pub fn size(&self, width: usize, height: usize) -> Result<(usize, usize), TooNarrow> {
        if width.max(height) > MAX_RATIO * width.min(height) {
            return Err(TooNarrow { width, height });
        }
        let token = self.token_size as f64;
        let (wide, high) = (width as f64, height as f64);
        // As Python's round: halves to even.
        let near = |side: f64| (side / token).round_ties_even() as usize * self.token_size;
        let (near_width, near_height) = (near(wide), near(high));
        if near_width * near_height > self.max_pixels {
            let factor = (high * wide / self.max_pixels as f64).sqrt();
            let below = |side: f64| ((side / factor / token).floor() as usize * self.token_size).max(self.token_size);
            return Ok((below(wide), below(high)));
        }
        if near_width * near_height < self.min_pixels {
            let factor = (self.min_pixels as f64 / (high * wide)).sqrt();
            let above = |side: f64| (side * factor / token).ceil() as usize * self.token_size;
            return Ok((above(wide), above(high)));
        }
        Ok((near_width, near_height))
    }

    /// Returns the maximum tokens of an image: one that is enlarged may exceed `max_pixels` by part of a row and of a column, and
    /// a narrow one that is reduced by its shorter side.
    pub fn max_tokens(&self) -> usize {
        let tokens = self.max_pixels.max(self.min_pixels) / (self.token_size * self.token_size);
        2 * tokens + MAX_RATIO
    }

    /// Resizes an image to [its size](Self::size).
    ///
    /// # Errors
    /// [`TooNarrow`].
    pub fn apply(&self, image: &Rgb8) -> Result<Rgb8, TooNarrow> {
        let (width, height) = self.size(image.width, image.height)?;
        Ok(resize(image, width, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by `smart_resize` of transformers 5.24.0 (height, width, factor, minimum, maximum; height, width).
    const SIZES: [([usize; 5], [usize; 2]); 12] = [
        ([75, 101, 28, 3136, 12845056], [84, 112]),
        ([84, 140, 28, 3136, 12845056], [84, 140]),
        ([42, 42, 28, 3136, 12845056], [56, 56]),
        ([14, 70, 28, 3136, 1003520], [28, 140]),
        ([10, 1000, 28, 3136, 1003520], [28, 560]),
        ([3000, 4000, 28, 3136, 1003520], [840, 1148]),
        ([3000, 4000, 32, 65536, 16777216], [3008, 4000]),
        ([1, 1, 32, 65536, 16777216], [256, 256]),
        ([5000, 30, 28, 3136, 1003520], [5012, 28]),
        ([9000, 100, 32, 65536, 300000], [5184, 32]),
        ([448, 448, 28, 200704, 200704], [448, 448]),
        ([333, 777, 32, 65536, 1048576], [320, 768]),
    ];

    #[test]
    fn sizes_are_those_of_transformers() {
        for ([height, width, token_size, min_pixels, max_pixels], [high, wide]) in SIZES {
            let sizing = Sizing { token_size, min_pixels, max_pixels };
            assert_eq!(sizing.size(width, height), Ok((wide, high)), "{width}×{height}");
        }
    }

    #[test]
    fn narrow_images_are_refused() {
        let sizing = Sizing { token_size: 28, min_pixels: 3136, max_pixels: 1 << 20 };
        assert!(sizing.size(2, 400).is_ok());
        let error = sizing.size(401, 2).unwrap_err();
        assert_eq!(error.to_string(), "the image is 401×2 pixels, expected sides whose ratio is at most 200");
    }
}
