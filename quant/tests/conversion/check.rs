//! Files with a valid container but contradictory content are refused before C++ reads them.

use std::path::{Path, PathBuf};

use mmprm_quant::check;
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::{GgufArray, GgufFile, GgufValue, GgufWriter, Metadata, TensorSpec};
use mmprm_quant::progress::no_progress;

fn convert(checkpoint: &Path, output: &Path, weight_type: WeightType) -> Vec<GgufFile> {
    let plan = plan(checkpoint, output, &ConvertOptions::new(weight_type)).unwrap();
    plan.write(&mut no_progress).unwrap();
    plan.files.iter().map(|file| GgufFile::open(&file.path).unwrap()).collect()
}

#[test]
fn golden_conversions_pass() {
    let checkpoints = crate::common::checkpoints();
    assert!(!checkpoints.is_empty(), "no checkpoint found");
    for checkpoint in checkpoints {
        let output = tempfile::tempdir().unwrap();
        for weight_type in crate::common::weight_types() {
            let files = convert(&checkpoint, output.path(), weight_type);
            check::language(&files[0]).unwrap();
            files[1..].iter().for_each(|file| check::vision(file).unwrap());
        }
    }
}

#[test]
fn the_demos_models_pass() {
    let folder = crate::common::workspace().join("demo/models");
    let mut passed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let file = GgufFile::open(&path).unwrap();
            if file.get_str("general.architecture").unwrap() == "clip" {
                check::vision(&file).unwrap();
            } else {
                check::vocabulary(&file).unwrap();
                check::language(&file).unwrap();
            }
            passed += 1;
        }
    }
    assert!(passed > 0, "no model of the demo found");
}

/// A valid pair of files, and copies of them with one change.
struct Pair {
    directory: tempfile::TempDir,
    language: GgufFile,
    vision: GgufFile,
}

impl Pair {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = crate::common::workspace().join("demo/checkpoints/mini-mm-policy");
        let mut files = convert(&checkpoint, directory.path(), WeightType::F16).into_iter();
        let (language, vision) = (files.next().unwrap(), files.next().unwrap());
        Self { directory, language, vision }
    }

    fn copy(&self, file: &GgufFile, change: impl FnOnce(&mut Metadata, &mut Vec<TensorSpec>)) -> GgufFile {
        let path: PathBuf = self.directory.path().join("lie.gguf");
        let mut metadata = file.metadata().clone();
        let mut tensors: Vec<TensorSpec> = file
            .tensors()
            .iter()
            .map(|tensor| TensorSpec {
                name: tensor.name.clone(),
                dims: tensor.dims.clone(),
                ggml_type: tensor.ggml_type,
            })
            .collect();
        change(&mut metadata, &mut tensors);
        let mut writer = GgufWriter::create(&path, &metadata, &tensors).unwrap();
        for tensor in &tensors {
            writer.write(&vec![0; tensor.ggml_type.tensor_bytes(&tensor.dims).unwrap() as usize]).unwrap();
        }
        writer.finish().unwrap();
        GgufFile::open(&path).unwrap()
    }

    fn refuses(&self, of: &GgufFile, key: &str, value: Option<GgufValue>, expected: &str) {
        let copy = self.copy(of, |metadata, _| {
            metadata.retain(|(known, _)| known != key);
            metadata.extend(value.map(|value| (key.to_owned(), value)));
        });
        let check = if of.get("clip.projector_type").is_some() { check::vision } else { check::language };
        let message = check(&copy).unwrap_err().to_string();
        assert!(message.contains("lie.gguf") && message.contains(key) && message.contains(expected), "{message}");
    }

    fn refuses_tensor(&self, of: &GgufFile, name: &str, change: impl FnOnce(&mut TensorSpec), expected: &str) {
        let copy = self.copy(of, |_, tensors| change(tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()));
        let check = if of.get("clip.projector_type").is_some() { check::vision } else { check::language };
        let message = check(&copy).unwrap_err().to_string();
        assert!(message.contains("lie.gguf: tensor '") && message.contains(expected), "{message}");
    }
}

