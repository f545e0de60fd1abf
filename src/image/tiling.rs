//! `InternVL`'s dynamic tiling: the grid for an image, and its tiles.

use super::Rgb8;
use super::grid::candidate_grids;
use super::resize::resize;

/// How images are cut into tiles. [`Tiling::new`] validates values that come from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// Side of a tile in pixels (448 in InternVL2.5).
    pub size: usize,
    /// Minimum number of tiles, not counting the thumbnail.
    pub min_tiles: usize,
    /// Maximum number of tiles, not counting the thumbnail (6 in MM-PRM's training, 12 by
    /// InternVL2.5's default).
    pub max_tiles: usize,
    /// Whether the whole image is added as one more tile if there is more than one.
    pub thumbnail: bool,
}

/// A [`Tiling`] with invalid values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TilingError {
    /// The tile size is 0 or larger than any vision tower takes.
    #[error("expected a tile size of 1 to {limit} pixels, found {size}")]
    Size {
        /// The size given.
        size: usize,
        /// The maximum.
        limit: usize,
    },
    /// The tile counts are not an interval within the maximum.
    #[error("expected tile counts with 1 ≤ minimum ≤ maximum ≤ {limit}, found {min_tiles} and {max_tiles}")]
    Count {
        /// The minimum given.
        min_tiles: usize,
        /// The maximum given.
        max_tiles: usize,
        /// The maximum.
        limit: usize,
    },
}

impl Tiling {
    /// Returns a tiling with validated values.
    ///
    /// # Errors
    /// [`TilingError`] unless `size` is 1 to 4096 and 1 ≤ `min_tiles` ≤ `max_tiles` ≤ 64.
    pub fn new(size: usize, min_tiles: usize, max_tiles: usize, thumbnail: bool) -> Result<Self, TilingError> {
        const MAX_SIZE: usize = 4096;
        const MAX_TILES: usize = 64;
        if size == 0 || size > MAX_SIZE {
            return Err(TilingError::Size { size, limit: MAX_SIZE });
        }
        if min_tiles == 0 || min_tiles > max_tiles || max_tiles > MAX_TILES {
            return Err(TilingError::Count { min_tiles, max_tiles, limit: MAX_TILES });
        }
        Ok(Self { size, min_tiles, max_tiles, thumbnail })
    }
}

/// One square tile of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Side in pixels.
    pub size: usize,
    /// `size` × `size` × 3 bytes, row by row.
    pub rgb: Vec<u8>,
}

/// Returns the grid (columns, rows) that an image is resized to: the candidate with the closest
/// aspect ratio; at equal distance a later candidate wins only if the image has more than half of
/// that candidate's area (`InternVL`'s `find_closest_aspect_ratio`).
pub fn closest_grid(width: usize, height: usize, tiling: &Tiling) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    let area = (width * height) as f64;
    let mut best = (1, 1);
    let mut best_distance = f64::INFINITY;
    for (columns, rows) in candidate_grids(tiling.min_tiles, tiling.max_tiles) {
        let distance = (aspect - columns as f64 / rows as f64).abs();
        let grid_area = (tiling.size * tiling.size * columns * rows) as f64;
        #[expect(clippy::float_cmp, reason = "ties in the original are exact")]
        if distance < best_distance || (distance == best_distance && area > 0.5 * grid_area) {
            best_distance = distance;
            best = (columns, rows);
        }
    }
    best
}

/// Cuts an image into tiles as `InternVL`'s `dynamic_preprocess` does: resized to the [closest
/// grid](closest_grid) without keeping its aspect ratio and cut row by row, then the thumbnail if
/// the tiling has one and there is more than one tile.
pub fn tiles(image: &Rgb8, tiling: &Tiling) -> Vec<Tile> {
    let size = tiling.size;
    let (columns, rows) = closest_grid(image.width, image.height, tiling);
    let stretched = resize(image, columns * size, rows * size);
    let mut tiles: Vec<Tile> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (column, row)))
        .map(|(column, row)| cut(&stretched, column * size, row * size, size))
        .collect();
    if tiling.thumbnail && tiles.len() > 1 {
        tiles.push(Tile { size, rgb: resize(image, size, size).data });
    }
    tiles
}

fn cut(image: &Rgb8, left: usize, top: usize, size: usize) -> Tile {
    let rows = image.data.chunks_exact(image.width * 3).skip(top).take(size);
    Tile { size, rgb: rows.flat_map(|row| &row[left * 3..(left + size) * 3]).copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIX: Tiling = Tiling { size: 4, min_tiles: 1, max_tiles: 6, thumbnail: true };

    #[test]
    fn tiles_are_cut_row_by_row_and_the_thumbnail_comes_last() {
        let data = (0..8 * 8).flat_map(|i| [(i % 8 / 4 + i / 32 * 2) as u8 * 50; 3]).collect();
        let image = Rgb8 { width: 8, height: 8, data };
        // 2×2 has the image's aspect ratio, as 1×1 has, and less than twice its area.
        let tiles = tiles(&image, &SIX);
        let means: Vec<u8> = tiles[..4].iter().map(|tile| tile.rgb[0]).collect();
        assert_eq!(means, [0, 50, 100, 150]);
        assert_eq!(tiles.len(), 5);
        assert_eq!(tiles[4].rgb, resize(&image, 4, 4).data);
    }

    #[test]
    fn an_image_of_one_pixel_is_one_tile_without_thumbnail() {
        let image = Rgb8 { width: 1, height: 1, data: vec![9; 3] };
        assert_eq!(tiles(&image, &SIX), [Tile { size: 4, rgb: vec![9; 48] }]);
    }

    #[test]
    fn sizes_and_counts_out_of_bounds_are_refused() {
        assert!(Tiling::new(448, 1, 12, true).is_ok());
        assert!(matches!(Tiling::new(0, 1, 12, true), Err(TilingError::Size { .. })));
        assert!(matches!(Tiling::new(448, 0, 12, true), Err(TilingError::Count { .. })));
        assert!(matches!(Tiling::new(448, 3, 2, true), Err(TilingError::Count { .. })));
        assert!(matches!(Tiling::new(448, 1, 1 << 31, true), Err(TilingError::Count { .. })));
    }
}
