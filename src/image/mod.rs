//! Images as `InternVL` sees them: decoded safely, cut into tiles, normalised.
//!
//! [`load`] turns a file into the RGB bytes that Pillow's `Image.open(path).convert("RGB")` gives; [`tiles`] does
//! InternVL2.5's `dynamic_preprocess` on them, byte for byte; [`normalise`] gives a tile's pixel values. [`resolve`]
//! keeps the image paths of problem files inside their data root. Encoding tiles, and where their embeddings go in a
//! prompt, is left to `engine`, `nn` and `prompt`.
//!
//! ```
//! use mmprm::image::{Rgb8, Tiling, tiles};
//! let image = Rgb8 { width: 200, height: 100, data: vec![255; 200 * 100 * 3] };
//! let tiling = Tiling { size: 112, min_tiles: 1, max_tiles: 6, thumbnail: true };
//! assert_eq!(tiles(&image, &tiling).len(), 3); // two columns, one row, and the thumbnail
//! ```

mod confine;
mod decode;
mod error;
mod grid;
mod pixels;
mod resize;
mod tiling;

pub use confine::resolve;
pub use decode::{Limits, load};
pub use error::ImageError;
pub use grid::candidate_grids;
pub use pixels::{IMAGENET_MEAN, IMAGENET_STD, content_hash, normalise};
pub use resize::resize;
pub use tiling::{Tile, Tiling, TilingError, closest_grid, tiles};

/// An RGB image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Pixels a row; not 0.
    pub width: usize,
    /// Rows; not 0.
    pub height: usize,
    /// `height` × `width` × 3 bytes, row by row.
    pub data: Vec<u8>,
}
