//! The GGUF container: written files are read back, and invalid files are refused with the place.

use std::path::{Path, PathBuf};

use mmprm_quant::blocks::GgmlType;
use mmprm_quant::gguf::{GgufArray, GgufError, GgufFile, GgufValue, GgufWriter, Metadata, TensorSpec, Texts};

fn spec(name: &str, dims: &[u64], ggml_type: GgmlType) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dims: dims.to_vec(), ggml_type }
}

fn entry(key: &str, value: impl Into<GgufValue>) -> (String, GgufValue) {
    (key.to_owned(), value.into())
}

fn every_type() -> Metadata {
    vec![
        entry("u8", 200_u8),
        entry("i8", -100_i8),
        entry("u16", 60_000_u16),
        entry("i16", -30_000_i16),
        entry("u32", 4_000_000_000_u32),
        entry("i32", -2_000_000_000),
        entry("f32", 1.5_f32),
        entry("bool", true),
        entry("string", "▁текст \u{10FFFF}"),
        entry("empty", ""),
        entry("u64", u64::MAX),
        entry("i64", i64::MIN),
        entry("f64", -0.1),
        entry("u8s", vec![1_u8, 2]),
        entry("i8s", vec![-1_i8]),
        entry("u16s", vec![1_u16, 2, 3]),
        entry("i16s", vec![-1_i16]),
        entry("u32s", vec![1_u32]),
        entry("i32s", vec![-1, 5]),
        entry("f32s", vec![0.25_f32, -0.5]),
        entry("bools", vec![true, false]),
        entry("strings", vec!["a".to_owned(), String::new(), "ç".to_owned()]),
        entry("none", GgufValue::Array(GgufArray::String(Texts::default()))),
        entry("u64s", vec![u64::MAX]),
        entry("i64s", vec![i64::MIN]),
        entry("f64s", vec![0.1_f64]),
    ]
}

fn write(path: &Path, metadata: &[(String, GgufValue)], tensors: &[(TensorSpec, Vec<u8>)]) {
    let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = GgufWriter::create(path, metadata, &specs).unwrap();
    for (_, data) in tensors {
        data.chunks(5).for_each(|piece| writer.write(piece).unwrap());
    }
    writer.finish().unwrap();
}

#[test]
fn written_files_are_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.gguf");
    let tensors = [
        (spec("one", &[3], GgmlType::F32), (0..12).collect::<Vec<u8>>()),
        (spec("blocks", &[64, 2, 1], GgmlType::Q4_0), (0..72).collect()),
        (spec("half", &[1, 1, 1, 5], GgmlType::F16), (0..10).collect()),
    ];
    write(&path, &every_type(), &tensors);
    let file = GgufFile::open(&path).unwrap();
    assert_eq!((file.version(), file.alignment()), (3, 32));
    assert_eq!(file.metadata(), &every_type());
    assert_eq!(file.file_size(), std::fs::metadata(&path).unwrap().len());
    for (info, (spec, data)) in file.tensors().iter().zip(&tensors) {
        assert_eq!((&info.name, &info.dims, info.ggml_type), (&spec.name, &spec.dims, spec.ggml_type));
        assert_eq!(info.offset % 32, 0);
        assert_eq!(file.tensor_data(info), data);
        file.release(info);
        assert_eq!(file.tensor(&info.name).map(|info| file.tensor_data(info)), Some(data.as_slice()));
    }
    assert_eq!((file.tensors()[1].row_len(), file.tensors()[1].rows(), file.tensors()[1].elements()), (64, 2, 128));
}

#[test]
fn values_are_read_by_type() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.gguf");
    write(&path, &every_type(), &[]);
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.get_u32("u8").unwrap(), 200);
    assert_eq!(file.get_f32("f32").unwrap().to_bits(), 1.5_f32.to_bits());
    assert!(file.get_bool("bool").unwrap());
    assert_eq!(file.get_strings("strings").unwrap().len(), 3);
    let message = file.get_u32("string").unwrap_err().to_string();
    assert!(message.ends_with("all.gguf: key 'string': is string, expected u32"), "{message}");
    let message = file.get_str("absent").unwrap_err().to_string();
    assert!(message.ends_with("all.gguf: key 'absent': missing, expected string"), "{message}");
}

