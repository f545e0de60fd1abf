//! Tells whether a large file is still the same one without reading all of it.
//!
//! A run remembers the models it uses by name and identity, so that it does not go on with another model under the same name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use mmprm_quant::read::open;
use sha2::{Digest, Sha256};

use super::io::FileError;

/// Bytes hashed at the start, which has the metadata, and at the end.
const END: u64 = 1 << 20;

/// Blocks hashed in between, spread evenly: training or quantising anew changes values everywhere.
const BLOCKS: u64 = 256;
const BLOCK: u64 = 4096;

/// Returns size and a SHA-256 of parts of a file: all of a small one, of a larger one the start, the end and blocks in between.
///
/// ```
/// use mmprm::util::identity::identity;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.gguf");
/// std::fs::write(&path, [0; 100])?;
/// let before = identity(&path)?;
/// std::fs::write(&path, [1; 100])?;
/// assert_ne!(identity(&path)?, before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`FileError::Read`].
pub fn identity(path: &Path) -> Result<String, FileError> {
    hash(path).map_err(FileError::reading(path))
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = open(path)?;
    let size = file.metadata()?.len();
    let mut hasher = Sha256::new();
    if size <= 2 * END + BLOCKS * BLOCK {
        io::copy(&mut file, &mut hasher)?;
    } else {
        part(&mut file, 0, END, &mut hasher)?;
        for block in 0..BLOCKS {
            part(&mut file, (size - BLOCK) / BLOCKS * block, BLOCK, &mut hasher)?;
        }
        part(&mut file, size - END, END, &mut hasher)?;
    }
    Ok(format!("{size} bytes, parts sha256 {:x}", hasher.finalize()))
}

fn part(file: &mut File, start: u64, length: u64, hasher: &mut Sha256) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    io::copy(&mut file.take(length), hasher).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_end_size_and_values_throughout_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut bytes = vec![7_u8; 5 << 20];
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            identity(&path).unwrap()
        };
        let first = of(&bytes);
        assert_eq!(of(&bytes), first);
        for at in [0, (5 << 20) - 1] {
            bytes[at] = 8;
            assert_ne!(of(&bytes), first, "{at}");
            bytes[at] = 7;
        }
        let middle = 2 << 20..3 << 20;
        bytes[middle.clone()].fill(9);
        assert_ne!(of(&bytes), first);
        bytes[middle].fill(7);
        bytes.push(7);
        assert_ne!(of(&bytes), first);
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(identity(Path::new("nowhere")).unwrap_err().to_string().starts_with("cannot read nowhere"));
    }
}
