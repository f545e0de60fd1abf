//! Quantisation: types and bytes against llama.cpp's own quantiser, blocks against scalar twins,
//! and refusals.

#![allow(clippy::float_cmp, reason = "the twins must agree to the bit")]

mod common;

use std::ffi::CString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use half::f16;
use llama_cpp_sys_2 as sys;
use mmprm_quant::blocks::{BlockError, GgmlType, dequantize_row, quantize_rows};
use mmprm_quant::convert::{self, ConvertOptions, WeightType};
use mmprm_quant::gguf::{GgufFile, GgufWriter, TensorSpec};
use mmprm_quant::inspect::content_hash;
use mmprm_quant::progress::no_progress;
use mmprm_quant::quantize::{QuantType, QuantizeError, QuantizeOptions, plan};

/// Converts a checkpoint to f32 and returns the paths of the files.
fn converted(checkpoint: &Path, output: &Path) -> Vec<PathBuf> {
    let plan = convert::plan(checkpoint, output, &ConvertOptions::new(WeightType::F32)).unwrap();
    plan.write(&mut no_progress).unwrap();
    plan.files.into_iter().map(|file| file.path).collect()
}

/// Quantises with llama.cpp itself.
fn quantize_with_llama_cpp(input: &Path, output: &Path, quant_type: QuantType) {
    extern "C" fn quiet(_: sys::ggml_log_level, _: *const std::ffi::c_char, _: *mut std::ffi::c_void) {}
    let [input, output] = [input, output].map(|path| CString::new(path.to_str().unwrap()).unwrap());
    // SAFETY: the parameters are llama.cpp's defaults with a known file type; the strings outlive
    // the call.
    let status = unsafe {
        sys::llama_log_set(Some(quiet), std::ptr::null_mut());
        let mut params = sys::llama_model_quantize_default_params();
        params.ftype = quant_type.file_type();
        params.nthread = 1;
        sys::llama_model_quantize(input.as_ptr(), output.as_ptr(), &raw const params)
    };
    assert_eq!(status, 0, "llama.cpp quantises to {quant_type}");
}

#[test]
fn golden_models_quantise_to_the_same_bytes_as_with_llama_cpp() {
    let mut compared = 0;
    for checkpoint in common::checkpoints() {
        let directory = tempfile::tempdir().unwrap();
        let input = converted(&checkpoint, directory.path()).remove(0);
        let file = GgufFile::open(&input).unwrap();
        for quant_type in QuantType::all() {
            let [ours, theirs] = ["ours", "theirs"].map(|name| directory.path().join(name));
            let plan = plan(&file, &QuantizeOptions::new(quant_type)).unwrap();
            plan.write(&ours, &mut no_progress).unwrap();
            quantize_with_llama_cpp(&input, &theirs, quant_type);
            let [ours, theirs] = [ours, theirs].map(|path| GgufFile::open(&path).unwrap());
            for tensor in ours.tensors() {
                let other = theirs.tensor(&tensor.name).unwrap();
                assert_eq!(tensor.ggml_type, other.ggml_type, "{} of {quant_type}", tensor.name);
                assert!(ours.tensor_data(tensor) == theirs.tensor_data(other), "{} of {quant_type}", tensor.name);
            }
            let hash = |file| content_hash(file, &mut no_progress).unwrap();
            assert_eq!(hash(&ours), hash(&theirs), "{quant_type}");
            for (key, value) in theirs.metadata() {
                assert_eq!(ours.get(key), Some(value), "{key} of {quant_type}");
            }
            assert_eq!(ours.metadata().len(), theirs.metadata().len());
        }
        compared += 1;
    }
    assert!(compared > 0, "no checkpoint found");
}

