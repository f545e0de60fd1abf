//! A perceptual hash: images that look alike have hashes that differ in few bits.
//!
//! The difference hash (Krawetz, "Kind of like that", 2013): the image is averaged to a small grey grid, and each bit says whether a
//! cell is darker than its right neighbour. Here the grid is 17 × 16 cells, since figures of mathematics are thin lines on white,
//! and a cell has to be darker by a margin, so that the noise of JPEG on an even background sets no bits.

use super::{Rgb8, resize};

/// Cells in a row whose bits are kept; one more is compared with.
const SIDE: usize = 16;

/// By how many of 255 grey levels a cell has to be darker.
const MARGIN: f64 = 2.0;

/// Maximum bits that differ between two versions of one image: other sizes, other encodings.
const MAX_DISTANCE: u32 = 16;

/// The perceptual hash of an image.
///
/// ```
/// use mmprm::image::{DifferenceHash, Rgb8, resize};
/// let ramp = |x: usize, y: usize| [(x * 2 + y) as u8; 3];
/// let data = (0..100 * 100).flat_map(|at| ramp(at % 100, at / 100)).collect();
/// let image = Rgb8 { width: 100, height: 100, data };
/// let smaller = DifferenceHash::of(&resize(&image, 60, 60));
/// assert!(DifferenceHash::of(&image).looks_like(&smaller));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DifferenceHash([u64; 4]);

impl DifferenceHash {
    /// Returns the hash of an image.
    pub fn of(image: &Rgb8) -> Self {
        let cells = grid(image);
        let mut bits = [0; 4];
        for row in 0..SIDE {
            for column in 0..SIDE {
                let at = row * (SIDE + 1) + column;
                if cells[at] + MARGIN < cells[at + 1] {
                    let bit = row * SIDE + column;
                    bits[bit / 64] |= 1 << (bit % 64);
                }
            }
        }
        Self(bits)
    }

    /// Returns the number of bits that differ.
    pub fn distance(&self, other: &Self) -> u32 {
        self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// Returns whether two images look alike. An even image, which has no bits, looks like none.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.0 != [0; 4] && other.0 != [0; 4] && self.distance(other) <= MAX_DISTANCE
    }
}

/// The grey levels of the image, resized to the grid.
fn grid(image: &Rgb8) -> Vec<f64> {
    let grey = |pixel: &[u8]| {
        let [r, g, b] = [0, 1, 2].map(|channel| f64::from(pixel[channel]));
        0.299 * r + 0.587 * g + 0.114 * b
    };
    resize(image, SIDE + 1, SIDE).data.chunks_exact(3).map(grey).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(width: usize, height: usize, is_black: impl Fn(f64, f64) -> bool) -> Rgb8 {
        let shade = |at: usize| {
            let (x, y) = ((at % width) as f64 / width as f64, (at / width) as f64 / height as f64);
            [if is_black(x, y) { 0 } else { 255_u8 }; 3]
        };
        Rgb8 { width, height, data: (0..width * height).flat_map(shade).collect() }
    }

    fn triangle(x: f64, y: f64) -> bool {
        (y - x).abs() < 0.03 || (y > 0.9 && y < 0.95) || x < 0.04
    }

    fn circle(x: f64, y: f64) -> bool {
        (((x - 0.5).powi(2) + (y - 0.5).powi(2)).sqrt() - 0.4).abs() < 0.03
    }

    #[test]
    fn other_sizes_and_noise_look_alike_and_other_drawings_do_not() {
        let image = drawing(240, 180, triangle);
        let hash = DifferenceHash::of(&image);
        assert!(hash.looks_like(&hash));
        assert!(hash.looks_like(&DifferenceHash::of(&resize(&image, 163, 121))));
        assert!(hash.looks_like(&DifferenceHash::of(&resize(&image, 480, 360))));
        let mut noisy = image.clone();
        noisy.data.iter_mut().enumerate().for_each(|(at, value)| *value = value.saturating_sub((at * 7919 % 5) as u8));
        assert!(hash.looks_like(&DifferenceHash::of(&noisy)));
        assert!(!hash.looks_like(&DifferenceHash::of(&drawing(240, 180, circle))));
    }

    #[test]
    fn an_even_image_looks_like_none_and_tiny_ones_have_a_hash() {
        let white = DifferenceHash::of(&drawing(50, 50, |_, _| false));
        assert!(!white.looks_like(&white));
        for side in [1, 2, 5, 17] {
            let image = drawing(side, 1, |x, _| x < 0.5);
            assert_eq!(DifferenceHash::of(&image).distance(&DifferenceHash::of(&image)), 0);
        }
    }
}
