//! Models with random weights: valid files of the planned sizes, equal for equal seeds.

use std::path::Path;

use crate::common;
use mmprm_quant::check;

use mmprm_quant::gguf::{GgufFile, GgufWriter};
use mmprm_quant::hf::config::{LanguageArch, LanguageConfig, ModelConfig, VisionConfig};
use mmprm_quant::hf::shapes::Shape;
use mmprm_quant::inspect::{content_hash, summary};
use mmprm_quant::progress::no_progress;
use mmprm_quant::quantize::{QuantType, layout};
use mmprm_quant::synth::{SynthError, SynthOptions, SynthPlan, plan};

/// Returns a language model with a vocabulary.
fn donor() -> GgufFile {
    GgufFile::open(&crate::common::workspace().join("demo/models/prm-q8_0.gguf")).unwrap()
}

/// A small model of a published kind.
fn small(shape: Shape) -> ModelConfig {
    let ModelConfig { names, language, vision, qwen_vision } = shape.config();
    let language =
        LanguageConfig { hidden: 256, feed_forward: 512, layers: 3, heads: 4, kv_heads: 2, vocab: 3000, ..language };
    let vision = vision.map(|vision| VisionConfig {
        hidden: 64,
        feed_forward: 128,
        layers: 2,
        heads: 4,
        image_size: 56,
        ..vision
    });
    ModelConfig { names, language, vision, qwen_vision }
}

fn planned(config: &ModelConfig, quant_type: QuantType, seed: u64, output: &Path) -> Result<SynthPlan, SynthError> {
    plan(&SynthOptions { name: "small", config, quant_type, vocabulary: &donor(), seed }, output)
}

#[test]
fn pairs_are_valid_and_have_the_tensors_of_a_converted_checkpoint() {
    for shape in [Shape::InternVl25B1, Shape::InternVl25B8] {
        for quant_type in common::supported(&[QuantType::Q4_K_M, QuantType::F32, QuantType::BF16, QuantType::Q8_0]) {
            let directory = tempfile::tempdir().unwrap();
            let config = small(shape);
            let plan = planned(&config, quant_type, 0, directory.path()).unwrap();
            plan.write(&mut no_progress).unwrap();
            let [model, mmproj] = [0, 1].map(|at: usize| GgufFile::open(&plan.files[at].path).unwrap());
            check::language(&model).unwrap();
            check::vision(&mmproj).unwrap();
            assert_eq!(model.get_strings("tokenizer.ggml.tokens").unwrap().len(), 3000);
            assert_eq!(model.get_u32("general.file_type").unwrap(), quant_type.file_type());
            let layout = layout(&config, quant_type).unwrap();
            for (file, specs) in [(&model, &layout.language), (&mmproj, &layout.vision)] {
                let found: Vec<_> = file.tensors().iter().map(|t| (&t.name, &t.dims, t.ggml_type)).collect();
                let expected: Vec<_> = specs.iter().map(|spec| (&spec.name, &spec.dims, spec.ggml_type)).collect();
                assert_eq!(found, expected);
            }
            assert_eq!(summary(&model).bytes, plan.files[0].data_size());
        }
    }
}

#[test]
fn weights_depend_on_the_seed_and_not_on_the_threads() {
    let directory = tempfile::tempdir().unwrap();
    let quant_type = if cfg!(feature = "ggml") { QuantType::Q4_K_M } else { QuantType::F16 };
    let hash = |seed: u64, name: &str, threads: usize| {
        let plan = planned(&small(Shape::InternVl25B8), quant_type, seed, &directory.path().join(name)).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| plan.write(&mut no_progress).unwrap());
        content_hash(&GgufFile::open(&plan.files[0].path).unwrap(), &mut no_progress).unwrap()
    };
    let first = hash(1, "a", 1);
    assert_eq!(first, hash(1, "b", 3));
    assert_ne!(first, hash(2, "c", 1));
}

#[test]
fn invalid_options_are_refused_and_leave_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = small(Shape::InternVl25B1);
    config.language.vocab = 10;
    let error = planned(&config, QuantType::F16, 0, directory.path()).unwrap_err();
    assert!(error.to_string().contains("but the shape has a vocabulary of 10"), "{error}");
    config.language.vocab = 3000;
    config.language.layers = 513;
    let error = planned(&config, QuantType::F16, 0, directory.path()).unwrap_err();
    assert_eq!(error.to_string(), "513 blocks, expected at most 512");
    config.language.layers = 1;
    let (patch, image) = (1 << 20, 1 << 21);
    config.vision =
        config.vision.map(|vision| VisionConfig { patch_size: patch, image_size: image, hidden: 1 << 22, ..vision });
    let error = planned(&config, QuantType::F16, 0, directory.path()).unwrap_err();
    assert!(error.to_string().contains("exceeds 2^63 bytes"), "{error}");

    let empty = directory.path().join("empty.gguf");
    GgufWriter::create(&empty, &[], &[]).unwrap().finish().unwrap();
    let vocabulary = GgufFile::open(&empty).unwrap();
    let config = small(Shape::InternVl25B2);
    let options =
        SynthOptions { name: "x", config: &config, quant_type: QuantType::F16, vocabulary: &vocabulary, seed: 0 };
    let error = plan(&options, directory.path()).unwrap_err();
    assert!(error.to_string().contains("tokenizer.ggml.tokens"), "{error}");

    let mut stop = |_: mmprm_quant::progress::Progress<'_>| std::ops::ControlFlow::Break(());
    let error = planned(&config, QuantType::F16, 0, directory.path()).unwrap().write(&mut stop).unwrap_err();
    assert!(matches!(error, SynthError::Cancelled));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "only empty.gguf is there");
}

#[test]
fn published_shapes_have_the_published_numbers_of_parameters() {
    // From the model cards, in billions: InternVL2.5-1B, -2B and -8B.
    for (shape, billions) in [(Shape::InternVl25B1, 0.94), (Shape::InternVl25B2, 2.21), (Shape::InternVl25B8, 8.08)] {
        let config = shape.config();
        assert_eq!(Shape::from_name(shape.name()), Some(shape));
        assert!(matches!(config.language.arch, LanguageArch::Qwen2 | LanguageArch::InternLm2));
        let layout = layout(&config, QuantType::F16).unwrap();
        let count = layout.language.iter().chain(&layout.vision).map(|spec| spec.dims.iter().product::<u64>());
        let found = count.sum::<u64>() as f64 / 1e9;
        assert!((found - billions).abs() < 0.01, "{}: {found}", shape.name());
    }
}