#[test]
fn a_vision_tower_stays_at_16_bits_unless_asked() {
    let checkpoint = common::workspace().join("demo/checkpoints/mini-mm-policy");
    let directory = tempfile::tempdir().unwrap();
    let input = GgufFile::open(&converted(&checkpoint, directory.path())[1]).unwrap();
    let kept = plan(&input, &QuantizeOptions::new(QuantType::Q4_K_M)).unwrap();
    let types = |plan: &mmprm_quant::quantize::QuantizePlan| -> Vec<GgmlType> {
        plan.tensors.iter().map(|tensor| tensor.spec.ggml_type).collect()
    };
    assert_eq!(kept.quant_type, QuantType::F16);
    assert!(types(&kept).iter().all(|ty| matches!(ty, GgmlType::F16 | GgmlType::F32)));
    let asked = plan(&input, &QuantizeOptions { vision: true, ..QuantizeOptions::new(QuantType::Q8_0) }).unwrap();
    assert!(types(&asked).contains(&GgmlType::Q8_0));
    assert!(
        asked.tensors.iter().all(|tensor| !tensor.spec.name.contains("embd") || tensor.spec.ggml_type == tensor.from)
    );
}

#[test]
fn block_formats_are_packed_again_only_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("q8.gguf");
    let metadata = [("general.architecture", "clip")].map(|(key, value)| (key.to_owned(), value.into()));
    let spec = TensorSpec { name: "a.weight".into(), dims: vec![32, 2], ggml_type: GgmlType::Q8_0 };
    let values: Vec<f32> = (0..64).map(|index| index as f32 - 31.5).collect();
    let mut packed = vec![0; 68];
    quantize_rows(GgmlType::Q8_0, &values, 32, &mut packed).unwrap();
    let mut writer = GgufWriter::create(&path, &metadata, &[spec]).unwrap();
    writer.write(&packed).unwrap();
    writer.finish().unwrap();
    let input = GgufFile::open(&path).unwrap();
    let error = plan(&input, &QuantizeOptions::new(QuantType::F32)).unwrap_err().to_string();
    assert!(error.contains("q8.gguf: tensor 'a.weight': is Q8_0") && error.contains("requantising"), "{error}");
    let options = QuantizeOptions { requantize: true, ..QuantizeOptions::new(QuantType::F32) };
    let output = directory.path().join("f32.gguf");
    plan(&input, &options).unwrap().write(&output, &mut no_progress).unwrap();
    let output = GgufFile::open(&output).unwrap();
    let mut expected = vec![0.0; 64];
    dequantize_row(GgmlType::Q8_0, &packed, &mut expected).unwrap();
    let bytes: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(output.tensor_data(&output.tensors()[0]), bytes);
}

#[test]
fn stopping_leaves_nothing_behind() {
    let checkpoint = common::workspace().join("demo/checkpoints/mini-mm-policy");
    let directory = tempfile::tempdir().unwrap();
    let input = GgufFile::open(&converted(&checkpoint, directory.path())[0]).unwrap();
    let output = directory.path().join("out/q4.gguf");
    let mut calls = 0;
    let result = plan(&input, &QuantizeOptions::new(QuantType::Q4_0)).unwrap().write(&output, &mut |_| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(QuantizeError::Cancelled)));
    assert_eq!(std::fs::read_dir(output.parent().unwrap()).unwrap().count(), 0);
}

/// Values of a wide range of magnitudes, with zeros and ties.
fn values(count: usize) -> Vec<f32> {
    let value = |index: usize| (index as f32 * 0.7301).sin() * 10_f32.powi(index as i32 / 32 % 7 - 3);
    (0..count).map(|index| if index / 32 == 5 { 0.0 } else { value(index) }).collect()
}

#[test]
fn q8_0_is_its_scalar_twin() {
    let values = values(32 * 64);
    let mut packed = vec![0; 34 * 64];
    quantize_rows(GgmlType::Q8_0, &values, 256, &mut packed).unwrap();
    let mut twin = Vec::new();
    for block in values.chunks_exact(32) {
        let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        twin.extend(f16::from_f32(scale).to_le_bytes());
        twin.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
    }
    assert_eq!(packed, twin);
    let mut back = vec![0.0; values.len()];
    dequantize_row(GgmlType::Q8_0, &packed, &mut back).unwrap();
    for (block, back) in packed.chunks_exact(34).zip(back.chunks_exact(32)) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        assert!(block[2..].iter().zip(back).all(|(code, value)| f32::from(*code as i8) * scale == *value));
    }
}

