//! Images of a page: decoded, scaled down, and encoded anew as data URIs within a budget.
//!
//! An image that cannot be read is no error: the page shows its path.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;

use crate::image::{ImageError, Limits, Rgb8, load, resize, resolve};

/// Longest sides in pixels that are tried, from the largest.
const SIDES: [usize; 5] = [480, 360, 256, 176, 112];

/// Size of a usual data URI for each 1000 pixels of a square of its longest side.
const BYTES_PER_1000_PIXELS: usize = 80;

/// A JPEG is used only if it is smaller than this fraction of the PNG, which shows drawings without noise.
const JPEG_GAIN: f64 = 0.6;

/// The images of a page, each once.
#[derive(Debug, Default)]
pub struct Images {
    known: HashMap<PathBuf, usize>,
    paths: Vec<PathBuf>,
    /// Names that lead to no image below the folders given.
    pub missing: usize,
}

impl Images {
    /// The index of the image that `name` leads to, in the first of the folders `roots` that has it.
    pub fn index(&mut self, roots: &[PathBuf], name: &str) -> Option<usize> {
        let Some(path) = roots.iter().find_map(|root| resolve(root, name).ok().filter(|path| path.is_file())) else {
            self.missing += 1;
            return None;
        };
        if let Some(known) = self.known.get(&path) {
            return Some(*known);
        }
        self.paths.push(path.clone());
        self.known.insert(path, self.paths.len() - 1);
        Some(self.paths.len() - 1)
    }

    /// Encodes all images so that their data URIs have at most `budget` bytes together; `None` for those that cannot be decoded
    /// or would exceed it.
    pub fn encode(&self, budget: usize) -> Vec<Option<String>> {
        let mut uris: Vec<Option<String>> = vec![None; self.paths.len()];
        let mut todo: Vec<usize> = (0..self.paths.len()).collect();
        let share = budget / uris.len().max(1);
        // Sides at which most images would be far too large are not tried.
        let is_tried = |side: &usize| 2 * share >= side * side * BYTES_PER_1000_PIXELS / 1000;
        let last = SIDES[SIDES.len() - 1];
        for side in SIDES.into_iter().filter(|side| is_tried(side) || *side == last) {
            let encoded: Vec<(usize, Option<String>)> =
                todo.par_iter().map(|&index| (index, data_uri(&self.paths[index], side).ok())).collect();
            for (index, uri) in encoded {
                uris[index] = uri;
            }
            let total: usize = uris.iter().flatten().map(String::len).sum();
            if total <= budget {
                return uris;
            }
            todo = (0..uris.len()).filter(|&index| uris[index].as_ref().is_some_and(|uri| uri.len() > share)).collect();
        }
        let mut left = budget;
        let mut by_size: Vec<usize> = (0..uris.len()).collect();
        by_size.sort_by_key(|&index| uris[index].as_ref().map_or(0, String::len));
        for index in by_size {
            match uris[index].as_ref().map_or(0, String::len) {
                length if length <= left => left -= length,
                _ => uris[index] = None,
            }
        }
        uris
    }
}

/// The image at `path` with a longest side of at most `side`, as a data URI.
fn data_uri(path: &Path, side: usize) -> Result<String, ImageError> {
    let image = load(path, &Limits::default())?;
    let longest = image.width.max(image.height);
    let scaled = |length: usize| (length * side / longest).max(1);
    let image = if longest > side { resize(&image, scaled(image.width), scaled(image.height)) } else { image };
    let failed = |error: image::ImageError| ImageError::Undecodable {
        path: path.to_owned(),
        format: "PNG",
        reason: error.to_string(),
    };
    let png = png(&image).map_err(failed)?;
    let mut jpeg = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    JpegEncoder::new_with_quality(&mut Cursor::new(&mut jpeg), 72)
        .write_image(&image.data, width, height, ExtendedColorType::Rgb8)
        .map_err(failed)?;
    let (kind, bytes) = if (jpeg.len() as f64) < JPEG_GAIN * png.len() as f64 { ("jpeg", jpeg) } else { ("png", png) };
    Ok(format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)))
}

/// PNG, in grey where the image has no colours.
fn png(image: &Rgb8) -> Result<Vec<u8>, image::ImageError> {
    let (width, height) = (image.width as u32, image.height as u32);
    let (pixels, _) = image.data.as_chunks::<3>();
    let is_grey = pixels.iter().all(|[red, green, blue]| red == green && green == blue);
    let mut bytes = Vec::new();
    // Level 9 takes ten times as long for 5 % less.
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Level(3), FilterType::Adaptive);
    if is_grey {
        let grey: Vec<u8> = pixels.iter().map(|pixel| pixel[0]).collect();
        encoder.write_image(&grey, width, height, ExtendedColorType::L8)?;
    } else {
        encoder.write_image(&image.data, width, height, ExtendedColorType::Rgb8)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..3_u32 {
            let noise = |x: u32, y: u32| {
                let mixed = (x * 7919 + y * 104_729 + index).wrapping_mul(2_654_435_761);
                image::Rgb([(mixed >> 8) as u8, (mixed >> 16) as u8, (mixed >> 24) as u8])
            };
            image::RgbImage::from_fn(500, 60, noise).save(folder.path().join(format!("{index}.png"))).unwrap();
        }
        image::RgbImage::from_pixel(40, 20, image::Rgb([9, 9, 9])).save(folder.path().join("grey.png")).unwrap();
        std::fs::write(folder.path().join("broken.png"), "x").unwrap();
        folder
    }

    #[test]
    fn images_are_scaled_until_they_fit() {
        let (folder, mut images) = (folder(), Images::default());
        let roots = [PathBuf::from("/nonexistent"), folder.path().to_owned()];
        let names = ["0.png", "1.png", "2.png", "grey.png", "broken.png", "0.png", "none.png", "../x.png"];
        let indices: Vec<Option<usize>> = names.iter().map(|name| images.index(&roots, name)).collect();
        assert_eq!(indices, [Some(0), Some(1), Some(2), Some(3), Some(4), Some(0), None, None]);
        assert_eq!(images.missing, 2);
        let shown = |budget| {
            let uris = images.encode(budget);
            assert!(uris.iter().flatten().map(String::len).sum::<usize>() <= budget);
            assert!(uris.iter().flatten().all(|uri| uri.starts_with("data:image/")));
            assert!(uris[4].is_none() || budget == 0);
            uris.iter().flatten().count()
        };
        assert_eq!((shown(10_000_000), shown(12_000), shown(300), shown(0)), (4, 4, 1, 0));
    }
}