#[test]
fn contradictory_language_models_are_refused() {
    let pair = Pair::new();
    let refuses =
        |key: &str, value: Option<GgufValue>, expected: &str| pair.refuses(&pair.language, key, value, expected);
    let tokens = pair.language.get_strings("tokenizer.ggml.tokens").unwrap();
    let mut tokens: Vec<String> = tokens.iter().map(str::to_owned).collect();
    tokens[700] = tokens[600].clone();
    refuses("tokenizer.ggml.tokens", Some(tokens.clone().into()), "tokens 600 and 700 are both");
    tokens[700] = format!("{}\0x", tokens[600]);
    refuses("tokenizer.ggml.tokens", Some(tokens.into()), "tokens 600 and 700 are both");
    refuses("tokenizer.ggml.tokens", None, "missing");
    refuses("tokenizer.ggml.scores", Some(vec![0.0_f32; 3].into()), "3 elements, expected one per token, 768");
    refuses("tokenizer.ggml.token_type", Some(vec![0.0_f32; 768].into()), "is f32[], expected i32[]");
    refuses(
        "tokenizer.ggml.token_type",
        Some(GgufValue::Array(GgufArray::U8(vec![1; 768]))),
        "is u8[], expected i32[]",
    );
    refuses("internlm2.block_count", Some(0_u32.into()), "0, expected 1 to");
    refuses("internlm2.block_count", Some(513_u32.into()), "513, expected 1 to 512");
    refuses("internlm2.context_length", None, "missing");
    refuses("internlm2.attention.head_count", Some(7_u32.into()), "7, expected a divisor of 256");
    refuses("internlm2.attention.head_count_kv", Some(3_u32.into()), "3, expected a divisor of 8");
    refuses("internlm2.rope.dimension_count", Some(16_u32.into()), "expected the width of a head, 32");
    refuses("internlm2.rope.scaling.type", Some("odd".into()), "expected one of");
    refuses("internlm2.expert_used_count", Some(2_u32.into()), "2, expected 0");
    let norm = "output_norm.weight";
    let half = |tensor: &mut TensorSpec| tensor.ggml_type = mmprm_quant::blocks::GgmlType::F16;
    pair.refuses_tensor(&pair.language, norm, half, "F16, expected F32");
}

#[test]
fn contradictory_vision_towers_are_refused() {
    let pair = Pair::new();
    let refuses =
        |key: &str, value: Option<GgufValue>, expected: &str| pair.refuses(&pair.vision, key, value, expected);
    refuses("general.architecture", Some("qwen2".into()), "'qwen2', expected 'clip'");
    refuses("clip.has_vision_encoder", Some(false.into()), "false, expected true");
    refuses("clip.use_silu", Some(true.into()), "as is clip.use_gelu");
    refuses("clip.vision.image_mean", Some(vec![0.5_f32].into()), "1 elements, expected at least 3");
    refuses("clip.vision.image_std", None, "missing, expected f32[]");
    refuses("clip.vision.attention.head_count", Some(0_u32.into()), "0, expected 1 to");
    refuses("clip.vision.attention.head_count", Some(5_u32.into()), "5, expected a divisor of 128");
    refuses("clip.vision.patch_size", Some(15_u32.into()), "15, expected a divisor of 112");
    refuses("clip.vision.patch_size", Some("14".into()), "is string, expected u32");
    refuses("clip.vision.projector.scale_factor", Some(3_u32.into()), "3, expected a divisor of 8");
    refuses("clip.vision.preproc_max_tiles", Some(u32::MAX.into()), "4294967295, expected 1");
    refuses("clip.vision.attention.layer_norm_epsilon", None, "expected f32");
    let tensor = |key: &str, value: u32, expected: &str| {
        let copy = pair.copy(&pair.vision, |metadata, _| {
            metadata.iter_mut().filter(|(known, _)| known == key).for_each(|(_, known)| *known = value.into());
        });
        let message = check::vision(&copy).unwrap_err().to_string();
        assert!(message.contains("lie.gguf: tensor '") && message.contains(expected), "{message}");
    };
    tensor("clip.vision.block_count", 128, "v.blk.4.ln1.weight': missing, expected dimensions [128]");
    tensor("clip.vision.embedding_length", 256, "v.class_embd': dimensions [128, 1, 1], expected dimensions [256]");
    tensor(
        "clip.vision.image_size",
        224,
        "v.position_embd.weight': dimensions [128, 65], expected dimensions [128, 257]",
    );
    tensor(
        "clip.vision.feed_forward_length",
        64,
        "v.blk.0.ffn_up.weight': dimensions [128, 512], expected dimensions [128, 64]",
    );
    tensor(
        "clip.vision.projection_dim",
        128,
        "mm.model.mlp.1.weight': dimensions [512, 256], expected dimensions [512, 128]",
    );
    let rename = |tensor: &mut TensorSpec| tensor.name = "mm.model.mlp.9.bias".into();
    pair.refuses_tensor(&pair.vision, "mm.model.mlp.3.bias", rename, "mm.model.mlp.3.bias': missing");
    let half = |tensor: &mut TensorSpec| tensor.ggml_type = mmprm_quant::blocks::GgmlType::F16;
    pair.refuses_tensor(&pair.vision, "v.position_embd.weight", half, "F16, expected F32");
}
