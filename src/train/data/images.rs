use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::image::{self, ImageError, Limits, Tile, Tiling};

/// A image of a [`Dataset`](super::Dataset).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its file.
    pub path: PathBuf,
    /// Tiles that it is cut into.
    pub tiles: usize,
    /// Hash of the tiles: images with the same one are one.
    pub digest: [u8; 32],
}

impl Image {
    /// Its tiles, decoded anew.
    ///
    /// # Errors
    /// [`ImageError`] if the file has become unreadable.
    pub fn load(&self, tiling: &Tiling) -> Result<Vec<Tile>, ImageError> {
        Ok(image::tiles(&image::load(&self.path, &Limits::default())?, tiling))
    }
}

/// Images by what they show, so that each is encoded once however often and under whatever names it occurs.
#[derive(Debug, Default)]
pub(super) struct Images {
    pub all: Vec<Image>,
    by_path: HashMap<PathBuf, usize>,
}

impl Images {
    /// Decodes the files; for each that fails, the error.
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

    /// The index of the image in a file that was read.
    pub fn index(&self, path: &Path) -> Option<usize> {
        self.by_path.get(path).copied()
    }
}
