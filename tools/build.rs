//! Tells the program which commit it is built from, as `MMPRM_COMMIT`: empty where the source is
//! not a git checkout.
//!
//! Reads git's files instead of running git, and asks to be run again only when the checked-out
//! commit changes.

use std::fs;
use std::path::{Path, PathBuf};

/// Hexadecimal digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    // Only the workspace's own checkout: a published package may lie in somebody else's.
    let commit = git_directory(&manifest.join("../.git")).and_then(|git| commit(&git)).unwrap_or_default();
    println!("cargo:rustc-env=MMPRM_COMMIT={}", commit.get(..DIGITS).unwrap_or(&commit));
}

/// The git directory: `path` itself, or the one that the file `path` of a linked worktree names.
fn git_directory(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let text = fs::read_to_string(path).ok()?;
    let target = text.strip_prefix("gitdir:")?.trim();
    Some(path.parent()?.join(target))
}

/// The commit that is checked out.
fn commit(git: &Path) -> Option<String> {
    let head = git.join("HEAD");
    watch(&head);
    // Grows with every change of HEAD, also of one whose branch is in `packed-refs`.
    watch(&git.join("logs/HEAD"));
    let text = fs::read_to_string(head).ok()?;
    let Some(name) = text.trim().strip_prefix("ref: ") else { return Some(text.trim().to_owned()) };
    // A linked worktree shares its branches with the main one.
    let shared =
        fs::read_to_string(git.join("commondir")).map_or_else(|_| git.to_owned(), |path| git.join(path.trim()));
    let loose = shared.join(name);
    watch(&loose);
    let packed = || {
        let text = fs::read_to_string(shared.join("packed-refs")).ok()?;
        text.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned))
    };
    fs::read_to_string(loose).ok().map(|commit| commit.trim().to_owned()).or_else(packed)
}

/// Runs this script again when `path` changes. One that is absent would run it always.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}
