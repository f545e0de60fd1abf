//! Embeddings on disk, one file per entry, named by the hash of its inputs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::AtomicFile;
use sha2::{Digest, Sha256};

/// The first bytes of a file.
const MAGIC: [u8; 8] = *b"mmprmve1";
/// Bytes of a hash.
const HASH: usize = 32;

/// A directory of embeddings. The key of an entry is the hash of its source (an image's tiles) and
/// of its producer (an encoder and its weights), so several producers can share a directory and no
/// entry is ever stale.
///
/// A file holds a magic number, its key, the values as little-endian `f32`, and the SHA-256 of all
/// that. It is written atomically, and a file that fails its checks is treated as missing. The
/// directory has no size limit: an entry takes 4 bytes per value (1 MiB for a tile of 256 tokens of
/// a model of width 1024). Any file may be deleted at any time.
///
/// ```
/// use mmprm::vision::DiskCache;
/// let directory = tempfile::tempdir()?;
/// let (producer, image) = ([1; 32], [2; 32]);
/// let cache = DiskCache::new(directory.path().to_owned(), producer);
/// assert_eq!(cache.get(&image, 2), None);
/// cache.put(&image, &[0.5, 1.5])?;
/// assert_eq!(cache.get(&image, 2), Some(vec![0.5, 1.5]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DiskCache {
    directory: PathBuf,
    producer: [u8; HASH],
}

impl DiskCache {
    /// Returns the cache of a producer, identified by its hash. The first entry creates the
    /// directory.
    pub fn new(directory: PathBuf, producer: [u8; HASH]) -> Self {
        Self { directory, producer }
    }

    /// Creates the directory and checks that it can be written to.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn prepare(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        tempfile::tempfile_in(&self.directory).map(drop)
    }

    /// Returns the `count` values of a source, if a valid entry exists. Logs a warning for an
    /// invalid file.
    pub fn get(&self, source: &[u8; HASH], count: usize) -> Option<Vec<f32>> {
        let (key, path) = self.place(source);
        match read(&path, &key, count) {
            Ok(values) => Some(values),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("{}: {error}; computing the embeddings again", path.display());
                None
            }
        }
    }

    /// Writes the values of a source.
    ///
    /// # Errors
    /// The operating system's error, with the file's path.
    pub fn put(&self, source: &[u8; HASH], values: &[f32]) -> io::Result<()> {
        let (key, path) = self.place(source);
        // What is no regular file is written through, and a pipe would wait for its reader.
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other(format!("{}: expected a regular file", path.display())));
        }
        let mut bytes = Vec::with_capacity(length(values.len()));
        bytes.extend(MAGIC);
        bytes.extend(key);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let hash = Sha256::digest(&bytes);
        bytes.extend(hash);
        // Unsynced: an entry can be recomputed, and its hash is checked when it is read.
        let mut file = AtomicFile::create(&path)?;
        file.write_all(&bytes)?;
        file.commit_unsynced()
    }

    fn place(&self, source: &[u8; HASH]) -> ([u8; HASH], PathBuf) {
        let key = Sha256::new().chain_update(self.producer).chain_update(source).finalize();
        (key.into(), self.directory.join(format!("{key:x}.embeddings")))
    }
}

/// Returns the size of a file with `count` values, in bytes.
fn length(count: usize) -> usize {
    MAGIC.len() + HASH + count * size_of::<f32>() + HASH
}

fn read(path: &Path, key: &[u8; HASH], count: usize) -> io::Result<Vec<f32>> {
    let bad = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    // Checked before opening, since opening a pipe waits for its writer.
    let metadata = std::fs::metadata(path)?;
    let expected = length(count);
    if !metadata.is_file() || metadata.len() != expected as u64 {
        return Err(bad(format!("{} bytes, expected a file of {expected}", metadata.len())));
    }
    let mut bytes = Vec::with_capacity(expected);
    File::open(path)?.take(expected as u64).read_to_end(&mut bytes)?;
    let damaged = || bad("damaged: its content does not match its hash".into());
    let (content, hash) = bytes.split_last_chunk::<HASH>().ok_or_else(damaged)?;
    if Sha256::digest(content).as_slice() != hash {
        return Err(damaged());
    }
    let values = content.strip_prefix(&MAGIC).and_then(|rest| rest.strip_prefix(key));
    let values = values.ok_or_else(|| bad("contains another entry".into()))?;
    let values: Vec<f32> = values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(bad("contains values that are not finite".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: [u8; HASH] = [7; HASH];

    fn open(directory: &Path, producer: u8) -> DiskCache {
        DiskCache::new(directory.to_owned(), [producer; HASH])
    }

    #[test]
    fn damaged_truncated_and_misplaced_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 0);
        cache.put(&IMAGE, &[1.0, 2.0]).unwrap();
        assert_eq!(cache.get(&IMAGE, 2), Some(vec![1.0, 2.0]));
        assert_eq!(cache.get(&IMAGE, 3), None);
        let path = cache.place(&IMAGE).1;
        let whole = std::fs::read(&path).unwrap();
        for place in [0, MAGIC.len(), MAGIC.len() + HASH, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.get(&IMAGE, 2), None, "byte {place}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(cache.get(&IMAGE, 2), None);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(cache.get(&IMAGE, 2), None);
        std::fs::write(cache.place(&[8; HASH]).1, &whole).unwrap();
        assert_eq!(cache.get(&[8; HASH], 2), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(cache.get(&IMAGE, 2), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_the_place_of_an_entry_is_neither_read_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 0);
        let (_, path) = cache.place(&IMAGE);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(cache.get(&IMAGE, 2), None);
        assert!(cache.put(&IMAGE, &[1.0, 2.0]).is_err());
    }

    #[test]
    fn values_that_are_not_finite_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 0);
        cache.put(&IMAGE, &[f32::NAN]).unwrap();
        assert_eq!(cache.get(&IMAGE, 1), None);
    }

    #[test]
    fn producers_have_separate_entries() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 0).put(&IMAGE, &[1.0]).unwrap();
        assert_eq!(open(folder.path(), 1).get(&IMAGE, 1), None);
    }

    #[test]
    fn a_directory_that_cannot_be_written_to_is_an_early_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(open(&file.join("below"), 0).prepare().is_err());
        assert!(open(&file, 0).prepare().is_err());
        assert!(open(&folder.path().join("new"), 0).prepare().is_ok());
    }
}
