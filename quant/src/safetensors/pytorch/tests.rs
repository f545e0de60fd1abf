use std::path::{Path, PathBuf};

use super::*;
use crate::safetensors::{Checkpoint, SafetensorsError};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/pytorch").join(path)
}

fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(golden(path)).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    let Problem { place, problem } = parse(bytes).unwrap_err();
    format!("{place}: {problem}")
}

#[test]
fn tensors_equal_those_of_safetensors() {
    let expected = Checkpoint::open_file(&golden("tensors.safetensors")).unwrap();
    for folder in ["tensors", "shards"] {
        let found = Checkpoint::open(&golden(folder)).unwrap();
        assert!(found.pytorch_file().is_some());
        assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>(), "{folder}");
        for name in expected.names() {
            let (found_tensor, expected_tensor) = (found.get(name).unwrap(), expected.get(name).unwrap());
            let (found_kind, expected_kind) =
                ((found_tensor.dtype, &found_tensor.shape), (expected_tensor.dtype, &expected_tensor.shape));
            assert_eq!(found_kind, expected_kind, "{folder} {name}");
            assert_eq!(found.data(found_tensor), expected.data(expected_tensor), "{folder} {name}");
        }
    }
    assert!(expected.names().count() > 12);
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    for (file, expected) in [
        ("evil.bin", "the name \"__builtin__.print\""),
        ("transposed.bin", "tensor 'x': strides [1, 3] of shape [3, 2], expected them contiguous"),
        ("legacy.bin", "expected a zip archive"),
        ("nested.bin", "'model' is a dictionary, expected a tensor"),
        ("number.bin", "'epoch' is an integer, expected a tensor"),
        ("list.bin", "a list, expected a dictionary of tensors"),
        ("complex.bin", "the name \"torch.ComplexFloatStorage\""),
    ] {
        let error = refusal(&bytes(&format!("refused/{file}")));
        assert!(error.contains(expected), "{file}: {error}");
    }
}

#[test]
fn a_directory_with_a_damaged_file_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden("refused/evil.bin"), folder.path().join("pytorch_model.bin")).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(error, SafetensorsError::Malformed { .. }));
    assert!(error.to_string().contains("pytorch_model.bin: pickle: byte "), "{error}");
    std::fs::write(folder.path().join("pytorch_model.bin.index.json"), "{}").unwrap();
    assert!(matches!(Checkpoint::open(folder.path()), Err(SafetensorsError::TwoCheckpoints { .. })));
}

#[test]
fn cut_and_changed_files_are_errors_and_never_panic() {
    let whole = bytes("tensors/pytorch_model.bin");
    for length in 0..whole.len() {
        assert!(parse(&whole[..length]).is_err(), "{length} bytes");
    }
    // A change may be harmless, such as one of a value or of a date.
    let mut refused = 0;
    for place in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[place] ^= change;
            match parse(&changed) {
                Ok(tensors) => assert!(tensors.values().all(|tensor| tensor.range.end <= changed.len())),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > whole.len() / 4, "{refused}");
}

#[test]
fn pickles_of_any_bytes_are_bounded() {
    let whole = bytes("tensors/pytorch_model.bin");
    let start = whole.windows(2).position(|pair| pair == b"\x80\x02").unwrap();
    let end = start + whole[start..].iter().position(|byte| *byte == b'.').unwrap() + 1;
    for length in start..end {
        let _ = pickle::read(&whole[start..length]);
    }
    let read = |bytes: &[u8]| pickle::read(bytes).unwrap_err();
    // A dictionary inside itself, nesting, values that are remembered, and operations without an end.
    assert!(read(b"}q\0K\x01h\0s.").contains("a key that is an integer"));
    assert!(read(&[&b"}"[..], &b"\x85".repeat(1 << 20), b"."].concat()).contains("a tuple, expected a dictionary"));
    assert!(read(&b"N".repeat(1 << 23)).contains("more than 4194304 operations"));
    assert!(read(b"\x80\x09").contains("protocol 9"));
    assert!(read(b"X\xff\xff\xff\xff").contains("the end of the pickle"));
    assert!(read(b"(").contains("the end of the pickle"));
    assert!(read(b"(.").contains("too few values"));
    assert!(read(b"u").contains("no mark"));
    assert!(read(b"h\x05").contains("which there is not"));
    assert!(read(b"ios\nsystem\n").contains("operation 0x69"));
    assert!(read(b"cos\nsystem\n").contains("the name \"os.system\""));
    assert!(read(b"}}b").contains("attributes of a dictionary"));
    assert!(read(b"ccollections\nOrderedDict\nK\x01R").contains("an integer, expected a tuple"));
    assert!(read(b"ccollections\nOrderedDict\nK\x01\x85R").contains("a call of OrderedDict with 1 arguments"));
}
