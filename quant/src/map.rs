//! Read-only memory maps of files.
//!
//! One of the two places of this crate with `unsafe` code (the other is [`crate::blocks`]'s binding
//! to ggml): maps a file, and returns the pages of a processed range to the system, so that a
//! streaming pass over a large file keeps little memory resident. The bytes are interpreted by
//! [`crate::gguf`] and [`crate::safetensors`].

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::read;

/// A file mapped read-only; an empty file is an empty slice.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps `path`.
    ///
    /// # Errors
    /// Any error of opening or mapping the file; [`io::ErrorKind::InvalidInput`] if it is not a
    /// regular file. The message does not name the path: the caller's error does.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = read::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self { path: path.to_owned(), map: None });
        }
        // SAFETY: the map is read-only. That the file is not shortened while it is mapped is an
        // operating condition for model files (llama.cpp maps them under the same one); a violation
        // raises SIGBUS and does not corrupt memory.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path: path.to_owned(), map: Some(map) })
    }

    /// Returns an empty file of this path, which is not opened.
    pub(crate) fn without_content(path: &Path) -> Self {
        Self { path: path.to_owned(), map: None }
    }

    /// Returns the path that was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Returns the resident pages of a byte range to the system; reading them again loads them from
    /// the file.
    ///
    /// A hint: nothing happens on failure or where the system has no such call. The range is
    /// clipped to the file.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            let start = range.start.min(map.len());
            let length = range.end.min(map.len()).saturating_sub(start);
            // SAFETY: the mapping is shared and read-only, so its pages hold nothing but the file's
            // own bytes, and dropping them can only cause them to be read again. A failure leaves
            // them resident, which is harmless.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, length) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
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
