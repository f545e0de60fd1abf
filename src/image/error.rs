use std::io;
use std::path::PathBuf;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file (or the data root) cannot be opened or read.
    #[error("{}: cannot read the image: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, device or pipe stands where an image was expected.
    #[error("{}: expected an image file, found something that is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The path leads out of the data root.
    #[error("{}: the image lies outside the data root {}", path.display(), root.display())]
    OutsideRoot {
        /// The path as written.
        path: PathBuf,
        /// The directory that images are confined to.
        root: PathBuf,
    },
    /// More bytes than [`Limits::max_file_bytes`](super::Limits::max_file_bytes).
    #[error("{}: the image file has {bytes} bytes, more than the limit of {limit}", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A side longer than [`Limits::max_side`](super::Limits::max_side).
    #[error("{}: the image is {width}×{height} pixels, more than the limit of {limit} a side", path.display())]
    SideTooLong {
        /// The file.
        path: PathBuf,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The limit.
        limit: u32,
    },
    /// More pixels than [`Limits::max_pixels`](super::Limits::max_pixels).
    #[error("{}: the image is {width}×{height} pixels, more than the limit of {limit} pixels", path.display())]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The limit.
        limit: u64,
    },
    /// None of the known formats.
    #[error("{}: expected a PNG, JPEG, WebP, BMP, GIF or TIFF image", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// Damaged, truncated, or of a kind within its format that is not supported.
    #[error("{}: cannot decode the {format} image: {reason}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// The format its first bytes claim.
        format: &'static str,
        /// What the decoder found.
        reason: String,
    },
}
