//! Identifies the files of images, so that a run notices when one has changed.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Limits, resolve};
use crate::util::io;

/// Returns size and SHA-256 of each image, by its path as written in a record. An image that cannot
/// be read is left out: the problem that shows it fails with the cause.
///
/// ```
/// use mmprm::image::fingerprints;
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("a.png"), "four")?;
/// let found = fingerprints(folder.path(), ["a.png", "missing.png"]);
/// assert!(found.len() == 1 && found["a.png"].starts_with("4 bytes, sha256 "));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn fingerprints<'a>(root: &Path, paths: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut paths: Vec<&str> = paths.into_iter().collect();
    paths.sort_unstable();
    paths.dedup();
    let read = |path: &&str| {
        let file = resolve(root, path).ok()?;
        let bytes = io::read(&file, Limits::default().max_file_bytes).ok()?;
        Some(((*path).to_owned(), format!("{} bytes, sha256 {:x}", bytes.len(), Sha256::digest(&bytes))))
    };
    paths.par_iter().filter_map(read).collect()
}
