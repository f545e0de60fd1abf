//! What the frozen vision tower makes of pictures, computed once: kept in memory, and on disk under a hash.
//!
//! A feature file's name is the hash of the picture's tiles and of the tower's weights, so that files of several models may
//! lie together and none is ever stale. It holds the values as little-endian `f32` and their SHA-256; a file that does not
//! agree with itself is made anew.
//!
//! ```
//! use mmprm::train::features::Features;
//! let folder = tempfile::tempdir().unwrap();
//! let mut features = Features::new(folder.path().to_owned(), [1; 32]);
//! let made = features.get(&[2; 32], 2, || Ok::<_, std::io::Error>(vec![0.5, 1.5])).unwrap();
//! let mut later = Features::new(folder.path().to_owned(), [1; 32]);
//! let found = later.get(&[2; 32], 2, || -> std::io::Result<_> { panic!("it is on disk") }).unwrap();
//! assert_eq!(made, found);
//! ```

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mmprm_quant::atomic;
use sha2::{Digest, Sha256};

/// Memory that features may take, in bytes; those beyond are read from disk each time.
const MEMORY: usize = 2 << 30;
/// Bytes of the hash at the end of a file.
const HASH: usize = 32;

/// A cache of features; see the [module](self).
#[derive(Debug)]
pub struct Features {
    directory: PathBuf,
    tower: [u8; 32],
    memory: HashMap<[u8; 32], Arc<Vec<f32>>>,
    bytes: usize,
}

impl Features {
    /// A cache in a directory for a tower whose weights (and whatever else its output depends on) have this hash.
    pub fn new(directory: PathBuf, tower: [u8; 32]) -> Self {
        Self { directory, tower, memory: HashMap::new(), bytes: 0 }
    }

    /// The `count` features of a picture whose tiles have this hash; `make` is called if they are not known.
    ///
    /// # Errors
    /// What `make` fails with, and that the features cannot be written.
    ///
    /// # Panics
    /// If `make` gives another number of features.
    pub fn get<E: From<io::Error>>(
        &mut self,
        picture: &[u8; 32],
        count: usize,
        make: impl FnOnce() -> Result<Vec<f32>, E>,
    ) -> Result<Arc<Vec<f32>>, E> {
        if let Some(features) = self.memory.get(picture) {
            return Ok(Arc::clone(features));
        }
        let path = self.path(picture);
        let known = fs::read(&path).ok().and_then(|bytes| parse(&bytes, count));
        let features = if let Some(features) = known {
            features
        } else {
            let features = make()?;
            assert_eq!(features.len(), count, "features of a picture");
            let mut bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
            let hash = Sha256::digest(&bytes);
            bytes.extend(hash);
            atomic::write(&path, &bytes)?;
            features
        };
        let features = Arc::new(features);
        if self.bytes + count * size_of::<f32>() <= MEMORY {
            self.bytes += count * size_of::<f32>();
            self.memory.insert(*picture, Arc::clone(&features));
        }
        Ok(features)
    }

    fn path(&self, picture: &[u8; 32]) -> PathBuf {
        let name = Sha256::new().chain_update(self.tower).chain_update(picture).finalize();
        self.directory.join(format!("{name:x}.features"))
    }
}

fn parse(bytes: &[u8], count: usize) -> Option<Vec<f32>> {
    let (values, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
    let sound = values.len() == count * size_of::<f32>() && Sha256::digest(values).as_slice() == hash;
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of 4 bytes"));
    sound.then(|| values.chunks_exact(4).map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(features: &mut Features, value: f32) -> Vec<f32> {
        features.get(&[0; 32], 1, || Ok::<_, io::Error>(vec![value])).unwrap().to_vec()
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Features::new(folder.path().to_owned(), [0; 32]);
        get(&mut open(), 1.0);
        assert_eq!(get(&mut open(), 2.0), [1.0]);
        let path = open().path(&[0; 32]);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(get(&mut open(), 3.0), [3.0]);
        fs::write(&path, [0; 7]).unwrap();
        assert_eq!(get(&mut open(), 4.0), [4.0]);
    }

    #[test]
    fn another_tower_has_features_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        get(&mut Features::new(folder.path().to_owned(), [0; 32]), 1.0);
        assert_eq!(get(&mut Features::new(folder.path().to_owned(), [1; 32]), 2.0), [2.0]);
    }
}
