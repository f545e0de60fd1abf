//! Files as read-only memory.
//!
//! One of the two places in this crate that need `unsafe` (the other is [`crate::blocks`]'s binding to ggml): mapping a
//! file, and giving the pages of a finished range back so that a streaming pass over a large file stays small. What the
//! bytes mean is the business of [`crate::gguf`] and [`crate::safetensors`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

/// A whole file mapped read-only; an empty file is an empty slice.
///
/// ```
/// use mmprm_quant::map::MappedFile;
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("bytes");
/// std::fs::write(&path, b"abc").unwrap();
/// assert_eq!(MappedFile::open(&path).unwrap().bytes(), b"abc");
/// ```
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps `path`, which must be a regular file.
    ///
    /// # Errors
    /// Any error of opening or mapping the file; [`io::ErrorKind::InvalidInput`] if it is not a regular file. The path is
    /// not in the message: callers' errors carry it.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Checked before opening too: opening a pipe would wait for its writer.
        regular(&std::fs::metadata(path)?)?;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        regular(&metadata)?;
        if metadata.len() == 0 {
            return Ok(Self { path: path.to_owned(), map: None });
        }
        // SAFETY: the map is read-only. That the file is not shortened while it is mapped is this program's operating
        // condition for model files (llama.cpp maps them under the same one); a violation raises SIGBUS, it does not
        // corrupt memory.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path: path.to_owned(), map: Some(map) })
    }

    /// The path the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Gives the resident pages of a byte range back to the system; reading them again loads them from the file.
    ///
    /// Only a hint: on systems without it, or on failure, nothing happens. The range is cut to the file.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            let start = range.start.min(map.len());
            let length = range.end.min(map.len()).saturating_sub(start);
            // SAFETY: the mapping is shared and read-only, so its pages hold nothing but the file's own bytes, and
            // dropping them can only cause them to be read again. A failure leaves them resident, which is harmless.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, length) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

fn regular(metadata: &std::fs::Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_read_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.bytes(), content);
        file.release(10..usize::MAX);
        assert_eq!(file.bytes(), content);
    }

    #[test]
    fn an_empty_file_is_an_empty_slice_and_a_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"").unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.bytes(), b"");
        file.release(0..10);
        assert_eq!(MappedFile::open(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
