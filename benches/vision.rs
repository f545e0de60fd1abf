//! Time of the vision encoders per tile: the shipped mini tower, and one of InternViT-300M's shape
//! with random f16 weights.
//!
//! `cargo bench --bench vision`; `-- mini` or `-- 300m` selects one. Throughput is in tiles per
//! second on all threads.
#![allow(missing_docs, reason = "criterion's macro makes a public function without docs")]

use std::cell::LazyCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use half::f16;
use mmprm::engine::{Model, ModelOptions};
use mmprm::image::Tile;
use mmprm::nn::gemm::Precision;
use mmprm::vision::{EncoderChoice, NativeEncoder, NativeOptions, VisionEncoder, open};
use mmprm_quant::blocks::GgmlType;
use mmprm_quant::gguf::{GgufArray, GgufValue, GgufWriter, TensorSpec};

/// The shape of a tower.
struct Shape {
    hidden: u32,
    layers: u32,
    heads: u32,
    feed_forward: u32,
    image: u32,
    patch: u32,
    language: u32,
}

fn numbers(count: u64) -> impl Iterator<Item = f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 8) as f32 / 8_388_608.0 - 1.0)
}

/// Writes a tower with random weights.
fn synthetic(path: &Path, shape: &Shape) {
    let &Shape { hidden, layers, heads, feed_forward, image, patch, language } = shape;
    let key = |name: &str| format!("clip.vision.{name}");
    let number = |name: &str, value: u32| (key(name), GgufValue::U32(value));
    let channels = |name: &str| (key(name), GgufValue::Array(GgufArray::F32(vec![0.5; 3])));
    let text = |key: &str, value: &str| (key.to_owned(), GgufValue::String(value.to_owned()));
    let metadata = [
        text("general.architecture", "clip"),
        text("clip.projector_type", "internvl"),
        text("mmprm.vision.class_position", "last"),
        ("clip.has_vision_encoder".to_owned(), GgufValue::Bool(true)),
        ("clip.use_gelu".to_owned(), GgufValue::Bool(true)),
        number("embedding_length", hidden),
        number("block_count", layers),
        number("attention.head_count", heads),
        number("feed_forward_length", feed_forward),
        number("image_size", image),
        number("patch_size", patch),
        number("projection_dim", language),
        number("projector.scale_factor", 2),
        (key("attention.layer_norm_epsilon"), GgufValue::F32(1e-6)),
        channels("image_mean"),
        channels("image_std"),
    ];
    let [hidden, feed_forward, patch, language] = [hidden, feed_forward, patch, language].map(u64::from);
    let side = u64::from(image) / patch;
    let mut tensors = Vec::new();
    let mut add = |name: String, dims: &[u64]| {
        let narrow = dims.len() == 2 && !name.contains("position");
        let ggml_type = if narrow { GgmlType::F16 } else { GgmlType::F32 };
        tensors.push(TensorSpec { name, dims: dims.to_vec(), ggml_type });
    };
    add("v.class_embd".into(), &[hidden]);
    add("v.patch_embd.weight".into(), &[patch, patch, 3, hidden]);
    add("v.patch_embd.bias".into(), &[hidden]);
    add("v.position_embd.weight".into(), &[hidden, side * side + 1]);
    let linears = [
        ("attn_q", hidden, hidden),
        ("attn_k", hidden, hidden),
        ("attn_v", hidden, hidden),
        ("attn_out", hidden, hidden),
        ("ffn_up", hidden, feed_forward),
        ("ffn_down", feed_forward, hidden),
    ];
    for layer in 0..layers {
        for norm in ["ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias", "ls1.weight", "ls2.weight"] {
            add(format!("v.blk.{layer}.{norm}"), &[hidden]);
        }
        for (name, inputs, outputs) in linears {
            add(format!("v.blk.{layer}.{name}.weight"), &[inputs, outputs]);
            add(format!("v.blk.{layer}.{name}.bias"), &[outputs]);
        }
    }
    add("mm.model.mlp.0.weight".into(), &[4 * hidden]);
    add("mm.model.mlp.0.bias".into(), &[4 * hidden]);
    for (module, inputs) in [(1, 4 * hidden), (3, language)] {
        add(format!("mm.model.mlp.{module}.weight"), &[inputs, language]);
        add(format!("mm.model.mlp.{module}.bias"), &[language]);
    }
    let mut writer = GgufWriter::create(path, &metadata, &tensors).unwrap();
    for TensorSpec { dims, ggml_type, .. } in &tensors {
        let values = numbers(dims.iter().product()).map(|value| value * 0.035);
        let bytes: Vec<u8> = match ggml_type {
            GgmlType::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        writer.write(&bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/models")
}

/// Loads a projector file into an encoder.
type Open = fn(&Path) -> Box<dyn VisionEncoder>;

fn native(mmproj: &Path, precision: Option<Precision>) -> Box<dyn VisionEncoder> {
    Box::new(NativeEncoder::load(mmproj, NativeOptions { precision, ..NativeOptions::default() }).unwrap())
}

fn language() -> Arc<Model> {
    Model::load(&models().join("policy-q8_0.gguf"), ModelOptions::default()).unwrap()
}

fn compare(criterion: &mut Criterion, name: &str, samples: usize, mmproj: &dyn Fn() -> PathBuf) {
    let encoders: [(&str, Open); 3] = [
        ("native", |mmproj| native(mmproj, None)),
        ("native, bf16 products", |mmproj| native(mmproj, Some(Precision::Bf16))),
        ("llama.cpp", |mmproj| open(mmproj, &language(), EncoderChoice::LlamaCpp, None, false).unwrap()),
    ];
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1)).sample_size(samples).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    for (name, open) in encoders {
        // Loaded only if the benchmark is selected.
        let encoder = LazyCell::new(|| open(&mmproj()));
        group.bench_function(name, |bencher| {
            let size = encoder.tile_size();
            let tile = Tile { size, rgb: (0..size * size * 3).map(|i| (i * 7919 % 256) as u8).collect() };
            bencher.iter(|| encoder.encode(std::slice::from_ref(&tile)).unwrap());
        });
    }
    group.finish();
}

fn mini(criterion: &mut Criterion) {
    compare(criterion, "mini", 100, &|| models().join("mmproj-policy-f16.gguf"));
}

fn large(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    compare(criterion, "300m", 10, &|| {
        let mmproj = folder.path().join("mmproj.gguf");
        if !mmproj.exists() {
            let language = language().embedding_width() as u32;
            let (hidden, layers, heads, feed_forward) = (1024, 24, 16, 4096);
            synthetic(&mmproj, &Shape { hidden, layers, heads, feed_forward, image: 448, patch: 14, language });
        }
        mmproj
    });
}

criterion_group!(benches, mini, large);
criterion_main!(benches);
