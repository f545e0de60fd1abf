//! Conversion of files of `PyTorch`, and the configurations of GGUF files.

use std::fs;
use std::path::{Path, PathBuf};

use mmprm_quant::check::language_config;
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::gguf::GgufFile;
use mmprm_quant::hf::config::{LanguageConfig, ModelConfig, RopeScaling};
use mmprm_quant::progress::no_progress;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(path)
}

fn convert(checkpoint: &Path, output: &Path) -> PathBuf {
    let plan = plan(checkpoint, output, &ConvertOptions::new(WeightType::F16)).unwrap();
    plan.write(&mut no_progress).unwrap();
    plan.files[0].path.clone()
}

#[test]
fn a_pytorch_checkpoint_becomes_the_file_of_its_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("smollm2");
    fs::create_dir(&checkpoint).unwrap();
    for entry in fs::read_dir(golden("families/smollm2")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            fs::copy(&path, checkpoint.join(path.file_name().unwrap())).unwrap();
        }
    }
    let source = golden("pytorch/smollm2/pytorch_model.bin");
    fs::copy(&source, checkpoint.join("pytorch_model.bin")).unwrap();
    let found = convert(&checkpoint, &folder.path().join("out"));
    let expected = convert(&golden("families/smollm2"), &folder.path().join("expected"));
    assert_eq!(fs::read(found).unwrap(), fs::read(expected).unwrap());
    let mut damaged = fs::read(&source).unwrap();
    damaged.truncate(damaged.len() / 2);
    fs::write(checkpoint.join("pytorch_model.bin"), damaged).unwrap();
    let error = plan(&checkpoint, folder.path(), &ConvertOptions::new(WeightType::F16)).unwrap_err().to_string();
    assert!(error.contains("pytorch_model.bin: archive: "), "{error}");
}

#[test]
fn a_gguf_file_has_the_configuration_of_its_checkpoint() {
    for family in ["llama2", "llama3", "mistral", "qwen2_5", "qwen3", "smollm2"] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = golden(&format!("families/{family}"));
        let found = language_config(&GgufFile::open(&convert(&checkpoint, folder.path())).unwrap()).unwrap();
        let own = ModelConfig::read(&checkpoint).unwrap().language;
        // Llama 3's scaling is a tensor; ids of tokens may come from other files of the checkpoint.
        let scaling = if own.frequency_factors().is_some() { RopeScaling::None } else { own.rope_scaling };
        let own_head_width = found.own_head_width;
        assert_eq!(found.head(), own.head(), "{family}");
        let expected = LanguageConfig { rope_scaling: scaling, own_head_width, token_ids: found.token_ids, ..own };
        assert_eq!(found, expected, "{family}");
    }
}
