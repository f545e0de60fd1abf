//! Folders of records and images.

use std::path::{Path, PathBuf};

use image::{GrayImage, Luma};
use mmprm::data::records::Records;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a file of records.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a drawing, another one for each number.
    pub fn drawing(&self, name: &str, width: u32, height: u32, number: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Dark and light blocks, of which each number has others.
        let is_black = |x: u32, y: u32| {
            let block = (x * 8 / width) + 8 * (y * 8 / height);
            let mixed = (number + 1).wrapping_mul(0x9e37_79b1) ^ (block + 1).wrapping_mul(0x85eb_ca6b);
            let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2c1b_3c6d);
            (mixed ^ mixed >> 12).is_multiple_of(2)
        };
        GrayImage::from_fn(width, height, |x, y| Luma([if is_black(x, y) { 0 } else { 255 }])).save(&path).unwrap();
        path
    }

    pub fn records(&self, name: &str, records: &[Value]) -> Records {
        Records::load(&lines(&self.path(name), records), None).unwrap()
    }
}

/// Writes records, one a line.
pub fn lines(path: &Path, records: &[Value]) -> PathBuf {
    std::fs::write(path, records.iter().fold(String::new(), |text, record| text + &record.to_string() + "\n")).unwrap();
    path.to_owned()
}
