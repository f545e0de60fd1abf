//! Writing records to a folder of their own, with their images below it.
//!
//! Image paths are confined to the folder of a file, so the images are copied (no links: whoever edits an image there would change the
//! source). A path stays as the record has it, unless it is absolute or has `..`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use mmprm_quant::atomic::{self, AtomicFile, CompleteFile};
use serde_json::{Map, Value};

use crate::data::images::rename_images;
use crate::data::records::{Form, Item};
use crate::image::{ImageError, Limits, resolve};
use crate::util::io::{self, FileError};

/// Why records cannot be written to a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file cannot be written; the error names it.
    #[error(transparent)]
    Write(#[from] std::io::Error),
    /// An image is missing, or outside the data root.
    #[error("record {id}: {source}")]
    Image {
        /// The record's id.
        id: String,
        /// What is wrong.
        source: ImageError,
    },
    /// The output exists.
    #[error("{} exists{}", path.display(), if *is_source { " and is read from" } else { "" })]
    Exists {
        /// The output.
        path: PathBuf,
        /// Whether it is also read from.
        is_source: bool,
    },
    /// Another file is where an image would be put.
    #[error("{} exists and is not the image of record {id}", path.display())]
    OtherImage {
        /// The file.
        path: PathBuf,
        /// The record's id.
        id: String,
    },
}

/// Checks that none of the outputs is one of the sources, and that only those exist that are to be replaced.
pub(super) fn check<'a>(
    outputs: impl IntoIterator<Item = &'a PathBuf>,
    sources: &[&Path],
    replaces: bool,
) -> Result<(), OutputError> {
    for path in outputs {
        let Ok(existing) = path.canonicalize() else { continue };
        let is_source = sources.iter().any(|source| source.canonicalize().is_ok_and(|source| source == existing));
        if is_source || !replaces {
            return Err(OutputError::Exists { path: path.clone(), is_source });
        }
    }
    Ok(())
}

/// The images of records on their way to a folder.
pub(super) struct ImageCarrier<'a> {
    root: &'a Path,
    folder: &'a Path,
    /// Paths as the records have them, with the new path where it is another one.
    carried: BTreeMap<String, Option<String>>,
}

impl<'a> ImageCarrier<'a> {
    /// Carries images below `root` to `folder`.
    pub fn new(root: &'a Path, folder: &'a Path) -> Self {
        Self { root, folder, carried: BTreeMap::new() }
    }

    /// Puts the images of a record below the folder; returns its record, with the paths that they have there.
    pub fn carry(&mut self, item: &Item) -> Result<Map<String, Value>, OutputError> {
        for path in &item.images {
            if !self.carried.contains_key(path) {
                let new = self.place(path, &item.id)?;
                self.carried.insert(path.clone(), new);
            }
        }
        let mut record = item.record.clone();
        let renamed = |path: &str| self.carried.get(path).cloned().flatten();
        if item.images.iter().any(|path| renamed(path).is_some()) {
            rename_images(&mut record, &renamed);
        }
        Ok(record)
    }

    /// Puts an image below the folder; returns its path there if the record has another one.
    fn place(&mut self, path: &str, id: &str) -> Result<Option<String>, OutputError> {
        let image = |source| OutputError::Image { id: id.to_owned(), source };
        let file = resolve(self.root, path).map_err(image)?;
        let is_plain =
            Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let (relative, new) = if is_plain {
            (PathBuf::from(path), None)
        } else {
            let root = self.root.canonicalize().map_err(FileError::reading(self.root))?;
            let relative = file.strip_prefix(root).unwrap_or(&file).to_owned();
            let new = relative.to_string_lossy().into_owned();
            (relative, Some(new))
        };
        let place = self.folder.join(relative);
        if let Ok(existing) = place.canonicalize() {
            let is_same = existing == file || same_bytes(&existing, &file)?;
            return if is_same { Ok(new) } else { Err(OutputError::OtherImage { path: place, id: id.to_owned() }) };
        }
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(FileError::writing(folder))?;
        }
        atomic::write_unsynced(&place, &io::read(&file, Limits::default().max_file_bytes)?)?;
        Ok(new)
    }
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool, FileError> {
    let size = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).map_err(FileError::reading(path));
    if size(a)? != size(b)? {
        return Ok(false);
    }
    let limit = Limits::default().max_file_bytes;
    Ok(io::read(a, limit)? == io::read(b, limit)?)
}

/// Writes records beside `path`, complete but not yet in place.
pub(super) fn written<'a>(
    path: &Path,
    form: Form,
    records: impl IntoIterator<Item = &'a Map<String, Value>>,
) -> Result<CompleteFile, OutputError> {
    let mut file = AtomicFile::create(path)?;
    form.write(records, &mut file)?;
    Ok(file.complete()?)
}
