//! Files that appear complete or not at all.
//!
//! Every file this project produces is written to a temporary file in the directory of its
//! destination and renamed over it, so that a crash at any instant leaves either the old file or
//! the new one. [`AtomicFile::commit`] also syncs: after it returns, the file survives a power
//! failure. [`AtomicFile::commit_unsynced`] leaves that out, for files that can be recomputed
//! (caches): after a power failure such a file may be missing, old or damaged, so its reader must
//! validate it. Dropping an [`AtomicFile`] without a commit removes the temporary file; one that a
//! killed process left is removed by the [next write](crate::temporary) of the same file.
//!
//! A destination that is a symbolic link stays one: the file that it leads to is replaced. What is no
//! regular file (a device, a pipe, the standard output as `/dev/stdout`) cannot be replaced and is
//! written through.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::temporary;

/// A file being written; [`AtomicFile::commit`] moves it to its destination, dropping it leaves
/// nothing behind.
///
/// ```
/// use std::io::Write;
/// use mmprm_quant::atomic::AtomicFile;
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("tree.json");
/// let mut file = AtomicFile::create(&path).unwrap();
/// file.write_all(b"{}").unwrap();
/// assert!(!path.exists());
/// file.commit().unwrap();
/// assert_eq!(std::fs::read(&path).unwrap(), b"{}");
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    writer: BufWriter<Sink>,
    destination: PathBuf,
}

/// Where the bytes go until the commit.
#[derive(Debug)]
enum Sink {
    /// To a temporary file that is renamed to `place`.
    Temporary { file: NamedTempFile, place: PathBuf },
    /// To the destination itself.
    Through(File),
}