#[test]
fn data_that_does_not_match_the_header_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.gguf");
    let create = |metadata: &[(String, GgufValue)], tensors: &[TensorSpec]| {
        GgufWriter::create(&path, metadata, tensors).map_err(|error| error.to_string())
    };
    let refused = |metadata: &[(String, GgufValue)], tensors: &[TensorSpec], expected: &str| {
        let message = create(metadata, tensors).unwrap_err();
        assert!(message.contains("x.gguf") && message.contains(expected), "{message}");
    };
    refused(&[entry("", 1_u8)], &[], "a key of 0 bytes");
    refused(&[entry("a\0", 1_u8)], &[], "contains a NUL byte");
    refused(&[], &[spec("a\0b", &[1], GgmlType::F32)], "contains a NUL byte");
    refused(&[entry("a", 1_u8), entry("a", 2_u8)], &[], "key 'a': occurs twice");
    refused(&[entry("general.alignment", 64_u32)], &[], "is set by the writer");
    let long = "n".repeat(64);
    refused(&[], &[spec(&long, &[1], GgmlType::F32)], "a name of 64 bytes");
    refused(&[], &[spec("a", &[1], GgmlType::F32), spec("a", &[1], GgmlType::F32)], "tensor 'a': occurs twice");
    for dims in [&[][..], &[0], &[33], &[32, 1, 1, 1, 1], &[1 << 40, 1 << 40]] {
        refused(&[], &[spec("a", dims, GgmlType::Q8_0)], "tensor 'a': dimensions");
    }
    let mut writer = create(&[], &[spec("a", &[2], GgmlType::F32), spec("b", &[1], GgmlType::F32)]).unwrap();
    assert!(writer.write(&[0; 9]).unwrap_err().to_string().contains("tensor 'a': 9 bytes of data, expected at most 8"));
    writer.write(&[0; 8]).unwrap();
    assert!(writer.finish().unwrap_err().to_string().contains("tensor 'b': 4 bytes of its data were not written"));
    let mut writer = create(&[], &[spec("a", &[1], GgmlType::F32)]).unwrap();
    writer.write(&[0; 4]).unwrap();
    assert!(writer.write(&[0]).unwrap_err().to_string().contains("after the last tensor"));
    drop(writer);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// A small valid file of two tensors: its bytes, and where the data begins.
fn sample() -> (Vec<u8>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sample.gguf");
    let tensors =
        [(spec("first", &[32, 1], GgmlType::Q8_0), vec![1; 34]), (spec("second", &[4], GgmlType::F32), vec![2; 16])];
    write(&path, &[entry("key", "value"), entry("list", vec!["x".to_owned()]), entry("n", 7_u32)], &tensors);
    let start = GgufFile::open(&path).unwrap().tensors()[0].offset as usize;
    (std::fs::read(path).unwrap(), start)
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("hostile.gguf")
    }

    fn open(&self, bytes: &[u8]) -> Result<GgufFile, GgufError> {
        std::fs::write(self.path(), bytes).unwrap();
        GgufFile::open(&self.path())
    }

    /// Opens a sample in which the bytes after `anchor` (plus an offset) are replaced, and expects
    /// the message.
    fn refuses(&self, anchor: &[u8], offset: usize, replacement: &[u8], expected: &str) {
        let (mut bytes, _) = sample();
        let at = find(&bytes, anchor) + anchor.len() + offset;
        bytes[at..at + replacement.len()].copy_from_slice(replacement);
        let message = self.open(&bytes).unwrap_err().to_string();
        assert!(message.contains("hostile.gguf") && message.contains(expected), "{message}, expected {expected}");
    }
}

#[test]
fn a_file_truncated_anywhere_is_refused() {
    let sandbox = Sandbox::new();
    let (bytes, start) = sample();
    let needed = start + 64 + 16;
    for length in 0..needed {
        let error = sandbox.open(&bytes[..length]).unwrap_err();
        assert!(matches!(error, GgufError::Malformed { .. }), "{length} bytes: {error}");
    }
    assert!(sandbox.open(&bytes[..needed]).is_ok(), "the last tensor needs no padding");
}

#[test]
fn invalid_headers_are_refused_with_the_place() {
    let sandbox = Sandbox::new();
    let huge = u64::MAX.to_le_bytes();
    let magic = sandbox.open(b"GGML and more than that").unwrap_err().to_string();
    assert!(magic.contains("header (byte 4): starts with \"GGML\", expected \"GGUF\""), "{magic}");
    sandbox.refuses(b"GGUF", 0, &[1, 0, 0, 0], "version 1, expected 2 or 3");
    sandbox.refuses(b"GGUF", 0, &[0, 0, 0, 3], "version 50331648, expected 2 or 3, little-endian");
    sandbox.refuses(b"GGUF", 4, &huge, "header: tensor count");
    sandbox.refuses(b"GGUF", 12, &huge, "header: metadata count");
    sandbox.refuses(b"GGUF", 20, &huge, "metadata key 0");
    sandbox.refuses(b"GGUF", 20, &[0; 8], "metadata key 0");
    sandbox.refuses(b"key", 0, &[13, 0, 0, 0], "key 'key' (byte");
    sandbox.refuses(b"key", 0, &[9, 0, 0, 0, 9, 0, 0, 0], "key 'key' (byte");
    sandbox.refuses(b"key", 4, &huge, "key 'key' (byte");
    sandbox.refuses(b"key", 12, &[0xff], "text is not UTF-8");
    sandbox.refuses(b"key", 0, &[7, 0, 0, 0, 2], "a boolean of 2");
    sandbox.refuses(b"list", 4, &[9, 0, 0, 0], "an array of arrays");
    sandbox.refuses(b"list", 4, &[99, 0, 0, 0], "array element type 99");
    sandbox.refuses(b"list", 8, &huge, "key 'list' (byte");
    sandbox.refuses(b"list", 16, &huge, "key 'list' (byte");
}

