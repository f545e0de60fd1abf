//! Temporary files beside the files that they become, and the removal of those that killed runs
//! left.
//!
//! The temporary file of `tree.json` is `.tree.json.mmprm-XXXXXXXX.tmp`, locked while it is written.
//! A later write of `tree.json` removes such files that no process has locked and that were last
//! changed before this process first looked: their writers have ended. A folder is listed once per
//! process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use tempfile::NamedTempFile;

/// What stands between the name and the random part.
const MARK: &str = ".mmprm-";
const SUFFIX: &str = ".tmp";
/// Length of the random part.
const RANDOM: usize = 8;
/// Maximum part of a destination's name in the name of its temporary file, in bytes; file systems
/// allow 255 in all.
const MAX_NAME: usize = 200;

/// Creates the temporary file of `destination`, in its folder, and removes those that killed runs
/// left for the same destination.
///
/// # Errors
/// Any error of creating the file. Errors of removing others are ignored, since they only take
/// space.
pub fn create(destination: &Path) -> io::Result<NamedTempFile> {
    let folder = match destination.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = shown(destination);
    for left in leftovers(folder, &name) {
        remove(&left);
    }
    let prefix = format!(".{name}{MARK}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
    loop {
        let file = builder.tempfile_in(folder)?;
        // A file system without locks leaves the file unprotected, and other processes leave it too.
        let locked = file.as_file().try_lock().is_ok();
        // Between creation and lock another process may have taken the file for a leftover.
        if !locked || file.path().exists() {
            return Ok(file);
        }
    }
}

/// The name of a destination, shortened.
fn shown(destination: &Path) -> String {
    let name = destination.file_name().unwrap_or_default().to_string_lossy();
    name[..name.floor_char_boundary(MAX_NAME)].to_owned()
}

/// The temporary files that lay in a folder when this process first looked, by the names of their
/// destinations.
type Leftovers = HashMap<String, Vec<PathBuf>>;

/// Takes the possible leftovers of a destination.
fn leftovers(folder: &Path, name: &str) -> Vec<PathBuf> {
    static SEEN: LazyLock<Mutex<HashMap<PathBuf, Leftovers>>> = LazyLock::new(Mutex::default);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = seen.entry(folder.to_owned()).or_insert_with(|| list(folder));
    known.remove(name).unwrap_or_default()
}

fn list(folder: &Path) -> Leftovers {
    let now = SystemTime::now();
    let mut found = Leftovers::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().and_then(|name| destination_of(name).map(str::to_owned)) else {
            continue;
        };
        // This does not follow links.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && metadata.modified().is_ok_and(|modified| modified < now) {
            found.entry(name).or_default().push(entry.path());
        }
    }
    found
}

/// The name of the destination in that of its temporary file.
fn destination_of(name: &str) -> Option<&str> {
    let (name, random) = name.strip_prefix('.')?.strip_suffix(SUFFIX)?.rsplit_once(MARK)?;
    (random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(name)
}

/// Removes a leftover whose lock is free.
fn remove(path: &Path) {
    let is_regular = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    if is_regular
        && let Ok(file) = File::open(path)
        && file.try_lock().is_ok()
    {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "half").unwrap();
        path
    }

    /// As [`create`] in a process that has not looked at the folder yet.
    fn create_anew(destination: &Path) -> NamedTempFile {
        for path in list(destination.parent().unwrap()).remove(&shown(destination)).unwrap_or_default() {
            remove(&path);
        }
        create(destination).unwrap()
    }

    #[test]
    fn what_a_killed_run_left_for_the_same_destination_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let killed = left(folder, ".a.json.mmprm-Ab12Cd34.tmp");
        let others = [
            ".b.json.mmprm-Ab12Cd34.tmp",
            ".a.json.b.mmprm-Ab12Cd34.tmp",
            ".a.json.mmprm-short.tmp",
            ".a.json.mmprm-Ab12-d34.tmp",
            ".a.json.tmp",
            "a.json.mmprm-Ab12Cd34.tmp",
            ".Ab12Cd.tmp",
        ]
        .map(|name| left(folder, name));
        let file = create(&folder.join("a.json")).unwrap();
        assert!(!killed.exists() && others.iter().all(|other| other.exists()));
        let name = file.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(destination_of(name), Some("a.json"));
    }

    #[test]
    fn a_file_that_is_being_written_is_left_and_one_that_is_not_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("a.json");
        let writing = create_anew(&destination);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let other = create_anew(&destination);
        assert!(writing.path().exists() && other.path().exists());
        // The process ends without removing its file.
        let (file, kept) = writing.keep().unwrap();
        drop(file);
        let third = create_anew(&destination);
        assert!(!kept.exists() && other.path().exists() && third.path().exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = left(folder.path(), "mine");
        let link = folder.path().join(".a.mmprm-Ab12Cd34.tmp");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        create(&folder.path().join("a")).unwrap();
        assert!(target.exists() && fs::symlink_metadata(&link).is_ok());
    }

    #[test]
    fn long_names_are_shortened() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("é".repeat(120));
        assert!(create(&destination).is_ok());
        assert_eq!(shown(&destination).len(), MAX_NAME);
    }
}