impl Sink {
    fn file(&mut self) -> &mut File {
        match self {
            Self::Temporary { file, .. } => file.as_file_mut(),
            Self::Through(file) => file,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for Sink {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file().seek(position)
    }
}

/// Returns whether `destination` is written through instead of being replaced: it exists and is no
/// regular file, or it is the name of an open file, such as `/dev/stdout`.
///
/// ```
/// use mmprm_quant::atomic::is_written_through;
/// assert!(!is_written_through("new.json".as_ref()));
/// # #[cfg(unix)]
/// assert!(is_written_through("/dev/null".as_ref()));
/// ```
pub fn is_written_through(destination: &Path) -> bool {
    let next = |path: &PathBuf| fs::read_link(path).ok().map(|link| parent(path).join(link));
    let mut links = std::iter::successors(Some(destination.to_owned()), next).take(MAX_LINKS);
    links.any(|path| names_open_file(&path))
        || fs::metadata(destination).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Whether a path is the name of an open file, which may be a regular one: replacing that would leave its other users, such as a
/// shell that redirects to it, with the old one.
fn names_open_file(path: &Path) -> bool {
    let is_descriptor = || {
        let folder = path.parent().filter(|folder| folder.ends_with("fd"));
        folder.is_some_and(|folder| folder.starts_with("/dev") || folder.starts_with("/proc"))
    };
    ["/dev/stdin", "/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name)) || is_descriptor()
}

/// Maximum symbolic links followed, as in Linux.
const MAX_LINKS: usize = 40;

/// Returns the file that a path leads to over symbolic links, which need not exist.
///
/// # Errors
/// More links than any path should have: they lead in a circle.
pub fn target(destination: &Path) -> io::Result<PathBuf> {
    let mut path = destination.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = parent(&path).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

/// Returns the path of a file that accompanies `destination`, such as its journal: the file that it
/// leads to over symbolic links, followed by `suffix`. So all paths of one file have one journal.
pub fn beside(destination: &Path, suffix: &str) -> PathBuf {
    let mut name = target(destination).unwrap_or_else(|_| destination.to_owned()).into_os_string();
    name.push(suffix);
    name.into()
}

impl AtomicFile {
    /// Opens a temporary file in the destination's directory, which is created if missing; or the
    /// destination itself, if it [is written through](is_written_through).
    ///
    /// # Errors
    /// Any input/output error; its message names the destination.
    pub fn create(destination: &Path) -> io::Result<Self> {
        let open = || {
            if is_written_through(destination) {
                // Appending keeps what is before in an open file; devices and pipes do not mind.
                return Ok(Sink::Through(OpenOptions::new().append(true).open(destination)?));
            }
            let place = target(destination)?;
            if place.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            fs::create_dir_all(parent(&place))?;
            let file = temporary::create(&place)?;
            Ok(Sink::Temporary { file, place })
        };
        let sink = open().map_err(|source| named(source, destination))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 20, sink), destination: destination.to_owned() })
    }

    /// Flushes and syncs the file, renames it to its destination and syncs the directory.
    ///
    /// # Errors
    /// Any input/output error; its message names the destination, which keeps its old content if an
    /// error comes before the rename.
    pub fn commit(self) -> io::Result<()> {
        self.put_in_place(true)
    }

    /// As [`AtomicFile::commit`], without syncing file or directory: for files that can be
    /// recomputed and that are validated on reading.
    ///
    /// # Errors
    /// As [`AtomicFile::commit`].
    pub fn commit_unsynced(self) -> io::Result<()> {
        self.put_in_place(false)
    }

    fn put_in_place(self, sync: bool) -> io::Result<()> {
        self.finish(sync)?.put_in_place()
    }

    /// Flushes and syncs the file, which [`CompleteFile::put_in_place`] then moves to its
    /// destination.
    ///
    /// # Errors
    /// Any input/output error; its message names the destination.
    pub fn complete(self) -> io::Result<CompleteFile> {
        self.finish(true)
    }

    fn finish(mut self, sync: bool) -> io::Result<CompleteFile> {
        let destination = self.destination;
        let finish = || {
            self.writer.flush()?;
            let sink = self.writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            if let Sink::Temporary { file, .. } = &sink {
                #[cfg(unix)]
                {
                    // Temporary files are private by default; the file gets the usual mode of new
                    // files.
                    use std::os::unix::fs::PermissionsExt;
                    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
                }
                if sync {
                    file.as_file().sync_all()?;
                }
            }
            Ok(sink)
        };
        let sink = finish().map_err(|source| named(source, &destination))?;
        Ok(CompleteFile { sink, destination, sync })
    }
}

/// A file that is complete but not yet at its destination; dropping it leaves nothing behind.
#[derive(Debug)]
pub struct CompleteFile {
    sink: Sink,
    destination: PathBuf,
    sync: bool,
}

impl CompleteFile {
    /// Renames the file to its destination and syncs the directory. A file that is written through
    /// is there already.
    ///
    /// # Errors
    /// Any input/output error; its message names the destination, which keeps its old content if an
    /// error comes before the rename.
    pub fn put_in_place(self) -> io::Result<()> {
        let Self { sink, destination, sync } = self;
        let Sink::Temporary { file, place } = sink else { return Ok(()) };
        let rename = || {
            file.persist(&place).map_err(|error| error.error)?;
            if sync { sync_directory(parent(&place)) } else { Ok(()) }
        };
        rename().map_err(|source| named(source, &destination))
    }

    /// Removes what is at the destination, if anything is.
    fn remove_old(&self) -> io::Result<()> {
        let Sink::Temporary { place, .. } = &self.sink else { return Ok(()) };
        match fs::remove_file(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(named(source, &self.destination)),
            Ok(()) => sync_directory(parent(place)).map_err(|source| named(source, &self.destination)),
        }
    }
}

/// Moves files that belong together to their destinations. The last one is the one without which the
/// others are not used: the old one is removed first and the new one comes last. So what is at the
/// destinations at any instant, also after a crash, is all old files, all new ones, or a part that
/// lacks the last file; never the last file of one write with another file of the other.
///
/// # Errors
/// Any input/output error; its message names the destination.
///
/// ```
/// use std::io::Write;
/// use mmprm_quant::atomic::{AtomicFile, put_in_place};
/// let folder = tempfile::tempdir()?;
/// let paths = ["config.json", "model.safetensors"].map(|name| folder.path().join(name));
/// let complete = |path| {
///     let mut file = AtomicFile::create(path)?;
///     file.write_all(b"new")?;
///     file.complete()
/// };
/// let files = paths.iter().map(|path| complete(path)).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(paths.iter().filter(|path| path.exists()).count(), 0);
/// put_in_place(files)?;
/// assert_eq!(paths.iter().filter(|path| path.exists()).count(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn put_in_place(files: Vec<CompleteFile>) -> io::Result<()> {
    if let [_, .., last] = &files[..] {
        last.remove_old()?;
    }
    files.into_iter().try_for_each(CompleteFile::put_in_place)
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(|source| named(source, &self.destination))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(|source| named(source, &self.destination))
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writer.seek(position)
    }
}

