//! Checkpoints of one file or several shards, and invalid ones refused with file and tensor.

use std::path::Path;

use crate::common::{write_safetensors, write_safetensors_raw};
use mmprm_quant::safetensors::{Checkpoint, Dtype, SafetensorsError};

fn refused(directory: &Path, expected: &str) {
    let message = Checkpoint::open(directory).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}, expected {expected}");
}

#[test]
fn files_of_the_safetensors_crate_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..24).collect();
    let view = |dtype, shape, data| safetensors::tensor::TensorView::new(dtype, shape, data).unwrap();
    let tensors = [
        ("b", view(safetensors::Dtype::F32, vec![2, 2], &data[..16])),
        ("a", view(safetensors::Dtype::BF16, vec![4], &data[16..])),
        ("empty", view(safetensors::Dtype::F16, vec![0, 3], &[])),
    ];
    let path = directory.path().join("model.safetensors");
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "empty"]);
    let tensor = checkpoint.get("b").unwrap();
    assert_eq!((tensor.dtype, tensor.shape.as_slice()), (Dtype::F32, [2, 2].as_slice()));
    assert_eq!(checkpoint.data(tensor), &data[..16]);
    checkpoint.release(tensor);
    assert_eq!(checkpoint.data(checkpoint.get("a").unwrap()), &data[16..]);
    assert_eq!(checkpoint.file(tensor), path);
}

#[test]
fn shards_are_joined() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_safetensors(&path("one.safetensors"), &[("a", vec![1])], |_, _| 1.0);
    write_safetensors(&path("two.safetensors"), &[("b", vec![2]), ("c", vec![1])], |_, _| 2.0);
    let index = |map: serde_json::Value| {
        std::fs::write(path("model.safetensors.index.json"), serde_json::json!({"weight_map": map}).to_string())
            .unwrap();
    };
    let (one, two) = ("one.safetensors", "two.safetensors");
    index(serde_json::json!({"a": one, "b": two, "c": two}));
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!(checkpoint.file(checkpoint.get("c").unwrap()), path(two));
    assert_eq!(checkpoint.data(checkpoint.get("a").unwrap()), 1_f32.to_le_bytes());

    index(serde_json::json!({"a": one, "b": two}));
    refused(directory.path(), "tensor 'c': not listed, but found in 'two.safetensors'");
    index(serde_json::json!({"a": two, "b": two, "c": two}));
    refused(directory.path(), "tensor 'a': listed in 'two.safetensors', but in no shard");
    index(serde_json::json!({"a": one, "b": one, "c": two}));
    refused(directory.path(), "tensor 'b': listed in 'one.safetensors', but found in 'two.safetensors'");
    index(serde_json::json!({"a": one, "b": "three.safetensors"}));
    refused(directory.path(), "three.safetensors: cannot read");
    write_safetensors(&path("three.safetensors"), &[("a", vec![1])], |_, _| 1.0);
    refused(directory.path(), "three.safetensors: tensor 'a': also in");
    for escape in ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", "a\\b"] {
        index(serde_json::json!({"a": escape}));
        refused(directory.path(), "expected a plain file name in the same directory");
    }
    std::fs::write(path("model.safetensors.index.json"), "{\"weight_map\": 3}").unwrap();
    refused(directory.path(), "model.safetensors.index.json: ");
}

#[test]
fn a_directory_without_weights_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Checkpoint::open(directory.path()), Err(SafetensorsError::NoWeights { .. })));
}

#[test]
fn invalid_headers_are_refused_with_the_tensor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let case = |header: &str, data: usize, expected: &str| {
        write_safetensors_raw(&path, header, &vec![0; data]);
        refused(directory.path(), expected);
    };
    let entry = |name: &str, dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#""{name}": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [{start}, {end}]}}"#)
    };
    let one = |dtype: &str, shape: &str, start, end| format!("{{{}}}", entry("w", dtype, shape, start, end));
    case("[]", 0, "header: not a JSON object");
    case("{", 0, "header: not a JSON object");
    case(&"[".repeat(100_000), 0, "header: not a JSON object");
    case(r#"{"w": 3}"#, 0, "tensor 'w': ");
    case(r#"{"w": {"dtype": "F32", "shape": [1]}}"#, 4, "tensor 'w': missing field `data_offsets`");
    case(&one("F33", "[1]", 0, 4), 4, "tensor 'w': unknown variant `F33`");
    case(&one("F32", "[-1]", 0, 4), 4, "tensor 'w': ");
    case(&one("F32", "[1]", 0, 8), 8, "tensor 'w': F32 [1] at data offsets 0..8");
    case(&one("F32", "[1]", 4, 0), 4, "tensor 'w': F32 [1] at data offsets 4..0");
    case(&one("F32", "[1]", 0, 4), 3, "within the 3 bytes of data");
    case(&one("F32", "[1]", u64::MAX - 3, u64::MAX), 4, "tensor 'w': ");
    case(&one("F32", "[4294967296, 4294967296, 4294967296]", 0, 0), 0, "tensor 'w': ");
    case(&one("F4", "[1]", 0, 1), 1, "tensor 'w': ");
    case(&one("F32", "[1]", 4, 8), 8, "tensor 'w': begins at byte");
    case(&one("F32", "[1]", 0, 4), 5, "header: the tensors end at byte");
    let overlap = format!("{{{}, {}}}", entry("v", "F32", "[2]", 0, 8), entry("w", "F32", "[1]", 4, 8));
    case(&overlap, 8, "tensor 'w': begins at byte");
    let twice = format!("{{{}, {}}}", entry("w", "F32", "[1]", 0, 4), entry("w", "F32", "[1]", 4, 8));
    case(&twice, 8, "tensor 'w': begins at byte");
}

#[test]
fn a_file_truncated_anywhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    write_safetensors(&path, &[("a", vec![2]), ("b", vec![3, 1])], |_, index| index as f32);
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        refused(directory.path(), "model.safetensors: ");
    }
    for length in [u64::MAX, 100_000_001, bytes.len() as u64] {
        std::fs::write(&path, [&length.to_le_bytes(), &bytes[8..]].concat()).unwrap();
        refused(directory.path(), "header: a length of");
    }
}