#[test]
fn q4_0_is_its_scalar_twin() {
    let values = values(32 * 64);
    let mut packed = vec![0; 18 * 64];
    quantize_rows(GgmlType::Q4_0, &values, 32, &mut packed).unwrap();
    let mut twin = Vec::new();
    for block in values.chunks_exact(32) {
        let extreme = block.iter().fold(0.0_f32, |found, value| if value.abs() > found.abs() { *value } else { found });
        let scale = extreme / -8.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let code = |value: f32| ((value * inverse + 8.5) as i8).min(15) as u8;
        twin.extend(f16::from_f32(scale).to_le_bytes());
        twin.extend((0..16).map(|index| code(block[index]) | code(block[index + 16]) << 4));
    }
    assert_eq!(packed, twin);
    let mut back = vec![0.0; values.len()];
    dequantize_row(GgmlType::Q4_0, &packed, &mut back).unwrap();
    for (block, back) in packed.chunks_exact(18).zip(back.chunks_exact(32)) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for index in 0..16 {
            let codes = [block[2 + index] & 15, block[2 + index] >> 4].map(|code| (f32::from(code) - 8.0) * scale);
            assert_eq!(codes, [back[index], back[index + 16]]);
        }
    }
}

#[test]
fn every_writable_type_comes_back_close() {
    let values: Vec<f32> = (0..1024).map(|index| (index as f32 * 0.7301).sin()).collect();
    for (quant_type, error) in [
        (QuantType::F32, 0.0),
        (QuantType::F16, 5e-4),
        (QuantType::BF16, 4e-3),
        (QuantType::Q8_0, 5e-3),
        (QuantType::Q6_K, 0.04),
    ]
    .into_iter()
    .chain([QuantType::Q5_K_S, QuantType::Q5_0, QuantType::Q5_1].map(|quant_type| (quant_type, 0.08)))
    .chain([QuantType::Q4_K_S, QuantType::Q4_0, QuantType::Q4_1].map(|quant_type| (quant_type, 0.16)))
    .chain([(QuantType::Q3_K_M, 0.35), (QuantType::Q2_K, 0.6)])
    {
        let ty = quant_type.base_type();
        let mut packed = vec![0; ty.row_bytes(1024).unwrap()];
        quantize_rows(ty, &values, 512, &mut packed).unwrap();
        let mut back = vec![0.0; 1024];
        dequantize_row(ty, &packed, &mut back).unwrap();
        let worst = values.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= error, "{ty}: {worst}");
    }
}

#[test]
fn rows_that_cannot_be_packed_are_refused() {
    let pack = |ty, values: &[f32], row, bytes| quantize_rows(ty, values, row, &mut vec![0; bytes]);
    assert!(matches!(pack(GgmlType::Q8_0, &[0.0; 33], 33, 34), Err(BlockError::Length { .. })));
    assert!(matches!(pack(GgmlType::Q8_0, &[0.0; 64], 32, 34), Err(BlockError::Length { .. })));
    assert!(matches!(pack(GgmlType::Q8_0, &[0.0; 0], 0, 0), Err(BlockError::Length { .. })));
    assert!(matches!(pack(GgmlType::IQ2_XS, &[0.0; 256], 256, 74), Err(BlockError::Unsupported { .. })));
    let range = |ty, value: f32, bytes| match pack(ty, &[vec![0.0; 31], vec![value]].concat(), 32, bytes) {
        Err(BlockError::Range { element, .. }) => element == 31,
        other => other.is_err(),
    };
    for value in [f32::NAN, f32::INFINITY, 1e6, -65_520.0] {
        assert!(range(GgmlType::F16, value, 64) && range(GgmlType::Q4_1, value, 20), "{value}");
    }
    assert!(range(GgmlType::BF16, f32::MAX, 64) && range(GgmlType::F32, f32::NAN, 128));
    assert!(pack(GgmlType::F16, &[65_519.0; 32], 32, 64).is_ok() && pack(GgmlType::F32, &[f32::MAX; 1], 1, 4).is_ok());
    let unpack = |ty, bytes: usize, count| dequantize_row(ty, &vec![0; bytes], &mut vec![0.0; count]);
    assert!(matches!(unpack(GgmlType::Q4_0, 17, 32), Err(BlockError::Length { .. })));
    assert!(matches!(unpack(GgmlType::I32, 4, 1), Err(BlockError::Unsupported { .. })));
}
