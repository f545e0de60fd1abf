//! Reading the small files of a checkpoint: bounded, from regular files alone.
//!
//! Every file of a checkpoint comes from somewhere else. [`bytes`] refuses pipes and devices before
//! opening them (opening a pipe waits for a writer) and counts what it reads; [`inside`] refuses a
//! link that leaves the checkpoint, for files whose content is copied into a result. JSON and text
//! may begin with a byte order mark ([`without_bom`]). Weights are mapped ([`crate::safetensors`],
//! [`crate::gguf`]).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The UTF-8 byte order mark.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// Opens a regular file, following links.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for anything else, which is not opened.
pub fn open(path: &Path) -> io::Result<File> {
    let regular = |metadata: &std::fs::Metadata| {
        if metadata.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, kind(metadata))) }
    };
    regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Returns what is in the place of a regular file.
fn kind(metadata: &std::fs::Metadata) -> &'static str {
    if metadata.is_dir() {
        "a directory, expected a regular file"
    } else {
        "a pipe, socket or device, expected a regular file"
    }
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// Those of [`open`] and of reading; [`io::ErrorKind::FileTooLarge`] for a larger file.
pub fn bytes(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The limit applies to what is read, because a file may grow while it is read.
    open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let problem = format!("larger than {max} bytes, the maximum for its kind");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// Returns text without the byte order mark that it may begin with.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// Returns the file that a path in `directory` leads to, which must be a regular file in the same
/// directory.
///
/// A link may lead to another file of the directory, and in Hugging Face's cache (`snapshots/X`
/// beside `blobs`) to one of the repository's blobs.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a link that leaves the directory, and for anything but a
/// regular file; other errors of looking it up.
pub fn inside(directory: &Path, path: &Path) -> io::Result<PathBuf> {
    let (root, file) = (directory.canonicalize()?, path.canonicalize()?);
    let blobs = root.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"));
    let blobs = blobs.and_then(Path::parent).map(|repository| repository.join("blobs"));
    if !(file.starts_with(&root) || blobs.is_some_and(|blobs| file.starts_with(blobs))) {
        let problem = format!("a link to {}, expected a file of this directory", file.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let metadata = std::fs::metadata(&file)?;
    if metadata.is_file() { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, kind(&metadata))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_up_to_the_maximum_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(bytes(&path, 4).unwrap(), b"four");
        assert_eq!(bytes(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(bytes(folder.path(), 3).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(without_bom(b"\xef\xbb\xbf{}"), b"{}");
        assert_eq!(without_bom(b"{}"), b"{}");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("config.json");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = bytes(path, 10).unwrap_err();
            assert!(error.to_string().contains("a pipe, socket or device"), "{error}");
        }
        assert_eq!(inside(folder.path(), &pipe).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[cfg(unix)]
    #[test]
    fn links_may_stay_inside_and_lead_to_blobs_of_the_cache() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("models--a--b/snapshots/1");
        std::fs::create_dir_all(&snapshot).unwrap();
        let blobs = folder.path().join("models--a--b/blobs");
        std::fs::create_dir(&blobs).unwrap();
        for file in [snapshot.join("own"), blobs.join("hash"), folder.path().join("secret")] {
            std::fs::write(file, "x").unwrap();
        }
        symlink("own", snapshot.join("alias")).unwrap();
        symlink("../../blobs/hash", snapshot.join("cached")).unwrap();
        symlink("../../../secret", snapshot.join("leak")).unwrap();
        symlink("nothing", snapshot.join("dangling")).unwrap();
        let found = |name: &str| inside(&snapshot, &snapshot.join(name));
        assert!(found("own").is_ok() && found("alias").is_ok() && found("cached").is_ok());
        assert!(found("leak").unwrap_err().to_string().contains("a link to "));
        assert_eq!(found("dangling").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
