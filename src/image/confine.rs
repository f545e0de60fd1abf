//! Image paths of problem files, confined to the data root.

use std::path::{Component, Path, PathBuf};

use super::ImageError;
use crate::util::io::FileError;

/// Returns the canonical path of an image named by a problem file, confined to the data root:
/// `path` is relative to `root`, or absolute and inside it. Symbolic links are followed before the
/// check, so none leads out.
///
/// # Errors
/// [`ImageError::OutsideRoot`] for anything outside `root`, [`ImageError::Missing`] if there is no
/// such file, [`ImageError::File`] if `root` is missing.
pub fn resolve(root: &Path, path: &str) -> Result<PathBuf, ImageError> {
    let real_root = root.canonicalize().map_err(FileError::reading(root))?;
    let outside = || ImageError::OutsideRoot { path: path.into(), root: root.into() };
    let joined = root.join(path);
    match joined.canonicalize() {
        Ok(real) if real.starts_with(&real_root) => Ok(real),
        Ok(_) => Err(outside()),
        // For a path that points outside, this error is more specific than a missing file.
        Err(_) if is_written_outside(&real_root, root, Path::new(path)) => Err(outside()),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(ImageError::Missing { path: path.into(), root: root.into() })
        }
        Err(source) => Err(FileError::Read { path: joined, source }.into()),
    }
}

/// Whether a path leads out of the root by its components alone.
fn is_written_outside(real_root: &Path, root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).or_else(|_| path.strip_prefix(real_root)).unwrap_or(path);
    let mut depth = 0_usize;
    for component in below.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn data_root() -> tempfile::TempDir {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir_all(outer.path().join("data/images")).unwrap();
        fs::write(outer.path().join("data/images/a.png"), "x").unwrap();
        fs::write(outer.path().join("secret.png"), "x").unwrap();
        outer
    }

    fn is_outside(result: &Result<PathBuf, ImageError>) -> bool {
        matches!(result, Err(ImageError::OutsideRoot { .. }))
    }

    #[test]
    fn paths_inside_the_root_are_found_relative_or_absolute() {
        let outer = data_root();
        let root = outer.path().join("data");
        let expected = root.join("images/a.png").canonicalize().unwrap();
        assert_eq!(resolve(&root, "images/a.png").unwrap(), expected);
        assert_eq!(resolve(&root, "images/../images/a.png").unwrap(), expected);
        assert_eq!(resolve(&root, expected.to_str().unwrap()).unwrap(), expected);
    }

    #[test]
    fn paths_outside_the_root_are_refused_whether_they_exist_or_not() {
        let outer = data_root();
        let root = outer.path().join("data");
        for path in ["../secret.png", "images/../../secret.png", "../missing.png", "/missing/x.png"] {
            assert!(is_outside(&resolve(&root, path)), "{path}");
        }
        assert!(is_outside(&resolve(&root, outer.path().join("secret.png").to_str().unwrap())));
        let message = resolve(&root, "../secret.png").unwrap_err().to_string();
        assert!(message.starts_with("../secret.png: the image lies outside the data root"), "{message}");
    }

    #[test]
    fn a_missing_image_inside_the_root_is_named() {
        let outer = data_root();
        let error = resolve(&outer.path().join("data"), "images/b.png").unwrap_err();
        assert!(matches!(error, ImageError::Missing { .. }));
        assert!(error.to_string().contains("images/b.png"));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_out_of_the_root_are_refused() {
        let outer = data_root();
        let root = outer.path().join("data");
        std::os::unix::fs::symlink(outer.path().join("secret.png"), root.join("link.png")).unwrap();
        std::os::unix::fs::symlink(outer.path(), root.join("up")).unwrap();
        assert!(is_outside(&resolve(&root, "link.png")));
        assert!(is_outside(&resolve(&root, "up/secret.png")));
    }
}