/// Opens a file that only the program itself writes, such as a run's state. Nobody asked for a pipe or device in its place,
/// so one is refused instead of waited for.
fn create_own(destination: &Path) -> io::Result<AtomicFile> {
    if is_written_through(destination) {
        return Err(named(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"), destination));
    }
    AtomicFile::create(destination)
}

/// Writes `bytes` to `destination`, a regular file or a new one, and syncs them.
///
/// # Errors
/// Any input/output error; its message names the destination.
pub fn write(destination: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_own(destination)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Writes `bytes` to a complete file, which is then still to be moved to `destination`, a regular file or a new one.
///
/// # Errors
/// Any input/output error; its message names the destination.
pub fn complete(destination: &Path, bytes: &[u8]) -> io::Result<CompleteFile> {
    let mut file = create_own(destination)?;
    file.write_all(bytes)?;
    file.complete()
}

/// Writes `bytes` to `destination` without syncing: see [`AtomicFile::commit_unsynced`].
///
/// # Errors
/// Any input/output error; its message names the destination.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("features.bin");
/// mmprm_quant::atomic::write_unsynced(&path, &[1, 2, 3]).unwrap();
/// assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3]);
/// ```
pub fn write_unsynced(destination: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_own(destination)?;
    file.write_all(bytes)?;
    file.commit_unsynced()
}

/// Checks that a file can be written to `destination`, without leaving anything: that it is no
/// directory, and that its directory, or the nearest one above that exists, takes new files.
///
/// # Errors
/// Any input/output error; its message names the destination.
///
/// ```
/// use mmprm_quant::atomic::{check_directory, check_file};
/// let folder = tempfile::tempdir().unwrap();
/// assert!(check_file(&folder.path().join("new/folder/x.json")).is_ok());
/// assert!(check_file(folder.path()).is_err() && check_directory(folder.path()).is_ok());
/// assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
/// ```
pub fn check_file(destination: &Path) -> io::Result<()> {
    if is_written_through(destination) {
        return Ok(());
    }
    let check = || {
        let place = target(destination)?;
        if place.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        takes_files(parent(&place))
    };
    check().map_err(|source| named(source, destination))
}

/// As [`check_file`], for a directory that files will be written to.
///
/// # Errors
/// As [`check_file`].
pub fn check_directory(destination: &Path) -> io::Result<()> {
    takes_files(destination).map_err(|source| named(source, destination))
}

/// Checks that a directory, or the nearest one above that exists, takes new files, by making one.
fn takes_files(directory: &Path) -> io::Result<()> {
    let mut nearest = directory;
    // A link to nothing exists: no directory can be made in its place.
    while nearest.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        nearest = parent(nearest);
    }
    if !fs::metadata(nearest)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    tempfile::tempfile_in(nearest).map(drop)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// What an [`io::Error`] of this module carries: the destination besides the cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
struct WriteError {
    path: PathBuf,
    source: io::Error,
}

fn named(source: io::Error, path: &Path) -> io::Error {
    io::Error::new(source.kind(), WriteError { path: path.to_owned(), source })
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncommitted_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&dir.path().join("a/b.json")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, b"a longer first version").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        write_unsynced(&path, b"3").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"3");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("real")).unwrap();
        fs::write(path("real/x"), b"old").unwrap();
        symlink("real/x", path("first")).unwrap();
        symlink(path("first"), path("second")).unwrap();
        symlink("real/new", path("dangling")).unwrap();
        symlink("loop", path("loop")).unwrap();
        write(&path("second"), b"new").unwrap();
        write(&path("dangling"), b"1").unwrap();
        for link in ["first", "second", "dangling"] {
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link}");
        }
        assert_eq!(
            (fs::read(path("real/x")).unwrap(), fs::read(path("real/new")).unwrap()),
            (b"new".to_vec(), b"1".to_vec())
        );
        assert!(write(&path("loop"), b"x").is_err() && write(&path("real"), b"x").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_and_devices_are_written_through() {
        use std::io::Read;
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        let through = |path: &Path, text: &str| -> io::Result<()> {
            let mut file = AtomicFile::create(path)?;
            file.write_all(text.as_bytes())?;
            file.commit()
        };
        through(&pipe, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        let full = through(Path::new("/dev/full"), "x").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
        assert!(through(Path::new("/dev/null"), "x").is_ok());
        // Files of the program itself are never pipes: nobody would read them.
        for path in [&pipe, Path::new("/dev/null")] {
            assert!(write(path, b"x").unwrap_err().to_string().contains("it is not a regular file"));
            assert!(write_unsynced(path, b"x").is_err() && complete(path, b"x").is_err());
        }
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(is_written_through(Path::new("/dev/stdout")) && is_written_through(Path::new("/dev/fd/1")));
        // Also where a link leads to an open file, which may be a regular one.
        std::os::unix::fs::symlink("/dev/stdout", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("link", dir.path().join("second")).unwrap();
        assert!(is_written_through(&dir.path().join("second")));
        assert!(!is_written_through(&dir.path().join("fd/1")) && !is_written_through(&dir.path().join("new")));
    }

    #[test]
    fn files_that_belong_together_appear_after_the_last_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let [first, last] = ["first", "last"].map(|name| dir.path().join(name));
        let complete = |path: &Path, text: &str| {
            let mut file = AtomicFile::create(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.complete().unwrap()
        };
        put_in_place(vec![complete(&first, "old"), complete(&last, "old")]).unwrap();
        // The rename of the first file fails: its place was taken by a directory.
        let files = vec![complete(&first, "new"), complete(&last, "new")];
        fs::remove_file(&first).unwrap();
        fs::create_dir_all(first.join("x")).unwrap();
        assert!(put_in_place(files).is_err());
        assert!(!last.exists(), "neither the old last file nor the new one is beside another first file");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn outputs_that_cannot_be_written_are_found_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), b"").unwrap();
        for (file, directory) in [("file", false), ("new", true), ("a/b/c", true)] {
            assert!(check_file(&path(file)).is_ok());
            assert_eq!(check_directory(&path(file)).is_ok(), directory, "{file}");
        }
        assert!(check_file(&path("file/inside")).is_err() && check_directory(&path("file/inside")).is_err());
        assert!(check_file(dir.path()).is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nothing/x", path("dangling")).unwrap();
            assert!(check_file(&path("dangling")).is_ok() && check_directory(&path("dangling")).is_err());
            assert!(check_directory(Path::new("/proc/self")).is_err());
        }
        assert!(check_file(Path::new("/dev/null")).is_ok());
        assert!(fs::read_dir(dir.path()).unwrap().count() <= 2, "nothing is left behind");
    }

    #[test]
    fn errors_name_the_destination() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let error = write(&dir.path().join("file/inside.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("inside.json"), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "the cause is kept");
    }
}
