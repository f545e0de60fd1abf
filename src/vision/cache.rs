//! Results on disk, each in a file that is named by the hash of what it was made of.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mmprm_quant::atomic::AtomicFile;
use sha2::{Digest, Sha256};

/// How a file begins.
const MAGIC: [u8; 8] = *b"mmprmve1";
/// Bytes of a hash.
const HASH: usize = 32;

/// A folder of values, each entry under the hash of its source (an image's tiles) and of its maker (an encoder and its
/// weights): entries of several makers may lie together, and none is ever stale.
///
/// A file holds a mark, its own key, the values as little-endian `f32`, and the SHA-256 of all that. It appears whole or
/// not at all, and what disagrees with itself is as if it were not there. The folder is not bounded: an entry takes 4 bytes
/// a value (1 MiB for a tile of 256 tokens of a model 1024 wide), and any file may be deleted at any time.
#[derive(Debug, Clone)]
pub struct DiskCache {
    directory: PathBuf,
    maker: [u8; HASH],
}

impl DiskCache {
    /// The cache in a folder for what has this hash. The folder is made when something is put into it.
    pub fn new(directory: PathBuf, maker: [u8; HASH]) -> Self {
        Self { directory, maker }
    }

    /// Makes the folder now.
    ///
    /// # Errors
    /// If it cannot be made or written to.
    pub fn prepare(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        tempfile::tempfile_in(&self.directory).map(drop)
    }

    /// The `count` values made of a source, if they are there and sound; a file that is not sound is warned of.
    pub fn get(&self, source: &[u8; HASH], count: usize) -> Option<Vec<f32>> {
        let (key, path) = self.place(source);
        match read(&path, &key, count) {
            Ok(values) => Some(values),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("{}: {error}; it is made anew", path.display());
                None
            }
        }
    }

    /// Keeps the values made of a source.
    ///
    /// # Errors
    /// If the file cannot be written, with its path.
    pub fn put(&self, source: &[u8; HASH], values: &[f32]) -> io::Result<()> {
        let (key, path) = self.place(source);
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
        let key = Sha256::new().chain_update(self.maker).chain_update(source).finalize();
        (key.into(), self.directory.join(format!("{key:x}.embeddings")))
    }
}

/// Bytes of a file with so many values.
fn length(count: usize) -> usize {
    MAGIC.len() + HASH + count * size_of::<f32>() + HASH
}

fn read(path: &Path, key: &[u8; HASH], count: usize) -> io::Result<Vec<f32>> {
    let bad = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    // Looked at before it is opened, which on a pipe would wait for its writer.
    let metadata = std::fs::metadata(path)?;
    let expected = length(count);
    if !metadata.is_file() || metadata.len() != expected as u64 {
        return Err(bad(format!("{} bytes, expected a file of {expected}", metadata.len())));
    }
    let mut bytes = Vec::with_capacity(expected);
    File::open(path)?.take(expected as u64).read_to_end(&mut bytes)?;
    let damaged = || bad("damaged: it disagrees with its own hash".into());
    let (content, hash) = bytes.split_last_chunk::<HASH>().ok_or_else(damaged)?;
    if Sha256::digest(content).as_slice() != hash {
        return Err(damaged());
    }
    let values = content.strip_prefix(&MAGIC).and_then(|rest| rest.strip_prefix(key));
    let values = values.ok_or_else(|| bad("another entry's content under this one's name".into()))?;
    let values: Vec<f32> = values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(bad("values that are no numbers".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: [u8; HASH] = [7; HASH];

    fn open(directory: &Path, maker: u8) -> DiskCache {
        DiskCache::new(directory.to_owned(), [maker; HASH])
    }

    #[test]
    fn a_file_that_is_damaged_cut_or_another_s_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 0);
        cache.put(&PICTURE, &[1.0, 2.0]).unwrap();
        assert_eq!(cache.get(&PICTURE, 2), Some(vec![1.0, 2.0]));
        assert_eq!(cache.get(&PICTURE, 3), None);
        let path = cache.place(&PICTURE).1;
        let whole = std::fs::read(&path).unwrap();
        for place in [0, MAGIC.len(), MAGIC.len() + HASH, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.get(&PICTURE, 2), None, "byte {place}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(cache.get(&PICTURE, 2), None);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(cache.get(&PICTURE, 2), None);
        std::fs::write(cache.place(&[8; HASH]).1, &whole).unwrap();
        assert_eq!(cache.get(&[8; HASH], 2), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(cache.get(&PICTURE, 2), None);
    }

    #[test]
    fn values_that_are_no_numbers_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 0);
        cache.put(&PICTURE, &[f32::NAN]).unwrap();
        assert_eq!(cache.get(&PICTURE, 1), None);
    }

    #[test]
    fn makers_have_entries_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 0).put(&PICTURE, &[1.0]).unwrap();
        assert_eq!(open(folder.path(), 1).get(&PICTURE, 1), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(open(&file.join("below"), 0).prepare().is_err());
        assert!(open(&file, 0).prepare().is_err());
        assert!(open(&folder.path().join("new"), 0).prepare().is_ok());
    }
}
