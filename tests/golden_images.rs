//! Golden: decoded pixels, tiles, pixel values and grid choices equal MM-PRM's (`golden/images`).

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use mmprm::image::{
    IMAGENET_MEAN, IMAGENET_STD, Limits, Rgb8, Tile, Tiling, candidate_grids, closest_grid, load, normalise, tiles,
};
use serde_json::Value;
use support::tensors::Tensors;
use support::{golden_path, json};

/// The tiling of the golden images.
const SMALL: Tiling = Tiling { size: 112, min_tiles: 1, max_tiles: 6, thumbnail: true };

fn golden_images() -> Option<PathBuf> {
    golden_path("images")
}

fn preprocess() -> Option<Value> {
    golden_path("images/preprocess.json").map(|path| json(&path))
}

/// Returns name, image and tensors of every image with tensors in the folder.
fn cases(folder: &Path) -> Vec<(String, Rgb8, Tensors)> {
    let mut cases: Vec<(String, Rgb8, Tensors)> = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let image = load(&path.with_extension("png"), &Limits::default()).unwrap();
            cases.push((path.file_stem().unwrap().to_str().unwrap().into(), image, Tensors::read(&path)));
        }
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

fn bytes_of(tiles: &[Tile]) -> Vec<u8> {
    tiles.iter().flat_map(|tile| &tile.rgb).copied().collect()
}

/// Panics with the first difference instead of printing both.
fn assert_same_bytes(name: &str, found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "{name}: length");
    if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
        panic!("{name}: byte {at} is {}, expected {}", found[at], expected[at]);
    }
}

#[test]
fn golden_images_decode_to_pillows_rgb_bytes() {
    let Some(folder) = golden_images() else { return };
    let mut checked = 0;
    for (name, image, tensors) in cases(&folder) {
        let tensors = tensors.file();
        if let Ok(expected) = tensors.tensor("rgb_u8") {
            assert_eq!(expected.shape(), [image.height, image.width, 3], "{name}");
            assert_same_bytes(&name, &image.data, expected.data());
            checked += 1;
        }
    }
    assert!(checked > 0, "no image with rgb_u8 in {}", folder.display());
}

#[test]
fn golden_tiles_are_equal_byte_for_byte() {
    let Some(folder) = golden_images() else { return };
    let mut checked = 0;
    for (name, image, tensors) in cases(&folder) {
        let tensors = tensors.file();
        if let Ok(expected) = tensors.tensor("tiles_u8") {
            let mut tiles = tiles(&image, &SMALL);
            if tensors.tensor("pixel_values").is_err() {
                // The pixel-mode cases have the first tile and the thumbnail only.
                tiles = vec![tiles[0].clone(), tiles[tiles.len() - 1].clone()];
            }
            assert_eq!(expected.shape(), [tiles.len(), SMALL.size, SMALL.size, 3], "{name}");
            assert_same_bytes(&name, &bytes_of(&tiles), expected.data());
            checked += 1;
        }
        if let Ok(expected) = tensors.tensor("thumbnail_u8") {
            let tiles = tiles(&image, &Tiling { size: expected.shape()[0], ..SMALL });
            assert_same_bytes(&name, &tiles[tiles.len() - 1].rgb, expected.data());
            checked += 1;
        }
    }
    assert!(checked > 0, "no tiles in {}", folder.display());
}

#[test]
fn golden_pixel_values_are_equal_to_a_millionth() {
    let Some(folder) = golden_images() else { return };
    let mut checked = 0;
    for (name, image, tensors) in cases(&folder) {
        if tensors.file().tensor("pixel_values").is_err() {
            continue;
        }
        let expected = tensors.floats("pixel_values");
        let found: Vec<f32> =
            tiles(&image, &SMALL).iter().flat_map(|tile| normalise(tile, IMAGENET_MEAN, IMAGENET_STD)).collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest <= 1e-6, "{name}: differs by {largest}");
        checked += 1;
    }
    assert!(checked > 0, "no pixel values in {}", folder.display());
}

#[test]
fn golden_tile_counts_and_sums_agree() {
    let Some(folder) = golden_images() else { return };
    let Some(preprocess) = preprocess() else { return };
    let mut checked = 0;
    for (name, meta) in preprocess["images"].as_object().unwrap() {
        // This copy may lack some of the images.
        let path = folder.join(name).with_extension("png");
        if !path.exists() {
            continue;
        }
        let image = load(&path, &Limits::default()).unwrap();
        assert_eq!(meta["width"], image.width, "{name}");
        assert_eq!(meta["height"], image.height, "{name}");
        let size = meta.get("image_size").map_or(SMALL.size, |size| size.as_u64().unwrap() as usize);
        let tiles = tiles(&image, &Tiling { size, ..SMALL });
        assert_eq!(meta["tiles"], tiles.len(), "{name}");
        if let Some(expected) = meta.get("tile_sums") {
            let sums: Vec<u64> = tiles.iter().map(|tile| tile.rgb.iter().map(|&byte| u64::from(byte)).sum()).collect();
            assert_eq!(*expected, Value::from(sums), "{name}");
        }
        checked += 1;
    }
    assert!(checked > 0, "no images of preprocess.json in {}", folder.display());
}

#[test]
fn golden_candidate_grids_come_in_internvls_order() {
    let Some(preprocess) = preprocess() else { return };
    let orders = preprocess["ratio_order"].as_object().unwrap();
    assert!(!orders.is_empty());
    for (bounds, expected) in orders {
        let (min, max) = bounds.split_once(',').unwrap();
        let grids = candidate_grids(min.parse().unwrap(), max.parse().unwrap());
        assert_eq!(serde_json::json!(grids), *expected, "{bounds}");
    }
}

#[test]
fn golden_grid_choices_are_equal_for_every_size() {
    let Some(preprocess) = preprocess() else { return };
    let rows: Vec<[usize; 7]> = serde_json::from_value(preprocess["rows"].clone()).unwrap();
    assert!(!rows.is_empty());
    for [width, height, size, min_tiles, max_tiles, columns, rows] in rows {
        let tiling = Tiling { size, min_tiles, max_tiles, thumbnail: true };
        let grid = closest_grid(width, height, &tiling);
        assert_eq!(grid, (columns, rows), "{width}×{height}, tiles of {size}, {min_tiles} to {max_tiles}");
    }
}
