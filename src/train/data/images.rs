//! The images of a data set, each distinct one once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::image::{self, ImageError, Limits, Tile, Tiling};

/// An image of a [`Dataset`](super::Dataset).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its file.
    pub path: PathBuf,
    /// Number of its tiles.
    pub tiles: usize,
    /// Hash of the tiles, equal for images that look the same.
    pub digest: [u8; 32],
}

impl Image {
    /// Decodes its tiles again.
    ///
    /// # Errors
    /// [`ImageError`] if the file has become unreadable.
    pub fn load(&self, tiling: &Tiling) -> Result<Vec<Tile>, ImageError> {
        Ok(image::tiles(&image::load(&self.path, &Limits::default())?, tiling))
    }
}

/// Images by content, so that each is encoded once however often, and under whatever names, it occurs.
#[derive(Debug, Default)]
pub(super) struct Images {
    pub all: Vec<Image>,
    by_path: HashMap<PathBuf, usize>,
}

impl Images {
    /// Decodes the files; returns the error of each that fails.
    pub fn read(paths: &[PathBuf], tiling: &Tiling) -> (Self, HashMap<PathBuf, ImageError>) {
        let read = |path: &PathBuf| -> Result<Image, ImageError> {
            let tiles = image::tiles(&image::load(path, &Limits::default())?, tiling);
            Ok(Image { path: path.clone(), tiles: tiles.len(), digest: image::content_hash(&tiles) })
        };
        let images: Vec<_> = paths.par_iter().map(read).collect();
        let (mut found, mut failed) = (Self::default(), HashMap::new());
        let mut by_digest = HashMap::new();
        for (path, image) in paths.iter().zip(images) {
            match image {
                Ok(image) => {
                    let next = found.all.len();
                    let index = *by_digest.entry(image.digest).or_insert(next);
                    if index == next {
                        found.all.push(image);
                    }
                    found.by_path.insert(path.clone(), index);
                }
                Err(error) => {
                    failed.insert(path.clone(), error);
                }
            }
        }
        (found, failed)
    }

    /// The index of the image of a file.
    pub fn index(&self, path: &Path) -> Option<usize> {
        self.by_path.get(path).copied()
    }
}
