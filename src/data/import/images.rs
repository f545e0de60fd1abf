//! Images of an import: checked, and written once each under a name made of their content.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

use image::{ImageFormat, ImageReader, Limits};
use mmprm_quant::atomic;
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::builder::Dropped;
use super::row::Image;
use crate::util::io::{self, FileError};

/// Maximum size of an image file in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Maximum side in pixels, and maximum memory of the pixels in bytes.
const MAX_SIDE: u32 = 16384;
const MAX_PIXELS: u64 = 512 << 20;
/// Hexadecimal digits of a file's name.
const DIGITS: usize = 20;

/// The folder that images are written to.
pub(super) struct ImageFolder {
    folder: PathBuf,
    archives: Vec<Archive>,
    written: HashSet<String>,
}

impl ImageFolder {
    /// Writes to `folder` what is beside the sources or in one of `archives`.
    pub fn new(folder: PathBuf, archives: Vec<Archive>) -> Self {
        Self { folder, archives, written: HashSet::new() }
    }

    /// Number of files written.
    pub fn written(&self) -> usize {
        self.written.len()
    }

    /// Writes an image; returns its path for a record beside the folder. Paths in the source are below `root`.
    pub fn store(&mut self, image: &Image, root: &Path) -> Result<String, Dropped> {
        let bytes = match image {
            Image::Bytes(bytes) => bytes.clone(),
            Image::Path(path) => self.read(path, root)?,
        };
        let ending = ending(&bytes).map_err(|cause| Dropped::Row("unreadable image", cause))?;
        let name = format!("{}.{ending}", &format!("{:x}", Sha256::digest(&bytes))[..DIGITS]);
        if self.written.insert(name.clone()) {
            std::fs::create_dir_all(&self.folder)
                .map_err(|error| Dropped::Failed(FileError::writing(&self.folder)(error)))?;
            let path = self.folder.join(&name);
            atomic::write_unsynced(&path, &bytes).map_err(|error| Dropped::Failed(FileError::writing(&path)(error)))?;
        }
        Ok(format!("images/{name}"))
    }

    /// Reads an image beside the source, or else in an archive.
    fn read(&mut self, path: &str, root: &Path) -> Result<Vec<u8>, Dropped> {
        let relative = Path::new(path);
        let is_inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_inside {
            return Err(Dropped::Row("image outside the data root", path.to_owned()));
        }
        // Links inside the root may lead out of it.
        let (full, root) = (root.join(relative), if root.as_os_str().is_empty() { Path::new(".") } else { root });
        match (full.canonicalize(), root.canonicalize()) {
            (Ok(full), Ok(root)) if !full.starts_with(&root) => {
                Err(Dropped::Row("image outside the data root", path.to_owned()))
            }
            (Ok(full), _) => {
                io::read(&full, MAX_BYTES).map_err(|error| Dropped::Row("unreadable image", error.to_string()))
            }
            (Err(_), _) => match self.archives.iter_mut().find_map(|archive| archive.read(path, MAX_BYTES)) {
                Some(read) => read.map_err(|cause| Dropped::Row("unreadable image", cause)),
                None => Err(Dropped::Row("missing image", path.to_owned())),
            },
        }
    }
}

/// The ending of an image that can be decoded.
fn ending(bytes: &[u8]) -> Result<&'static str, String> {
    let format = image::guess_format(bytes).map_err(|_| "its format is unknown".to_owned())?;
    let ending = match format {
        ImageFormat::Png => "png",
        ImageFormat::Jpeg => "jpg",
        ImageFormat::WebP => "webp",
        ImageFormat::Bmp => "bmp",
        ImageFormat::Gif => "gif",
        ImageFormat::Tiff => "tif",
        other => return Err(format!("its format is {other:?}")),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_PIXELS);
    reader.limits(limits);
    reader.decode().map_err(|error| error.to_string())?;
    Ok(ending)
}
