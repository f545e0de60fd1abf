//! Counts tests that did not run because something outside the repository is missing.
//!
//! A test that misses a committed file fails; only one that needs `MMPRM_GOLDEN`, `MMPRM_DATA` or a
//! device may skip. The test harness hides what a passing test prints, so a skip is also appended,
//! one line each, to the file that the environment variable `MMPRM_SKIPS` names; `make test` prints
//! the number of lines.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;

/// Records that the current test, or a part of it, is skipped for `reason`.
pub fn skip(reason: impl Display) {
    let binary = std::env::current_exe().ok();
    // Cargo appends a hash to the name of a test binary.
    let binary = binary.as_deref().and_then(|path| path.file_stem()?.to_str()?.rsplit_once('-')).map_or("", |it| it.0);
    let thread = std::thread::current();
    let line = format!("mmprm-skipped: {binary}::{}: {reason}\n", thread.name().unwrap_or("?"));
    eprint!("{line}");
    if let Some(path) = std::env::var_os("MMPRM_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("MMPRM_SKIPS={}: {error}", path.display()));
    }
}
