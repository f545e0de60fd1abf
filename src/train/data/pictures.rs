use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::image::{self, ImageError, Limits, Tile, Tiling};

/// A picture of a [`Dataset`](super::Dataset).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its file.
    pub path: PathBuf,
    /// Tiles that it is cut into.
    pub tiles: usize,
    /// Hash of the tiles: pictures with the same one are one.
    pub digest: [u8; 32],
}

impl Picture {
    /// Its tiles, decoded anew.
    ///
    /// # Errors
    /// [`ImageError`] if the file has become unreadable.
    pub fn load(&self, tiling: &Tiling) -> Result<Vec<Tile>, ImageError> {
        Ok(image::tiles(&image::load(&self.path, &Limits::default())?, tiling))
    }
}

/// Pictures by what they show, so that each is encoded once however often and under whatever names it occurs.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    pub all: Vec<Picture>,
    by_path: HashMap<PathBuf, usize>,
}

impl Pictures {
    /// Decodes the files; for each that fails, the error.
    pub fn read(paths: &[PathBuf], tiling: &Tiling) -> (Self, HashMap<PathBuf, ImageError>) {
        let read = |path: &PathBuf| -> Result<Picture, ImageError> {
            let tiles = image::tiles(&image::load(path, &Limits::default())?, tiling);
            Ok(Picture { path: path.clone(), tiles: tiles.len(), digest: image::content_hash(&tiles) })
        };
        let pictures: Vec<_> = paths.par_iter().map(read).collect();
        let (mut found, mut failed) = (Self::default(), HashMap::new());
        let mut by_digest = HashMap::new();
        for (path, picture) in paths.iter().zip(pictures) {
            match picture {
                Ok(picture) => {
                    let next = found.all.len();
                    let index = *by_digest.entry(picture.digest).or_insert(next);
                    if index == next {
                        found.all.push(picture);
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

    /// The index of the picture in a file that was read.
    pub fn index(&self, path: &Path) -> Option<usize> {
        self.by_path.get(path).copied()
    }
}
