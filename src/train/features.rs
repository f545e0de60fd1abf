//! Image features of the frozen vision tower, cached in memory and on disk
//! ([`vision::DiskCache`](crate::vision::DiskCache)).
//!
//! ```
//! use mmprm::train::features::Features;
//! let folder = tempfile::tempdir().unwrap();
//! let mut features = Features::new(folder.path().to_owned(), [1; 32]);
//! let computed = features.get(&[2; 32], 2, || Ok::<_, std::io::Error>(vec![0.5, 1.5])).unwrap();
//! let mut later = Features::new(folder.path().to_owned(), [1; 32]);
//! let cached = later.get(&[2; 32], 2, || -> std::io::Result<_> { panic!("it is on disk") }).unwrap();
//! assert_eq!(computed, cached);
//! ```

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::vision::DiskCache;

/// Maximum bytes of features in memory; the rest is read from disk each time.
pub(super) const MAX_MEMORY: usize = 2 << 30;

/// A cache of features; see the [module](self).
#[derive(Debug)]
pub struct Features {
    disk: DiskCache,
    memory: HashMap<[u8; 32], Arc<Vec<f32>>>,
    bytes: usize,
}

impl Features {
    /// A cache in `directory` for a vision tower; `tower` is the hash of all that its output depends on.
    pub fn new(directory: PathBuf, tower: [u8; 32]) -> Self {
        Self { disk: DiskCache::new(directory, tower), memory: HashMap::new(), bytes: 0 }
    }

    /// The `count` features of the image whose tiles have hash `image`; `compute` is called if they are not cached.
    ///
    /// # Errors
    /// Errors of `compute` and of writing to disk.
    ///
    /// # Panics
    /// If `compute` returns another number of features.
    pub fn get<E: From<io::Error>>(
        &mut self,
        image: &[u8; 32],
        count: usize,
        compute: impl FnOnce() -> Result<Vec<f32>, E>,
    ) -> Result<Arc<Vec<f32>>, E> {
        if let Some(features) = self.memory.get(image) {
            return Ok(Arc::clone(features));
        }
        let features = if let Some(features) = self.disk.get(image, count) {
            features
        } else {
            let features = compute()?;
            assert_eq!(features.len(), count, "features of an image");
            self.disk.put(image, &features)?;
            features
        };
        let features = Arc::new(features);
        if self.bytes + count * size_of::<f32>() <= MAX_MEMORY {
            self.bytes += count * size_of::<f32>();
            self.memory.insert(*image, Arc::clone(&features));
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(features: &mut Features, value: f32) -> Vec<f32> {
        features.get(&[0; 32], 1, || Ok::<_, io::Error>(vec![value])).unwrap().to_vec()
    }

    #[test]
    fn a_damaged_file_is_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Features::new(folder.path().to_owned(), [0; 32]);
        let mut features = open();
        get(&mut features, 1.0);
        assert_eq!(get(&mut open(), 2.0), [1.0]);
        let entry = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
        std::fs::write(entry.path(), [0; 7]).unwrap();
        assert_eq!(get(&mut features, 2.0), [1.0], "from memory");
        assert_eq!(get(&mut open(), 3.0), [3.0]);
        assert_eq!(get(&mut open(), 4.0), [3.0]);
    }
}
