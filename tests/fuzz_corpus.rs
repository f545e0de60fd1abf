//! Replays the stored inputs of the fuzz targets (`fuzz/corpus`) through the targets' own functions, without libFuzzer.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};

use mmprm_quant::check;
use mmprm_quant::gguf::GgufFile;

/// Bounds of the corpus: the files of one target, and the bytes of all.
const MAX_FILES: usize = 200;
const MAX_BYTES: usize = 2 << 20;

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_stored_input_keeps_the_promises_of_its_target() {
    let mut total = 0;
    for (name, target) in fuzz::TARGETS {
        let paths = inputs(name);
        assert!((1..=MAX_FILES).contains(&paths.len()), "{name}: {} inputs", paths.len());
        for path in paths {
            // If the target panics, this is the last line that the test prints.
            println!("{}", path.display());
            let bytes = fs::read(&path).unwrap();
            total += bytes.len();
            target(&bytes);
        }
    }
    assert!(total <= MAX_BYTES, "{total} bytes");
}

/// Mutations of a file that is refused at once would reach little.
#[test]
fn stored_models_are_accepted() {
    let file =
        |name| GgufFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/gguf").join(name)).unwrap();
    check::language(&file("seed-language-internlm2")).unwrap();
    check::vision(&file("seed-vision")).unwrap();
}

#[test]
fn every_target_can_be_fuzzed() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for (name, _) in fuzz::TARGETS {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), fuzz::TARGETS.len());
}
