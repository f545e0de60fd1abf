//! Pixel shuffle, forward and backward: merges blocks of neighbouring image tokens into one token
//! with more channels.
//!
//! This is `InternVL`'s `pixel_shuffle` with `ps_version` "v2": each `factor` × `factor` block of a
//! square of tokens becomes one token, whose channels are those of the block's tokens in row-major
//! order.
//!
//! ```
//! use mmprm::nn::pixel_shuffle::PixelShuffle;
//! use mmprm::nn::tensor::{Mat, MatMut};
//! let shuffle = PixelShuffle { side: 2, factor: 2, leading: 1 };
//! let tokens = [9.0f32, 1.0, 2.0, 3.0, 4.0]; // a class token, then 2 × 2 tokens of one channel
//! let mut out = [0.0; 4];
//! shuffle.forward(Mat::new(&tokens, 5, 1), MatMut::new(&mut out, 1, 4));
//! assert_eq!(out, [1.0, 2.0, 3.0, 4.0]);
//! ```

use super::rows;
use super::tensor::{Element, Mat, MatMut};

/// Shape of a pixel shuffle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelShuffle {
    /// Tokens along each side of a tile.
    pub side: usize,
    /// Tokens along each side of a block; divides `side`.
    pub factor: usize,
    /// Tokens before those of each tile (class tokens), which are dropped.
    pub leading: usize,
}

impl PixelShuffle {
    /// Returns the input rows per tile: `leading + side²`.
    pub fn tokens_in(&self) -> usize {
        self.leading + self.side * self.side
    }

    /// Returns the output rows per tile: `(side / factor)²`.
    pub fn tokens_out(&self) -> usize {
        (self.side / self.factor).pow(2)
    }

    /// Shuffles `x` `[tiles · tokens_in, channels]` to `out`
    /// `[tiles · tokens_out, channels · factor²]`.
    pub fn forward<T: Element>(&self, x: Mat<'_, T>, out: MatMut<'_, f32>) {
        self.check((x.rows(), x.cols()), (out.rows(), out.cols()));
        let channels = x.cols();
        rows::each(out, |block, out| {
            for (place, out) in out.chunks_exact_mut(channels.max(1)).enumerate() {
                T::widen(x.row(self.source(block, place)), out);
            }
        });
    }

    /// Computes the gradient: writes `d_x` from `d_out`, shaped as in the forward; 0 for leading
    /// tokens.
    pub fn backward(&self, d_out: Mat<'_, f32>, mut d_x: MatMut<'_, f32>) {
        self.check((d_x.rows(), d_x.cols()), (d_out.rows(), d_out.cols()));
        let channels = d_x.cols();
        for first in (0..d_x.rows()).step_by(self.tokens_in()) {
            (first..first + self.leading).for_each(|row| d_x.row_mut(row).fill(0.0));
        }
        for block in 0..d_out.rows() {
            for (place, d_out) in d_out.row(block).chunks_exact(channels.max(1)).enumerate() {
                d_x.row_mut(self.source(block, place)).copy_from_slice(d_out);
            }
        }
    }

    /// Returns the input row of token `place` within output row `block`.
    fn source(&self, block: usize, place: usize) -> usize {
        let across = self.side / self.factor;
        let (tile, block) = (block / self.tokens_out(), block % self.tokens_out());
        let row = block / across * self.factor + place / self.factor;
        let col = block % across * self.factor + place % self.factor;
        tile * self.tokens_in() + self.leading + row * self.side + col
    }

    fn check(&self, x: (usize, usize), out: (usize, usize)) {
        assert!(
            self.factor > 0 && self.side.is_multiple_of(self.factor),
            "blocks of {} do not fill a side of {} tokens",
            self.factor,
            self.side
        );
        let fits = x.0.is_multiple_of(self.tokens_in()) && x.0 / self.tokens_in() * self.tokens_out() == out.0;
        assert!(
            fits && x.1 * self.factor.pow(2) == out.1,
            "input {x:?} does not match output {out:?} (rows, channels)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MM-PRM's sequence of views and permutations: [n, w, h, c] → [n, w, h/r, c·r] → [n, h/r, w,
    /// c·r] → [n, h/r, w/r, c·r²] → [n, w/r, h/r, c·r²].
    fn by_permutations(x: &[f32], images: usize, side: usize, r: usize, c: usize) -> Vec<f32> {
        let small = side / r;
        let mut out = vec![0.0; x.len()];
        for n in 0..images {
            for w in 0..side {
                for hs in 0..small {
                    for channel in 0..c * r {
                        let from = ((n * side + w) * small + hs) * c * r + channel;
                        let (ws, s) = (w / r, w % r);
                        out[((n * small + ws) * small + hs) * c * r * r + s * c * r + channel] = x[from];
                    }
                }
            }
        }
        out
    }

    #[test]
    fn blocks_become_channels_as_in_the_reference_and_backward_inverts_it() {
        let (images, side, factor, channels) = (2, 6, 2, 3);
        let shuffle = PixelShuffle { side, factor, leading: 0 };
        let x: Vec<f32> = (0..images * side * side * channels).map(|i| i as f32).collect();
        let mut out = vec![0.0; x.len()];
        let (rows, blocks) = (images * side * side, images * shuffle.tokens_out());
        shuffle.forward(Mat::new(&x, rows, channels), MatMut::new(&mut out, blocks, channels * 4));
        assert_eq!(out, by_permutations(&x, images, side, factor, channels));
        let mut back = vec![0.0; x.len()];
        shuffle.backward(Mat::new(&out, blocks, channels * 4), MatMut::new(&mut back, rows, channels));
        assert_eq!(back, x);
    }

    #[test]
    fn class_tokens_are_dropped_and_get_no_gradient() {
        let shuffle = PixelShuffle { side: 2, factor: 2, leading: 1 };
        let mut d_x = [5.0; 10];
        shuffle.backward(Mat::new(&[1.0; 8], 2, 4), MatMut::new(&mut d_x, 10, 1));
        assert_eq!(d_x, [0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    }
}
