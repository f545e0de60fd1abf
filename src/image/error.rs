//! Why an image cannot be used.

use std::path::PathBuf;

use super::TooNarrow;
use crate::util::io::FileError;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file (or the data root) cannot be read, or the file has more bytes than
    /// [`Limits::max_file_bytes`](super::Limits::max_file_bytes).
    #[error(transparent)]
    File(#[from] FileError),
    /// The path is a directory, device or pipe.
    #[error("{}: expected an image file, found something that is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// There is no such file below the data root.
    #[error("cannot read {}: No such file or directory below the data root {}", root.join(path).display(), root.display())]
    Missing {
        /// The path as written.
        path: PathBuf,
        /// The directory that images are below.
        root: PathBuf,
    },
    /// The path leads out of the data root.
    #[error("{}: the image lies outside the data root {}", path.display(), root.display())]
    OutsideRoot {
        /// The path as written.
        path: PathBuf,
        /// The directory that images are confined to.
        root: PathBuf,
    },
    /// A side is longer than [`Limits::max_side`](super::Limits::max_side).
    #[error("{}: the image is {width}×{height} pixels, more than the limit of {limit} a side", path.display())]
    SideTooLong {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
        /// The limit.
        limit: u32,
    },
    /// The image has more pixels than [`Limits::max_pixels`](super::Limits::max_pixels).
    #[error("{}: the image is {width}×{height} pixels, more than the limit of {limit} pixels", path.display())]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
        /// The limit.
        limit: u64,
    },
    /// One side is far longer than the other, for a model that reads images whole.
    #[error("{}: {source}", path.display())]
    TooNarrow {
        /// The file.
        path: PathBuf,
        /// Its sides.
        source: TooNarrow,
    },
    /// The file has none of the known formats.
    #[error("{}: expected a PNG, JPEG, WebP, BMP, GIF or TIFF image", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, truncated, or of an unsupported kind within its format.
    #[error("{}: cannot decode the {format} image: {reason}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// The format according to its first bytes.
        format: &'static str,
        /// What the decoder found.
        reason: String,
    },
}
