//! The outline of a file takes little memory, whatever the file has. A process of its own, because
//! memory is measured.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mmprm_quant::gguf::{GgufFile, GgufValue};

/// Returns the memory of this process that is not mapped from files, in KiB.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Held by a test that measures: the memory is that of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Returns what `run` returns, and by how much the memory grew at most, in MiB.
fn growth<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let (before, peak, done) = (anonymous(), AtomicU64::new(0), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let result = run();
        peak.fetch_max(anonymous(), Ordering::Relaxed);
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, peak.into_inner().saturating_sub(before) / 1024)
}

/// Writes a file without tensors whose keys have the given encoded values, followed by a hole.
fn write(path: &Path, pairs: impl ExactSizeIterator<Item = (String, Vec<u8>)>, hole: u64) {
    let mut file = std::io::BufWriter::new(File::create(path).unwrap());
    file.write_all(b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    file.write_all(&(pairs.len() as u64).to_le_bytes()).unwrap();
    for (key, value) in pairs {
        file.write_all(&(key.len() as u64).to_le_bytes()).unwrap();
        file.write_all(key.as_bytes()).unwrap();
        file.write_all(&value).unwrap();
    }
    let file = file.into_inner().unwrap();
    file.set_len(file.metadata().unwrap().len() + hole).unwrap();
}

/// The start of an array: its type, the type of its elements and their number.
fn array(element: u32, count: u64) -> Vec<u8> {
    [&9_u32.to_le_bytes()[..], &element.to_le_bytes(), &count.to_le_bytes()].concat()
}

#[test]
#[cfg_attr(not(feature = "ggml"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn the_outline_of_any_file_takes_less_than_64_mib() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.gguf");
    // Holes of zeros: empty strings, and numbers of one and eight bytes.
    for (element, size) in [(8_u32, 8_u64), (0, 1), (12, 8)] {
        let count = (150 << 20) / size;
        write(&path, [("long".to_owned(), array(element, count))].into_iter(), 150 << 20);
        let (file, grown) = growth(|| GgufFile::open_outline(&path).unwrap());
        assert!(grown < 64, "element type {element}: {grown} MiB");
        assert_eq!(file.full_length("long"), Some(count as usize));
        let Some(GgufValue::Array(array)) = file.get("long") else { panic!("not an array") };
        assert_eq!(array.len(), 16);
    }
    // Many short arrays of strings, each below the limit of an array.
    let texts = || [&8_u64.to_le_bytes()[..], b"12345678"].concat().repeat(900);
    let many = (0..8000).map(|key| (format!("key {key}"), [array(8, 900), texts()].concat()));
    write(&path, many, 0);
    let (file, grown) = growth(|| GgufFile::open_outline(&path).unwrap());
    assert!(grown < 64, "{grown} MiB");
    assert_eq!((file.full_length("key 0"), file.full_length("key 7999")), (None, Some(900)));
    // One long text.
    let text = [&8_u32.to_le_bytes()[..], &(100_u64 << 20).to_le_bytes()].concat();
    write(&path, [("text".to_owned(), text)].into_iter(), 100 << 20);
    let (file, grown) = growth(|| GgufFile::open_outline(&path).unwrap());
    assert!(grown < 64 && file.full_length("text") == Some(100 << 20), "{grown} MiB");
    // More keys than any model has.
    write(&path, (0..20_000).map(|key| (format!("key {key}"), vec![0, 0, 0, 0, 1])), 0);
    let message = GgufFile::open_outline(&path).unwrap_err().to_string();
    assert!(message.contains("metadata count") && message.contains("20000, expected at most 8192"), "{message}");
    write(&path, (0..100).map(|key| (format!("{key:060000}"), vec![0, 0, 0, 0, 1])), 0);
    let message = GgufFile::open_outline(&path).unwrap_err().to_string();
    assert!(message.contains("keys of more than 1048576 bytes"), "{message}");
}

#[test]
#[cfg_attr(not(feature = "ggml"), ignore = "slow without optimisation: see CONTRIBUTING.md")]
fn an_open_file_takes_memory_in_proportion_to_its_arrays() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.gguf");
    // Empty strings, strings of one character, and numbers.
    let strings = [&1_u64.to_le_bytes()[..], b"x"].concat().repeat((150 << 20) / 9);
    for (element, count, content) in
        [(8_u32, 150 << 17, None), (8, (150 << 20) / 9, Some(strings)), (7, 150 << 20, None)]
    {
        let hole = if content.is_some() { 0 } else { 150 << 20 };
        let value = [array(element, count), content.unwrap_or_default()].concat();
        write(&path, [("long".to_owned(), value)].into_iter(), hole);
        let (file, grown) = growth(|| GgufFile::open(&path).unwrap());
        assert!(grown < 200, "element type {element}: {grown} MiB for 150 MiB");
        let Some(GgufValue::Array(array)) = file.get("long") else { panic!("not an array") };
        assert_eq!(array.len(), count as usize);
    }
}
