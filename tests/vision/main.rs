//! The vision encoders: the native one against MM-PRM's embeddings, the two against each other, and
//! the cache on disk.

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod files;
mod golden;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use mmprm::engine::Model;
use mmprm::image::{Limits, Tile, Tiling, load, tiles};
use mmprm::nn::gemm::Precision;
use mmprm::vision::{NativeEncoder, NativeOptions};
use mmprm_quant::convert::{ConvertOptions, WeightType, plan};
use mmprm_quant::progress::no_progress;
use support::{Pair, golden, repository};

/// The tiling of the golden images.
const SMALL: Tiling = Tiling { size: 112, min_tiles: 1, max_tiles: 6, thumbnail: true };

/// A golden checkpoint, converted with this type for the vision tower's matrices.
fn converted(architecture: &str, vision_type: WeightType) -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let options = ConvertOptions { vision_type, ..ConvertOptions::new(WeightType::F32) };
    let plan = plan(&golden().join("ckpt").join(architecture), directory.path(), &options).unwrap();
    let paths: Vec<_> = plan.files.iter().map(|file| file.path.clone()).collect();
    plan.write(&mut no_progress).unwrap();
    Pair { directory, model: paths[0].clone(), mmproj: paths[1].clone() }
}

fn native(mmproj: &Path) -> NativeEncoder {
    NativeEncoder::load(mmproj, NativeOptions::default()).unwrap()
}

fn native_as(mmproj: &Path, precision: Precision) -> NativeEncoder {
    NativeEncoder::load(mmproj, NativeOptions { precision: Some(precision), ..NativeOptions::default() }).unwrap()
}

/// Tiles of a golden image.
fn image(name: &str) -> Vec<Tile> {
    tiles(&load(&golden().join("images").join(format!("{name}.png")), &Limits::default()).unwrap(), &SMALL)
}

/// The largest absolute difference.
fn max_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The mini policy's checkpoint as a GGUF pair, converted once.
fn mini() -> (Arc<Model>, std::path::PathBuf) {
    static FILES: OnceLock<[std::path::PathBuf; 2]> = OnceLock::new();
    let [model, mmproj] = FILES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vision-mini");
        let checkpoint = repository().join("demo/checkpoints/mini-mm-policy");
        let plan = plan(&checkpoint, &folder, &ConvertOptions::new(WeightType::F16)).unwrap();
        plan.write(&mut no_progress).unwrap();
        [0, 1].map(|file: usize| plan.files[file].path.clone())
    });
    (Model::load(model, mmprm::engine::ModelOptions::default()).unwrap(), mmproj.clone())
}
