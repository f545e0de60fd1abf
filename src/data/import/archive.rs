//! Zip archives of images beside a source, as benchmarks publish them.
//!
//! Nothing is unpacked: a member is read when a row shows it, at most as many bytes as an image may have, and its name is compared with
//! the row's path only, so that neither the names nor the sizes in an archive can do harm.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::ImportError;
use crate::util::io::FileError;

/// Maximum number of members.
const MAX_MEMBERS: usize = 4_000_000;

/// How a zip file begins: with a member, or empty.
const SIGNATURES: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// An archive of images.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// Members by the last part of their name.
    by_file_name: HashMap<String, Vec<String>>,
}

/// Whether a file is a zip archive.
pub(super) fn is_archive(path: &Path) -> bool {
    let mut start = [0; 4];
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file
        && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && SIGNATURES.contains(&&start[..])
}

impl Archive {
    /// Opens an archive.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let syntax = |cause: String| ImportError::Syntax {
            place: path.display().to_string(),
            expected: "a zip archive of images",
            cause,
        };
        let file = File::open(path).map_err(FileError::reading(path))?;
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| syntax(error.to_string()))?;
        if zip.len() > MAX_MEMBERS {
            return Err(syntax(format!("it has more than {MAX_MEMBERS} members")));
        }
        let mut by_file_name: HashMap<String, Vec<String>> = HashMap::new();
        // A name that is no text names no image of a row.
        for name in zip.file_names().flatten().filter(|name| !name.ends_with('/')) {
            let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
            by_file_name.entry(last.to_owned()).or_default().push(name.clone().into_owned());
        }
        Ok(Self { zip, by_file_name })
    }

    /// Reads the image of a row's path: the member of that name, or the only one of which one name is the end of the other, since
    /// archives are packed at several levels; at most `max_bytes` of it. `None` without such a member.
    ///
    /// # Errors
    /// What is wrong with the member, or which members it may be.
    pub fn read(&mut self, path: &str, max_bytes: u64) -> Option<Result<Vec<u8>, String>> {
        let path = path.trim_start_matches("./");
        let last = path.rsplit('/').next().unwrap_or_default();
        let names = self.by_file_name.get(last)?;
        let ends = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.ends_with('/'));
        let similar = || {
            let plain = |name: &String| name.replace('\\', "/");
            names.iter().filter(move |name| ends(&plain(name), path) || ends(path, &plain(name)))
        };
        let name = match (names.iter().find(|name| *name == path), similar().count()) {
            (Some(name), _) => name.clone(),
            (None, 0) => return None,
            (None, 1) => similar().next()?.clone(),
            (None, count) => return Some(Err(format!("{count} members of the archive end in {path}"))),
        };
        let mut read = || {
            let member = self.zip.by_name(&name).map_err(|error| error.to_string())?;
            let mut bytes = Vec::new();
            // The size that an archive states may be any; what is read is bounded.
            member.take(max_bytes + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            if bytes.len() as u64 > max_bytes {
                return Err(format!("it has more than {max_bytes} bytes"));
            }
            Ok(bytes)
        };
        Some(read().map_err(|cause: String| format!("{name} in the archive: {cause}")))
    }
}
