//! Images as input for vision towers: decoded safely, cut into tiles and normalised (InternVL2.5), or resized whole ([`Sizing`], Qwen-VL).
//!
//! [`resolve`] confines the image paths of problem files to the data root. [`load`] decodes a file
//! to the RGB bytes of Pillow's `Image.open(path).convert("RGB")`; [`tiles`] applies InternVL2.5's
//! `dynamic_preprocess` to them, byte for byte; [`normalise`] returns a tile's pixel values.
//! Encoding tiles is left to [`vision`](crate::vision), and the place of images in a prompt to
//! [`prompt`](crate::prompt).
//!
//! ```
//! use mmprm::image::{Rgb8, Tiling, tiles};
//! let image = Rgb8 { width: 200, height: 100, data: vec![255; 200 * 100 * 3] };
//! let tiling = Tiling { size: 112, min_tiles: 1, max_tiles: 6, thumbnail: true };
//! assert_eq!(tiles(&image, &tiling).len(), 3); // two columns, one row, and the thumbnail
//! ```

mod budget;
mod confine;
mod decode;
mod difference_hash;
mod error;
mod facts;
mod fingerprint;
mod grid;
mod pixels;
mod resize;
mod tiling;
mod whole;

pub use confine::resolve;
pub use decode::{Limits, load};
pub use difference_hash::DifferenceHash;
pub use error::ImageError;
pub use facts::ImageFacts;
#[doc(hidden)]
pub use fingerprint::fingerprints;
#[doc(hidden)]
pub use grid::candidate_grids;
pub(crate) use pixels::content_hash;
pub use pixels::{IMAGENET_MEAN, IMAGENET_STD, normalise};
pub use resize::resize;
pub use tiling::{Tile, Tiling, TilingError, closest_grid, tiles};
pub use whole::{Sizing, TooNarrow};

/// An RGB image with 8 bits per channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Pixels per row; not 0.
    pub width: usize,
    /// Number of rows; not 0.
    pub height: usize,
    /// `height` × `width` × 3 bytes, row by row.
    pub data: Vec<u8>,
}