#[test]
fn invalid_tensors_are_refused_by_name() {
    let sandbox = Sandbox::new();
    let number = |value: u64| value.to_le_bytes();
    // After the name: number of dimensions (4 bytes), two dimensions (8 each), type (4), offset
    // (8).
    sandbox.refuses(b"first", 0, &[0, 0, 0, 0], "tensor 'first' (byte");
    sandbox.refuses(b"first", 0, &[5, 0, 0, 0], "5 dimensions, expected 1 to 4");
    sandbox.refuses(b"first", 0, &[255; 4], "4294967295 dimensions");
    sandbox.refuses(b"first", 4, &number(0), "a dimension of 0");
    sandbox.refuses(b"first", 4, &number(33), "expected rows of a multiple of 32");
    sandbox.refuses(b"first", 12, &number(1 << 60), "tensor 'first' (byte");
    sandbox.refuses(b"first", 12, &number(u64::MAX), "tensor 'first' (byte");
    sandbox.refuses(b"first", 12, &number(1 << 50), "but the file has");
    sandbox.refuses(b"first", 20, &[4, 0, 0, 0], "type 4, expected one of ggml's types");
    sandbox.refuses(b"first", 20, &[255; 4], "expected one of ggml's types");
    sandbox.refuses(b"first", 24, &number(64), "tensor 'first' (byte");
    // The second one: one dimension, so its offset comes after 4 + 8 + 4 bytes.
    sandbox.refuses(b"second", 16, &number(0), "without overlap or gap");
    sandbox.refuses(b"second", 16, &number(32), "tensor 'second'");
    sandbox.refuses(b"second", 16, &number(96), "expected 64");
    sandbox.refuses(b"second", 16, &number(u64::MAX), "tensor 'second'");
    sandbox.refuses(b"second", 4, &number(1 << 20), "tensor 'second'");
}

#[test]
fn names_and_keys_are_unique_and_alignment_sane() {
    let sandbox = Sandbox::new();
    let (bytes, _) = sample();
    let replace = |from: &[u8], to: &[u8]| {
        let mut bytes = bytes.clone();
        let at = find(&bytes, from);
        bytes.splice(at..at + from.len(), to.iter().copied());
        sandbox.open(&bytes).unwrap_err().to_string()
    };
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    assert!(replace(&string("second"), &string("first")).contains("tensor 'first' (byte"));
    assert!(replace(&string("list"), &string("key")).contains("key 'key' (byte"));
    assert!(replace(&string("second"), &string(&"n".repeat(64))).contains("a string of 64 bytes, expected at most 63"));
    for alignment in [0_u8, 24] {
        let message = replace(
            &[&string("n")[..], &[4, 0, 0, 0, 7]].concat(),
            &[&string("general.alignment")[..], &[4, 0, 0, 0, alignment]].concat(),
        );
        assert!(message.contains("key 'general.alignment'") && message.contains("power of two"), "{message}");
    }
    let message = replace(
        &[&string("n")[..], &[4, 0, 0, 0]].concat(),
        &[&string("general.alignment")[..], &[5, 0, 0, 0]].concat(),
    );
    assert!(message.contains("7 (i32), expected a u32"), "{message}");
}

#[test]
fn a_damaged_byte_in_the_header_never_panics() {
    let sandbox = Sandbox::new();
    let (bytes, start) = sample();
    let (mut opened, mut refused) = (0, 0);
    for at in 0..start {
        for damage in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= damage;
            match sandbox.open(&bytes) {
                // Still a valid file, with another name or value: its tensors are inside it.
                Ok(file) => {
                    opened += 1;
                    file.tensors()
                        .iter()
                        .for_each(|tensor| assert_eq!(file.tensor_data(tensor).len() as u64, tensor.size));
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("hostile.gguf"), "{error}");
                }
            }
        }
    }
    assert!(opened > 0 && refused > opened, "{opened} opened, {refused} refused");
}

#[test]
fn directories_and_missing_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let absent = GgufFile::open(&directory.path().join("absent.gguf")).unwrap_err();
    assert!(matches!(absent, GgufError::Read { .. }) && absent.to_string().contains("absent.gguf"));
    assert!(matches!(GgufFile::open(directory.path()), Err(GgufError::Read { .. })));
    let empty = directory.path().join("empty.gguf");
    std::fs::write(&empty, b"").unwrap();
    assert!(matches!(GgufFile::open(&empty), Err(GgufError::Malformed { .. })));
}
