//! What the house asks of its files: their size, their opening lines, and who may know whom.

use std::path::{Path, PathBuf};

/// Rust sources of the workspace, relative to its root.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> =
        ["src", "quant", "tools", "tests", "benches"].iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Whether a source is product code rather than a test, a bench or an example.
fn is_product(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name != "tests.rs")
        && !path.components().any(|part| ["tests", "benches", "examples"].contains(&part.as_os_str().to_str().unwrap()))
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for path in sources() {
        let lines = read(&path).lines().count();
        assert!(lines <= 400, "{}: {lines} lines; does it hold two ideas?", path.display());
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources().into_iter().filter(|path| is_product(path)) {
        let text = read(&path);
        // A submodule of a documented room may go without; a room and a file of its own may not.
        let opens = text.starts_with("//!") || text.starts_with("use ") || text.starts_with("mod ");
        assert!(opens, "{} has no opening lines", path.display());
        if path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs" || name == "main.rs") {
            assert!(text.starts_with("//!"), "{} does not say what it is for", path.display());
        }
    }
}

#[test]
fn unsafe_code_lives_in_the_foreign_function_modules_and_says_why_it_is_safe() {
    let allowed =
        ["src/engine/ffi/", "quant/src/blocks/ffi.rs", "quant/src/map.rs", "src/nn/simd/", "src/nn/gemm/kernels/"];
    for path in sources().into_iter().filter(|path| is_product(path)) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_use = code.contains("unsafe {") || code.trim_start().starts_with("unsafe impl");
            if !is_use {
                continue;
            }
            let name = path.to_string_lossy();
            assert!(allowed.iter().any(|place| name.starts_with(place)), "{name}:{} has unsafe code", number + 1);
            let above = &lines[number.saturating_sub(8)..=number];
            let explained = above.iter().any(|line| line.contains("SAFETY:"));
            assert!(explained, "{name}:{} has no SAFETY comment", number + 1);
        }
    }
}

#[test]
fn only_the_command_line_prints_and_parses_flags() {
    for path in sources().into_iter().filter(|path| is_product(path) && !path.starts_with("tools")) {
        let code: Vec<String> = read(&path)
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(str::to_owned)
            .collect();
        for word in ["println!", "eprintln!", "print!(", "dbg!", "clap::", "std::env::args"] {
            let found = code.iter().any(|line| line.contains(word));
            assert!(!found, "{} uses {word}", path.display());
        }
    }
}

/// The floors, lowest first; a room uses only rooms on floors below its own.
const FLOORS: &[&[&str]] = &[
    &["python_text", "python_json", "mt19937"],
    &["problem", "solution", "image", "journal"],
    &["prompt", "tree"],
    &["engine", "answer", "nn", "endpoint"],
    &["internvl", "fit"],
    &["vision"],
    &["multimodal"],
    &["policy", "reward", "judge"],
    &["search", "samples", "train"],
    &["annotate", "eval"],
];

#[test]
fn a_room_uses_only_rooms_on_lower_floors() {
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    for path in sources().into_iter().filter(|path| path.starts_with("src")) {
        let room = path.components().nth(1).unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if room == "lib" {
            continue;
        }
        let own = floor(&room).unwrap_or_else(|| panic!("room {room} has no floor in tests/tidy.rs"));
        let text = read(&path);
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if let Some(other) = floor(&used).filter(|_| used != room) {
                    assert!(other < own, "{}: {room} uses {used}, which is not below it", path.display());
                }
            }
        }
    }
}

#[test]
fn the_quantiser_knows_nothing_of_the_library_above_it() {
    let manifest = read(Path::new("quant/Cargo.toml"));
    assert!(!manifest.lines().any(|line| line.starts_with("mmprm ") || line.starts_with("mmprm.")));
}
