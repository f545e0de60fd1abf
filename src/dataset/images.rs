//! The image files of a set of records, each read once.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use crate::image::{ImageError, ImageFacts, resolve};

/// What is in each image file, by its path as written in a record.
pub(super) type Facts = BTreeMap<String, Result<ImageFacts, ImageError>>;

/// Reads the images of these paths, below `root`.
pub(super) fn facts<'a>(root: &Path, paths: impl IntoIterator<Item = &'a String>) -> Facts {
    let mut paths: Vec<&String> = paths.into_iter().collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &&String| ((*path).clone(), resolve(root, path).and_then(|file| ImageFacts::read(&file)));
    paths.par_iter().map(read).collect()
}
