//! What is in an image file: its format, its size, and the hashes by which equal and similar images are found.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::decode::format_name;
use super::{DifferenceHash, ImageError, Limits, load};
use crate::util::io::FileError;

/// What is in an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFacts {
    /// The name of its format, such as `PNG`.
    pub format: &'static str,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// The perceptual hash of its pixels.
    pub hash: DifferenceHash,
}

/// Bytes by which a format is recognised.
const HEAD: usize = 64;

impl ImageFacts {
    /// Decodes the file at `path` and returns what is in it.
    ///
    /// # Errors
    /// [`ImageError`], as [`load`].
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let image = load(path, &Limits::default())?;
        let mut file = File::open(path).map_err(FileError::reading(path))?;
        let (mut digest, mut head, mut buffer) = (Sha256::new(), Vec::new(), vec![0; 1 << 16]);
        loop {
            let count = file.read(&mut buffer).map_err(FileError::reading(path))?;
            if count == 0 {
                break;
            }
            head.extend_from_slice(&buffer[..count.min(HEAD.saturating_sub(head.len()))]);
            digest.update(&buffer[..count]);
        }
        let format = format_name(&head).ok_or_else(|| ImageError::UnknownFormat { path: path.into() })?;
        let hash = DifferenceHash::of(&image);
        Ok(Self { format, width: image.width, height: image.height, sha256: digest.finalize().into(), hash })
    }

    /// Returns whether two files have the same bytes or images that look alike.
    pub fn is_similar_to(&self, other: &Self) -> bool {
        self.sha256 == other.sha256 || self.hash.looks_like(&other.hash)
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageFormat, Luma};

    use super::*;

    #[test]
    fn a_file_has_its_format_and_size_and_another_encoding_is_similar() {
        let folder = tempfile::tempdir().unwrap();
        let drawing = GrayImage::from_fn(64, 48, |x, y| Luma([if x.abs_diff(y) < 3 || x > 58 { 0 } else { 250 }]));
        let facts = |name: &str, format: ImageFormat| {
            let path = folder.path().join(name);
            drawing.save_with_format(&path, format).unwrap();
            ImageFacts::read(&path).unwrap()
        };
        let (png, jpeg) = (facts("a", ImageFormat::Png), facts("b", ImageFormat::Jpeg));
        assert_eq!((png.format, png.width, png.height, jpeg.format), ("PNG", 64, 48, "JPEG"));
        assert!(png.sha256 != jpeg.sha256 && png.is_similar_to(&jpeg));
        let path = folder.path().join("text");
        std::fs::write(&path, "no image").unwrap();
        assert!(matches!(ImageFacts::read(&path), Err(ImageError::UnknownFormat { .. })));
    }
}
